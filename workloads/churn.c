// SPDX-License-Identifier: Apache-2.0
// `churn`: threads are born and die with live blocks. A generation frees what the fourth generation before it left
// behind and leaves as many new objects; so memory of four dead threads is live at any time. Measures what a
// birth and a death cost and whether abandoned memory is found again. Layer: workloads.
#include "core.h"
#include "registry.h"

#define LIFETIMES 4u // generations an object outlives its thread by; four keep abandoned memory from being hot

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.slots = params->working_set * LIFETIMES, .wiring = CORE_ALONE};
}

// Every object is freed by a later generation.
static uint64_t remote_frees(const struct workload_params *params) {
    return params->threads * params->ops;
}

OBJECT_INLINE void live_one_life(struct workload_run *run, uint32_t thread, uint32_t generation,
                                 enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    const uint64_t count = run->params.working_set;
    struct object *const places = &self->slots[generation % LIFETIMES * count];
    struct core_hot hot = self->hot;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t random = rng_splitmix(&hot.size_rng);
        const uint32_t bytes = sizes_pick(env.sizes, random);
        core_event(&hot, bytes, i, generation);
        if (places[i].block != NULL) {
            core_delete_by(env.free_remote, &env, &hot, places[i], touch);
            hot.frees_foreign++;
        }
        if (!core_new(&env, &hot, &places[i], bytes, object_tag(generation, random), touch)) {
            core_fail(run, thread);
            break;
        }
        core_publish_live(counters, &hot);
    }
    self->hot = hot;
    core_publish(counters, &hot, &self->inbox);
}

static void life(struct workload_run *run, uint32_t thread, uint32_t generation) {
    CORE_BY_TOUCH(run->params.touch, live_one_life, run, thread, generation);
}

static void warm_up(struct workload_run *run, uint32_t thread) {
    core_generations(run, thread, 0, LIFETIMES, life);
    core_thread_of(run, thread)->hot.allocs = 0; // counted from the barrier on
}

static void measured(struct workload_run *run, uint32_t thread) {
    core_generations(run, thread, LIFETIMES, LIFETIMES + run->params.rounds, life);
}

const struct workload churn_workload = {
    .name = "churn",
    .summary = "threads are born, free what dead threads left and die with live blocks",
    .source = "thread-per-request servers; larson taken to its limit",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 50,
                 .min_bytes = 16,
                 .max_bytes = 1024,
                 .rounds = 1000},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,
    .derived_ops = core_ops_by_rounds,
    .derived_from = "--working-set and --rounds",
    .remote_frees = remote_frees,
    .shape = shape_of,
    .warm_up = warm_up,
    .measured = measured,
};
