// SPDX-License-Identifier: Apache-2.0
// `mixed`: everything at once: log-uniform sizes from 16 B to 1 MiB, a quarter of the objects freed by the next thread
// (none when there is only one), some resized by realloc, some aligned to 64..4096 bytes, some from calloc. A resize
// picks an object of its own, so that what grows is not what was just allocated. Layer: workloads.
#include "core.h"
#include "registry.h"

const struct workload mixed_workload = {
    .name = "mixed",
    .summary = "local and remote, log-uniform sizes to 1 MiB, with realloc, aligned and calloc shares",
    .source = "log-uniform sizes as in the Hakozuna mixed benchmark, plus the rest of the malloc family",
    .min_threads = 1,
    .defaults = {.handover_batch = REGISTRY_HANDOVER_BATCH,
                 .topology = TOPOLOGY_RING,
                 .sizes = SIZES_LOG_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 20000,
                 .working_set = 2000,
                 .min_bytes = 16,
                 .max_bytes = 1 << 20,
                 .remote_ppm = 250000,
                 .realloc_ppm = 100000,
                 .aligned_ppm = 50000,
                 .calloc_ppm = 50000},
    .used_params = WORKLOAD_USES_HANDOVER | WORKLOAD_USES_TOPOLOGY | WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET |
                   WORKLOAD_USES_REMOTE | WORKLOAD_USES_REALLOC | WORKLOAD_USES_ALIGNED | WORKLOAD_USES_CALLOC |
                   WORKLOAD_USES_DURATION,
    .remote_frees = core_remote_frees,
    .shape = core_shape_mixed,
    .warm_up = core_fill_slots,
    .measured = core_replace_mixed,
};
