// SPDX-License-Identifier: Apache-2.0
// `idle`: many threads, few blocks. Each thread holds some objects, replaces as many, and waits: resident memory at the
// end of the work against live memory is what a thread costs that has hardly allocated anything. Layer: workloads.
#include "core.h"
#include "registry.h"

static int complete(struct workload_params *params, char *why, size_t why_bytes) {
    return registry_derive_ops(params, params->working_set, "idle", "--working-set", why, why_bytes);
}

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

const struct workload idle_workload = {
    .name = "idle",
    .summary = "many threads that hold few objects each, such as --threads=64: memory a thread costs",
    .source = "servers with a pool of mostly idle threads",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 20,
                 .min_bytes = 16,
                 .max_bytes = 1024},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET,
    .complete = complete,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
    .tear_down = core_tear_down,
};
