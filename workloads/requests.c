// SPDX-License-Identifier: Apache-2.0
// `requests`: threads that live for three requests. A request allocates a working set and frees it; the thread keeps a
// tenth of its objects from one request to the next (a connection's state) and frees them before it ends. Measures what
// the birth and the death of a heap cost in time and in memory. Layer: workloads.
#include "core.h"
#include "registry.h"

#define REQUESTS 3u // of one thread
#define STATE 10u   // one object in so many lives as long as the thread

static uint64_t derived_ops(const struct workload_params *params) {
    const uint64_t state = params->working_set / STATE;
    return (state + REQUESTS * (params->working_set - state)) * params->rounds;
}

// Fills slots [from, to). Returns 0 when the run stops.
OBJECT_INLINE int fill(struct workload_run *run, uint32_t thread, struct core_hot *hot, uint32_t generation,
                       uint64_t from, uint64_t to, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    for (uint64_t i = from; i < to; i++) {
        if (!core_draw(&env, &self->random, hot, &self->slots[i], i, generation % 2, touch)) {
            core_fail(run, thread);
            return 0;
        }
        hot->allocs++;
        core_publish_live(&run->counters[thread], hot);
    }
    return 1;
}

// Frees slots [from, to), the newest first, as a stack of calls does.
OBJECT_INLINE void empty(struct workload_run *run, uint32_t thread, struct core_hot *hot, uint64_t from, uint64_t to,
                         enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    while (to > from) {
        core_clear(&env, hot, &self->slots[--to], touch);
        core_publish_live(&run->counters[thread], hot);
    }
}

OBJECT_INLINE void live_one_life(struct workload_run *run, uint32_t thread, uint32_t generation,
                                 enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const uint64_t count = run->params.working_set;
    const uint64_t state = count / STATE;
    struct core_hot hot = self->hot;
    int goes_on = fill(run, thread, &hot, generation, 0, state, touch);
    for (uint32_t request = 0; goes_on && request < REQUESTS; request++) {
        goes_on = fill(run, thread, &hot, generation, state, count, touch);
        if (goes_on)
            empty(run, thread, &hot, state, count, touch);
    }
    if (goes_on)
        empty(run, thread, &hot, 0, state, touch);
    self->hot = hot;
    core_publish(run, thread, &hot);
}

static void life(struct workload_run *run, uint32_t thread, uint32_t generation) {
    CORE_BY_FREE(run, live_one_life, thread, generation);
}

static void measured(struct workload_run *run, uint32_t thread) {
    core_generations(run, thread, 0, run->params.rounds, life);
}

const struct workload requests_workload = {
    .name = "requests",
    .summary = "threads that live for three requests and free all that they allocated",
    .source = "gperftools/gperftools#1511: a thread a request",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_LOG_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 100,
                 .min_bytes = 16,
                 .max_bytes = 100000,
                 .rounds = 1000},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,
    .derived_ops = derived_ops,
    .derived_from = "--working-set and --rounds",
    .shape = core_shape_alone,
    .measured = measured,
};
