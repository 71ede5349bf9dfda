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
    if (!object_is_cold(touch))
        hot->corruptions += object_is_bad(object, old_bytes, touch, env->mask);
    unsigned char *block = run->allocator.realloc(object->block, bytes);
    if (block == NULL)
        return 0;
    object->block = block;
    // The last byte written was at old_bytes - 1. After shrinking it is gone: with ends only the first remains.
    const uint64_t shrunk = object_bytes_touched(touch) == TOUCH_ALL ? bytes : 1;
    hot->corruptions += object_is_bad(object, bytes >= old_bytes ? old_bytes : shrunk, touch, env->mask);
    object->meta = object_meta(bytes, object->meta);
    object_fill(object, touch);
    hot->allocated_bytes += bytes;
    hot->freed_bytes += old_bytes;
    return 1;
}

enum { WITH_REMOTE = 1, WITH_CALLS = 2, WIDE = 4, WITH_TARGETS = 8, SHORT = 16 };

// How far a step has come. `sum` is that of the words read, the one that failed among them, so that the loop need not
// remember which one that is.
struct executed {
    uint64_t sum;
    int is_complete;
};

OBJECT_INLINE struct executed execute(struct workload_run *run, uint32_t thread, const uint64_t *word,
                                      const uint64_t *end, const int kind, enum workload_touch touch) {
    const int is_wide = (kind & WIDE) != 0;
    const int extra = 1 + is_wide; // where the words of core_draw_mixed are
    const int stride = extra + (kind & WITH_CALLS ? 2 : 0);
    struct core_thread *self = core_thread_of(run, thread);
    struct core_hot *const hot = &self->hot; // what changes seldom; the rest is in core_step_bytes
    const struct core_env env = core_env_of(run, thread);
    struct object *const slots = self->slots;
    const uintptr_t flagged = core_flagged_base(slots);
    struct handover_queue *const out = self->out;
    uint64_t sum = 0;

#pragma GCC unroll 4
    for (; word != end; word += stride) {
        const uint32_t high = core_event_high(word);
        struct object *place = NULL;
        sum += word[0];
        if (kind & WITH_REMOTE && __builtin_expect((int32_t)high < 0, 1)) {
            place = core_flagged_place(flagged, high);
            struct handover_queue *queue = out;
            if (kind & WITH_TARGETS)
                queue = &out[self->stream.targets[(uint64_t)(word - self->stream.words) / (uint64_t)stride]];
            if (__builtin_expect(!handover_push_known(queue, place, kind & SHORT), 0) &&
                !core_push_slow(run, thread, queue, place))
                return (struct executed){sum, 0};
        } else if (kind & WITH_REMOTE) {
            place = core_event_place(slots, (uint64_t)high << 32, 0);
            core_delete(&env, hot, *place, touch);
            hot->frees_local++;
        } else {
            place = core_event_place(slots, (uint64_t)high << 32, 0);
            core_unmake(env.free, &env, hot, *place, touch);
        }
        const uint64_t meta = core_event_meta(word, is_wide);
        if (!(kind & WITH_CALLS)) {
            if (!core_make(&env, place, meta, touch))
                goto failed;
        } else {
            const uint64_t call = word[extra];
            const uint64_t resized = word[extra + 1];
            sum += call + resized;
            if (!new_by_call(run, &env, hot, place, meta, call, touch) ||
                (resized != 0 && !resize(run, &env, hot, &slots[resized >> 32], (uint32_t)resized, touch)))
                goto failed;
        }
    }
    return (struct executed){sum, 1};
failed:
    core_fail(run, thread);
    return (struct executed){sum, 0};
}

// Functions of their own, so that each loop has the registers to itself.
#define LOOP(kind, touch, which)                                                                                       \
    static __attribute__((noinline)) struct executed loop_##kind##_##touch(                                            \
        struct workload_run *run, uint32_t thread, const uint64_t *word, const uint64_t *end) {                        \
        return execute(run, thread, word, end, kind, which);                                                           \
    }
#define LOOPS(kind)                                                                                                    \
    LOOP(kind, none, TOUCH_NONE)                                                                                       \
    LOOP(kind, ends, TOUCH_ENDS)                                                                                       \
    LOOP(kind, all, TOUCH_ALL)                                                                                         \
    LOOP(kind, cold_ends, TOUCH_COLD_ENDS)                                                                             \
    LOOP(kind, cold_all, TOUCH_COLD_ALL)
#define ENTRY(kind)                                                                                                    \
    [kind] = {loop_##kind##_none, loop_##kind##_ends, loop_##kind##_all, loop_##kind##_cold_ends,                      \
              loop_##kind##_cold_all}

LOOPS(0)
LOOPS(1)
LOOPS(3)
LOOPS(4)
LOOPS(5)
LOOPS(7)
LOOPS(9)
LOOPS(11)
LOOPS(13)
LOOPS(15)
LOOPS(17)
LOOPS(25)

static struct executed (*const loops[][TOUCH_COLD_ALL + 1])(struct workload_run *run, uint32_t thread,
                                                            const uint64_t *word, const uint64_t *end) = {
    ENTRY(0), ENTRY(1),  ENTRY(3),  ENTRY(4),  ENTRY(5),  ENTRY(7),
    ENTRY(9), ENTRY(11), ENTRY(13), ENTRY(15), ENTRY(17), ENTRY(25)};

// A step was broken off, because memory ran out or the run stops: its accounts have to be made up.
static void settle(struct core_thread *self, const uint64_t *word, uint64_t sum, int kind) {
    const struct core_stream *stream = &self->stream;
    struct core_hot *hot = &self->hot;
    if (kind & WITH_CALLS)
        return; // has added up itself
    for (sum -= word[0]; sum != 0; sum -= word[0]) {
        hot->allocated_bytes += object_meta_bytes(core_event_meta(word, (kind & WIDE) != 0));
        word += stream->stride;
    }
    if (!(kind & WITH_REMOTE)) {
        hot->freed_bytes = hot->allocated_bytes;
        for (uint64_t i = 0; i < self->slot_count; i++)
            hot->freed_bytes -= self->slots[i].block != NULL ? object_bytes(&self->slots[i]) : 0;
    }
}

static void replace(struct workload_run *run, uint32_t thread, int kind) {
    struct core_thread *self = core_thread_of(run, thread);
    struct core_stream *stream = &self->stream;
    struct core_hot *hot = &self->hot;
    kind |= (stream->is_wide ? WIDE : 0) | (stream->targets != NULL ? WITH_TARGETS : 0);
    kind |= kind & WITH_REMOTE && !(kind & WITH_CALLS) && run->params.max_bytes <= HANDOVER_SHORT_BYTES ? SHORT : 0;
    struct executed (*const loop)(struct workload_run *, uint32_t, const uint64_t *, const uint64_t *) =
        loops[kind][core_touch(run)];
    struct core_budget budget = core_budget_of(run);
    uint64_t undrained = 0;
    uint64_t unflushed = 0;
    uint64_t count = 0;
    const uint64_t *word = NULL;

    while ((word = core_budget_events(&budget, run, stream, thread, stream->step, &count)) != NULL) {
        const struct executed executed = loop(run, thread, word, word + count * stream->stride);
        stream->done_sum += executed.sum;
        if (!executed.is_complete) {
            settle(self, word, executed.sum, kind);
            break;
        }
        hot->allocs += count;
        if (!(kind & WITH_CALLS)) {
            const struct core_step_bytes *step = core_step_of(stream, count);
            hot->allocated_bytes += step->allocated;
            hot->freed_bytes += kind & WITH_REMOTE ? 0 : step->freed;
        }
        hot->frees_local += kind & WITH_REMOTE ? 0 : count;
        core_publish_live(&run->counters[thread], hot);
        undrained += count;
        if (kind & WITH_REMOTE && undrained >= CORE_CHUNK) {
            core_drain(run, self);
            unflushed += undrained;
            undrained = 0;
            if (unflushed >= CORE_DELAY) {
                core_flush(self);
                unflushed = 0;
            }
        }
    }
    core_publish(run, thread, hot);
    core_check_executed(run, thread);
}

void core_replace_local(struct workload_run *run, uint32_t thread) {
    replace(run, thread, 0);
}

void core_replace_remote(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        replace(run, thread, WITH_REMOTE);
    core_finish(run, thread);
}

void core_replace_mixed(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        replace(run, thread, WITH_REMOTE | WITH_CALLS);
    core_finish(run, thread);
}
