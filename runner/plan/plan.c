// SPDX-License-Identifier: Apache-2.0
// Cells, rounds and their shuffled order. Layer: runner.
#include "plan.h"

#include "../text/buffer.h"

#include "../../allocators/loader/digest.h"
#include "../../workloads/parameters.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Guesses of plan_work_ns: a slow allocator on an old core, contended; writing and reading back memory.
#define GUESS_NS_PER_OP 200
#define GUESS_BYTES_PER_NS 4
#define GUESS_START_NS UINT64_C(40000000) // start, load, warm-up and end of a worker

// The limit allows this much more than the guess, and a minute besides.
#define TIMEOUT_FACTOR 20
#define TIMEOUT_BASE_NS UINT64_C(60000000000)

// A default thread count is searched this far above the minimum: the next even one.
#define DEFAULT_THREADS_TRIED 2

// Finalizer of splitmix64; statistically good for any spacing of the input.
static uint64_t mix(uint64_t value) {
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

uint64_t plan_round_seed(uint64_t run_seed, uint32_t round) {
    // Below 2^63, so that no reader of the CSV meets an integer it cannot hold.
    return mix(mix(run_seed) ^ round) >> 1;
}

static uint64_t draw(uint64_t run_seed, uint32_t round, uint32_t position) {
    return mix(mix(~run_seed ^ mix(round)) + position);
}

static void shuffle(uint32_t *visits, uint32_t count, uint64_t run_seed, uint32_t round) {
    for (uint32_t i = 0; i < count; i++)
        visits[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        // The bias of a 64-bit remainder by a cell count is below 2^-40.
        uint32_t other = (uint32_t)(draw(run_seed, round, i) % (i + 1));
        uint32_t kept = visits[i];
        visits[i] = visits[other];
        visits[other] = kept;
    }
}

static int is_set(const struct workload_params *params, const char *name) {
    return parameter_get(params, parameter_named(name)) != PARAMETER_UNSET;
}

// Parameters in the braces go before those of the command line, which go before the workload's own.
static struct workload_params inherited(const struct options_workload *item, const struct workload_params *global) {
    struct workload_params params = item->params;
    const int own_duration = item->params.duration_ns != 0 && is_set(&item->params, "duration");
    const int own_ops = is_set(&item->params, "ops");
    for (size_t i = 0; i < parameter_count; i++) {
        const struct parameter *parameter = &parameters[i];
        // Work there is no time here, and the other way round.
        const int is_other_way = (own_duration && strcmp(parameter->name, "ops") == 0) ||
                                 (own_ops && strcmp(parameter->name, "duration") == 0);
        if (parameter->source != PARAMETER_PLAN && !is_other_way && parameter_is_used(parameter, item->workload) &&
            parameter_get(&params, parameter) == PARAMETER_UNSET)
            parameter_set(&params, parameter, parameter_get(global, parameter));
    }
    return params;
}

static int add_cells(struct plan *plan, const struct workload *workload, const struct workload_params *params) {
    size_t count = plan->options->allocator_count;
    struct plan_cell *grown = realloc(plan->cells, (plan->cell_count + count) * sizeof *plan->cells);
    if (grown == NULL)
        return 0;
    plan->cells = grown;
    for (size_t i = 0; i < count; i++)
        plan->cells[plan->cell_count++] =
            (struct plan_cell){.allocator = i, .workload = workload, .params = *params, .group = plan->group_count};
    plan->group_count++;
    return 1;
}

// Whether only the thread count stands in the way: another one near would do.
static int fits_other_threads(const struct workload *workload, const struct workload_params *params) {
    char ignored[512];
    for (uint32_t threads = workload->min_threads; threads <= workload->min_threads + DEFAULT_THREADS_TRIED;
         threads++) {
        struct workload_params other = *params;
        other.threads = threads;
        if (workload_params_complete(workload, &other, ignored, sizeof ignored))
            return 1;
    }
    return 0;
}

static int add_default_threads(struct plan *plan, const struct workload *workload, struct workload_params params,
                               char *why, size_t why_bytes) {
    char ignored[512];
    for (uint32_t i = 0; i <= DEFAULT_THREADS_TRIED; i++) {
        struct workload_params complete = params;
        complete.threads = (workload->own_threads != NULL ? workload->own_threads(&params) : workload->min_threads) + i;
        // The reason for the fewest threads is the one that explains most.
        if (workload_params_complete(workload, &complete, i ? ignored : why, i ? sizeof ignored : why_bytes))
            return add_cells(plan, workload, &complete);
    }
    return 0;
}

// All thread counts of one workload and topology. Returns 0 with the reason when none is left.
static int add_threads(struct plan *plan, const struct workload *workload, const struct workload_params *params,
                       void (*notice)(const char *line), char *why, size_t why_bytes) {
    const struct options *options = plan->options;
    char skipped[WORKLOAD_MAX_THREADS][512 + 16];
    size_t skipped_count = 0, added = 0;
    if (options->thread_count == 0)
        return add_default_threads(plan, workload, *params, why, why_bytes);
    for (size_t i = 0; i < options->thread_count; i++) {
        struct workload_params complete = *params;
        complete.threads = options->threads[i];
        if (workload_params_complete(workload, &complete, why, why_bytes)) {
            if (!add_cells(plan, workload, &complete))
                return 0;
            added++;
        } else if (fits_other_threads(workload, params)) {
            snprintf(skipped[skipped_count++], sizeof skipped[0], "%.500s - skipped", why);
        } else {
            return 0;
        }
    }
    for (size_t i = 0; i < skipped_count && added > 0; i++)
        notice(skipped[i]);
    return added > 0;
}

static int add_workload(struct plan *plan, const struct options_workload *item, void (*notice)(const char *line),
                        char *why, size_t why_bytes) {
    const struct options *options = plan->options;
    struct workload_params params = inherited(item, &options->params);
    int by_list = (item->workload->used_params & WORKLOAD_USES_TOPOLOGY) && params.topology == UINT32_MAX;
    if (!by_list || options->topology_count == 0)
        return add_threads(plan, item->workload, &params, notice, why, why_bytes);
    for (size_t i = 0; i < options->topology_count; i++) {
        params.topology = options->topologies[i];
        if (!add_threads(plan, item->workload, &params, notice, why, why_bytes))
            return 0;
    }
    return 1;
}

// A field in struct options or struct workload_params that is in its table is in here: none can be forgotten.
char *plan_canonical_text(const struct plan *plan) {
    const struct options *options = plan->options;
    struct buffer text = {0}, *out = &text;
    size_t bytes;
    for (size_t i = 0; i < option_entry_count; i++) {
        const struct option_entry *entry = &option_entries[i];
        const char *value = entry->key != NULL ? option_entry_text(options, entry) : NULL;
        if (entry->is_extent)
            continue;
        if (value != NULL && value[0])
            buffer_print(out, "%s=%s ", entry->key, value);
        else if (entry->key != NULL && value == NULL)
            buffer_print(out, "%s=%" PRIu64 " ", entry->key, option_entry_number(options, entry));
    }
    for (uint32_t i = 0; i < plan->cell_count; i++) {
        const struct plan_cell *cell = &plan->cells[i];
        const struct allocator_spec *spec = &options->allocators[cell->allocator];
        if (strcmp(spec->label, spec->text) != 0)
            buffer_print(out, "\n%s=", spec->label);
        buffer_print(out, "\n%s %s:%s", spec->text, cell->workload->name, cell->params.input);
        for (size_t k = 0; k < parameter_count; k++)
            buffer_print(out, " %s=%" PRIu64, parameters[k].column, parameter_get(&cell->params, &parameters[k]));
    }
    return buffer_take(out, &bytes);
}

static int check_input(const struct options_workload *item, void (*notice)(const char *line), char *why,
                       size_t why_bytes) {
    const struct workload *workload = item->workload;
    if (workload->check_input == NULL || item->params.input[0] == '\0')
        return 1;
    char warning[512];
    if (!workload->check_input(&item->params, warning, sizeof warning)) {
        snprintf(why, why_bytes, "%s", warning);
        return 0;
    }
    if (warning[0] != '\0')
        notice(warning);
    return 1;
}

int plan_build(struct plan *plan, const struct options *options, void (*notice)(const char *line), char *why,
               size_t why_bytes) {
    *plan = (struct plan){.options = options};
    snprintf(why, why_bytes, "out of memory");
    for (size_t i = 0; i < options->workload_count; i++) {
        if (!check_input(&options->workloads[i], notice, why, why_bytes))
            return EXIT_CODE_USAGE;
        if (!add_workload(plan, &options->workloads[i], notice, why, why_bytes))
            return EXIT_CODE_USAGE;
    }
    if ((uint64_t)plan->cell_count * options->runs > INT32_MAX) {
        snprintf(why, why_bytes, "%" PRIu32 " cells and --runs=%" PRIu32 " are more samples than can be numbered",
                 plan->cell_count, options->runs);
        return EXIT_CODE_USAGE;
    }
    plan->sample_count = plan->cell_count * options->runs;
    plan->visits = malloc(plan->sample_count * sizeof *plan->visits);
    char *text = plan->visits != NULL ? plan_canonical_text(plan) : NULL;
    if (text == NULL) {
        snprintf(why, why_bytes, "out of memory");
        return EXIT_CODE_UNAVAILABLE;
    }
    for (uint32_t round = 0; round < options->runs; round++)
        shuffle(plan->visits + round * plan->cell_count, plan->cell_count, options->seed, round);
    digest_of_bytes(text, strlen(text), plan->hash);
    free(text);
    return EXIT_CODE_OK;
}

void plan_free(struct plan *plan) {
    free(plan->cells);
    free(plan->visits);
}

uint64_t plan_work_ns(const struct workload_params *params) {
    if (params->duration_ns != 0)
        return params->duration_ns;
    uint64_t touched = params->touch == TOUCH_ALL ? (params->min_bytes + params->max_bytes) / 2 : 0;
    double ns = (double)params->ops * params->threads * (GUESS_NS_PER_OP + (double)touched / GUESS_BYTES_PER_NS);
    return ns < 1e18 ? (uint64_t)ns : (uint64_t)1e18;
}

uint64_t plan_sample_ns(const struct plan *plan, const struct plan_cell *cell) {
    const struct options *options = plan->options;
    return GUESS_START_NS + plan_work_ns(&cell->params) + (options->fake_clock ? 0 : settle_end_ns(options->settle_ns));
}

uint64_t plan_timeout_ns(const struct plan *plan, const struct plan_cell *cell) {
    if (plan->options->timeout_ns != 0)
        return plan->options->timeout_ns;
    uint64_t work_ns = plan_work_ns(&cell->params);
    return TIMEOUT_BASE_NS + settle_end_ns(plan->options->settle_ns) +
           (work_ns > UINT64_MAX / 4 / TIMEOUT_FACTOR ? UINT64_MAX / 4 : work_ns * TIMEOUT_FACTOR);
}

struct text { // grows inside a fixed buffer; what does not fit is cut
    char *out;
    size_t bytes, at;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    if (text->at >= text->bytes)
        return;
    va_start(arguments, format);
    int written = vsnprintf(text->out + text->at, text->bytes - text->at, format, arguments);
    va_end(arguments);
    text->at += written > 0 ? (size_t)written : 0;
}

static void add_size(struct text *text, uint64_t bytes) {
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    size_t unit = 0;
    while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    add(text, "%" PRIu64 "%s", bytes, units[unit]);
}

static void add_parameter(struct text *text, const struct workload_params *params, const struct parameter *parameter) {
    const uint64_t value = parameter_get(params, parameter);
    switch (parameter->kind) {
    case PARAMETER_COUNT:
        add(text, " %s=%" PRIu64, parameter->name, value);
        break;
    case PARAMETER_TIME:
        add(text, " %s=%gs", parameter->name, (double)value / 1e9);
        break;
    case PARAMETER_SHARE:
        add(text, " %s=%g%%", parameter->name, (double)value / 1e4);
        break;
    case PARAMETER_BYTES:
        add(text, " %s=", parameter->name);
        add_size(text, value);
        add(text, "..");
        add_size(text, parameter_get(params, parameter + 1));
        break;
    case PARAMETER_SIZE:
        add(text, " %s=", parameter->name);
        add_size(text, value);
        break;
    case PARAMETER_NAME:
        add(text, " %s=%s", parameter->name, parameter_name_of(parameter, value));
        break;
    }
}

void plan_cell_text(const struct plan *plan, const struct plan_cell *cell, int with_allocator, char *out,
                    size_t out_bytes) {
    struct text text = {out, out_bytes, 0};
    const struct workload_params *params = &cell->params;
    out[0] = '\0';
    if (with_allocator)
        add(&text, "%s ", plan->options->allocators[cell->allocator].label);
    const int is_program = strcmp(cell->workload->name, "program") == 0; // the command says it, but for limits
    if (is_program)
        add(&text, "%s", params->input);
    else
        add(&text, "%s%s%s threads=%" PRIu32, cell->workload->name, params->input[0] ? ":" : "", params->input,
            params->threads);
    for (size_t i = 0; i < parameter_count; i++) {
        const struct parameter *parameter = &parameters[i];
        const uint64_t value = parameter_get(params, parameter);
        const int is_left_out = (is_program && parameter->tell != PARAMETER_TELL_ABOVE_ZERO) ||
                                (parameter->tell == PARAMETER_TELL_ABOVE_ZERO && value == 0) ||
                                (parameter->tell == PARAMETER_TELL_CHANGED &&
                                 value == parameter_get(&cell->workload->defaults, parameter)) ||
                                (params->duration_ns != 0 && strcmp(parameter->name, "ops") == 0); // the clock ends it
        if (parameter->source == PARAMETER_OPTION && parameter_is_used(parameter, cell->workload) && !is_left_out)
            add_parameter(&text, params, parameter);
    }
}
