// SPDX-License-Identifier: Apache-2.0
// `burst-lifo`, `burst-fifo`, `burst-random`: allocate n objects, free them all in the stated order, again. Bursts
// beyond a thread cache make it refill and spill; the order shows what its lists are made for. The random order is one
// permutation a thread, drawn before the clock starts. Layer: workloads.
#include "core.h"
#include "registry.h"

enum burst_order { BURST_LIFO, BURST_FIFO, BURST_RANDOM };

static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_random *random = &self->random;
    for (uint64_t at = self->stream.drawn; count != 0; count--, at++) {
        const uint64_t drawn = rng_splitmix(&random->size_rng);
        const uint32_t bytes = sizes_pick(&core_of(run)->sizes, drawn);
        core_event(random, bytes, at % self->slot_count, 0);
        core_put(&self->stream, 0, object_meta(bytes, drawn), 0);
    }
}

static struct core_shape shape_of(const struct workload_params *params) {
    struct core_shape shape = core_shape_alone(params);
    shape.order_count = shape.slots;
    shape.draw = draw;
    shape.events = params->ops;
    return shape;
}

static void warm_up(struct workload_run *run, uint32_t thread, enum burst_order kind) {
    struct core_thread *self = core_thread_of(run, thread);
    uint32_t *order = self->order;
    const uint64_t count = self->slot_count;
    for (uint64_t i = 0; i < count; i++)
        order[i] = (uint32_t)(kind == BURST_LIFO ? count - 1 - i : i);
    if (kind == BURST_RANDOM) {
        struct rng_xoshiro rng;
        rng_xoshiro_seed(&rng, rng_origin(run->params.seed, thread, RNG_ORDER));
        for (uint64_t i = count - 1; i > 0; i--) { // Fisher and Yates
            const uint64_t j = rng_bounded(rng_xoshiro_next(&rng), i + 1);
            const uint32_t swapped = order[i];
            order[i] = order[j];
            order[j] = swapped;
        }
    }
    for (uint64_t i = 0; i < count; i++)
        core_event(&self->random, 0, order[i], 0);
}

static void warm_up_lifo(struct workload_run *run, uint32_t thread) {
    warm_up(run, thread, BURST_LIFO);
}

static void warm_up_fifo(struct workload_run *run, uint32_t thread) {
    warm_up(run, thread, BURST_FIFO);
}

static void warm_up_random(struct workload_run *run, uint32_t thread) {
    warm_up(run, thread, BURST_RANDOM);
}

// One full burst an iteration; the last one stops short so that the op count is met.
OBJECT_INLINE void bursts(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint32_t is_timed = run->params.duration_ns != 0;
    const uint64_t most = stream->step;
    struct core_hot hot = self->hot;
    uint64_t sum = 0;
    uint64_t left = is_timed ? UINT64_MAX : run->params.ops;
    while (left != 0) {
        const uint64_t count = left < self->slot_count ? left : self->slot_count;
        struct object *place = self->slots;
        for (uint64_t i = 0; i < count;) {
            uint64_t step = core_step_end(run, i, count, most) - i;
            const uint64_t *word = step == 0 ? NULL : core_take(run, thread, stream, &step);
            if (word == NULL)
                goto stopped;
            const uint64_t *const end = word + step * stream->stride;
            for (; word != end; word += stream->stride, place++) {
                sum += word[0];
                if (!core_new(&env, &hot, place, core_event_meta(word, stream->is_wide), touch)) {
                    core_fail(run, thread);
                    goto stopped;
                }
            }
            i += step;
            core_publish_live(&run->counters[thread], &hot);
        }
        for (uint64_t i = 0; i < self->slot_count;) {
            const uint64_t end = core_step_end(run, i, self->slot_count, most);
            if (end == i)
                goto stopped;
            for (; i < end; i++)
                if (self->order[i] < count) // always, but in a short last burst
                    core_clear(&env, &hot, &self->slots[self->order[i]], touch);
            core_publish_live(&run->counters[thread], &hot);
        }
        left -= count;
        hot.allocs += count;
        core_publish(run, thread, &hot);
        if (is_timed && run->host->now_ns() >= run->deadline_ns)
            break;
    }
stopped:
    stream->done_sum = sum;
    self->hot = hot;
    core_publish(run, thread, &hot);
    core_check_executed(run, thread);
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, bursts, thread);
}

#define BURST                                                                                                          \
    .source = "refill and spill of thread caches", .min_threads = 1,                                                   \
    .defaults = {.sizes = SIZES_UNIFORM,                                                                               \
                 .touch = TOUCH_ENDS,                                                                                  \
                 .ops = 5000000,                                                                                       \
                 .working_set = 1000,                                                                                  \
                 .min_bytes = 64,                                                                                      \
                 .max_bytes = 1024},                                                                                   \
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_DURATION, .shape = shape_of,        \
    .measured = measured

const struct workload burst_lifo_workload = {
    .name = "burst-lifo",
    .summary = "allocate n objects, free them last first",
    .warm_up = warm_up_lifo,
    BURST,
};

const struct workload burst_fifo_workload = {
    .name = "burst-fifo",
    .summary = "allocate n objects, free them first first",
    .warm_up = warm_up_fifo,
    BURST,
};

const struct workload burst_random_workload = {
    .name = "burst-random",
    .summary = "allocate n objects, free them in random order",
    .warm_up = warm_up_random,
    BURST,
};
