// SPDX-License-Identifier: Apache-2.0
// `remote`: as `local`, but an exact share of the objects is handed to another thread and freed there. Who hands to
// whom is the topology; with fan-in thread 0 only frees, with fan-out all others do. The share is met to the last
// object by selection sampling, and a full queue makes its producer help until there is room. Layer: workloads.
#include "core.h"
#include "registry.h"

const struct workload remote_workload = {
    .name = "remote",
    .summary = "as local, but an exact share of the objects is freed by another thread",
    .source =
        "Hakozuna's remote benchmark, with the share made exact; producer and consumer after Lever and Boreham 2000",
    .min_threads = 2,
    .defaults = {.handover_batch = REGISTRY_HANDOVER_BATCH,
                 .topology = TOPOLOGY_RING,
                 .sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 2000000,
                 .working_set = 1000,
                 .min_bytes = 16,
                 .max_bytes = 2048,
                 .remote_ppm = 900000},
    .used_params = WORKLOAD_USES_HANDOVER | WORKLOAD_USES_TOPOLOGY | WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET |
                   WORKLOAD_USES_REMOTE | WORKLOAD_USES_DURATION,
    .remote_frees = core_remote_frees,
    .shape = core_shape_by_topology,
    .warm_up = core_fill_slots,
    .measured = core_replace_remote,
};
