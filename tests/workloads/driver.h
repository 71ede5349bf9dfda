// SPDX-License-Identifier: Apache-2.0
// Runs one workload inside the test program, with any allocator table: what the worker does, without clocks and cells.
// Layer: tests.
#ifndef HZBENCH_TESTS_DRIVER_H
#define HZBENCH_TESTS_DRIVER_H

#include "../../workloads/workload.h"

struct driver_outcome {
    uint64_t hash; // of all threads, in order
    uint64_t allocs, frees_local, frees_remote, corruptions, failures, waits;
    uint64_t age_hash; // 0 without ageing
    int64_t live_aged; // at the end of the ageing
    int64_t live_work; // at the end of the measured part
    int64_t live_end;  // after tear-down
};

// All parameters unset but the thread count: ready for workload_params_complete.
struct workload_params driver_unset(uint32_t threads);

// What a workload that needs an input gets in tests, `profile` from HZBENCH_TEST_PROFILE; "" for others.
const char *driver_input(const struct workload *workload);

// Whether it can be run here: no program, and no input that only a file has. Those stand at the end of the list.
int driver_runs(const struct workload *workload);

// Completes `params` (the test fails with the reason when they are refused) and runs.
struct driver_outcome driver_run(const char *workload, struct workload_params params, const struct allocator *table);

struct allocator driver_system(void);   // libc
struct allocator driver_null(void);     // one buffer for all; stores nothing
struct allocator driver_counting(void); // libc, and driver_balance() counts blocks not freed
int64_t driver_balance(void);
void driver_balance_reset(void);

#endif
