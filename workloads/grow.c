// SPDX-License-Identifier: Apache-2.0
// `grow-double`, `grow-step`: objects that grow by realloc from the smallest size to the largest, several side by side
// in turn, so that what would have been free room behind one is another's. Doubling, as vectors do, or by 64 bytes, as
// string builders and logs do. The contents are checked at each step. An op is one object's whole life.
// Layer: workloads.
#include "core.h"
#include "registry.h"

#define STEP_BYTES 64u

// Returns 0 when memory ran out; the object is then as before.
OBJECT_INLINE int grow_once(struct workload_run *run, const struct core_env *env, struct core_hot *hot,
                            struct object *object, uint32_t bytes, enum workload_touch touch) {
    const uint64_t old_bytes = object_bytes(object);
    unsigned char *block = run->allocator.realloc(object->block, bytes);
    if (block == NULL)
        return 0;
    object->block = block;
    hot->corruptions += object_is_bad(object, old_bytes, touch, env->mask);
    object->meta = object_meta(bytes, object->meta);
    object_fill(object, touch);
    hot->allocated_bytes += bytes;
    hot->freed_bytes += old_bytes;
    return 1;
}

OBJECT_INLINE uint64_t next_size(uint64_t bytes, int by_doubling) {
    return by_doubling ? bytes * 2 : bytes + STEP_BYTES;
}

// The events follow from the parameters; they are hashed before the clock starts.
static void hash_events(struct workload_run *run, uint32_t thread, int by_doubling) {
    struct core_random *random = &core_thread_of(run, thread)->random;
    const uint64_t count = run->params.working_set;
    for (uint32_t round = 0; round < run->params.rounds; round++)
        for (uint64_t bytes = run->params.min_bytes; bytes <= run->params.max_bytes;
             bytes = next_size(bytes, by_doubling))
            for (uint64_t i = 0; i < count; i++)
                core_event(random, bytes, i, bytes != run->params.min_bytes);
}

static void warm_up_double(struct workload_run *run, uint32_t thread) {
    hash_events(run, thread, 1);
}

static void warm_up_step(struct workload_run *run, uint32_t thread) {
    hash_events(run, thread, 0);
}

OBJECT_INLINE void grow(struct workload_run *run, uint32_t thread, int by_doubling, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run, thread);
    const uint64_t count = self->slot_count;
    const uint64_t first = run->params.min_bytes;
    const uint64_t last = run->params.max_bytes;
    struct core_hot hot = self->hot;
    for (uint32_t round = 0; round < run->params.rounds && !core_stopped(run); round++) {
        for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
            if (!core_new(&env, &hot, &self->slots[i], object_meta(first, core_payload(round * count + i)), touch))
                core_fail(run, thread);
            hot.allocs++;
        }
        for (uint64_t bytes = next_size(first, by_doubling); bytes <= last && !core_stopped(run);
             bytes = next_size(bytes, by_doubling)) {
            for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
                if (!grow_once(run, &env, &hot, &self->slots[i], (uint32_t)bytes, touch))
                    core_fail(run, thread);
                core_publish_live(counters, &hot);
            }
        }
        for (uint64_t i = 0; i < count && !core_stopped(run); i++)
            core_clear(&env, &hot, &self->slots[i], touch);
        core_publish(run, thread, &hot);
    }
    self->hot = hot;
}

static void measured_double(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, grow, thread, 1);
}

static void measured_step(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, grow, thread, 0);
}

#define GROW                                                                                                           \
    .min_threads = 1, .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,           \
    .derived_ops = core_ops_by_rounds, .derived_from = "--working-set and --rounds", .shape = core_shape_alone

const struct workload grow_double_workload = {
    .name = "grow-double",
    .summary = "objects doubled by realloc from 64 B to 64 MiB, several in turn",
    .source = "growing vectors",
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 4,
                 .min_bytes = 64,
                 .max_bytes = 64 << 20,
                 .rounds = 5},
    .warm_up = warm_up_double,
    .measured = measured_double,
    GROW,
};

const struct workload grow_step_workload = {
    .name = "grow-step",
    .summary = "objects grown by realloc, 64 B at a time, to 1 MiB, several in turn",
    .source = "string builders and logs",
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 4,
                 .min_bytes = 64,
                 .max_bytes = 1 << 20,
                 .rounds = 4},
    .warm_up = warm_up_step,
    .measured = measured_step,
    GROW,
};
