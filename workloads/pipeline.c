// SPDX-License-Identifier: Apache-2.0
// `pipeline`: messages pass through a chain of threads. The first allocates; each further one frees the message it got
// and allocates the next thread's; the last only frees. Every free is remote. Layer: workloads.
#include "core.h"
#include "registry.h"

static void draw(struct workload_run *run, uint32_t thread, uint64_t count) {
    core_draw_messages(run, thread, count, thread + 1);
}

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.wiring = CORE_CHAIN, .draw = draw, .events = params->ops};
}

static uint64_t remote_frees(const struct workload_params *params) {
    return (params->threads - 1) * params->ops;
}

// Allocates a message and passes it on. Returns 0 when the run stops.
OBJECT_INLINE int send(struct workload_run *run, uint32_t thread, const struct core_env *env, struct core_hot *hot,
                       uint64_t meta, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct object object;
    if (!core_new(env, hot, &object, meta, touch)) {
        core_fail(run, thread);
        return 0;
    }
    hot->allocs++;
    uint32_t spins = 0;
    while (!handover_push(&self->out[0], &object)) {
        // No helping here: to take a message means to send one. The chain has an end, so the wait has one, too.
        self->inbox.waits += spins == 0;
        if (core_stopped(run)) {
            core_delete(env, hot, object, touch);
            return 0;
        }
        core_pause(run, &spins);
    }
    return 1;
}

OBJECT_INLINE void first_stage(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
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
            sum += word[0];
            if (!send(run, thread, &env, &hot, core_event_meta(word, stream->is_wide), touch))
                break;
        }
        core_publish_live(&run->counters[thread], &hot);
    }
    stream->done_sum = sum;
    self->hot = hot;
}

OBJECT_INLINE void middle_stage(struct workload_run *run, uint32_t thread, enum workload_receiver receiver,
                                enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const struct core_env env = core_env_of(run, thread);
    const uint64_t most = stream->step;
    struct handover_queue *in = self->inbox.queues[0];
    struct core_hot hot = self->hot;
    const uint64_t *word = NULL; // of the events taken, `left` are not executed
    uint64_t left = 0;
    uint64_t sum = 0;
    uint32_t spins = 0;
    while (!core_stopped(run)) {
        const int is_closed = handover_is_closed(in);
        uint64_t count = handover_available(in);
        if (count == 0) {
            if (is_closed)
                break;
            self->inbox.waits += spins == 0;
            handover_flush(&self->out[0]);
            core_pause(run, &spins);
            continue;
        }
        if (count > self->inbox.in_flight_peak)
            self->inbox.in_flight_peak = count;
        spins = 0;
        for (const uint64_t end = in->taken + count; in->taken != end; left--, word += stream->stride) {
            if (left == 0) {
                left = most;
                core_publish_live(&run->counters[thread], &hot);
                word = core_take(run, thread, stream, &left);
                if (word == NULL)
                    goto stopped;
            }
            uint64_t words = 0;
            const struct object object = handover_read(in, in->taken, &words);
            handover_return(in, in->taken + words);
            hot.freed_bytes += object_bytes(&object);
            if (core_receiver_looks(&object, receiver))
                core_unmake(env.free_remote, &env, &hot, object, touch);
            else
                env.free_remote(object.block);
            self->inbox.frees_remote++;
            sum += word[0];
            if (!send(run, thread, &env, &hot, core_event_meta(word, stream->is_wide), touch))
                goto stopped;
        }
        core_publish_live(&run->counters[thread], &hot);
    }
stopped:
    stream->done_sum = sum;
    self->hot = hot;
}

static void measured(struct workload_run *run, uint32_t thread) {
    if (thread == 0)
        CORE_BY_TOUCH(run->params.touch, first_stage, run, thread);
    else if (core_thread_of(run, thread)->produces && run->params.receiver == RECEIVER_FREES)
        CORE_BY_TOUCH(run->params.touch, middle_stage, run, thread, RECEIVER_FREES);
    else if (core_thread_of(run, thread)->produces)
        CORE_BY_TOUCH(run->params.touch, middle_stage, run, thread, RECEIVER_READS);
    core_finish(run, thread);
    if (core_thread_of(run, thread)->produces)
        core_check_executed(run, thread);
}

const struct workload pipeline_workload = {
    .name = "pipeline",
    .summary = "messages pass through a chain of threads, each freed by the thread after its allocator",
    .source = "staged servers; 100 % cross-owner frees",
    .min_threads = 2,
    .defaults = {.handover_batch = REGISTRY_HANDOVER_BATCH,
                 .sizes = SIZES_UNIFORM,
                 .touch = TOUCH_ENDS,
                 .ops = 1000000,
                 .min_bytes = 64,
                 .max_bytes = 1024},
    .used_params = WORKLOAD_USES_HANDOVER | WORKLOAD_USES_SIZES | WORKLOAD_USES_DURATION,
    .remote_frees = remote_frees,
    .shape = shape_of,
    .warm_up = core_fill_slots,
    .measured = measured,
};
