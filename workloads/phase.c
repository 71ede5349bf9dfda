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

// The events follow from the parameters; they are hashed before the clock starts.
static void warm_up(struct workload_run *run, uint32_t thread) {
    for (uint32_t phase = 0; phase < run->params.rounds; phase++)
        for (uint64_t i = 0; i < count_of(&run->params, phase); i++)
            core_event(&core_thread_of(run, thread)->random, bytes_of(&run->params, phase), i, 0);
}

OBJECT_INLINE void grow_and_drain(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = core_step(&run->params);
    struct core_hot hot = self->hot;
    for (uint32_t phase = 0; phase < run->params.rounds; phase++) {
        const uint32_t bytes = bytes_of(&run->params, phase);
        const uint64_t count = count_of(&run->params, phase);
        for (uint64_t i = 0; i < count;) {
            const uint64_t end = core_step_end(run, i, count, most);
            if (end == i)
                goto stopped;
            for (; i < end; i++) {
                if (!core_new(&env, &hot, &self->slots[i], object_meta(bytes, core_payload(i)), touch)) {
                    core_fail(run, thread);
                    goto stopped;
                }
            }
            core_publish_live(&run->counters[thread], &hot);
        }
        for (uint64_t i = 0; i < count;) {
            const uint64_t end = core_step_end(run, i, count, most);
            if (end == i)
                goto stopped;
            for (; i < end; i++)
                core_clear(&env, &hot, &self->slots[i], touch);
            core_publish_live(&run->counters[thread], &hot);
        }
        hot.allocs += count;
        core_publish(run, thread, &hot);
    }
stopped:
    self->hot = hot;
    core_publish(run, thread, &hot);
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, grow_and_drain, thread);
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
    .warm_up = warm_up,
    .measured = measured,
};
