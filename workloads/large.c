// SPDX-License-Identifier: Apache-2.0
// `large`: random replacement of 64 KiB to 8 MiB, log-uniform. Few operations, much memory: shows when an allocator
// goes to the system for each block and what it keeps. Layer: workloads.
#include "core.h"
#include "registry.h"

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.slots = params->working_set, .wiring = CORE_ALONE};
}

static uint64_t memory_bytes(const struct workload_params *params) {
    const struct core_shape shape = shape_of(params);
    return core_memory_bytes(params, &shape);
}

static void prepare(struct workload_run *run) {
    const struct core_shape shape = shape_of(&run->params);
    core_prepare(run, &shape);
}

const struct workload large_workload = {
    .name = "large",
    .summary = "random replacement of blocks of 64 KiB to 8 MiB",
    .source = "random replacement beyond the thread caches",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_LOG_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 4000,
                 .working_set = 32,
                 .min_bytes = 64 << 10,
                 .max_bytes = 8 << 20},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_DURATION,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
    .tear_down = core_tear_down,
};
