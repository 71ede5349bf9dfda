// SPDX-License-Identifier: Apache-2.0
// `replace`: random replacement in a working set far beyond the caches, so that each free meets a cold object and a
// cold page descriptor. Sizes fixed (--sizes=256) or a range. Layer: workloads.
#include "core.h"
#include "registry.h"

const struct workload replace_workload = {
    .name = "replace",
    .summary = "random replacement in a working set of 65,536 objects a thread",
    .source = "random replacement, cold objects",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 1000000,
                 .working_set = 65536,
                 .min_bytes = 16,
                 .max_bytes = 1024},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_DURATION,
    .shape = core_shape_replace,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
};
