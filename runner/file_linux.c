// SPDX-License-Identifier: Apache-2.0
// Linux: files of rows. Layer: runner.
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum file_open_result file_open(struct file *file, const char *path) {
    *file = (struct file){.fd = -1};
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path) {
        errno = ENAMETOOLONG;
        return FILE_OPEN_FAILED;
    }
    file->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    // A pipe or a write-only device is written to without being read back.
    if (file->fd < 0 && (errno == EACCES || errno == EINVAL))
        file->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    struct stat status;
    if (file->fd < 0 || fstat(file->fd, &status) != 0)
        return FILE_OPEN_FAILED;
    file->is_regular = S_ISREG(status.st_mode);
    if (!file->is_regular)
        return FILE_OPEN_OK;
    file->bytes = (uint64_t)status.st_size;
    if (flock(file->fd, LOCK_EX | LOCK_NB) == 0)
        return FILE_OPEN_OK;
    int busy = errno == EWOULDBLOCK;
    // A file system without locks (some network mounts) is no reason to refuse.
    return busy ? FILE_OPEN_BUSY : FILE_OPEN_OK;
}

char *file_read(const struct file *file, size_t *bytes) {
    size_t size = file->is_regular ? (size_t)file->bytes : 0;
    char *data = malloc(size + 1);
    *bytes = 0;
    while (data && *bytes < size) {
        ssize_t got = pread(file->fd, data + *bytes, size - *bytes, (off_t)*bytes);
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
    if (data)
        data[*bytes] = '\0';
    return data;
}

int file_cut(struct file *file, uint64_t bytes) {
    if (!file->is_regular)
        return 1;
    if (ftruncate(file->fd, (off_t)bytes) != 0)
        return 0;
    file->bytes = bytes;
    return 1;
}

int file_append(struct file *file, const void *data, size_t bytes) {
    const char *at = data;
    size_t left = bytes;
    while (left > 0) {
        ssize_t written = write(file->fd, at, left);
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
    return fsync(file->fd) == 0 || !file->is_regular;
}

int file_close(struct file *file) {
    int fd = file->fd;
    file->fd = -1;
    return fd < 0 || close(fd) == 0;
}

int file_replace(const char *path, const void *data, size_t bytes) {
    char temporary[560];
    struct file file = {.fd = -1, .is_regular = 1};
    snprintf(temporary, sizeof temporary, "%s.new", path);
    file.fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file.fd < 0)
        return 0;
    int ok = file_append(&file, data, bytes) && file_sync(&file);
    int error = errno;
    if (!file_close(&file) && ok) {
        ok = 0;
        error = errno;
    }
    if (ok && rename(temporary, path) != 0) {
        ok = 0;
        error = errno;
    }
    if (!ok) {
        unlink(temporary);
        errno = error;
    }
    return ok;
}

int file_exists(const char *path) {
    return access(path, F_OK) == 0;
}
