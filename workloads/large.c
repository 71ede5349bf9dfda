// SPDX-License-Identifier: Apache-2.0
// `large`: random replacement of 64 KiB to 8 MiB, log-uniform. Few operations, much memory: shows when an allocator
// goes to the system for each block and what it keeps. `odd-sizes`: blocks of 66 to 260 KiB, each a little more than
// a round number of pages, which size classes round up. Layer: workloads.
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
    .shape = core_shape_replace,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
};

const struct workload odd_sizes_workload = {
    .name = "odd-sizes",
    .summary = "random replacement of blocks of 66 to 260 KiB: memory lost by rounding and between blocks",
    .source = "microsoft/mimalloc#252: buffers of odd sizes need a multiple of their memory",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ALL,
                 .ops = 20000,
                 .working_set = 500,
                 .min_bytes = 66 << 10,
                 .max_bytes = 260 << 10},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_DURATION,
    .shape = core_shape_replace,
    .warm_up = core_fill_slots,
    .measured = core_replace_local,
};
