// SPDX-License-Identifier: Apache-2.0
// `xmalloc`: even threads only allocate, each odd thread only frees what its even neighbour gave it. Nothing an
// allocating thread caches is ever freed by it: all memory must find its way back. After Lever and Boreham 2000
// (xmalloc-test), with one bounded queue a pair in place of their shared batches. Sizes are drawn before the clock
// starts, and an object is handed over as one word, published a line at a time. Layer: workloads.
#include "core.h"
#include "registry.h"

static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    core_draw_messages(run, thread, count, 1);
}

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.wiring = CORE_HALVES, .draw = draw, .events = params->ops};
}

static uint64_t remote_frees(const struct workload_params *params) {
    return params->threads / 2 * params->ops;
}

OBJECT_INLINE void give(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t sum = 0;
    const uint64_t most = stream->step;
    const uint64_t *word = NULL;
    uint64_t count = 0;
    while ((word = core_budget_events(&budget, run, stream, thread, most, &count)) != NULL) {
        const uint64_t *const end = word + count * stream->stride;
        for (; word != end; word += stream->stride) {
            struct object object;
            sum += word[0];
            if (!core_new(&env, &hot, &object, core_event_meta(word, stream->is_wide), touch)) {
                core_fail(run, thread);
                goto stopped;
            }
            if (!handover_push(&self->out[0], &object) && !core_push_slow(run, thread, &self->out[0], &object)) {
                core_delete(&env, &hot, object, touch); // stopped: nobody else knows of it
                goto stopped;
            }
        }
        hot.allocs += count;
        core_publish_live(&run->counters[thread], &hot);
    }
stopped:
    stream->done_sum = sum;
    self->hot = hot;
    core_check_executed(run, thread);
}

static void measured(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        CORE_BY_TOUCH(run->params.touch, give, run, thread);
    core_finish(run, thread);
}

const struct workload xmalloc_workload = {
    .name = "xmalloc",
    .summary = "half of the threads only allocate, the other half only free",
    .source = "Lever and Boreham 2000, malloc() performance in a multithreaded Linux environment",
    .min_threads = 2,
    .even_threads = 1,
    .defaults = {.handover_batch = REGISTRY_HANDOVER_BATCH,
                 .sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 2000000,
                 .min_bytes = 64,
                 .max_bytes = 64},
    .used_params = WORKLOAD_USES_HANDOVER | WORKLOAD_USES_SIZES | WORKLOAD_USES_DURATION,
    .remote_frees = remote_frees,
    .shape = shape_of,
    .warm_up = core_fill_slots,
    .measured = measured,
};
