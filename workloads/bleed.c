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

// A round's events: its allocations in order, then its objects in order, those with the flag survive.
static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    struct core_random *random = &self->random;
    const uint64_t live = run->params.working_set;
    for (uint64_t at = stream->drawn % (2 * live); count != 0; count--, at = at + 1 == 2 * live ? 0 : at + 1) {
        if (at < live) {
            const uint64_t drawn = rng_splitmix(&random->size_rng);
            const uint32_t bytes = sizes_pick(&core_of(run)->sizes, drawn);
            core_event(random, bytes, at, 0);
            core_put(stream, at, object_meta(bytes, drawn), 0);
            continue;
        }
        if (at == live) {
            stream->chosen = survivors_of(&run->params);
            stream->left = live;
        }
        const uint32_t survives = rng_select(rng_splitmix(&random->slot_rng), &stream->chosen, &stream->left);
        if (survives)
            core_event(random, 0, at - live, 1);
        core_put(stream, at - live, 0, survives);
    }
}

// The working set, then the survivors of all rounds.
static struct core_shape shape_of(const struct workload_params *params) {
    const uint64_t slots = params->working_set + survivors_of(params) * params->rounds;
    return (struct core_shape){
        .slots = slots, .wiring = CORE_ALONE, .draw = draw, .events = 2 * params->working_set * params->rounds};
}

OBJECT_INLINE void bleed(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t live = run->params.working_set;
    const uint64_t most = stream->step;
    struct object *survivor = &self->slots[live];
    struct core_hot hot = self->hot;
    uint64_t sum = 0;
    for (uint64_t left = 2 * live * run->params.rounds; left != 0 && !core_stopped(run);) {
        // A step is of allocations or of frees, never of both.
        const uint64_t until_turn = left % live == 0 ? live : left % live;
        const int is_growing = (left - 1) / live % 2 == 1;
        uint64_t count = most < until_turn ? most : until_turn;
        const uint64_t *word = core_take(run, thread, stream, &count);
        if (word == NULL)
            break;
        const uint64_t *const end = word + count * stream->stride;
        left -= count;
        for (; is_growing && word != end; word += stream->stride) {
            sum += word[0];
            if (!core_new(&env, &hot, core_event_place(self->slots, word[0], 0), core_event_meta(word, stream->is_wide),
                          touch)) {
                core_fail(run, thread);
                goto stopped;
            }
            hot.allocs++;
        }
        for (; word != end; word += stream->stride) {
            struct object *place = core_event_place(self->slots, word[0], 1);
            sum += word[0];
            if (word[0] & CORE_FLAG) {
                *survivor++ = *place;
                place->block = NULL;
            } else {
                core_clear(&env, &hot, place, touch);
            }
        }
        core_publish_live(&run->counters[thread], &hot);
    }
stopped:
    stream->done_sum = sum;
    self->hot = hot;
    core_publish(run, thread, &hot);
    core_check_executed(run, thread);
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, bleed, thread);
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
