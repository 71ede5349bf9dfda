// SPDX-License-Identifier: Apache-2.0
// What file.c needs of the operating system: descriptors of files, one call each. os_file_<os>.c. Layer: runner.
// Where nothing else is said: 0 (and for counts and descriptors -1) with errno set on failure.
#ifndef HZBENCH_OS_FILE_H
#define HZBENCH_OS_FILE_H

#include <stddef.h>
#include <stdint.h>

enum os_file_mode {
    OS_FILE_READ_APPEND, // created if absent
    OS_FILE_APPEND,
    OS_FILE_REPLACE // created or emptied, for writing
};

int os_file_open(const char *path, enum os_file_mode mode);
int os_file_status(int fd, int *is_regular, uint64_t *bytes);
int os_file_is_locked(int fd);                                       // takes the lock; 1: another process has it
int64_t os_file_read(int fd, void *data, size_t bytes, uint64_t at); // moves the position on Windows
int64_t os_file_write(int fd, const void *data, size_t bytes);       // perhaps less than all of it
int os_file_cut(int fd, uint64_t bytes);
int os_file_sync(int fd);
int os_file_close(int fd);
int os_file_rename(const char *from, const char *to); // replaces `to`
int os_file_exists(const char *path);

#endif
