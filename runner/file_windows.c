// SPDX-License-Identifier: Apache-2.0
// Windows: files of rows, over the C library's descriptors. Layer: runner.
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <windows.h>

// Locks here keep out readers, too, so the byte that is locked lies where no file has one.
#define LOCK_AT_HIGH 0x7fffffffu

static DWORD lock_of(int fd) {
    OVERLAPPED at = {.OffsetHigh = LOCK_AT_HIGH};
    const DWORD flags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    return LockFileEx((HANDLE)_get_osfhandle(fd), flags, 0, 1, 0, &at) ? 0 : GetLastError();
}

enum file_open_result file_open(struct file *file, const char *path) {
    *file = (struct file){.fd = -1};
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path) {
        errno = ENAMETOOLONG;
        return FILE_OPEN_FAILED;
    }
    file->fd = _open(path, _O_RDWR | _O_APPEND | _O_CREAT | _O_BINARY | _O_NOINHERIT, _S_IREAD | _S_IWRITE);
    // A pipe or a write-only device is written to without being read back.
    if (file->fd < 0 && (errno == EACCES || errno == EINVAL))
        file->fd = _open(path, _O_WRONLY | _O_APPEND | _O_BINARY | _O_NOINHERIT);
    struct _stat64 status;
    if (file->fd < 0 || _fstat64(file->fd, &status) != 0)
        return FILE_OPEN_FAILED;
    file->is_regular = (status.st_mode & _S_IFMT) == _S_IFREG;
    if (!file->is_regular)
        return FILE_OPEN_OK;
    file->bytes = (uint64_t)status.st_size;
    // A file system without locks (some network drives) is no reason to refuse.
    return lock_of(file->fd) == ERROR_LOCK_VIOLATION ? FILE_OPEN_BUSY : FILE_OPEN_OK;
}

char *file_read(const struct file *file, size_t *bytes) {
    size_t size = file->is_regular ? (size_t)file->bytes : 0;
    char *data = malloc(size + 1);
    *bytes = 0;
    if (data && size > 0 && _lseeki64(file->fd, 0, SEEK_SET) != 0) {
        free(data);
        return NULL;
    }
    while (data && *bytes < size) {
        size_t left = size - *bytes;
        int got = _read(file->fd, data + *bytes, left < INT_MAX ? (unsigned)left : INT_MAX);
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
    if (_chsize_s(file->fd, (long long)bytes) != 0)
        return 0;
    file->bytes = bytes;
    return 1;
}

int file_append(struct file *file, const void *data, size_t bytes) {
    const char *at = data;
    size_t left = bytes;
    while (left > 0) {
        int written = _write(file->fd, at, left < INT_MAX ? (unsigned)left : INT_MAX);
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
    return _commit(file->fd) == 0 || !file->is_regular;
}

int file_close(struct file *file) {
    int fd = file->fd;
    file->fd = -1;
    return fd < 0 || _close(fd) == 0;
}

int file_replace(const char *path, const void *data, size_t bytes) {
    char temporary[560];
    struct file file = {.fd = -1, .is_regular = 1};
    snprintf(temporary, sizeof temporary, "%s.new", path);
    file.fd = _open(temporary, _O_WRONLY | _O_CREAT | _O_TRUNC | _O_BINARY | _O_NOINHERIT, _S_IREAD | _S_IWRITE);
    if (file.fd < 0)
        return 0;
    int ok = file_append(&file, data, bytes) && file_sync(&file);
    int error = errno;
    if (!file_close(&file) && ok) {
        ok = 0;
        error = errno;
    }
    if (ok && !MoveFileExA(temporary, path, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
        ok = 0;
        error = EACCES; // the usual reason: somebody has the old one open
    }
    if (!ok) {
        _unlink(temporary);
        errno = error;
    }
    return ok;
}

int file_exists(const char *path) {
    return _access(path, 0) == 0;
}
