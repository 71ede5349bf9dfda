// SPDX-License-Identifier: Apache-2.0
// `fresh`: allocate 4 KiB to 8 MiB, write all of it, free it, again; half of the allocations through calloc, whose
// zeroes are read. Shows who takes new memory from the system for each block, who gives it back in between, and who
// clears memory that is zero already. Layer: workloads.
#include "core.h"
#include "registry.h"

const struct workload fresh_workload = {
    .name = "fresh",
    .summary = "blocks of 4 KiB to 8 MiB, half from calloc, each byte written and read back",
    .source = "rate of new memory: buffers of servers and compilers",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_LOG_UNIFORM,
                 .touch = TOUCH_ALL,
                 .ops = 1000,
                 .working_set = 1,
                 .min_bytes = 4 << 10,
                 .max_bytes = 8 << 20,
                 .calloc_ppm = 500000},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_CALLOC | WORKLOAD_USES_DURATION,
    .shape = core_shape_mixed_alone,
    .warm_up = core_fill_slots,
    .measured = core_replace_mixed,
};
