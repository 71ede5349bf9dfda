// SPDX-License-Identifier: Apache-2.0
// `bleed`: a long-lived owner bleeds memory. Each round allocates a working set and frees all of it but exactly 1 %,
// chosen at random, which stays to the end. The survivors pin whatever unit the allocator gives back to the system:
// resident memory against live memory at the end is its fragmentation. Layer: workloads.
#include "core.h"
#include "registry.h"

#define SURVIVOR_PPM 10000u // 1 %

static uint64_t survivors_of(const struct workload_params *params) {
    return rng_share(params->working_set, SURVIVOR_PPM);
}

// The working set, then the survivors of all rounds.
static struct core_shape shape_of(const struct workload_params *params) {
    const uint64_t slots = params->working_set + survivors_of(params) * params->rounds;
    return (struct core_shape){.slots = slots, .wiring = CORE_ALONE};
}

OBJECT_INLINE void bleed(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    const uint64_t count = run->params.working_set;
    struct object *survivor = &self->slots[count];
    struct core_hot hot = self->hot;
    for (uint32_t round = 0; round < run->params.rounds; round++) {
        for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
            if (!core_draw(&env, &hot, &self->slots[i], i, 0, touch))
                core_fail(run, thread);
            core_publish_live(counters, &hot);
        }
        uint64_t chosen = survivors_of(&run->params);
        uint64_t total = count;
        for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
            if (rng_select(rng_splitmix(&hot.slot_rng), &chosen, &total)) {
                core_event(&hot, 0, i, 1);
                *survivor++ = self->slots[i];
            } else {
                core_delete(&env, &hot, self->slots[i], touch);
                hot.frees_local++;
                core_publish_live(counters, &hot);
            }
            self->slots[i].block = NULL;
        }
        core_publish(counters, &hot, &self->inbox);
    }
    self->hot = hot;
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, bleed, run, thread);
}

const struct workload bleed_workload = {
    .name = "bleed",
    .summary = "a long-lived owner keeps 1 % of each round's objects to the end: fragmentation",
    .source = "long-lived servers whose sessions outlive their requests",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 20000,
                 .min_bytes = 16,
                 .max_bytes = 2048,
                 .rounds = 20},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,
    .derived_ops = core_ops_by_rounds,
    .derived_from = "--working-set and --rounds",
    .shape = shape_of,
    .measured = measured,
};
