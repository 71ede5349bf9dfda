// SPDX-License-Identifier: Apache-2.0
// Linux: the calls of os_file.h. Layer: runner.
#include "os_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int os_file_open(const char *path, enum os_file_mode mode) {
    static const int flags[] = {[OS_FILE_READ_APPEND] = O_RDWR | O_APPEND | O_CREAT,
                                [OS_FILE_APPEND] = O_WRONLY | O_APPEND,
                                [OS_FILE_REPLACE] = O_WRONLY | O_CREAT | O_TRUNC};
    return open(path, flags[mode] | O_CLOEXEC, 0666);
}

int os_file_status(int fd, int *is_regular, uint64_t *bytes) {
    struct stat status;
    if (fstat(fd, &status) != 0)
        return 0;
    *is_regular = S_ISREG(status.st_mode);
    *bytes = (uint64_t)status.st_size;
    return 1;
}

int os_file_is_locked(int fd) {
    return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

int64_t os_file_read(int fd, void *data, size_t bytes, uint64_t at) {
    return pread(fd, data, bytes, (off_t)at);
}

int64_t os_file_write(int fd, const void *data, size_t bytes) {
    return write(fd, data, bytes);
}

int os_file_cut(int fd, uint64_t bytes) {
    return ftruncate(fd, (off_t)bytes) == 0;
}

int os_file_sync(int fd) {
    return fsync(fd) == 0;
}

int os_file_close(int fd) {
    return close(fd) == 0;
}

int os_file_rename(const char *from, const char *to) {
    return rename(from, to) == 0;
}

int os_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}
