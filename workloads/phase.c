// SPDX-License-Identifier: Apache-2.0
// `phase`: grow, drain, grow another size. Each phase fills the same number of bytes with objects twice as large as the
// phase before (starting again past the largest) and frees them all. An allocator that cannot use the memory of
// one size for another shows a resident set that climbs with every phase. Layer: workloads.
#include "core.h"
#include "registry.h"

static uint32_t bytes_of(const struct workload_params *params, uint32_t phase) {
    uint32_t doublings = 0;
    while (params->min_bytes << (doublings + 1) <= params->max_bytes)
        doublings++;
    return (uint32_t)(params->min_bytes << phase % (doublings + 1));
}

static uint64_t count_of(const struct workload_params *params, uint32_t phase) {
    const uint64_t count = params->working_set * params->min_bytes / bytes_of(params, phase);
    return count != 0 ? count : 1;
}

static uint64_t derived_ops(const struct workload_params *params) {
    uint64_t ops = 0;
    for (uint32_t phase = 0; phase < params->rounds; phase++)
        ops += count_of(params, phase);
    return ops;
}

OBJECT_INLINE void grow_and_drain(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    struct core_hot hot = self->hot;
    for (uint32_t phase = 0; phase < run->params.rounds; phase++) {
        const uint32_t bytes = bytes_of(&run->params, phase);
        const uint64_t count = count_of(&run->params, phase);
        for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
            const uint64_t random = rng_splitmix(&hot.size_rng);
            core_event(&hot, bytes, i, 0);
            if (!core_new(&env, &hot, &self->slots[i], bytes, object_tag(0, random), touch))
                core_fail(run, thread);
            core_publish_live(counters, &hot);
        }
        for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
            core_clear(&env, &hot, &self->slots[i], touch);
            core_publish_live(counters, &hot);
        }
        core_publish(counters, &hot, &self->inbox);
    }
    self->hot = hot;
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, grow_and_drain, run, thread);
}

const struct workload phase_workload = {
    .name = "phase",
    .summary = "grow, drain, grow again with objects twice as large: plateau and return of memory",
    .source = "phase-shift tests of long-running servers",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = REGISTRY_UNSET64,
                 .working_set = 262144,
                 .min_bytes = 64,
                 .max_bytes = 8192,
                 .rounds = 8},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,
    .derived_ops = derived_ops,
    .derived_from = "--working-set, --rounds and sizes",
    .shape = core_shape_alone,
    .measured = measured,
};
