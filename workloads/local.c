// SPDX-License-Identifier: Apache-2.0
// `local`: each thread keeps a working set of objects and replaces random ones; no object ever changes hands.
// What a thread cache is for. Pattern: random replacement, as in the Hakozuna benchmark and, before it, Larson and
// Krishnan 1998 without their threads. Layer: workloads.
#include "core.h"
#include "registry.h"

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
    .shape = core_shape_replace,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
};
