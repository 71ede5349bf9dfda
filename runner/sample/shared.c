// SPDX-License-Identifier: Apache-2.0
// What the child of a sample, hzbench-worker or hzbench-app, writes into its shared. Layer: runner.
#include "shared.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void shared_forget(struct shared_result *result) {
    memset(result, 0, sizeof *result);
    measurement_forget(&result->measured);
}

void measurement_forget(struct measurement *measured) {
    const uint64_t nothing = NOT_MEASURED;
    for (size_t at = 0; at < sizeof *measured; at += sizeof nothing) // numbers and no more
        memcpy((unsigned char *)measured + at, &nothing, sizeof nothing);
}

int shared_conclude(struct sample_shared *shared, enum sample_status status, const char *format, ...) {
    struct shared_result *result = &shared->result;
    if (result->status == STATUS_UNFINISHED) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(result->message, sizeof result->message, format, arguments);
        va_end(arguments);
        result->status = status;
    }
    return 0;
}

void shared_enter(struct sample_shared *shared, enum phase phase) {
    // ORDER: release publishes the results written in the phase before to a runner that loads the phase with acquire.
    atomic_store_explicit(&shared->phase, phase, memory_order_release);
}
