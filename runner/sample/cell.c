// SPDX-License-Identifier: Apache-2.0
// What the child of a sample, hzbench-worker or hzbench-app, writes into its cell. Layer: runner.
#include "cell.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void cell_forget(struct cell_result *result) {
    // From elapsed_ns to dtlb_misses all members are uint64_t, and all bytes 0xff is UINT64_MAX.
    const size_t first = offsetof(struct cell_result, elapsed_ns);
    const size_t end = offsetof(struct cell_result, dtlb_misses) + sizeof(uint64_t);
    memset(result, 0, sizeof *result);
    memset((unsigned char *)result + first, 0xff, end - first);
    memset(result->rejects, 0, sizeof result->rejects);
}

int cell_conclude(struct cell *cell, enum cell_status status, const char *format, ...) {
    struct cell_result *result = &cell->result;
    if (result->status == CELL_UNFINISHED) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(result->message, sizeof result->message, format, arguments);
        va_end(arguments);
        result->status = status;
    }
    return 0;
}

void cell_enter(struct cell *cell, enum cell_phase phase) {
    // ORDER: release publishes the results written in the phase before to a runner that loads the phase with acquire.
    atomic_store_explicit(&cell->phase, phase, memory_order_release);
}
