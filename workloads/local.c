// SPDX-License-Identifier: Apache-2.0
// `local`: each thread keeps a working set of objects and replaces random ones; no object ever changes hands.
// What a thread cache is for. Pattern: random replacement, as in the Hakozuna benchmark and, before it, Larson and
// Krishnan 1998 without their threads. Layer: workloads.
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

const struct workload local_workload = {
    .name = "local",
    .summary = "each thread replaces random objects of its own working set",
    .source = "random replacement (Larson and Krishnan 1998), no object changes hands",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 10000000,
                 .working_set = 1000,
                 .min_bytes = 16,
                 .max_bytes = 2048},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_DURATION,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
    .tear_down = core_tear_down,
};
