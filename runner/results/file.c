// SPDX-License-Identifier: Apache-2.0
// Files of rows over the calls of os_file.h: what is read, written and replaced as a whole. Layer: runner.
#include "file.h"

#include "../system/os_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum file_open_result file_open(struct file *file, const char *path) {
    *file = (struct file){.fd = -1};
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path) {
        errno = ENAMETOOLONG;
        return FILE_OPEN_FAILED;
    }
    file->fd = os_file_open(path, OS_FILE_READ_APPEND);
    // A pipe or a write-only device is written to without being read back.
    if (file->fd < 0 && (errno == EACCES || errno == EINVAL))
        file->fd = os_file_open(path, OS_FILE_APPEND);
    uint64_t bytes = 0;
    if (file->fd < 0 || !os_file_status(file->fd, &file->is_regular, &bytes))
        return FILE_OPEN_FAILED;
    if (!file->is_regular)
        return FILE_OPEN_OK;
    file->bytes = bytes;
    // A file system without locks (some network mounts) is no reason to refuse.
    return os_file_is_locked(file->fd) ? FILE_OPEN_BUSY : FILE_OPEN_OK;
}

char *file_read(const struct file *file, size_t *bytes) {
    size_t size = file->is_regular ? (size_t)file->bytes : 0;
    char *data = malloc(size + 1);
    *bytes = 0;
    while (data != NULL && *bytes < size) {
        int64_t got = os_file_read(file->fd, data + *bytes, size - *bytes, *bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(data);
            return NULL;
        }
        if (got == 0)
            break;
        *bytes += (size_t)got;
    }
    if (data != NULL)
        data[*bytes] = '\0';
    return data;
}

int file_cut(struct file *file, uint64_t bytes) {
    if (!file->is_regular)
        return 1;
    if (!os_file_cut(file->fd, bytes))
        return 0;
    file->bytes = bytes;
    return 1;
}

int file_append(struct file *file, const void *data, size_t bytes) {
    const char *at = data;
    size_t left = bytes;
    while (left > 0) {
        int64_t written = os_file_write(file->fd, at, left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            int error = written == 0 ? EIO : errno;
            (void)file_cut(file, file->bytes);
            errno = error;
            return 0;
        }
        at += written;
        left -= (size_t)written;
    }
    file->bytes += bytes;
    return 1;
}

int file_sync(struct file *file) {
    // Pipes and some devices know no fsync; they have nothing to lose either.
    return os_file_sync(file->fd) || !file->is_regular;
}

int file_close(struct file *file) {
    int fd = file->fd;
    file->fd = -1;
    return fd < 0 || os_file_close(fd);
}

int file_replace(const char *path, const void *data, size_t bytes) {
    char temporary[560];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    struct file file = {.fd = os_file_open(temporary, OS_FILE_REPLACE), .is_regular = 1};
    if (file.fd < 0)
        return 0;
    int ok = file_append(&file, data, bytes) && file_sync(&file);
    int error = errno;
    if (!file_close(&file) && ok) {
        ok = 0;
        error = errno;
    }
    if (ok && !os_file_rename(temporary, path)) {
        ok = 0;
        error = errno;
    }
    if (!ok) {
        remove(temporary);
        errno = error;
    }
    return ok;
}

int file_exists(const char *path) {
    return os_file_exists(path);
}
