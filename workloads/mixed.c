// SPDX-License-Identifier: Apache-2.0
// `mixed`: everything at once: log-uniform sizes from 16 B to 1 MiB, a quarter of the objects freed by the next thread
// (none when there is only one), some resized by realloc, some aligned to 64..4096 bytes, some from calloc. A resize
// picks an object of its own, so that what grows is not what was just allocated. Layer: workloads.
#include "core.h"
#include "registry.h"

static struct core_shape shape_of(const struct workload_params *params) {
    const enum core_wiring wiring = params->threads > 1 ? (enum core_wiring)params->topology : CORE_ALONE;
    return (struct core_shape){.slots = params->working_set, .wiring = wiring};
}

static uint64_t remote_frees(const struct workload_params *params) {
    return core_producers(shape_of(params).wiring, params->threads) * rng_share(params->ops, params->remote_ppm);
}

static uint64_t memory_bytes(const struct workload_params *params) {
    const struct core_shape shape = shape_of(params);
    return core_memory_bytes(params, &shape);
}

static void prepare(struct workload_run *run) {
    const struct core_shape shape = shape_of(&run->params);
    core_prepare(run, &shape);
}

const struct workload mixed_workload = {
    .name = "mixed",
    .summary = "local and remote, log-uniform sizes to 1 MiB, with realloc, aligned and calloc shares",
    .source = "log-uniform sizes as in the Hakozuna mixed benchmark, plus the rest of the malloc family",
    .min_threads = 1,
    .defaults = {.topology = TOPOLOGY_RING,
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
    .used_params = WORKLOAD_USES_TOPOLOGY | WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_REMOTE |
                   WORKLOAD_USES_REALLOC | WORKLOAD_USES_ALIGNED | WORKLOAD_USES_CALLOC | WORKLOAD_USES_DURATION,
    .remote_frees = remote_frees,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = core_fill_slots,
    .measured = core_replace_mixed,
    .tear_down = core_tear_down,
};
