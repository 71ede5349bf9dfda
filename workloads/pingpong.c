// SPDX-License-Identifier: Apache-2.0
// `pingpong`: allocate one object, free it, again. The shortest path an allocator has. Layer: workloads.
#include "core.h"
#include "registry.h"

static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    core_draw_messages(run, thread, count, 0);
}

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.wiring = CORE_ALONE, .draw = draw, .events = params->ops};
}

OBJECT_INLINE void ping_pong(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = stream->step;
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    const uint64_t *word = NULL;
    uint64_t count = 0;
    uint64_t sum = 0;
    while ((word = core_budget_events(&budget, run, stream, thread, most, &count)) != NULL) {
        const uint64_t *const end = word + count * stream->stride;
        for (; word != end; word += stream->stride) {
            struct object object;
            sum += word[0];
            if (!core_new(&env, &hot, &object, core_event_meta(word, stream->is_wide), touch)) {
                core_fail(run, thread);
                goto stopped;
            }
            core_delete(&env, &hot, object, touch);
        }
        hot.allocs += count;
        hot.frees_local += count;
        core_publish_live(&run->counters[thread], &hot);
    }
stopped:
    stream->done_sum = sum;
    self->hot = hot;
    core_publish(run, thread, &hot);
    core_check_executed(run, thread);
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, ping_pong, run, thread);
}

const struct workload pingpong_workload = {
    .name = "pingpong",
    .summary = "allocate one object and free it at once",
    .source = "the classic loop; all good allocators are close",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM, .touch = TOUCH_ENDS, .ops = 20000000, .min_bytes = 64, .max_bytes = 64},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_DURATION,
    .shape = shape_of,
    .warm_up = core_fill_slots,
    .measured = measured,
};
