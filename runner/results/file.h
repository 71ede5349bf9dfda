// SPDX-License-Identifier: Apache-2.0
// Files that only ever grow by whole rows: append with one write, cut a partial row, make it durable, keep others out.
// Layer: runner, over os_file.h; all return 0 with errno set on failure.
#ifndef HZBENCH_FILE_H
#define HZBENCH_FILE_H

#include <stddef.h>
#include <stdint.h>

struct file {
    int fd;         // -1: closed
    int is_regular; // 0: a pipe or device, which can be neither read back nor cut
    uint64_t bytes; // length of all whole appends
    char path[512];
};

enum file_open_result { FILE_OPEN_OK, FILE_OPEN_FAILED, FILE_OPEN_BUSY };

// Opens for reading and appending, creates if absent, and takes the lock that one runner holds.
enum file_open_result file_open(struct file *file, const char *path);

// Whole content, NUL-terminated, to be freed by the caller; an irregular file reads as empty.
char *file_read(const struct file *file, size_t *bytes);

// All of it or nothing: after a failure the file is cut back to what it was.
int file_append(struct file *file, const void *data, size_t bytes);

int file_cut(struct file *file, uint64_t bytes);
int file_sync(struct file *file);
int file_close(struct file *file);

// Replaces `path` by `data` so that a reader sees the old or the new content, never a part.
int file_replace(const char *path, const void *data, size_t bytes);

int file_exists(const char *path);

#endif
