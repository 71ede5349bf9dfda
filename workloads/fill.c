// SPDX-License-Identifier: Apache-2.0
// `fill-50`, `fill-90`, `fill-99`: fill, replace 20 % at random, free exactly 50, 90 or 99 % at random; then the
// measured part ends, so that rss_work against live_work tells how much of the freed memory a heap full of holes can
// give back. Tearing down frees the rest and shows the return to nothing. These are memory rows. Layer: workloads.
#include "core.h"
#include "registry.h"

#define CHURN_PPM 200000u // 20 % replaced between fill and free: no heap is as tidy as one just filled

static uint64_t churned(const struct workload_params *params) {
    return rng_share(params->working_set, CHURN_PPM);
}

static uint64_t derived_ops(const struct workload_params *params) {
    return params->working_set + churned(params);
}

OBJECT_INLINE void fill_and_free(struct workload_run *run, uint32_t thread, uint32_t free_ppm,
                                 enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    const uint64_t count = self->slot_count;
    const uint64_t allocations = derived_ops(&run->params);
    struct core_hot hot = self->hot;
    for (uint64_t i = 0; i < allocations && !core_stopped(run); i++) {
        const uint64_t random = rng_splitmix(&hot.size_rng);
        const uint32_t bytes = sizes_pick(env.sizes, random);
        const uint64_t slot = i < count ? i : rng_bounded(rng_splitmix(&hot.slot_rng), count);
        struct object *const place = &self->slots[slot];
        if (i >= count) {
            core_delete(&env, &hot, *place, touch);
            hot.frees_local++;
        }
        core_event(&hot, bytes, slot, 0);
        if (!core_new(&env, &hot, place, bytes, object_tag(0, random), touch))
            core_fail(run, thread);
        core_publish_live(counters, &hot);
    }
    core_publish(counters, &hot, &self->inbox);
    uint64_t chosen = rng_share(count, free_ppm);
    uint64_t total = count;
    for (uint64_t i = 0; i < count && !core_stopped(run); i++) {
        if (rng_select(rng_splitmix(&hot.kind_rng), &chosen, &total)) {
            core_event(&hot, 0, i, 1);
            core_clear(&env, &hot, &self->slots[i], touch);
            core_publish_live(counters, &hot);
        }
    }
    self->hot = hot;
    core_publish(counters, &hot, &self->inbox);
}

static void measured_50(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, fill_and_free, run, thread, 500000);
}

static void measured_90(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, fill_and_free, run, thread, 900000);
}

static void measured_99(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, fill_and_free, run, thread, 990000);
}

#define FILL                                                                                                           \
    .source = "fragmentation after partial free", .min_threads = 1,                                                    \
    .defaults = {.sizes = SIZES_UNIFORM,                                                                               \
                 .touch = TOUCH_ENDS,                                                                                  \
                 .ops = REGISTRY_UNSET64,                                                                              \
                 .working_set = 65536,                                                                                 \
                 .min_bytes = 16,                                                                                      \
                 .max_bytes = 1024},                                                                                   \
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET, .derived_ops = derived_ops,                        \
    .derived_from = "--working-set", .shape = core_shape_alone

const struct workload fill_50_workload = {
    .name = "fill-50",
    .summary = "fill, replace 20 %, free 50 % at random: what a heap full of holes gives back",
    .measured = measured_50,
    FILL,
};

const struct workload fill_90_workload = {
    .name = "fill-90",
    .summary = "fill, replace 20 %, free 90 % at random: what a heap full of holes gives back",
    .measured = measured_90,
    FILL,
};

const struct workload fill_99_workload = {
    .name = "fill-99",
    .summary = "fill, replace 20 %, free 99 % at random: what a heap full of holes gives back",
    .measured = measured_99,
    FILL,
};
