// SPDX-License-Identifier: Apache-2.0
// `large`: random replacement of 64 KiB to 8 MiB, log-uniform. Few operations, much memory: shows when an allocator
// goes to the system for each block and what it keeps. Layer: workloads.
#include "core.h"
#include "registry.h"

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
    .shape = core_shape_alone,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
};
