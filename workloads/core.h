// SPDX-License-Identifier: Apache-2.0
// What workloads share: layout of harness memory, wiring of hand-over queues, per-thread state, the steps an op is made
// of, the usual members of a table, and the replacement loop that several workloads are parameter sets of.
// Owns run->memory. Steps are inlined into loops specialised by touch; what a step changes lives in a local
// `struct core_hot` whose address never escapes, so that the compiler keeps it in registers. Layer: workloads.
#ifndef HZBENCH_CORE_H
#define HZBENCH_CORE_H

#include "handover.h"
#include "object.h"
#include "rng.h"
#include "sizes.h"

#define CORE_CHUNK 256               // ops between looks at the inbox
#define CORE_DELAY 512               // ops after which what is handed over is published, batch or not
#define CORE_STEP CORE_CHUNK         // ops between looks at the stop flag and publications of live bytes, at most
#define CORE_UNSEEN_BYTES (1u << 20) // allocated and freed between two publications of live bytes, about

enum core_wiring { // who has a queue to whom; the first five equal enum workload_topology
    CORE_RING = TOPOLOGY_RING,
    CORE_PAIRS = TOPOLOGY_PAIRS,
    CORE_ALL = TOPOLOGY_ALL,
    CORE_FAN_IN = TOPOLOGY_FAN_IN,
    CORE_FAN_OUT = TOPOLOGY_FAN_OUT,
    CORE_ALONE,  // nobody
    CORE_HALVES, // even threads to t + 1
    CORE_CHAIN   // t to t + 1, the last to nobody
};

// Draws the next `count` events of a thread with core_put; those of a run are drawn in one order, whatever `count` is.
typedef void core_drawer(struct workload_run *run, uint32_t thread, uint64_t count);

// How much harness memory a workload wants and how its threads are connected.
struct core_shape {
    uint64_t slots;       // objects a producing thread remembers
    uint64_t order_count; // entries of core_thread.order
    enum core_wiring wiring;
    core_drawer *draw;    // NULL: no events ahead
    uint64_t events;      // that a producing thread draws in all
    uint32_t event_words; // besides core_put's own
    uint32_t with_steps;  // 1: core_stream.steps; order then holds the bytes of each slot while events are drawn
};

// What events are drawn from. owner only.
struct core_random {
    uint64_t size_rng, slot_rng, remote_rng, partner_rng, kind_rng; // splitmix64 states
    uint64_t hash;                                                  // of the events so far
};

// What the events of a step allocate, and what those free that free here.
struct core_step_bytes {
    uint64_t allocated, freed;
    uint64_t freed_again; // when a window is repeated
};

// Events, drawn before the clock starts, all of them where they fit. A run that has more draws them a window at a time,
// within the measured part; one by the clock begins its one window again. owner only.
struct core_stream {
    uint64_t *words;               // const
    uint8_t *targets;              // const: whom an event hands to, where that is not always the same; else NULL
    struct core_step_bytes *steps; // const: of each step of the window, for loops that do not add up themselves
    uint64_t step;                 // const: events a step (core_step)
    uint32_t step_shift;           // const: its binary logarithm
    uint64_t capacity;             // const: events
    uint64_t total;                // const: events of the run
    uint32_t stride;               // const: words an event
    uint32_t is_wide;              // const: 1: size and payload in a word of their own
    uint64_t drawn;                // in all
    uint64_t filled;               // of the window: drawn
    uint64_t next;                 // of the window: executed
    uint64_t chosen, left;         // of the frees still to be drawn: remote, and in all
    uint32_t turn;                 // next target where they take turns
    uint64_t drawn_sum;            // of the first words of all events drawn, modulo 2^64
    uint64_t done_sum;             // the same as the loop read them
};

// Changed by every op. owner only.
struct core_hot {
    uint64_t allocated_bytes, freed_bytes; // by this loop
    uint64_t allocs, frees_local;
    uint64_t frees_foreign; // freed here, born in another generation of this thread
    uint64_t corruptions;
};

// What other threads handed over. owner only; apart from core_hot because slow paths change it behind the loop's back.
struct core_inbox {
    struct handover_queue **queues; // const
    uint32_t count;                 // const
    uint64_t freed_bytes, frees_remote, corruptions, waits, failures;
    uint64_t in_flight_peak; // most words found at one look
};

struct core_thread {
    _Alignas(HANDOVER_LINE) struct core_hot hot;
    struct core_inbox inbox;
    struct core_random random;
    struct core_stream stream;
    struct object *slots;       // const
    uint64_t slot_count;        // const; 0 for a thread that only frees
    uint32_t *order;            // const: shape.order_count entries
    uint64_t looked;            // slot that core_verify_live looks at next
    struct handover_queue *out; // const: one queue per target
    uint32_t out_count;         // const
    uint32_t produces;          // const: 0 for a thread that only frees
};

struct core {
    struct sizes sizes;
    struct core_thread *threads;
    struct core_shape shape;
};

// Bytes of harness memory; UINT64_MAX when the sum does not fit.
uint64_t core_memory_bytes(const struct workload_params *params, const struct core_shape *shape);
void core_prepare(struct workload_run *run, const struct core_shape *shape);

uint32_t core_out_count(enum core_wiring wiring, uint32_t thread, uint32_t threads);
uint32_t core_target(enum core_wiring wiring, uint32_t thread, uint32_t threads, uint32_t index);

// Threads that allocate.
uint32_t core_producers(enum core_wiring wiring, uint32_t threads);

// Members for the tables of workloads.
struct core_shape core_shape_alone(const struct workload_params *params);       // a working set, nothing handed over
struct core_shape core_shape_replace(const struct workload_params *params);     // for core_replace_local
struct core_shape core_shape_by_topology(const struct workload_params *params); // for core_replace_remote
struct core_shape core_shape_mixed(const struct workload_params *params);       // for core_replace_mixed
struct core_shape core_shape_mixed_alone(const struct workload_params *params); // likewise, nothing handed over
uint64_t core_remote_frees(const struct workload_params *params);               // of the latter: the share, exactly
uint64_t core_ops_by_rounds(const struct workload_params *params);              // the working set anew each round
void core_fill_slots(struct workload_run *run, uint32_t thread);                // warm-up: every slot gets an object
void core_tear_down(struct workload_run *run, uint32_t thread);                 // frees inbox and slots

// Of all threads' events together. Only tests change it: what does not fit is drawn in windows.
extern uint64_t core_stream_bytes;

// Draws as many events as fit, unless some are there already.
void core_draw_ahead(struct workload_run *run, uint32_t thread);
// The window is used up: begins it again or draws the next one. 0: there are no more.
int core_draw_more(struct workload_run *run, uint32_t thread);
// The measured part is over: were those events executed that were drawn? If not, the row is refused.
void core_check_executed(struct workload_run *run, uint32_t thread);
// Drawers: a size only, for `target`; a size and the slot whose object it replaces, handed over or not.
void core_draw_messages(struct workload_run *run, uint32_t thread, uint64_t count, uint64_t target);
void core_draw_replace(struct workload_run *run, uint32_t thread, uint64_t count);
// As the latter, with two words more: the call that allocates; and the object that is resized, slot and bytes, or 0.
void core_draw_mixed(struct workload_run *run, uint32_t thread, uint64_t count);
enum core_call { CORE_MALLOC, CORE_CALLOC, CORE_ALIGNED }; // CORE_ALIGNED + k: the k-th alignment, 64 << k
#define CORE_ALIGNMENTS 7u                                 // 64, 128 .. 4096

// Lives of newly born threads, one after another: body(run, thread, generation) for each generation in [from, to).
void core_generations(struct workload_run *run, uint32_t thread, uint32_t from, uint32_t to,
                      void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation));

// Frees what has arrived; returns how many.
uint64_t core_drain(struct workload_run *run, struct core_thread *thread);
// Publishes what this thread has handed over.
void core_flush(struct core_thread *thread);
// Hands over although the ring is full: helps by draining until there is room. Returns 0 when the run stops.
int core_push_slow(struct workload_run *run, uint32_t thread, struct handover_queue *queue,
                   const struct object *object);
// Closes this thread's queues, then frees what arrives until all its producers have closed theirs.
void core_finish(struct workload_run *run, uint32_t thread);
// Lets another thread run; `spins` counts idle turns and starts at 0.
void core_pause(const struct workload_run *run, uint32_t *spins);
// An allocation has failed, or a thread could not be born: everybody stops.
void core_fail(struct workload_run *run, uint32_t thread);

static inline struct core *core_of(const struct workload_run *run) {
    return run->memory;
}

static inline struct core_thread *core_thread_of(const struct workload_run *run, uint32_t thread) {
    return &core_of(run)->threads[thread];
}

static inline int core_stopped(struct workload_run *run) {
    return atomic_load_explicit(&run->stop, memory_order_relaxed) != 0;
}

// The pointers and constants of an op, copied once into locals.
struct core_env {
    void *(*alloc)(size_t bytes);
    void (*free)(void *block);
    void (*free_remote)(void *block);
    const struct sizes *sizes;
    struct core_thread *self;
    uint8_t mask;
};

OBJECT_INLINE struct core_env core_env_of(const struct workload_run *run, uint32_t thread) {
    return (struct core_env){run->allocator.alloc,
                             run->allocator.free,
                             run->free_remote != NULL ? run->free_remote : run->allocator.free,
                             &core_of(run)->sizes,
                             core_thread_of(run, thread),
                             run->payload_mask};
}

// One multiply an event. The rotation brings high bits back down, where the next product can spread them again.
OBJECT_INLINE void core_event(struct core_random *random, uint64_t bytes, uint64_t slot, uint64_t target) {
    const uint64_t event = bytes ^ slot << 32 ^ target << 54;
    random->hash = rng_rotl(random->hash ^ event, 29) * RNG_GAMMA;
}

// An event's first word: a flag, twice the slot and 1 in 31 bits, and object_meta in 32, which a wide event has in its
// second word instead. Twice, because x86 multiplies an index by 8 at most and a slot has 16 bytes; and 1, so that no
// word is 0.
#define CORE_FLAG (UINT64_C(1) << 63)
#define CORE_NARROW_BYTES (1u << 24)
_Static_assert(sizeof(struct object) == 16, "core_event_place");

OBJECT_INLINE void core_put(struct core_stream *stream, uint64_t slot, uint64_t meta, uint64_t flag) {
    uint64_t *words = stream->words + stream->filled * stream->stride;
    words[0] = flag << 63 | slot << 33 | UINT64_C(1) << 32;
    if (stream->is_wide)
        words[1] = meta;
    else
        words[0] |= meta;
    stream->drawn_sum += words[0];
    stream->filled++;
}

OBJECT_INLINE uint64_t core_event_meta(const uint64_t *words, int is_wide) {
    return is_wide ? words[1] : (uint32_t)words[0];
}

OBJECT_INLINE struct object *core_event_place(struct object *slots, uint64_t word, int may_have_flag) {
    const uint64_t twice_and_1 = may_have_flag ? word << 1 >> 33 : word >> 32;
    return (struct object *)(void *)((unsigned char *)slots + (twice_and_1 - 1) * 8);
}

// The same of a word that has the flag: its bit is taken off the base, once, and not off each word.
OBJECT_INLINE uintptr_t core_flagged_base(const struct object *slots) {
    return (uintptr_t)slots - (((uintptr_t)1 << 31) + 1) * 8;
}

OBJECT_INLINE struct object *core_flagged_place(uintptr_t flagged_base, uint32_t high) {
    return (struct object *)(flagged_base + (uint64_t)high * 8);
}

// The upper half of a word: one load where a shift of the whole takes two instructions.
OBJECT_INLINE uint32_t core_event_high(const uint64_t *word) {
    uint32_t high = 0;
    memcpy(&high, (const unsigned char *)word + 4, sizeof high);
    return high;
}

// Where the next events of a window lie; as many as `*count`, or fewer at its end. NULL: there are no more.
OBJECT_INLINE const uint64_t *core_take(struct workload_run *run, uint32_t thread, struct core_stream *stream,
                                        uint64_t *count) {
    if (__builtin_expect(stream->next == stream->filled, 0) && !core_draw_more(run, thread))
        return NULL;
    const uint64_t there = stream->filled - stream->next;
    *count = *count < there ? *count : there;
    const uint64_t *words = stream->words + stream->next * stream->stride;
    stream->next += *count;
    return words;
}

// Ops between publications of live bytes: CORE_STEP small objects, single large ones. A power of 2.
OBJECT_INLINE uint64_t core_step(const struct workload_params *params) {
    uint64_t step = CORE_STEP;
    while (step > 1 && step * params->max_bytes > CORE_UNSEEN_BYTES)
        step /= 2;
    return step;
}

// Where a step of a loop over [i, count) ends; at i itself when the run stops.
OBJECT_INLINE uint64_t core_step_end(struct workload_run *run, uint64_t i, uint64_t count, uint64_t most) {
    if (core_stopped(run))
        return i;
    return count - i < most ? count : i + most;
}

// Another payload for each number, for objects whose sizes need no drawing.
OBJECT_INLINE uint64_t core_payload(uint64_t number) {
    return (uint32_t)(number * RNG_GAMMA) >> 24;
}

// With FREE_COLD: verifies the next live object of the working set, wherever it is in its life.
void core_verify_live(struct core_thread *self, enum workload_touch touch, uint8_t mask);

// Returns 0 when the allocator has no memory; the object is then empty. The caller counts its bytes.
OBJECT_INLINE int core_make(const struct core_env *env, struct object *out, uint64_t meta, enum workload_touch touch) {
    const struct object object = {env->alloc(object_meta_bytes(meta)), meta};
    *out = object;
    if (__builtin_expect(object.block == NULL, 0))
        return 0;
    object_fill(&object, touch);
    if (object_is_cold(touch) && __builtin_expect(object_is_sampled(&object), 0))
        core_verify_live(env->self, touch, env->mask);
    return 1;
}

OBJECT_INLINE int core_new(const struct core_env *env, struct core_hot *hot, struct object *out, uint64_t meta,
                           enum workload_touch touch) {
    if (!core_make(env, out, meta, touch))
        return 0;
    hot->allocated_bytes += object_meta_bytes(meta);
    return 1;
}

// Without events ahead (warm-ups, and workloads whose rows are of memory): the next size, its event, and an object of
// it.
OBJECT_INLINE int core_draw(const struct core_env *env, struct core_random *random, struct core_hot *hot,
                            struct object *out, uint64_t slot, uint64_t target, enum workload_touch touch) {
    const uint64_t draw = rng_splitmix(&random->size_rng);
    const uint32_t bytes = sizes_pick(env->sizes, draw);
    core_event(random, bytes, slot, target);
    return core_new(env, hot, out, object_meta(bytes, draw), touch);
}

// Whether an object that was handed over is verified by who frees it.
OBJECT_INLINE int core_receiver_looks(const struct object *object, enum workload_receiver receiver) {
    return receiver == RECEIVER_READS || __builtin_expect(object_is_sampled(object), 0);
}

// `free_it` is env->free or env->free_remote. The caller counts the bytes.
OBJECT_INLINE void core_unmake(void (*free_it)(void *block), const struct core_env *env, struct core_hot *hot,
                               struct object object, enum workload_touch touch) {
    if (!object_is_cold(touch) && object_is_damaged(&object, touch, env->mask)) {
        __asm__ volatile(""); // a branch that is not taken costs less than adding 0 or 1
        hot->corruptions++;
    }
    free_it(object.block);
}

OBJECT_INLINE void core_delete_by(void (*free_it)(void *block), const struct core_env *env, struct core_hot *hot,
                                  struct object object, enum workload_touch touch) {
    hot->freed_bytes += object_bytes(&object);
    core_unmake(free_it, env, hot, object, touch);
}

OBJECT_INLINE void core_delete(const struct core_env *env, struct core_hot *hot, struct object object,
                               enum workload_touch touch) {
    core_delete_by(env->free, env, hot, object, touch);
}

// Frees what a slot holds, by the thread that allocated it, and leaves the slot empty.
OBJECT_INLINE void core_clear(const struct core_env *env, struct core_hot *hot, struct object *slot,
                              enum workload_touch touch) {
    core_delete(env, hot, *slot, touch);
    slot->block = NULL;
    hot->frees_local++;
}

OBJECT_INLINE void core_publish_live(struct workload_counters *counters, const struct core_hot *hot) {
    atomic_store_explicit(&counters->allocated_bytes, hot->allocated_bytes, memory_order_relaxed);
    atomic_store_explicit(&counters->freed_bytes, hot->freed_bytes, memory_order_relaxed);
}

OBJECT_INLINE void core_publish(struct workload_run *run, uint32_t thread, const struct core_hot *hot) {
    struct workload_counters *counters = &run->counters[thread];
    const struct core_inbox *inbox = &core_thread_of(run, thread)->inbox;
    core_publish_live(counters, hot);
    atomic_store_explicit(&counters->allocs, hot->allocs, memory_order_relaxed);
    atomic_store_explicit(&counters->frees_local, hot->frees_local, memory_order_relaxed);
    atomic_store_explicit(&counters->frees_remote, hot->frees_foreign + inbox->frees_remote, memory_order_relaxed);
    atomic_store_explicit(&counters->corruptions, hot->corruptions + inbox->corruptions, memory_order_relaxed);
    atomic_store_explicit(&counters->failures, inbox->failures, memory_order_relaxed);
    atomic_store_explicit(&counters->waits, inbox->waits, memory_order_relaxed);
    atomic_store_explicit(&counters->in_flight_peak, inbox->in_flight_peak, memory_order_relaxed);
    atomic_store_explicit(&counters->stream_hash, core_thread_of(run, thread)->random.hash, memory_order_relaxed);
}

// Calls an inline function with its last argument a constant, so that each touch mode gets its own loop.
#define CORE_BY_TOUCH(touch, function, ...)                                                                            \
    do {                                                                                                               \
        switch (touch) {                                                                                               \
        case TOUCH_NONE:                                                                                               \
            function(__VA_ARGS__, TOUCH_NONE);                                                                         \
            break;                                                                                                     \
        case TOUCH_ALL:                                                                                                \
            function(__VA_ARGS__, TOUCH_ALL);                                                                          \
            break;                                                                                                     \
        default:                                                                                                       \
            function(__VA_ARGS__, TOUCH_ENDS);                                                                         \
            break;                                                                                                     \
        }                                                                                                              \
    } while (0)

// The same for loops that free objects of a working set, which FREE_COLD changes, too.
#define CORE_BY_FREE(run, function, ...)                                                                               \
    do {                                                                                                               \
        switch (core_touch(run)) {                                                                                     \
        case TOUCH_COLD_ENDS:                                                                                          \
            function(run, __VA_ARGS__, TOUCH_COLD_ENDS);                                                               \
            break;                                                                                                     \
        case TOUCH_COLD_ALL:                                                                                           \
            function(run, __VA_ARGS__, TOUCH_COLD_ALL);                                                                \
            break;                                                                                                     \
        default:                                                                                                       \
            CORE_BY_TOUCH((run)->params.touch, function, run, __VA_ARGS__);                                            \
            break;                                                                                                     \
        }                                                                                                              \
    } while (0)

OBJECT_INLINE enum workload_touch core_touch(const struct workload_run *run) {
    const int is_cold = run->params.own_free == FREE_COLD && run->params.touch != TOUCH_NONE;
    return (enum workload_touch)(run->params.touch + (is_cold ? TOUCH_COLD_ENDS - TOUCH_ENDS : 0));
}

// How many ops are left, by count or by clock.
struct core_budget {
    uint64_t left;
    uint64_t unlooked; // ops since the last look at the clock
    uint32_t timed;
};

OBJECT_INLINE struct core_budget core_budget_of(const struct workload_run *run) {
    const uint32_t timed = run->params.duration_ns != 0;
    return (struct core_budget){timed ? UINT64_MAX : run->params.ops, 0, timed};
}

// Ops to do before asking again, `most` at most; 0: finished. Looks at the clock once a chunk, and not before the first
// ops.
OBJECT_INLINE uint64_t core_budget_take(struct core_budget *budget, struct workload_run *run, uint64_t most) {
    if (core_stopped(run))
        return 0;
    if (budget->timed) {
        if (budget->unlooked >= CORE_CHUNK) {
            budget->unlooked = 0;
            if (run->host->now_ns() >= run->deadline_ns)
                return 0;
        }
        budget->unlooked += most;
        return most;
    }
    const uint64_t chunk = budget->left < most ? budget->left : most;
    budget->left -= chunk;
    return chunk;
}

// The events of the next ops, `*count` of them; NULL: finished.
OBJECT_INLINE const uint64_t *core_budget_events(struct core_budget *budget, struct workload_run *run,
                                                 struct core_stream *stream, uint32_t thread, uint64_t most,
                                                 uint64_t *count) {
    const uint64_t chunk = core_budget_take(budget, run, most);
    if (chunk == 0)
        return NULL;
    *count = chunk;
    const uint64_t *words = core_take(run, thread, stream, count);
    budget->left += chunk - *count; // the rest is in the next window
    return words;
}

// The account of the step that core_take has just given `count` events of.
OBJECT_INLINE const struct core_step_bytes *core_step_of(const struct core_stream *stream, uint64_t count) {
    return &stream->steps[(stream->next - count) >> stream->step_shift];
}

// The replacement loop: a random slot's object is freed, here or by another thread, and replaced by a new one.
void core_replace_local(struct workload_run *run, uint32_t thread);
void core_replace_remote(struct workload_run *run, uint32_t thread);
void core_replace_mixed(struct workload_run *run, uint32_t thread); // and realloc, aligned and calloc

#endif
