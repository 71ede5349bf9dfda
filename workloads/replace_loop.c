// SPDX-License-Identifier: Apache-2.0
// The replacement loop of core.h: the timed inner loop of the workloads that replace random objects, specialised by
// whether objects change hands, by whether there are other calls than malloc and free, by width of the events, and by
// touch. All events are drawn ahead (draw.c), so that what is left of the harness is to read a word, compare and write
// the payload, and remember the block. Layer: workloads.
#include "core.h"

#define ALIGNMENT_MIN 64u // a cache line

// Allocates through malloc, calloc or an aligned allocation, as the event says. Returns 0 when memory ran out.
OBJECT_INLINE int new_by_call(struct workload_run *run, const struct core_env *env, struct core_hot *hot,
                              struct object *out, uint64_t meta, uint64_t call, enum workload_touch touch) {
    if (call == CORE_MALLOC)
        return core_new(env, hot, out, meta, touch);
    const uint64_t bytes = object_meta_bytes(meta);
    struct object object = {NULL, meta};
    uint64_t wrong = 0;
    if (call >= CORE_ALIGNED) {
        const uint64_t alignment = (uint64_t)ALIGNMENT_MIN << (call - CORE_ALIGNED);
        object.block = run->allocator.alloc_aligned(alignment, bytes);
        wrong = (uintptr_t)object.block & (alignment - 1);
    } else {
        object.block = run->allocator.calloc(1, bytes);
        if (object.block != NULL) {
            const struct object zeroes = {object.block, object_meta(bytes, 0)};
            wrong = object_is_bad(&zeroes, bytes, touch, env->mask);
        }
    }
    *out = object;
    if (object.block == NULL)
        return 0;
    hot->corruptions += wrong != 0 && env->mask != 0;
    object_fill(out, touch);
    hot->allocated_bytes += bytes;
    return 1;
}

// Resizes an object in place in its slot and checks that the contents came along. Returns 0 when memory ran out.
OBJECT_INLINE int resize(struct workload_run *run, const struct core_env *env, struct core_hot *hot,
                         struct object *object, uint32_t bytes, enum workload_touch touch) {
    const uint64_t old_bytes = object_bytes(object);
    hot->corruptions += object_is_bad(object, old_bytes, touch, env->mask);
    unsigned char *block = run->allocator.realloc(object->block, bytes);
    if (block == NULL)
        return 0;
    object->block = block;
    // The last byte written was at old_bytes - 1. After shrinking it is gone: with ends only the first remains.
    const uint64_t shrunk = touch == TOUCH_ALL ? bytes : 1;
    hot->corruptions += object_is_bad(object, bytes >= old_bytes ? old_bytes : shrunk, touch, env->mask);
    object->meta = object_meta(bytes, object->meta);
    object_fill(object, touch);
    hot->allocated_bytes += bytes;
    hot->freed_bytes += old_bytes;
    return 1;
}

enum { WITH_REMOTE = 1, WITH_CALLS = 2, WIDE = 4 };

// A step was broken off, because memory ran out or the run stops: its accounts have to be made up. `part` is the sum of
// its first words up to and with the one that failed, so that the loop need not remember which one that is.
static __attribute__((noinline, cold)) struct core_hot settle(const struct core_thread *self, struct core_hot hot,
                                                              const uint64_t *begin, uint64_t part, int kind) {
    const struct core_stream *stream = &self->stream;
    if (kind & WITH_CALLS)
        return hot; // has added up itself
    for (part -= begin[0]; part != 0; part -= begin[0]) {
        hot.allocated_bytes += object_meta_bytes(core_event_meta(begin, (kind & WIDE) != 0));
        begin += stream->stride;
    }
    if (!(kind & WITH_REMOTE)) {
        hot.freed_bytes = hot.allocated_bytes;
        for (uint64_t i = 0; i < self->slot_count; i++)
            hot.freed_bytes -= self->slots[i].block != NULL ? object_bytes(&self->slots[i]) : 0;
    }
    return hot;
}

OBJECT_INLINE void replace_loop(struct workload_run *run, uint32_t thread, const int kind, enum workload_touch touch) {
    const int is_wide = (kind & WIDE) != 0;
    const int extra = 1 + is_wide; // where the words of core_draw_mixed are
    const int stride = extra + (kind & WITH_CALLS ? 2 : 0);
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    struct object *const slots = self->slots;
    struct handover_queue *const out = self->out;
    const uint8_t *const targets = stream->targets;
    const uint64_t *const words = stream->words;
    const uint64_t most = stream->step;
    const uint64_t *begin = NULL; // of a step that is not over
    uint64_t sum_before = 0;
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t sum = 0;
    uint64_t undrained = 0;
    uint64_t count = 0;
    const uint64_t *word = NULL;

    while ((word = core_budget_events(&budget, run, stream, thread, most, &count)) != NULL) {
        const uint64_t *const end = word + count * (uint64_t)stride;
        const struct core_step_bytes *step = kind & WITH_CALLS ? NULL : core_step_of(stream, count);
        begin = word;
        sum_before = sum;
#pragma GCC unroll 4
        for (; word != end; word += stride) {
            const uint64_t first = word[0];
            struct object *const place = core_event_place(slots, first, kind & WITH_REMOTE);
            sum += first;
            if (kind & WITH_REMOTE && (int64_t)first < 0) {
                struct handover_queue *queue = out;
                if (targets != NULL)
                    queue = &out[targets[(uint64_t)(word - words) / (uint64_t)stride]];
                if (__builtin_expect(!handover_push(queue, *place), 0) && !core_push_slow(run, thread, queue, *place))
                    goto stopped;
            } else if (kind & WITH_REMOTE) {
                core_delete(&env, &hot, *place, touch);
                hot.frees_local++;
            } else {
                core_unmake(env.free, &env, &hot, *place, touch);
            }
            const uint64_t meta = core_event_meta(word, is_wide);
            if (!(kind & WITH_CALLS)) {
                if (!core_make(&env, place, meta, touch))
                    goto failed;
            } else {
                const uint64_t call = word[extra];
                const uint64_t resized = word[extra + 1];
                sum += call + resized;
                if (!new_by_call(run, &env, &hot, place, meta, call, touch) ||
                    (resized != 0 && !resize(run, &env, &hot, &slots[resized >> 32], (uint32_t)resized, touch)))
                    goto failed;
            }
        }
        begin = NULL;
        hot.allocated_bytes += kind & WITH_CALLS ? 0 : step->allocated;
        hot.freed_bytes += kind & WITH_REMOTE ? 0 : step->freed;
        hot.frees_local += kind & WITH_REMOTE ? 0 : count;
        hot.allocs += count;
        core_publish_live(counters, &hot);
        undrained += count;
        if (kind & WITH_REMOTE && undrained >= CORE_CHUNK) {
            core_drain(run, self);
            undrained = 0;
        }
    }
    goto stopped;
failed:
    core_fail(run, thread);
stopped:
    if (begin != NULL)
        hot = settle(self, hot, begin, sum - sum_before, kind);
    stream->done_sum = sum;
    self->hot = hot;
    core_publish(run, thread, &hot);
    core_check_executed(run, thread);
}

#define REPLACE(run, thread, kind)                                                                                     \
    do {                                                                                                               \
        if (core_thread_of(run, thread)->stream.is_wide)                                                               \
            CORE_BY_TOUCH((run)->params.touch, replace_loop, run, thread, (kind) | WIDE);                              \
        else                                                                                                           \
            CORE_BY_TOUCH((run)->params.touch, replace_loop, run, thread, kind);                                       \
    } while (0)

void core_replace_local(struct workload_run *run, uint32_t thread) {
    REPLACE(run, thread, 0);
}

void core_replace_remote(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        REPLACE(run, thread, WITH_REMOTE);
    core_finish(run, thread);
}

void core_replace_mixed(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        REPLACE(run, thread, WITH_REMOTE | WITH_CALLS);
    core_finish(run, thread);
}
