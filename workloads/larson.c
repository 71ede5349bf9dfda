// SPDX-License-Identifier: Apache-2.0
// `larson`: a server whose threads come and go. Each round a newly born thread takes over the working set of its
// predecessor, which has exited, and replaces random objects: at first every free is of memory a dead thread allocated.
// Larson and Krishnan 1998; sizes 8..1000 B, 5000 objects and 100 x 5000 replacements a life as in their canonical
// command line (10 7 8 1000 5000 100). There a dying thread starts its successor and a clock ends the run; here
// one lasting thread a chain starts and joins each generation, so that work and order are fixed. Layer: workloads.
#include "core.h"
#include "registry.h"

OBJECT_INLINE void live_one_life(struct workload_run *run, uint32_t thread, uint32_t generation,
                                 enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    const uint32_t rounds = run->params.rounds;
    struct core_hot hot = self->hot;
    // Generations are 1..rounds; the first ones do one op more when the ops do not divide.
    uint64_t left = run->params.ops / rounds + (generation <= run->params.ops % rounds);

    for (; left != 0 && !core_stopped(run); left--) {
        const uint64_t random = rng_splitmix(&hot.size_rng);
        const uint32_t bytes = sizes_pick(env.sizes, random);
        const uint64_t slot = rng_bounded(rng_splitmix(&hot.slot_rng), self->slot_count);
        struct object *const place = &self->slots[slot];
        const uint32_t is_foreign = object_generation(place) != generation;
        core_delete_by(is_foreign ? env.free_remote : env.free, &env, &hot, *place, touch);
        hot.frees_foreign += is_foreign;
        hot.frees_local += !is_foreign;
        core_event(&hot, bytes, slot, is_foreign);
        if (!core_new(&env, &hot, place, bytes, object_tag(generation, random), touch)) {
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

static void measured(struct workload_run *run, uint32_t thread) {
    core_generations(run, thread, 1, run->params.rounds + 1, life);
}

const struct workload larson_workload = {
    .name = "larson",
    .summary = "random replacement by threads that hand their working set to a newly born successor",
    .source = "Larson and Krishnan 1998, Memory allocation for long-running server applications",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 5000000,
                 .working_set = 5000,
                 .min_bytes = 8,
                 .max_bytes = 1000,
                 .rounds = 10},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,
    .shape = core_shape_alone,
    .warm_up = core_fill_slots,
    .measured = measured,
};
