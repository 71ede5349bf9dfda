// SPDX-License-Identifier: Apache-2.0
// `churn`: threads are born and die with live blocks. A generation frees what the fourth generation before it left
// behind and leaves as many new objects; so memory of four dead threads is live at any time. Measures what a
// birth and a death cost and whether abandoned memory is found again. Layer: workloads.
#include "core.h"
#include "registry.h"

#define LIFETIMES 4u // generations an object outlives its thread by; four keep abandoned memory from being hot

static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_random *random = &self->random;
    const uint64_t life = run->params.working_set;
    for (uint64_t at = self->stream.drawn; count != 0; count--, at++) {
        const uint64_t drawn = rng_splitmix(&random->size_rng);
        const uint32_t bytes = sizes_pick(&core_of(run)->sizes, drawn);
        core_event(random, bytes, at % life, at / life);
        core_put(&self->stream, 0, object_meta(bytes, drawn), 0);
    }
}

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.slots = params->working_set * LIFETIMES,
                               .wiring = CORE_ALONE,
                               .draw = draw,
                               .events = params->working_set * (params->rounds + LIFETIMES)};
}

// Every object is freed by a later generation.
static uint64_t remote_frees(const struct workload_params *params) {
    return params->threads * params->ops;
}

OBJECT_INLINE void live_one_life(struct workload_run *run, uint32_t thread, uint32_t generation,
                                 enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = stream->step;
    uint64_t left = run->params.working_set;
    struct object *place = &self->slots[generation % LIFETIMES * left];
    struct core_hot hot = self->hot;
    while (left != 0 && !core_stopped(run)) {
        uint64_t count = most < left ? most : left;
        const uint64_t *word = core_take(run, thread, stream, &count);
        if (word == NULL)
            break;
        const uint64_t *const end = word + count * stream->stride;
        for (; word != end; word += stream->stride, place++) {
            stream->done_sum += word[0];
            if (place->block != NULL) {
                core_delete_by(env.free_remote, &env, &hot, *place, touch);
                hot.frees_foreign++;
            }
            if (!core_new(&env, &hot, place, core_event_meta(word, stream->is_wide), touch)) {
                core_fail(run, thread);
                break;
            }
        }
        hot.allocs += count;
        left -= count;
        core_publish_live(&run->counters[thread], &hot);
    }
    self->hot = hot;
    core_publish(run, thread, &hot);
}

static void life(struct workload_run *run, uint32_t thread, uint32_t generation) {
    CORE_BY_FREE(run, live_one_life, thread, generation);
}

static void warm_up(struct workload_run *run, uint32_t thread) {
    core_draw_ahead(run, thread); // these lives have their part of the stream, too
    core_generations(run, thread, 0, LIFETIMES, life);
    core_thread_of(run, thread)->hot.allocs = 0; // counted from the barrier on
}

static void measured(struct workload_run *run, uint32_t thread) {
    core_generations(run, thread, LIFETIMES, LIFETIMES + run->params.rounds, life);
    core_check_executed(run, thread);
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
