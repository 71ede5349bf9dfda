// SPDX-License-Identifier: Apache-2.0
// age.h
#include "age.h"

#include "core.h"

#define REPLACED 10u // times the bytes that are filled, of a churn or a drift
#define STEP 64u     // objects between publications of live bytes

struct aged {
    _Alignas(HANDOVER_LINE) struct core_random random;
    struct object *slots; // const
    uint64_t capacity;    // const
    uint64_t count;       // slots [0, count) hold an object
    uint64_t bytes;       // theirs
};

static uint64_t mean_bytes(const struct workload_params *params) {
    struct sizes sizes;
    sizes_init(&sizes, params->sizes, params->min_bytes, params->max_bytes);
    return sizes_mean(&sizes);
}

// Slots of a thread. A drift begins with the smallest objects.
static uint64_t capacity_of(const struct workload_params *params) {
    return params->age_bytes / (params->age == AGE_DRIFT ? params->min_bytes : mean_bytes(params)) + 1;
}

uint64_t age_memory_bytes(const struct workload_params *params) {
    if (params->age == AGE_NONE)
        return 0;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(capacity_of(params), sizeof(struct object), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct aged), &bytes) ||
        __builtin_mul_overflow(bytes, params->threads, &bytes))
        return UINT64_MAX;
    return bytes;
}

static struct aged *aged_of(const struct workload_run *run, uint32_t thread) {
    return (struct aged *)run->age_memory + thread;
}

void age_prepare(struct workload_run *run, void *memory) {
    const struct workload_params *params = &run->params;
    run->age_memory = memory;
    if (params->age == AGE_NONE)
        return;
    const uint64_t capacity = capacity_of(params);
    struct object *slots = (struct object *)(void *)(aged_of(run, 0) + params->threads);
    for (uint32_t t = 0; t < params->threads; t++) {
        struct aged *aged = aged_of(run, t);
        aged->slots = slots + t * capacity;
        aged->capacity = capacity;
        aged->random.size_rng = rng_origin(params->seed, t, RNG_AGE_SIZE);
        aged->random.slot_rng = rng_origin(params->seed, t, RNG_AGE_SLOT);
        aged->random.hash = rng_mix(t + 1);
    }
}

// One thread's ageing as it goes: what its steps need.
struct ageing {
    struct workload_run *run;
    struct aged *aged;
    struct core_hot *hot;
    struct core_env env;
    uint32_t thread;
};

OBJECT_INLINE void publish_sometimes(struct ageing *ageing) {
    if (ageing->aged->count % STEP == 0)
        core_publish_live(&ageing->run->counters[ageing->thread], ageing->hot);
}

OBJECT_INLINE void free_slot(struct ageing *ageing, uint64_t slot, enum workload_touch touch) {
    struct aged *aged = ageing->aged;
    core_event(&aged->random, 0, slot, 1);
    aged->bytes -= object_bytes(&aged->slots[slot]);
    core_delete(&ageing->env, ageing->hot, aged->slots[slot], touch);
    aged->slots[slot] = aged->slots[--aged->count];
    aged->slots[aged->count].block = NULL;
    publish_sometimes(ageing);
}

// Returns 0 when the run stops.
OBJECT_INLINE int add(struct ageing *ageing, uint32_t bytes, uint64_t payload, enum workload_touch touch) {
    struct aged *aged = ageing->aged;
    core_event(&aged->random, bytes, aged->count, 0);
    if (!core_new(&ageing->env, ageing->hot, &aged->slots[aged->count], object_meta(bytes, payload), touch)) {
        core_fail(ageing->run, ageing->thread);
        return 0;
    }
    aged->count++;
    aged->bytes += bytes;
    publish_sometimes(ageing);
    return !core_stopped(ageing->run);
}

// The size of the next object when `done` of `total` bytes have been allocated. A drift goes through the powers of two
// between the smallest size and the largest, equal bytes each.
OBJECT_INLINE uint32_t next_bytes(const struct ageing *ageing, uint64_t done, uint64_t total, uint64_t random) {
    const struct workload_params *params = &ageing->run->params;
    if (params->age != AGE_DRIFT)
        return sizes_pick(ageing->env.sizes, random);
    uint64_t octaves = 1;
    while (params->min_bytes << octaves <= params->max_bytes)
        octaves++;
    const uint64_t low = params->min_bytes << (done >= total ? octaves - 1 : done * octaves / total);
    const uint64_t high = 2 * low - 1 < params->max_bytes ? 2 * low - 1 : params->max_bytes;
    return (uint32_t)(low + rng_bounded(random, high - low + 1));
}

OBJECT_INLINE void age(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct ageing ageing = {run, aged_of(run, thread), &core_thread_of(run, thread)->hot, core_env_of(run, thread),
                            thread};
    struct aged *aged = ageing.aged;
    const uint64_t limit = run->params.age_bytes;
    const uint64_t total = run->params.age == AGE_HOLES ? limit : REPLACED * limit;
    uint64_t done = 0;
    while (done < total) {
        const uint64_t random = rng_splitmix(&aged->random.size_rng);
        const uint32_t bytes = next_bytes(&ageing, done, total, random);
        while (aged->count != 0 && (aged->bytes + bytes > limit || aged->count == aged->capacity))
            free_slot(&ageing, rng_bounded(rng_splitmix(&aged->random.slot_rng), aged->count), touch);
        if (!add(&ageing, bytes, random, touch))
            return;
        done += bytes;
    }
    const uint64_t stay = rng_share(aged->count, run->params.age_live_ppm);
    while (aged->count > stay)
        free_slot(&ageing, rng_bounded(rng_splitmix(&aged->random.slot_rng), aged->count), touch);
    core_publish_live(&run->counters[thread], ageing.hot);
}

void age_thread(struct workload_run *run, uint32_t thread) {
    if (run->params.age != AGE_NONE)
        CORE_BY_TOUCH(run->params.touch, age, run, thread);
}

OBJECT_INLINE void free_all(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct aged *aged = aged_of(run, thread);
    struct core_hot *hot = &core_thread_of(run, thread)->hot;
    const struct core_env env = core_env_of(run, thread);
    while (aged->count != 0)
        core_delete(&env, hot, aged->slots[--aged->count], touch);
    core_publish(run, thread, hot);
}

void age_tear_down(struct workload_run *run, uint32_t thread) {
    if (run->params.age != AGE_NONE)
        CORE_BY_TOUCH(run->params.touch, free_all, run, thread);
}

uint64_t age_hash(const struct workload_run *run) {
    uint64_t hash = 0;
    for (uint32_t t = 0; t < run->params.threads; t++)
        hash = rng_mix(hash ^ aged_of(run, t)->random.hash);
    return hash;
}
