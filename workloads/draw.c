// SPDX-License-Identifier: Apache-2.0
// Events drawn ahead (core_stream of core.h): the windows of a run, and the drawers that several workloads share.
// Drawing an event and hashing it costs more instructions than an allocator's malloc and free; reading a word that the
// processor has fetched ahead costs next to none. Layer: workloads.
#include "core.h"

#include <inttypes.h>
#include <stdio.h>

void core_draw_ahead(struct workload_run *run, uint32_t thread) {
    struct core_thread *self = core_thread_of(run, thread);
    if (self->stream.filled == 0 && self->stream.drawn < self->stream.total)
        core_draw_more(run, thread);
}

int core_draw_more(struct workload_run *run, uint32_t thread) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    const uint64_t left = stream->total - stream->drawn;
    const uint64_t count = left < stream->capacity ? left : stream->capacity;
    if (count == 0 && (run->params.duration_ns == 0 || stream->filled == 0))
        return 0;
    stream->next = 0;
    if (count == 0) {
        for (uint64_t i = 0; stream->steps != NULL && i <= stream->filled >> stream->step_shift; i++)
            stream->steps[i].freed = stream->steps[i].freed_again;
        return 1;
    }
    stream->filled = 0;
    core_of(run)->shape.draw(run, thread, count);
    stream->drawn += count;
    return 1;
}

void core_check_executed(struct workload_run *run, uint32_t thread) {
    const struct core_stream *stream = &core_thread_of(run, thread)->stream;
    if (run->params.duration_ns != 0 || core_stopped(run))
        return;
    if (stream->next == stream->filled && stream->drawn == stream->total && stream->done_sum == stream->drawn_sum)
        return;
    if (atomic_exchange_explicit(&run->stop, 1, memory_order_relaxed) == 0) {
        snprintf(run->trouble, sizeof run->trouble,
                 "thread %" PRIu32 " has not executed the events that it drew - a bug of the harness", thread);
    }
}

void core_draw_messages(struct workload_run *run, uint32_t thread, uint64_t count, uint64_t target) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct sizes *sizes = &core_of(run)->sizes;
    struct core_random random = self->random;
    for (; count != 0; count--) {
        const uint64_t draw = rng_splitmix(&random.size_rng);
        const uint32_t bytes = sizes_pick(sizes, draw);
        core_event(&random, bytes, 0, target);
        core_put(&self->stream, 0, object_meta(bytes, draw), 0);
    }
    self->random = random;
}

static uint32_t pick_target(enum core_wiring wiring, uint32_t out_count, struct core_random *random,
                            struct core_stream *stream) {
    uint32_t index = 0;
    if (wiring == CORE_ALL) {
        index = (uint32_t)rng_bounded(rng_splitmix(&random->partner_rng), out_count);
    } else if (wiring == CORE_FAN_OUT) {
        index = stream->turn;
        stream->turn = index + 1 == out_count ? 0 : index + 1;
    }
    return index;
}

// The flag of an event says that the object of its slot is handed over.
static uint32_t draw_replacement(struct workload_run *run, struct core_thread *self, uint64_t *slot) {
    const struct core *core = core_of(run);
    struct core_stream *stream = &self->stream;
    struct core_random *random = &self->random;
    const uint64_t draw = rng_splitmix(&random->size_rng);
    const uint32_t bytes = sizes_pick(&core->sizes, draw);
    *slot = rng_bounded(rng_splitmix(&random->slot_rng), self->slot_count);
    uint32_t target = 0;
    if (self->out_count != 0) {
        if (stream->left == 0) { // the beginning of the window: its share is exact
            stream->left = stream->total;
            stream->chosen = rng_share(stream->total, run->params.remote_ppm);
        }
        if (rng_select(rng_splitmix(&random->remote_rng), &stream->chosen, &stream->left))
            target = pick_target(core->shape.wiring, self->out_count, random, stream) + 1;
        if (stream->targets != NULL)
            stream->targets[stream->filled] = (uint8_t)(target - (target != 0));
    }
    core_event(random, bytes, *slot, target);
    if (stream->steps != NULL) {
        struct core_step_bytes *step = &stream->steps[stream->filled >> stream->step_shift];
        step->allocated += bytes;
        step->freed += target == 0 ? self->order[*slot] : 0;
        self->order[*slot] = bytes;
    }
    core_put(stream, *slot, object_meta(bytes, draw), target != 0);
    return bytes;
}

void core_draw_replace(struct workload_run *run, uint32_t thread, uint64_t count) {
    struct core_thread *self = core_thread_of(run, thread);
    uint64_t slot = 0;
    if (self->stream.drawn == 0)
        for (uint64_t i = 0; i < self->slot_count; i++)
            self->order[i] = (uint32_t)object_bytes(&self->slots[i]);
    struct core_stream *stream = &self->stream;
    for (uint64_t i = 0; i <= count >> stream->step_shift; i++)
        stream->steps[i] = (struct core_step_bytes){0, 0, 0};
    for (; count != 0; count--)
        draw_replacement(run, self, &slot);
    if (run->params.duration_ns == 0)
        return;
    // Repeated, the window begins with the objects that it leaves behind.
    for (uint64_t i = 0; i < stream->filled; i++) {
        const uint64_t *words = stream->words + i * stream->stride;
        uint32_t *bytes = &self->order[words[0] << 1 >> 34];
        stream->steps[i >> stream->step_shift].freed_again += words[0] & CORE_FLAG ? 0 : *bytes;
        *bytes = (uint32_t)object_meta_bytes(core_event_meta(words, (int)stream->is_wide));
    }
}

void core_draw_mixed(struct workload_run *run, uint32_t thread, uint64_t count) {
    const struct workload_params *params = &run->params;
    struct core_thread *self = core_thread_of(run, thread);
    struct core_random *random = &self->random;
    for (; count != 0; count--) {
        uint64_t slot = 0;
        uint64_t *extra = self->stream.words + self->stream.filled * self->stream.stride + 1 + self->stream.is_wide;
        draw_replacement(run, self, &slot);
        const uint64_t kind = rng_splitmix(&random->kind_rng);
        const uint64_t draw = rng_bounded(kind, RNG_PPM);
        extra[0] = CORE_MALLOC;
        if (draw < params->aligned_ppm)
            extra[0] = CORE_ALIGNED + rng_bounded(rng_mix(kind), CORE_ALIGNMENTS);
        else if (draw < (uint64_t)params->aligned_ppm + params->calloc_ppm)
            extra[0] = CORE_CALLOC;
        if (extra[0] != CORE_MALLOC)
            core_event(random, extra[0], 0, 0);
        extra[1] = 0;
        // The low half decides independently of the high half, which chose the call.
        if (rng_bounded(kind << 32, RNG_PPM) < params->realloc_ppm) {
            const uint64_t other = rng_bounded(rng_splitmix(&random->slot_rng), self->slot_count);
            const uint32_t bytes = sizes_pick(&core_of(run)->sizes, rng_splitmix(&random->size_rng));
            core_event(random, bytes, other, 0);
            extra[1] = other << 32 | bytes;
        }
        self->stream.drawn_sum += extra[0] + extra[1];
    }
}
