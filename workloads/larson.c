// SPDX-License-Identifier: Apache-2.0
// `larson`: a server whose threads come and go. Each round a newly born thread takes over the working set of its
// predecessor, which has exited, and replaces random objects: at first every free is of memory a dead thread allocated.
// Larson and Krishnan 1998; sizes 8..1000 B, 5000 objects and 100 x 5000 replacements a life as in their canonical
// command line (10 7 8 1000 5000 100). There a dying thread starts its successor and a clock ends the run; here
// one lasting thread a chain starts and joins each generation, so that work and order are fixed, and sizes and slots
// are drawn before the clock starts, where theirs draws both in the loop. Layer: workloads.
#include "core.h"
#include "registry.h"

static uint64_t ops_of(const struct workload_params *params, uint32_t generation) {
    // Generations are 1..rounds; the first ones do one op more when the ops do not divide.
    return params->ops / params->rounds + (generation <= params->ops % params->rounds);
}

// The flag of an event: what it frees is another generation's. `order` holds the generation of each slot.
static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_random *random = &self->random;
    uint32_t generation = 1;
    uint64_t end = ops_of(&run->params, 1);
    for (uint64_t at = self->stream.drawn; count != 0; count--, at++) {
        while (at >= end)
            end += ops_of(&run->params, ++generation);
        const uint64_t drawn = rng_splitmix(&random->size_rng);
        const uint32_t bytes = sizes_pick(&core_of(run)->sizes, drawn);
        const uint64_t slot = rng_bounded(rng_splitmix(&random->slot_rng), self->slot_count);
        const uint32_t is_foreign = self->order[slot] != generation;
        self->order[slot] = generation;
        core_event(random, bytes, slot, is_foreign);
        core_put(&self->stream, slot, object_meta(bytes, drawn), is_foreign);
    }
}

static struct core_shape shape_of(const struct workload_params *params) {
    struct core_shape shape = core_shape_replace(params);
    shape.draw = draw;
    shape.with_steps = 0;
    return shape;
}

OBJECT_INLINE void live_one_life(struct workload_run *run, uint32_t thread, uint32_t generation,
                                 enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = stream->step;
    struct core_hot hot = self->hot;
    uint64_t sum = stream->done_sum;
    uint64_t left = ops_of(&run->params, generation);

    while (left != 0 && !core_stopped(run)) {
        uint64_t count = most < left ? most : left;
        const uint64_t *word = core_take(run, thread, stream, &count);
        if (word == NULL)
            break;
        const uint64_t *const end = word + count * stream->stride;
        for (; word != end; word += stream->stride) {
            const uint64_t first = word[0];
            const uint64_t is_foreign = first >> 63;
            struct object *const place = core_event_place(self->slots, first, 1);
            sum += first;
            core_delete_by(is_foreign ? env.free_remote : env.free, &env, &hot, *place, touch);
            hot.frees_foreign += is_foreign;
            if (!core_new(&env, &hot, place, core_event_meta(word, stream->is_wide), touch)) {
                core_fail(run, thread);
                break;
            }
        }
        hot.allocs += count;
        left -= count;
        core_publish_live(&run->counters[thread], &hot);
    }
    stream->done_sum = sum;
    hot.frees_local = hot.allocs - hot.frees_foreign;
    self->hot = hot;
    core_publish(run, thread, &hot);
}

static void life(struct workload_run *run, uint32_t thread, uint32_t generation) {
    CORE_BY_FREE(run, live_one_life, thread, generation);
}

static void measured(struct workload_run *run, uint32_t thread) {
    core_generations(run, thread, 1, run->params.rounds + 1, life);
    core_check_executed(run, thread);
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
    .shape = shape_of,
    .warm_up = core_fill_slots,
    .measured = measured,
};
