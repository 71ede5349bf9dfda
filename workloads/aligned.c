// SPDX-License-Identifier: Apache-2.0
// `aligned`: as `local`, but a quarter of the objects asks for an alignment of 64 to 4096 bytes, which is checked. What
// aligned objects cost the others of their page, and in memory. Layer: workloads.
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

const struct workload aligned_workload = {
    .name = "aligned",
    .summary = "as local, with a quarter of the objects aligned to 64 to 4096 bytes",
    .source = "C++17 over-aligned new, vector code, direct I/O",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 2000000,
                 .working_set = 1000,
                 .min_bytes = 16,
                 .max_bytes = 2048,
                 .aligned_ppm = 250000},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ALIGNED | WORKLOAD_USES_DURATION,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = core_fill_slots,
    .measured = core_replace_mixed,
    .tear_down = core_tear_down,
};
