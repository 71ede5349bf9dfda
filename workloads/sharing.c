// SPDX-License-Identifier: Apache-2.0
// `sharing-thrash`, `sharing-scratch`: false sharing, after cache-thrash and cache-scratch of Berger's Hoard. Each
// thread writes its one small object again and again, frees it and allocates the next. An allocator that cuts one cache
// line up among threads makes them slow (thrash: active sharing); one that gives a thread the line of an object that
// another thread had allocated beside its own does so later (scratch: passive; there thread 0 allocates the first
// objects of all, side by side). --rounds is the number of writes of an object's life. Sizes are drawn before the clock
// starts; the writes are Hoard's. Layer: workloads.
#include "core.h"
#include "registry.h"

extern const struct workload sharing_scratch_workload;

// In scratch a thread's first object is another's, but for the thread that allocated them all.
static int begins_foreign(const struct workload_run *run, uint32_t thread) {
    return thread != 0 && run->workload == &sharing_scratch_workload;
}

static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    if (core_thread_of(run, thread)->stream.drawn == 0 && count != 0) {
        core_draw_messages(run, thread, 1, (uint64_t)begins_foreign(run, thread));
        count--;
    }
    core_draw_messages(run, thread, count, 0);
}

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.slots = 1, .wiring = CORE_ALONE, .draw = draw, .events = params->ops};
}

// Thread 0 fills everybody's slot; the barrier after the warm-up publishes them.
static void give_out(struct workload_run *run, uint32_t thread) {
    struct core_thread *self = core_thread_of(run, thread);
    if (thread != 0)
        return;
    const struct core_env env = core_env_of(run, thread);
    struct core_hot hot = self->hot;
    for (uint32_t t = 0; t < run->params.threads && !core_stopped(run); t++)
        if (!core_draw(&env, &self->random, &hot, core_thread_of(run, t)->slots, t, 0, TOUCH_ALL))
            core_fail(run, thread);
    self->hot = hot;
    core_publish(run, thread, &hot);
}

// The writes must reach the cache each time: volatile.
OBJECT_INLINE void write_often(const struct object *object, uint32_t rounds, enum workload_touch touch) {
    volatile unsigned char *bytes = object->block;
    for (uint32_t round = 0; touch != TOUCH_NONE && round < rounds; round++)
        for (uint64_t i = 0; i < object_bytes(object); i++)
            bytes[i] = (unsigned char)object->meta;
}

OBJECT_INLINE void share(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = stream->step;
    struct object *const place = self->slots;
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t is_foreign = (uint64_t)begins_foreign(run, thread);
    const uint64_t *word = NULL;
    uint64_t count = 0;
    uint64_t sum = 0;
    while ((word = core_budget_events(&budget, run, stream, thread, most, &count)) != NULL) {
        const uint64_t *const end = word + count * stream->stride;
        hot.frees_foreign += is_foreign;
        hot.frees_local += count - is_foreign;
        for (; word != end; word += stream->stride) {
            sum += word[0];
            write_often(place, run->params.rounds, touch);
            core_delete_by(is_foreign ? env.free_remote : env.free, &env, &hot, *place, touch);
            is_foreign = 0;
            if (!core_new(&env, &hot, place, core_event_meta(word, stream->is_wide), touch)) {
                core_fail(run, thread);
                goto stopped;
            }
        }
        hot.allocs += count;
        core_publish_live(&run->counters[thread], &hot);
    }
stopped:
    stream->done_sum = sum;
    self->hot = hot;
    core_publish(run, thread, &hot);
    core_check_executed(run, thread);
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, share, run, thread);
}

static uint64_t remote_frees_scratch(const struct workload_params *params) {
    return params->threads - 1; // the first object of each thread but the one that allocated them
}

#define SHARING                                                                                                        \
    .min_threads = 2,                                                                                                  \
    .defaults =                                                                                                        \
        {.sizes = SIZES_UNIFORM, .touch = TOUCH_ALL, .ops = 100000, .min_bytes = 8, .max_bytes = 8, .rounds = 100},    \
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_ROUNDS | WORKLOAD_USES_DURATION, .shape = shape_of,             \
    .measured = measured

const struct workload sharing_thrash_workload = {
    .name = "sharing-thrash",
    .summary = "each thread writes its small object, frees it, allocates the next: active false sharing",
    .source = "cache-thrash of Hoard (Berger et al. 2000)",
    .warm_up = core_fill_slots,
    SHARING,
};

const struct workload sharing_scratch_workload = {
    .name = "sharing-scratch",
    .summary = "as sharing-thrash, but thread 0 has allocated everybody's first object: passive false sharing",
    .source = "cache-scratch of Hoard (Berger et al. 2000)",
    .remote_frees = remote_frees_scratch,
    .warm_up = give_out,
    SHARING,
};
