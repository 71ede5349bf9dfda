// SPDX-License-Identifier: Apache-2.0
// A trace in memory. Layer: trace.
#include "source.h"

#include <string.h>

static int64_t read_memory(const struct trace_source *source, uint64_t offset, void *to, size_t bytes) {
    if (offset >= source->bytes)
        return 0;
    const uint64_t there = source->bytes - offset;
    const size_t count = there < bytes ? (size_t)there : bytes;
    memcpy(to, (const uint8_t *)source->memory + offset, count);
    return (int64_t)count;
}

struct trace_source trace_source_memory(const void *bytes, size_t count) {
    return (struct trace_source){.read = read_memory, .bytes = count, .memory = bytes, .fd = -1};
}
