// SPDX-License-Identifier: Apache-2.0
// Reads a profile (docs/traces.md), which may come from anybody: every line is checked, no row is kept, and memory is a
// few hundred bytes whatever the file holds. Layer: trace.
#ifndef HZBENCH_PROFILE_READER_H
#define HZBENCH_PROFILE_READER_H

#include "source.h"

#define PROFILE_READER_ROWS_MAX 100000u

struct profile_head {
    uint64_t threads, objects, peak_live_objects, peak_live_bytes, calloc_ppm, aligned_ppm, realloc_ppm;
};

struct profile_row {
    uint64_t size_min, size_max;         // inclusive
    uint64_t lifetime_min, lifetime_max; // inclusive, in allocations of the program; both 0: alive at the end
    uint64_t remote;                     // 1: freed by another thread
    uint64_t objects, bytes;
};

// Shows every row once, in the order of the file. 0: the file is not a profile, says one line in `why`; rows may have
// been shown before that was known. `see` may be NULL.
int profile_reader_read(const struct trace_source *source, struct profile_head *head,
                        void (*see)(void *context, const struct profile_head *head, const struct profile_row *row),
                        void *context, char *why, size_t why_bytes);

#endif
