// SPDX-License-Identifier: Apache-2.0
// `idle`: many threads, few blocks. Each thread holds some objects, replaces as many, and waits: resident memory at the
// end of the work against live memory is what a thread costs that has hardly allocated anything. Layer: workloads.
#include "core.h"
#include "registry.h"

static uint64_t derived_ops(const struct workload_params *params) {
    return params->working_set;
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
    .derived_ops = derived_ops,
    .derived_from = "--working-set",
    .shape = core_shape_replace,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
};
