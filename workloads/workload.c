// SPDX-License-Identifier: Apache-2.0
// The list of workloads, lookup by name, the completion and checking of parameters, and the stages of a run.
// Layer: workloads.
#include "workload.h"

#include "../allocators/loader/edit_distance.h"
#include "age.h"
#include "build_workloads.h"
#include "core.h"
#include "parameters.h"
#include "registry.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAGE_BYTES 4096u
#define MAX_MEMORY_BYTES (UINT64_C(64) << 30) // of harness memory

#define DECLARE(name) extern const struct workload name##_workload;
#define ADDRESS(name) &name##_workload,

WORKLOAD_LIST(DECLARE)
const struct workload *const workloads[] = {WORKLOAD_LIST(ADDRESS) NULL};

const struct workload *workload_find(const char *name) {
    for (const struct workload *const *w = workloads; *w != NULL; w++)
        if (strcmp((*w)->name, name) == 0)
            return *w;
    return NULL;
}

const char *workload_did_you_mean(const char *name) {
    const char *closest = NULL;
    unsigned least = EDIT_DISTANCE_SLIP + 1;
    for (const struct workload *const *w = workloads; *w != NULL; w++) {
        const unsigned distance = edit_distance(name, (*w)->name);
        if (distance < least) {
            least = distance;
            closest = (*w)->name;
        }
    }
    return closest;
}

int registry_refuse(char *why, size_t why_bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return 0;
}

void workload_params_unset(struct workload_params *params) {
    memset(params, 0, sizeof *params);
    for (size_t i = 0; i < parameter_count; i++)
        parameter_set(params, &parameters[i], PARAMETER_UNSET);
}

// Takes defaults; a parameter the workload does not look at may only have its default.
static int take_defaults(const struct workload *workload, struct workload_params *params, char *why, size_t why_bytes) {
    struct workload_params own = workload->defaults;
    if (workload->own_defaults != NULL && params->input[0] != '\0')
        workload->own_defaults(params, &own);
    if (params->age != REGISTRY_UNSET32 && params->age != AGE_NONE) {
        own.age_bytes = AGE_BYTES;
        own.age_live_ppm = AGE_LIVE_PPM;
    }
    for (size_t i = 0; i < parameter_count; i++) {
        const struct parameter *parameter = &parameters[i];
        const uint64_t value = parameter_get(params, parameter);
        const uint64_t fallback = parameter_get(&own, parameter);
        if (parameter->source == PARAMETER_PLAN)
            continue; // below
        if (value == PARAMETER_UNSET) {
            parameter_set(params, parameter, fallback);
        } else if (value != fallback && !parameter_is_used(parameter, workload)) {
            return registry_refuse(why, why_bytes, "workload '%s' does not use --%s - leave it out", workload->name,
                                   parameter->name);
        }
    }
    if (params->age == AGE_NONE && (params->age_bytes != 0 || params->age_live_ppm != 0)) {
        return registry_refuse(why, why_bytes,
                               "workload '%s': --age-bytes and --age-live are of an aged heap - give --age, too",
                               workload->name);
    }
    const int has_input = params->input[0] != '\0';
    if (has_input != ((workload->used_params & WORKLOAD_USES_INPUT) != 0)) {
        return registry_refuse(why, why_bytes,
                               has_input ? "workload '%s' takes no input - leave ':%s' out"
                                         : "workload '%s' needs an input: write %s:INPUT (--list-workloads)",
                               workload->name, has_input ? params->input : workload->name);
    }
    params->seed = params->seed == REGISTRY_UNSET64 ? 1 : params->seed;
    params->threads = params->threads == REGISTRY_UNSET32 ? workload->min_threads : params->threads;
    return 1;
}

static int check_threads(const struct workload *workload, const struct workload_params *params, char *why,
                         size_t why_bytes) {
    const uint32_t least = workload->min_threads;
    if (params->threads < least) {
        return registry_refuse(why, why_bytes, "workload '%s' needs at least %u thread%s (got --threads=%u)",
                               workload->name, least, least == 1 ? "" : "s", params->threads);
    }
    const int is_pairs = (workload->used_params & WORKLOAD_USES_TOPOLOGY) && params->topology == TOPOLOGY_PAIRS &&
                         params->remote_ppm != 0;
    if ((workload->even_threads || is_pairs) && params->threads % 2 != 0) {
        return registry_refuse(why, why_bytes, "workload '%s'%s needs an even number of threads (got --threads=%u)",
                               workload->name, is_pairs ? " with --topology=pairs" : "", params->threads);
    }
    return 1;
}

// What is set and used must lie in its range.
static int check_ranges(const struct workload *workload, const struct workload_params *params, char *why,
                        size_t why_bytes) {
    for (size_t i = 0; i < parameter_count; i++) {
        const struct parameter *parameter = &parameters[i];
        const uint64_t value = parameter_get(params, parameter);
        if (value == PARAMETER_UNSET || (value >= parameter->least && value <= parameter->most) ||
            !parameter_is_used(parameter, workload))
            continue;
        if (parameter->kind == PARAMETER_SHARE) {
            return registry_refuse(why, why_bytes, "workload '%s': --%s is a share and ends at 100 %% (got %.4f %%)",
                                   workload->name, parameter->name, (double)value / 1e4);
        }
        return registry_refuse(why, why_bytes,
                               "workload '%s': --%s goes from %" PRIu64 " to %" PRIu64 " (got %" PRIu64 ")",
                               workload->name, parameter->name, parameter->least, parameter->most, value);
    }
    if (params->min_bytes > params->max_bytes) {
        return registry_refuse(why, why_bytes,
                               "workload '%s': the smallest size, %" PRIu64 ", is above the largest, %" PRIu64
                               " - give both ends",
                               workload->name, params->min_bytes, params->max_bytes);
    }
    return 1;
}

static int check_shares(const struct workload *workload, const struct workload_params *params, char *why,
                        size_t why_bytes) {
    if (params->aligned_ppm + params->calloc_ppm > RNG_PPM) {
        return registry_refuse(why, why_bytes,
                               "workload '%s': --aligned and --calloc together exceed 100 %% (got %.4f %%)",
                               workload->name, (params->aligned_ppm + params->calloc_ppm) / 1e4);
    }
    if (params->remote_ppm != 0 && params->threads < 2) {
        return registry_refuse(why, why_bytes,
                               "workload '%s' needs at least 2 threads for remote frees (got --threads=%u)",
                               workload->name, params->threads);
    }
    return 1;
}

// For workloads whose op count follows from other parameters: sets it, or refuses another one.
static int derive_ops(const struct workload *workload, struct workload_params *params, char *why, size_t why_bytes) {
    const uint64_t ops = workload->derived_ops(params);
    if (params->ops == REGISTRY_UNSET64)
        params->ops = ops;
    if (params->ops != ops) {
        return registry_refuse(why, why_bytes,
                               "workload '%s' derives its operations from %s: %" PRIu64 " here, not %" PRIu64
                               " - leave --ops out",
                               workload->name, workload->derived_from, ops, params->ops);
    }
    return 1;
}

int workload_params_complete(const struct workload *workload, struct workload_params *params, char *why,
                             size_t why_bytes) {
    const uint32_t remote_unset = params->remote_ppm == REGISTRY_UNSET32;
    if (!take_defaults(workload, params, why, why_bytes))
        return 0;
    if (remote_unset && params->threads == 1 && workload->min_threads < 2)
        params->remote_ppm = 0; // alone, everything is local unless the user insists
    if (!check_threads(workload, params, why, why_bytes) || !check_ranges(workload, params, why, why_bytes) ||
        !check_shares(workload, params, why, why_bytes))
        return 0;
    if ((workload->complete != NULL && !workload->complete(params, why, why_bytes)) ||
        (workload->derived_ops != NULL && !derive_ops(workload, params, why, why_bytes)))
        return 0;
    // Again: the workload has set what was left to it, the op count above all.
    if (!check_ranges(workload, params, why, why_bytes))
        return 0;
    if (workload_memory_bytes(workload, params) > MAX_MEMORY_BYTES) {
        return registry_refuse(why, why_bytes,
                               "workload '%s' would need more than 64 GiB of harness memory - use a smaller "
                               "--working-set or fewer --threads",
                               workload->name);
    }
    return 1;
}

// The workload's own part, to whole pages. UINT64_MAX: too much.
static uint64_t own_memory_bytes(const struct workload *workload, const struct workload_params *params) {
    if (workload->is_program)
        return 0;
    uint64_t bytes = 0;
    if (workload->shape == NULL) {
        bytes = workload->memory_bytes(params);
    } else {
        const struct core_shape shape = workload->shape(params);
        bytes = core_memory_bytes(params, &shape);
    }
    return bytes > UINT64_MAX - PAGE_BYTES ? UINT64_MAX : (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

uint64_t workload_memory_bytes(const struct workload *workload, const struct workload_params *params) {
    uint64_t bytes = 0;
    if (__builtin_add_overflow(own_memory_bytes(workload, params), age_memory_bytes(params), &bytes))
        return UINT64_MAX;
    return bytes;
}

void workload_prepare(struct workload_run *run) {
    age_prepare(run, (unsigned char *)run->memory + own_memory_bytes(run->workload, &run->params));
    if (run->workload->shape == NULL) {
        run->workload->prepare(run);
        return;
    }
    const struct core_shape shape = run->workload->shape(&run->params);
    core_prepare(run, &shape);
}

void workload_age(struct workload_run *run, uint32_t thread) {
    age_thread(run, thread);
}

void workload_warm_up(struct workload_run *run, uint32_t thread) {
    if (run->workload->warm_up != NULL)
        run->workload->warm_up(run, thread);
    if (run->workload->shape != NULL)
        core_draw_ahead(run, thread);
}

void workload_measured(struct workload_run *run, uint32_t thread) {
    run->workload->measured(run, thread);
}

void workload_tear_down(struct workload_run *run, uint32_t thread) {
    age_tear_down(run, thread);
    if (run->workload->tear_down != NULL)
        run->workload->tear_down(run, thread);
    else
        core_tear_down(run, thread);
}
