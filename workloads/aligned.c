// SPDX-License-Identifier: Apache-2.0
// `aligned`: as `local`, but a quarter of the objects asks for an alignment of 64 to 4096 bytes, which is checked. What
// aligned objects cost the others of their page, and in memory. Layer: workloads.
#include "core.h"
#include "registry.h"

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
    .shape = core_shape_mixed_alone,
    .warm_up = core_fill_slots,
    .measured = core_replace_mixed,
};
