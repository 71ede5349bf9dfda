// SPDX-License-Identifier: Apache-2.0
// Where a trace is read from: a file, or memory in tests. Reading takes no memory of any allocator. Layer: trace.
#ifndef HZBENCH_TRACE_SOURCE_H
#define HZBENCH_TRACE_SOURCE_H

#include <stddef.h>
#include <stdint.h>

struct trace_source {
    // Bytes got, fewer than asked for only at the end; negative on an error.
    int64_t (*read)(const struct trace_source *source, uint64_t offset, void *to, size_t bytes);
    uint64_t bytes;
    const void *memory; // of trace_source_memory
    int fd;             // of trace_source_open
};

struct trace_source trace_source_memory(const void *bytes, size_t count);

// Opens a regular file. Returns 0 and one line in `why` when there is none.
int trace_source_open(struct trace_source *source, const char *path, char *why, size_t why_bytes);
void trace_source_close(struct trace_source *source);

#endif
