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

// First all allocations, then the objects that are freed, in order of their slots.
static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    struct core_random *random = &self->random;
    const uint64_t slots = self->slot_count;
    const uint64_t allocations = derived_ops(&run->params);
    for (uint64_t at = stream->drawn; count != 0; count--, at++) {
        if (at < allocations) {
            const uint64_t drawn = rng_splitmix(&random->size_rng);
            const uint32_t bytes = sizes_pick(&core_of(run)->sizes, drawn);
            const uint64_t slot = at < slots ? at : rng_bounded(rng_splitmix(&random->slot_rng), slots);
            core_event(random, bytes, slot, 0);
            core_put(stream, slot, object_meta(bytes, drawn), at >= slots);
            continue;
        }
        if (at == allocations) {
            stream->chosen = stream->total - allocations;
            stream->left = slots;
        }
        while (!rng_select(rng_splitmix(&random->kind_rng), &stream->chosen, &stream->left)) {
        }
        core_event(random, 0, slots - stream->left - 1, 1);
        core_put(stream, slots - stream->left - 1, 0, 0);
    }
}

static struct core_shape shape_of(const struct workload_params *params, uint32_t free_ppm) {
    struct core_shape shape = core_shape_alone(params);
    shape.draw = draw;
    shape.events = derived_ops(params) + rng_share(params->working_set, free_ppm);
    return shape;
}

static struct core_shape shape_50(const struct workload_params *params) {
    return shape_of(params, 500000);
}

static struct core_shape shape_90(const struct workload_params *params) {
    return shape_of(params, 900000);
}

static struct core_shape shape_99(const struct workload_params *params) {
    return shape_of(params, 990000);
}

// The flag of an allocation: what its slot held is freed before.
OBJECT_INLINE void fill_and_free(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = stream->step;
    struct core_hot hot = self->hot;
    uint64_t sum = 0;
    for (uint64_t left = derived_ops(&run->params); left != 0 && !core_stopped(run);) {
        uint64_t count = most < left ? most : left;
        const uint64_t *word = core_take(run, thread, stream, &count);
        if (word == NULL)
            goto stopped;
        const uint64_t *const end = word + count * stream->stride;
        for (; word != end; word += stream->stride) {
            struct object *const place = core_event_place(self->slots, word[0], 1);
            sum += word[0];
            if (word[0] & CORE_FLAG) {
                core_delete(&env, &hot, *place, touch);
                hot.frees_local++;
            }
            if (!core_new(&env, &hot, place, core_event_meta(word, stream->is_wide), touch)) {
                core_fail(run, thread);
                goto stopped;
            }
        }
        hot.allocs += count;
        left -= count;
        core_publish_live(&run->counters[thread], &hot);
    }
    core_publish(run, thread, &hot);
    while (!core_stopped(run)) {
        uint64_t count = most;
        const uint64_t *word = core_take(run, thread, stream, &count);
        if (word == NULL)
            break;
        const uint64_t *const end = word + count * stream->stride;
        for (; word != end; word += stream->stride) {
            sum += word[0];
            core_clear(&env, &hot, core_event_place(self->slots, word[0], 0), touch);
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
    CORE_BY_FREE(run, fill_and_free, thread);
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
    .derived_from = "--working-set", .measured = measured

const struct workload fill_50_workload = {
    .name = "fill-50",
    .summary = "fill, replace 20 %, free 50 % at random: what a heap full of holes gives back",
    .shape = shape_50,
    FILL,
};

const struct workload fill_90_workload = {
    .name = "fill-90",
    .summary = "fill, replace 20 %, free 90 % at random: what a heap full of holes gives back",
    .shape = shape_90,
    FILL,
};

const struct workload fill_99_workload = {
    .name = "fill-99",
    .summary = "fill, replace 20 %, free 99 % at random: what a heap full of holes gives back",
    .shape = shape_99,
    FILL,
};
