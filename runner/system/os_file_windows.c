// SPDX-License-Identifier: Apache-2.0
// Windows: the calls of os_file.h, over the C library's descriptors. Layer: runner.
#include "os_file.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <windows.h>

// Locks here keep out readers, too, so the byte that is locked lies where no file has one.
#define LOCK_AT_HIGH 0x7fffffffu

int os_file_open(const char *path, enum os_file_mode mode) {
    static const int flags[] = {[OS_FILE_READ_APPEND] = _O_RDWR | _O_APPEND | _O_CREAT,
                                [OS_FILE_APPEND] = _O_WRONLY | _O_APPEND,
                                [OS_FILE_REPLACE] = _O_WRONLY | _O_CREAT | _O_TRUNC};
    return _open(path, flags[mode] | _O_BINARY | _O_NOINHERIT, _S_IREAD | _S_IWRITE);
}

int os_file_status(int fd, int *is_regular, uint64_t *bytes) {
    struct _stat64 status;
    if (_fstat64(fd, &status) != 0)
        return 0;
    *is_regular = (status.st_mode & _S_IFMT) == _S_IFREG;
    *bytes = (uint64_t)status.st_size;
    return 1;
}

int os_file_is_locked(int fd) {
    OVERLAPPED at = {.OffsetHigh = LOCK_AT_HIGH};
    const DWORD flags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    return !LockFileEx((HANDLE)_get_osfhandle(fd), flags, 0, 1, 0, &at) && GetLastError() == ERROR_LOCK_VIOLATION;
}

static unsigned at_once(size_t bytes) {
    return bytes < INT_MAX ? (unsigned)bytes : INT_MAX;
}

int64_t os_file_read(int fd, void *data, size_t bytes, uint64_t at) {
    return _lseeki64(fd, (int64_t)at, SEEK_SET) < 0 ? -1 : _read(fd, data, at_once(bytes));
}

int64_t os_file_write(int fd, const void *data, size_t bytes) {
    return _write(fd, data, at_once(bytes));
}

int os_file_cut(int fd, uint64_t bytes) {
    return _chsize_s(fd, (int64_t)bytes) == 0;
}

int os_file_sync(int fd) {
    return _commit(fd) == 0;
}

int os_file_close(int fd) {
    return _close(fd) == 0;
}

int os_file_rename(const char *from, const char *to) {
    if (MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
        return 1;
    errno = EACCES; // the usual reason: somebody has the old one open
    return 0;
}

int os_file_exists(const char *path) {
    return _access(path, 0) == 0;
}
