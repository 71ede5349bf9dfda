// SPDX-License-Identifier: Apache-2.0
// The list of workloads, lookup by name, the completion and checking of parameters, and the stages of a run.
// Layer: workloads.
#include "workload.h"

#include "../allocators/loader/edit_distance.h"
#include "core.h"
#include "registry.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_THREADS 256u                      // counters and hand-over rings are laid out for so many
#define MAX_OPS (UINT64_C(1) << 40)           // hours; also keeps every product below 2^64
#define MAX_WORKING_SET (UINT64_C(1) << 32)   // slots a thread
#define MAX_OBJECT_BYTES (UINT64_C(1) << 30)  // sizes are kept in 32 bits
#define MAX_ROUNDS (1u << 20)                 // generations fit the 24 bits of an object's tag
#define MAX_MEMORY_BYTES (UINT64_C(64) << 30) // of harness memory

const struct workload *const workloads[] = {
    &local_workload,
    &remote_workload,
    &mixed_workload,
    &larson_workload,
    &xmalloc_workload,
    &pipeline_workload,
    &churn_workload,
    &phase_workload,
    &bleed_workload,
    &large_workload,
    &pingpong_workload,
    &burst_lifo_workload,
    &burst_fifo_workload,
    &burst_random_workload,
    &replace_workload,
    &fill_50_workload,
    &fill_90_workload,
    &fill_99_workload,
    &idle_workload,
    &fresh_workload,
    &grow_double_workload,
    &grow_step_workload,
    &aligned_workload,
    &sharing_thrash_workload,
    &sharing_scratch_workload,
    &fleet_workload,
    &profile_workload,
    &trace_workload,
    &app_workload,
    NULL,
};

const struct workload *workload_find(const char *name) {
    for (const struct workload *const *w = workloads; *w != NULL; w++) {
        if (strcmp((*w)->name, name) == 0) {
            return *w;
        }
    }
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
    memset(params, 0xff, sizeof(*params));
    params->input[0] = '\0';
}

static int default64(uint64_t *value, uint64_t fallback, uint64_t is_used) {
    if (*value == REGISTRY_UNSET64) {
        *value = fallback;
    }
    return is_used || *value == fallback;
}

static int default32(uint32_t *value, uint32_t fallback, uint64_t is_used) {
    if (*value == REGISTRY_UNSET32) {
        *value = fallback;
    }
    return is_used || *value == fallback;
}

// Takes defaults; a parameter the workload does not look at may only have its default.
static int take_defaults(const struct workload *workload, struct workload_params *params, char *why, size_t why_bytes) {
    struct workload_params own = workload->defaults;
    const struct workload_params *defaults = &own;
    const uint64_t uses = workload->used_params;
    const char *stray = NULL;
    if (workload->own_defaults != NULL && params->input[0] != '\0') {
        workload->own_defaults(params, &own);
    }
    if (!default32(&params->topology, defaults->topology, uses & WORKLOAD_USES_TOPOLOGY)) {
        stray = "--topology";
    } else if (!default32(&params->sizes, defaults->sizes, uses & WORKLOAD_USES_SIZES)) {
        stray = "--size-distribution";
    } else if (!default64(&params->min_bytes, defaults->min_bytes, uses & WORKLOAD_USES_SIZES) ||
               !default64(&params->max_bytes, defaults->max_bytes, uses & WORKLOAD_USES_SIZES)) {
        stray = "--sizes";
    } else if (!default64(&params->duration_ns, 0, uses & WORKLOAD_USES_DURATION)) {
        stray = "--duration";
    } else if (!default64(&params->working_set, defaults->working_set, uses & WORKLOAD_USES_WORKING_SET)) {
        stray = "--working-set";
    } else if (!default32(&params->remote_ppm, defaults->remote_ppm, uses & WORKLOAD_USES_REMOTE)) {
        stray = "--remote";
    } else if (!default32(&params->realloc_ppm, defaults->realloc_ppm, uses & WORKLOAD_USES_REALLOC)) {
        stray = "--realloc";
    } else if (!default32(&params->aligned_ppm, defaults->aligned_ppm, uses & WORKLOAD_USES_ALIGNED)) {
        stray = "--aligned";
    } else if (!default32(&params->calloc_ppm, defaults->calloc_ppm, uses & WORKLOAD_USES_CALLOC)) {
        stray = "--calloc";
    } else if (!default32(&params->rounds, defaults->rounds, uses & WORKLOAD_USES_ROUNDS)) {
        stray = "--rounds";
    }
    if (stray != NULL) {
        return registry_refuse(why, why_bytes, "workload '%s' does not use %s - leave it out", workload->name, stray);
    }
    const int has_input = params->input[0] != '\0';
    if (has_input != ((uses & WORKLOAD_USES_INPUT) != 0)) {
        return registry_refuse(why, why_bytes,
                               has_input ? "workload '%s' takes no input - leave ':%s' out"
                                         : "workload '%s' needs an input: write %s:INPUT (--list-workloads)",
                               workload->name, has_input ? params->input : workload->name);
    }
    default32(&params->touch, defaults->touch, 1);
    default64(&params->ops, defaults->ops, 1);
    default64(&params->seed, 1, 1);
    return 1;
}

static int check_threads(const struct workload *workload, struct workload_params *params, char *why, size_t why_bytes) {
    const uint32_t least = workload->min_threads;
    default32(&params->threads, least, 1);
    if (params->threads < least) {
        return registry_refuse(why, why_bytes, "workload '%s' needs at least %u thread%s (got --threads=%u)",
                               workload->name, least, least == 1 ? "" : "s", params->threads);
    }
    if (params->threads > MAX_THREADS) {
        return registry_refuse(why, why_bytes, "at most %u threads can be run (got --threads=%u)", MAX_THREADS,
                               params->threads);
    }
    const int is_pairs = (workload->used_params & WORKLOAD_USES_TOPOLOGY) && params->topology == TOPOLOGY_PAIRS &&
                         params->remote_ppm != 0;
    if ((workload->even_threads || is_pairs) && params->threads % 2 != 0) {
        return registry_refuse(why, why_bytes, "workload '%s'%s needs an even number of threads (got --threads=%u)",
                               workload->name, is_pairs ? " with --topology=pairs" : "", params->threads);
    }
    return 1;
}

static int check_shares(const struct workload *workload, const struct workload_params *params, char *why,
                        size_t why_bytes) {
    const struct {
        const char *option;
        uint32_t ppm;
    } shares[] = {{"--remote", params->remote_ppm},
                  {"--realloc", params->realloc_ppm},
                  {"--aligned", params->aligned_ppm},
                  {"--calloc", params->calloc_ppm}};
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        if (shares[i].ppm > RNG_PPM) {
            return registry_refuse(why, why_bytes, "workload '%s': %s is a share and ends at 100 %% (got %.4f %%)",
                                   workload->name, shares[i].option, shares[i].ppm / 1e4);
        }
    }
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

static int check_ranges(const struct workload *workload, const struct workload_params *params, char *why,
                        size_t why_bytes) {
    const char *name = workload->name;
    if (params->topology >= TOPOLOGY_COUNT || params->sizes > SIZES_LOG_UNIFORM || params->touch > TOUCH_ALL) {
        return registry_refuse(why, why_bytes, "workload '%s': unknown topology, size distribution or touch mode",
                               name);
    }
    if (params->min_bytes < 1) {
        return registry_refuse(why, why_bytes, "workload '%s': objects have at least 1 byte (got --sizes=0)", name);
    }
    if (params->min_bytes > params->max_bytes) {
        return registry_refuse(why, why_bytes,
                               "workload '%s': the smallest size, %" PRIu64 ", is above the largest, %" PRIu64
                               " - give both ends",
                               name, params->min_bytes, params->max_bytes);
    }
    if (params->max_bytes > MAX_OBJECT_BYTES) {
        return registry_refuse(why, why_bytes, "workload '%s': objects end at 1 GiB (got %" PRIu64 " bytes)", name,
                               params->max_bytes);
    }
    if ((workload->used_params & WORKLOAD_USES_WORKING_SET) &&
        (params->working_set < 1 || params->working_set > MAX_WORKING_SET)) {
        return registry_refuse(why, why_bytes,
                               "workload '%s': a working set has 1 to %" PRIu64 " objects (got %" PRIu64 ")", name,
                               MAX_WORKING_SET, params->working_set);
    }
    if ((workload->used_params & WORKLOAD_USES_ROUNDS) && (params->rounds < 1 || params->rounds > MAX_ROUNDS)) {
        return registry_refuse(why, why_bytes, "workload '%s': there are 1 to %u rounds (got --rounds=%u)", name,
                               MAX_ROUNDS, params->rounds);
    }
    return 1;
}

// For workloads whose op count follows from other parameters: sets it, or refuses another one.
static int derive_ops(const struct workload *workload, struct workload_params *params, char *why, size_t why_bytes) {
    const uint64_t ops = workload->derived_ops(params);
    if (params->ops == REGISTRY_UNSET64) {
        params->ops = ops;
    }
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
    if (!take_defaults(workload, params, why, why_bytes)) {
        return 0;
    }
    if (remote_unset && params->threads == 1 && workload->min_threads < 2) {
        params->remote_ppm = 0; // alone, everything is local unless the user insists
    }
    if (!check_threads(workload, params, why, why_bytes) || !check_shares(workload, params, why, why_bytes) ||
        !check_ranges(workload, params, why, why_bytes)) {
        return 0;
    }
    if ((workload->complete != NULL && !workload->complete(params, why, why_bytes)) ||
        (workload->derived_ops != NULL && !derive_ops(workload, params, why, why_bytes))) {
        return 0;
    }
    if (params->ops < 1 || params->ops > MAX_OPS) {
        return registry_refuse(why, why_bytes,
                               "workload '%s': a thread does 1 to %" PRIu64 " operations (got %" PRIu64 ")",
                               workload->name, MAX_OPS, params->ops);
    }
    if (workload_memory_bytes(workload, params) > MAX_MEMORY_BYTES) {
        return registry_refuse(why, why_bytes,
                               "workload '%s' would need more than 64 GiB of harness memory - use a smaller "
                               "--working-set or fewer --threads",
                               workload->name);
    }
    return 1;
}

uint64_t workload_memory_bytes(const struct workload *workload, const struct workload_params *params) {
    if (workload->is_program) {
        return 0;
    }
    if (workload->shape == NULL) {
        return workload->memory_bytes(params);
    }
    const struct core_shape shape = workload->shape(params);
    return core_memory_bytes(params, &shape);
}

void workload_prepare(struct workload_run *run) {
    if (run->workload->shape == NULL) {
        run->workload->prepare(run);
        return;
    }
    const struct core_shape shape = run->workload->shape(&run->params);
    core_prepare(run, &shape);
}

void workload_warm_up(struct workload_run *run, uint32_t thread) {
    if (run->workload->warm_up != NULL) {
        run->workload->warm_up(run, thread);
    }
}

void workload_tear_down(struct workload_run *run, uint32_t thread) {
    if (run->workload->tear_down != NULL) {
        run->workload->tear_down(run, thread);
    } else {
        core_tear_down(run, thread);
    }
}
