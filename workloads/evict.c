// SPDX-License-Identifier: Apache-2.0
// `drift`, `values`: a cache with a limit in bytes. A new object evicts random old ones until it fits, so that live
// memory stays the same while sizes change. Layer: workloads.
//
// `drift`: small values whose typical size grows by a tenth a round, from the smallest size to the largest and from the
// beginning again (redis/redis#354; jemalloc/jemalloc#468: "spans in use" of old sizes are hardly used by new ones).
// `values`: values of 1 to 24 MiB (microsoft/mimalloc#994), which no thread cache holds.
#include "core.h"
#include "registry.h"

#include <inttypes.h>

#define TURNOVERS 8u // fewest operations of `values`, in working sets

// The limit: a working set of the smallest objects in `drift`, of the average one in `values`.
static uint64_t drift_limit(const struct workload_params *params) {
    return params->working_set * params->min_bytes;
}

static uint64_t values_limit(const struct workload_params *params) {
    return params->working_set * ((params->min_bytes + params->max_bytes) / 2);
}

// Sizes of a round of `drift` lie between half of this and one and a half of it.
static uint64_t typical_bytes(const struct workload_params *params, uint32_t round) {
    uint64_t bytes = params->min_bytes;
    for (uint32_t i = 0; i < round; i++)
        bytes = bytes + bytes / 10 + 1 > params->max_bytes ? params->min_bytes : bytes + bytes / 10 + 1;
    return bytes;
}

// What a round allocates is the limit once more: about two thirds of the old objects leave.
static uint64_t objects_of(const struct workload_params *params, uint32_t round) {
    return drift_limit(params) / typical_bytes(params, round) + 1;
}

static uint64_t drift_ops(const struct workload_params *params) {
    uint64_t ops = 0;
    for (uint32_t round = 0; round < params->rounds; round++)
        ops += objects_of(params, round);
    return ops;
}

// As many objects as can be live, each of half the smallest typical size, and the new one.
static struct core_shape drift_shape(const struct workload_params *params) {
    return (struct core_shape){.slots = 2 * params->working_set + 2, .wiring = CORE_ALONE};
}

static struct core_shape values_shape(const struct workload_params *params) {
    return (struct core_shape){.slots = values_limit(params) / params->min_bytes + 2, .wiring = CORE_ALONE};
}

// The cache of one thread: the first `count` slots are taken.
struct cache {
    uint64_t limit, live_bytes, count;
};

OBJECT_INLINE void evict_one(struct core_thread *self, const struct core_env *env, struct core_hot *hot,
                             struct cache *cache, enum workload_touch touch) {
    const uint64_t victim = rng_bounded(rng_splitmix(&self->random.slot_rng), cache->count);
    cache->live_bytes -= object_bytes(&self->slots[victim]);
    core_event(&self->random, 0, victim, 1);
    core_clear(env, hot, &self->slots[victim], touch);
    self->slots[victim] = self->slots[--cache->count];
    self->slots[cache->count].block = NULL;
}

// Returns 0 when the allocator has no memory.
OBJECT_INLINE int insert(struct core_thread *self, const struct core_env *env, struct core_hot *hot,
                         struct cache *cache, uint32_t bytes, uint64_t random, enum workload_touch touch) {
    while (cache->live_bytes + bytes > cache->limit && cache->count != 0)
        evict_one(self, env, hot, cache, touch);
    core_event(&self->random, bytes, cache->count, 0);
    if (!core_new(env, hot, &self->slots[cache->count], object_meta(bytes, random), touch))
        return 0;
    hot->allocs++;
    cache->count++;
    cache->live_bytes += bytes;
    return 1;
}

// Objects that were not freed in the measured part are no operations: most of them must be.
static int values_complete(struct workload_params *params, char *why, size_t why_bytes) {
    if (params->ops >= TURNOVERS * params->working_set)
        return 1;
    return registry_refuse(why, why_bytes,
                           "workload 'values' needs at least %u operations an object of the working set: --ops=%" PRIu64
                           " or more",
                           TURNOVERS, TURNOVERS * params->working_set);
}

OBJECT_INLINE void drift(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run, thread);
    struct cache cache = {.limit = drift_limit(&run->params)};
    struct core_hot hot = self->hot;
    for (uint32_t round = 0; round < run->params.rounds; round++) {
        const uint64_t typical = typical_bytes(&run->params, round);
        for (uint64_t left = objects_of(&run->params, round); left != 0 && !core_stopped(run); left--) {
            const uint64_t random = rng_splitmix(&self->random.size_rng);
            const uint32_t bytes = (uint32_t)(typical - typical / 2 + rng_bounded(random, typical / 2 * 2 + 1));
            if (!insert(self, &env, &hot, &cache, bytes, random, touch))
                core_fail(run, thread);
            core_publish_live(counters, &hot);
        }
        core_publish(run, thread, &hot);
    }
    self->hot = hot;
}

OBJECT_INLINE void values(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    struct cache cache = {.limit = values_limit(&run->params)};
    struct core_hot hot = self->hot;
    for (uint64_t left = run->params.ops; left != 0 && !core_stopped(run); left--) {
        const uint64_t random = rng_splitmix(&self->random.size_rng);
        if (!insert(self, &env, &hot, &cache, sizes_pick(env.sizes, random), random, touch))
            core_fail(run, thread);
        core_publish(run, thread, &hot);
    }
    self->hot = hot;
}

static void drift_measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, drift, thread);
}

static void values_measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, values, thread);
}

const struct workload drift_workload = {
    .name = "drift",
    .summary = "a cache of constant size in bytes whose values grow by a tenth a round",
    .source = "redis/redis#354, jemalloc/jemalloc#468: memory of old sizes that new ones cannot use",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 500000,
                 .min_bytes = 60,
                 .max_bytes = 3000,
                 .rounds = 40},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,
    .derived_ops = drift_ops,
    .derived_from = "--working-set, --rounds and sizes",
    .shape = drift_shape,
    .measured = drift_measured,
};

const struct workload values_workload = {
    .name = "values",
    .summary = "a cache of constant size in bytes with values of 1 to 24 MiB, evicted at random",
    .source = "microsoft/mimalloc#994: a key-value store that evicts large values",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ALL,
                 .ops = 300,
                 .working_set = 32,
                 .min_bytes = 1 << 20,
                 .max_bytes = 24 << 20},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET,
    .complete = values_complete,
    .shape = values_shape,
    .measured = values_measured,
};
