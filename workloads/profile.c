// SPDX-License-Identifier: Apache-2.0
// `profile:FILE`: drives from the histogram of a program (scripts/trace profile; docs/traces.md) instead of its trace.
// Every row is a bin of a population in balance: sizes uniform within the bin, lives uniform within theirs, freed by
// the next thread where the program's were. Lives are in allocations of the whole program, so a thread of n lives an
// n-th of them. What was still alive at the end lives as long as the program, which in balance keeps as many of them
// alive. Without --working-set lives are as in the file; another one scales them. The file is read line by line and its
// rows go straight into the bins. Layer: workloads.
#include "population.h"
#include "registry.h"
#include "trace/format.h"
#include "trace/profile_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES (UINT64_C(1) << 30) // the largest object a workload has; larger ones are left out

struct summary {
    struct profile_head head;
    uint64_t objects, remote; // of what is driven, as the rest
    double live;              // objects alive at a time, in balance
    uint32_t rows;
};

// Lives count the ticks after the object's own: what is freed before the next allocation has lived 1 there, 0 here.
static double life_min(const struct profile_head *head, const struct profile_row *row) {
    return (double)(row->lifetime_min == 0 ? head->objects : row->lifetime_min) - 1;
}

static double life_max(const struct profile_head *head, const struct profile_row *row) {
    const int is_within = row->lifetime_min != 0 && row->lifetime_max < head->objects;
    return (double)(is_within ? row->lifetime_max : head->objects) - 1;
}

static void sum_up(void *context, const struct profile_head *head, const struct profile_row *row) {
    struct summary *summary = context;
    if (row->size_min <= MAX_BYTES) {
        summary->live += (double)row->objects * (life_min(head, row) + life_max(head, row)) / 2;
        summary->rows++;
        summary->objects += row->objects;
        summary->remote += row->remote ? row->objects : 0;
    }
}

static int read_with(const struct workload_params *params,
                     void (*see)(void *context, const struct profile_head *head, const struct profile_row *row),
                     void *context, struct profile_head *head, char *why, size_t why_bytes) {
    struct trace_source source;
    char what[256];
    if (!trace_source_open(&source, params->input, what, sizeof what))
        return registry_refuse(why, why_bytes, "workload 'profile': %s", what);
    const int is_read = profile_reader_read(&source, head, see, context, what, sizeof what);
    trace_source_close(&source);
    return is_read || registry_refuse(why, why_bytes, "workload 'profile': %s: %s", params->input, what);
}

static int summarize(const struct workload_params *params, struct summary *summary, char *why, size_t why_bytes) {
    *summary = (struct summary){0};
    if (!read_with(params, sum_up, summary, &summary->head, why, why_bytes))
        return 0;
    if (summary->objects == 0) {
        return registry_refuse(why, why_bytes, "workload 'profile': %s: no object of up to 1 GiB in it - record more",
                               params->input);
    }
    summary->live /= (double)summary->objects;
    if (summary->live > (double)TRACE_SLOTS_MAX) {
        return registry_refuse(why, why_bytes,
                               "workload 'profile': %s: about %.0f objects alive at a time, at most %" PRIu64
                               " can be driven - record a smaller load",
                               params->input, summary->live, TRACE_SLOTS_MAX);
    }
    return 1;
}

// Reads the file, or remembers it from the last call for the same.
static int summary_of(const struct workload_params *params, struct summary *summary, char *why, size_t why_bytes) {
    static char known[WORKLOAD_INPUT_BYTES];
    static struct summary known_summary;
    if (strcmp(known, params->input) != 0) {
        if (!summarize(params, &known_summary, why, why_bytes)) {
            known[0] = '\0';
            return 0;
        }
        memcpy(known, params->input, sizeof known);
    }
    *summary = known_summary;
    return 1;
}

static uint64_t own_working_set(const struct summary *summary, uint32_t threads) {
    const uint64_t rounded = (uint64_t)(summary->live / threads + 0.5);
    return rounded > 0 ? rounded : 1;
}

static int check_input(const struct workload_params *params, char *why, size_t why_bytes) {
    struct summary summary;
    if (!summarize(params, &summary, why, why_bytes))
        return 0;
    why[0] = '\0';
    if (summary.objects < summary.head.objects) {
        registry_refuse(why, why_bytes, "workload 'profile': %s: %" PRIu64 " objects above 1 GiB are left out",
                        params->input, summary.head.objects - summary.objects);
    }
    return 1;
}

static uint32_t own_threads(const struct workload_params *params) {
    struct summary summary;
    char ignored[512];
    return summary_of(params, &summary, ignored, sizeof ignored) ? (uint32_t)summary.head.threads : 1;
}

static void own_defaults(const struct workload_params *params, struct workload_params *defaults) {
    struct summary summary;
    char ignored[512]; // `complete` says it
    if (summary_of(params, &summary, ignored, sizeof ignored)) {
        const uint32_t threads = params->threads == REGISTRY_UNSET32 || params->threads == 0 ? 1 : params->threads;
        const double share = (double)summary.remote / (double)summary.objects;
        defaults->working_set = own_working_set(&summary, threads);
        defaults->remote_ppm = threads > 1 ? (uint32_t)(share * RNG_PPM + 0.5) : 0;
    }
}

static int complete(struct workload_params *params, char *why, size_t why_bytes) {
    struct summary summary;
    return summary_of(params, &summary, why, why_bytes);
}

struct filling {
    struct population_bin *bins;
    uint32_t count, most;
    double threads;
};

static void fill_bin(void *context, const struct profile_head *head, const struct profile_row *row) {
    struct filling *filling = context;
    if (row->size_min > MAX_BYTES || filling->count == filling->most)
        return;
    const double least = life_min(head, row) / filling->threads;
    const double most = life_max(head, row) / filling->threads;
    filling->bins[filling->count++] = (struct population_bin){
        .share = (double)row->objects,
        .life = (least + most) / 2,
        .life_min = least,
        .life_max = most,
        .min_bytes = row->size_min == 0 ? 1 : (uint32_t)row->size_min,
        .max_bytes = row->size_max == 0 ? 1 : (uint32_t)(row->size_max < MAX_BYTES ? row->size_max : MAX_BYTES),
        .remote_ppm = row->remote ? RNG_PPM : 0,
        .kind = POPULATION_UNIFORM};
}

static uint64_t memory_bytes(const struct workload_params *params) {
    struct summary summary;
    char ignored[512];
    return summary_of(params, &summary, ignored, sizeof ignored) ? population_memory_bytes(params, summary.rows) : 0;
}

static void prepare(struct workload_run *run) {
    struct summary summary;
    struct profile_head head;
    if (!summary_of(&run->params, &summary, run->trouble, sizeof run->trouble))
        return;
    struct filling filling = {population_bins(run, summary.rows), 0, summary.rows, run->params.threads};
    if (!read_with(&run->params, fill_bin, &filling, &head, run->trouble, sizeof run->trouble))
        return;
    if (run->params.working_set != own_working_set(&summary, run->params.threads))
        population_scale(run, filling.count);
    population_prepare(run, filling.count, 1);
}

const struct workload profile_workload = {
    .name = "profile",
    .summary = "profile:FILE drives from a program's sizes, lifetimes and remote frees, without its trace",
    .source = "scripts/trace profile; docs/traces.md",
    .min_threads = 1,
    .defaults = {.handover_batch = REGISTRY_HANDOVER_BATCH,
                 .touch = TOUCH_ENDS,
                 .ops = 500000,
                 .working_set = 1,
                 .min_bytes = 1,
                 .max_bytes = 1 << 30},
    .used_params = WORKLOAD_USES_HANDOVER | WORKLOAD_USES_INPUT | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_REMOTE,
    .check_input = check_input,
    .own_threads = own_threads,
    .own_defaults = own_defaults,
    .complete = complete,
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .warm_up = population_warm_up,
    .measured = population_measured,
};
