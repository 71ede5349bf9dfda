// SPDX-License-Identifier: Apache-2.0
// `sharing-thrash`, `sharing-scratch`: false sharing, after cache-thrash and cache-scratch of Berger's Hoard. Each
// thread writes its one small object again and again, frees it and allocates the next. An allocator that cuts one cache
// line up among threads makes them slow (thrash: active sharing); one that gives a thread the line of an object that
// another thread had allocated beside its own does so later (scratch: passive; there thread 0 allocates the first
// objects of all, side by side). --rounds is the number of writes of an object's life. Layer: workloads.
#include "core.h"
#include "registry.h"

static struct core_shape shape_of(const struct workload_params *params) {
    (void)params;
    return (struct core_shape){.slots = 1, .wiring = CORE_ALONE};
}

// Thread 0 fills everybody's slot; the barrier after the warm-up publishes them.
static void give_out(struct workload_run *run, uint32_t thread) {
    struct core_thread *self = core_thread_of(run, thread);
    if (thread != 0)
        return;
    const struct core_env env = core_env_of(run);
    struct core_hot hot = self->hot;
    for (uint32_t t = 0; t < run->params.threads && !core_stopped(run); t++)
        if (!core_draw(&env, &hot, core_thread_of(run, t)->slots, t, 0, TOUCH_ALL))
            core_fail(run, thread);
    hot.allocs = 0; // counted from the barrier on
    self->hot = hot;
    core_publish(&run->counters[thread], &self->hot, &self->inbox);
}

// The writes must reach the cache each time: volatile.
OBJECT_INLINE void write_often(const struct object *object, uint32_t rounds, enum workload_touch touch) {
    volatile unsigned char *bytes = object->block;
    for (uint32_t round = 0; touch != TOUCH_NONE && round < rounds; round++)
        for (uint32_t i = 0; i < object->bytes; i++)
            bytes[i] = (unsigned char)object->tag;
}

OBJECT_INLINE void share(struct workload_run *run, uint32_t thread, int is_first_foreign, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    struct object *const place = self->slots;
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t chunk = 0;
    while ((chunk = core_budget_take(&budget, run)) != 0) {
        do {
            const uint64_t random = rng_splitmix(&hot.size_rng);
            const uint32_t bytes = sizes_pick(env.sizes, random);
            write_often(place, run->params.rounds, touch);
            core_delete_by(is_first_foreign ? env.free_remote : env.free, &env, &hot, *place, touch);
            hot.frees_foreign += is_first_foreign;
            hot.frees_local += !is_first_foreign;
            core_event(&hot, bytes, 0, (uint64_t)is_first_foreign);
            is_first_foreign = 0;
            if (!core_new(&env, &hot, place, bytes, object_tag(0, random), touch)) {
                core_fail(run, thread);
                goto stopped;
            }
        } while (--chunk != 0);
        core_publish(counters, &hot, &self->inbox);
    }
stopped:
    self->hot = hot;
    core_publish(counters, &hot, &self->inbox);
}

static void measured_thrash(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, share, run, thread, 0);
}

static void measured_scratch(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, share, run, thread, thread != 0);
}

static uint64_t remote_frees_scratch(const struct workload_params *params) {
    return params->threads - 1; // the first object of each thread but the one that allocated them
}

#define SHARING                                                                                                        \
    .min_threads = 2,                                                                                                  \
    .defaults =                                                                                                        \
        {.sizes = SIZES_UNIFORM, .touch = TOUCH_ALL, .ops = 100000, .min_bytes = 8, .max_bytes = 8, .rounds = 100},    \
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_ROUNDS | WORKLOAD_USES_DURATION, .shape = shape_of

const struct workload sharing_thrash_workload = {
    .name = "sharing-thrash",
    .summary = "each thread writes its small object, frees it, allocates the next: active false sharing",
    .source = "cache-thrash of Hoard (Berger et al. 2000)",
    .warm_up = core_fill_slots,
    .measured = measured_thrash,
    SHARING,
};

const struct workload sharing_scratch_workload = {
    .name = "sharing-scratch",
    .summary = "as sharing-thrash, but thread 0 has allocated everybody's first object: passive false sharing",
    .source = "cache-scratch of Hoard (Berger et al. 2000)",
    .remote_frees = remote_frees_scratch,
    .warm_up = give_out,
    .measured = measured_scratch,
    SHARING,
};
