// SPDX-License-Identifier: Apache-2.0
// `spikes`: a small base of objects, replaced all the time, and in each round a burst of sixteen times as many, freed
// again in random order. Between bursts only a few objects are replaced: memory that the allocator keeps then stays
// resident for as long as a server is quiet. Layer: workloads.
#include "core.h"
#include "registry.h"

#define SPIKE 16u // objects of a burst, in multiples of the base
#define QUIET 4u  // replacements after a burst, likewise

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.slots = (1 + SPIKE) * params->working_set, .wiring = CORE_ALONE};
}

static uint64_t derived_ops(const struct workload_params *params) {
    return params->working_set * (1 + (uint64_t)(SPIKE + QUIET) * params->rounds);
}

// Fills slots [from, to).
OBJECT_INLINE void fill(struct workload_run *run, uint32_t thread, struct core_hot *hot, uint64_t from, uint64_t to,
                        enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    for (uint64_t i = from; i < to && !core_stopped(run); i++) {
        if (!core_draw(&env, &self->random, hot, &self->slots[i], i, 0, touch))
            core_fail(run, thread);
        hot->allocs++;
        core_publish_live(&run->counters[thread], hot);
    }
}

// Empties slots [from, to) in random order.
OBJECT_INLINE void empty(struct workload_run *run, uint32_t thread, struct core_hot *hot, uint64_t from, uint64_t to,
                         enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    for (; to > from && !core_stopped(run); to--) {
        struct object *victim = &self->slots[from + rng_bounded(rng_splitmix(&self->random.slot_rng), to - from)];
        core_event(&self->random, 0, (uint64_t)(victim - self->slots), 1);
        core_clear(&env, hot, victim, touch);
        *victim = self->slots[to - 1];
        self->slots[to - 1].block = NULL;
        core_publish_live(&run->counters[thread], hot);
    }
}

static int goes_on(struct workload_run *run, uint32_t round) {
    if (core_stopped(run))
        return 0;
    return run->params.duration_ns != 0 ? run->host->now_ns() < run->deadline_ns : round < run->params.rounds;
}

OBJECT_INLINE void spikes(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run, thread);
    const uint64_t base = run->params.working_set;
    struct core_hot hot = self->hot;
    fill(run, thread, &hot, 0, base, touch);
    for (uint32_t round = 0; goes_on(run, round); round++) {
        fill(run, thread, &hot, base, (1 + SPIKE) * base, touch);
        empty(run, thread, &hot, base, (1 + SPIKE) * base, touch);
        for (uint64_t left = QUIET * base; left != 0 && !core_stopped(run); left--) {
            const uint64_t slot = rng_bounded(rng_splitmix(&self->random.slot_rng), base);
            core_clear(&env, &hot, &self->slots[slot], touch);
            if (!core_draw(&env, &self->random, &hot, &self->slots[slot], slot, 0, touch))
                core_fail(run, thread);
            hot.allocs++;
            core_publish_live(counters, &hot);
        }
        core_publish(run, thread, &hot);
    }
    self->hot = hot;
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, spikes, thread);
}

const struct workload spikes_workload = {
    .name = "spikes",
    .summary = "bursts of sixteen times a small working set, light work between them: memory kept",
    .source = "jemalloc/jemalloc#2817, #1398: resident memory after periodic spikes",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 4000,
                 .min_bytes = 64,
                 .max_bytes = 4096,
                 .rounds = 10},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS | WORKLOAD_USES_DURATION,
    .derived_ops = derived_ops,
    .derived_from = "--working-set and --rounds",
    .shape = shape_of,
    .measured = measured,
};
