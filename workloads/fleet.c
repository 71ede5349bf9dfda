// SPDX-License-Identifier: Apache-2.0
// `fleet:0` to `fleet:9`, `fleet:mix`: ten production programs of Google as their allocators saw them, each size with
// its share of the allocations and its mean number of live objects (workloads/fleet; Fleetbench), and a mix in which
// each counts the same. The heap is scaled to --working-set live objects a thread; lifetimes shrink with it, so that
// sizes, live numbers and turnover keep their proportions. Only the mean lifetime of a size is known: lives are drawn
// exponential about it. The data does not say who frees: --remote does, 0 by default. Layer: workloads.
#include "fleet_table.h"
#include "population.h"
#include "registry.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (UINT64_C(1) << 30) // the largest object a workload has
#define MIX FLEET_PROFILES

// Which profile; -1 for none.
static int profile_of(const struct workload_params *params) {
    const char *input = params->input;
    if (strcmp(input, "mix") == 0)
        return MIX;
    return input[0] >= '0' && input[0] < '0' + FLEET_PROFILES && input[1] == '\0' ? input[0] - '0' : -1;
}

static int complete(struct workload_params *params, char *why, size_t why_bytes) {
    if (profile_of(params) < 0) {
        return registry_refuse(why, why_bytes, "workload 'fleet' has no profile '%s' - it has 0 to %d and mix",
                               params->input, FLEET_PROFILES - 1);
    }
    return 1;
}

// Appends the bins of one profile. Sizes as large as the whole scaled heap are left out: there are at most some in a
// million allocations, and one of them would be all that is measured.
static uint32_t add_profile(struct population_bin *bins, uint32_t count, const struct fleet_profile *profile,
                            uint64_t working_set) {
    double rate = 0;
    double live = 0;
    double bytes = 0;
    for (uint32_t i = 0; i < profile->count; i++) {
        rate += profile->rows[i].rate;
        live += profile->rows[i].live;
        bytes += profile->rows[i].live * (double)profile->rows[i].bytes;
    }
    const double heap_bytes = bytes / live * (double)working_set;
    for (uint32_t i = 0; i < profile->count; i++) {
        const struct fleet_row *row = &profile->rows[i];
        if (row->bytes <= MAX_BYTES && (double)row->bytes <= heap_bytes) {
            bins[count++] = (struct population_bin){.share = row->rate / rate,
                                                    .life = (row->live / live) / (row->rate / rate),
                                                    .min_bytes = (uint32_t)row->bytes,
                                                    .max_bytes = (uint32_t)row->bytes,
                                                    .kind = POPULATION_EXPONENTIAL};
        }
    }
    return count;
}

static uint32_t rows_of(int profile) {
    uint32_t rows = 0;
    for (int i = 0; i < FLEET_PROFILES; i++)
        rows += profile == MIX || profile == i ? fleet_profiles[i].count : 0;
    return rows;
}

static uint64_t memory_bytes(const struct workload_params *params) {
    return population_memory_bytes(params, rows_of(profile_of(params)));
}

static void prepare(struct workload_run *run) {
    const int profile = profile_of(&run->params);
    struct population_bin *bins = population_bins(run, rows_of(profile));
    uint32_t count = 0;
    for (int i = 0; i < FLEET_PROFILES; i++)
        if (profile == MIX || profile == i)
            count = add_profile(bins, count, &fleet_profiles[i], run->params.working_set);
    population_scale(run, count);
    population_prepare(run, count, 1);
}

const struct workload fleet_workload = {
    .name = "fleet",
    .summary = "a production program's sizes and lifetimes: fleet:0 to fleet:9, fleet:mix",
    .source = "ten profiles published with Fleetbench (Google, Apache-2.0)",
    .min_threads = 1,
    .defaults = {.handover_batch = REGISTRY_HANDOVER_BATCH,
                 .touch = TOUCH_ENDS,
                 .ops = 500000,
                 .working_set = 20000,
                 .min_bytes = 1,
                 .max_bytes = 1 << 30},
    .used_params = WORKLOAD_USES_HANDOVER | WORKLOAD_USES_INPUT | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_REMOTE,
    .complete = complete,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = population_warm_up,
    .measured = population_measured,
};
