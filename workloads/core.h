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

#define CORE_CHUNK 64 // ops between looks at the inbox, the stop flag and the published counters

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

// How much harness memory a workload wants and how its threads are connected.
struct core_shape {
    uint64_t slots;       // objects a producing thread remembers
    uint64_t order_count; // entries of core_thread.order
    enum core_wiring wiring;
};

// Changed by every op. owner only.
struct core_hot {
    uint64_t size_rng, slot_rng, remote_rng, partner_rng, kind_rng; // splitmix64 states
    uint64_t hash;                                                  // of the events so far
    uint64_t allocated_bytes, freed_bytes;                          // by this loop
    uint64_t allocs, frees_local;
    uint64_t frees_foreign; // freed here, born in another generation of this thread
    uint64_t corruptions;
};

// What other threads handed over. owner only; apart from core_hot because slow paths change it behind the loop's back.
struct core_inbox {
    struct handover_queue **queues; // const
    uint32_t count;                 // const
    uint64_t freed_bytes, frees_remote, corruptions, waits, failures;
};

struct core_thread {
    _Alignas(HANDOVER_LINE) struct core_hot hot;
    struct core_inbox inbox;
    struct object *slots;       // const
    uint64_t slot_count;        // const; 0 for a thread that only frees
    uint32_t *order;            // const: shape.order_count entries
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
struct core_shape core_shape_by_topology(const struct workload_params *params); // handed over, unless it is one thread
uint64_t core_remote_frees(const struct workload_params *params);               // of the latter: the share, exactly
uint64_t core_ops_by_rounds(const struct workload_params *params);              // the working set anew each round
void core_fill_slots(struct workload_run *run, uint32_t thread);                // warm-up: every slot gets an object
void core_tear_down(struct workload_run *run, uint32_t thread);                 // frees inbox and slots

// Lives of newly born threads, one after another: body(run, thread, generation) for each generation in [from, to).
void core_generations(struct workload_run *run, uint32_t thread, uint32_t from, uint32_t to,
                      void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation));

// Frees what has arrived; returns how many.
uint64_t core_drain(struct workload_run *run, struct core_thread *thread);
// Hands over although the ring is full: helps by draining until there is room. Returns 0 when the run stops.
int core_push_slow(struct workload_run *run, uint32_t thread, struct handover_queue *queue, struct object object);
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
    uint8_t mask;
};

OBJECT_INLINE struct core_env core_env_of(const struct workload_run *run) {
    return (struct core_env){run->allocator.alloc, run->allocator.free,
                             run->free_remote != NULL ? run->free_remote : run->allocator.free, &core_of(run)->sizes,
                             run->payload_mask};
}

// One multiply an event. The rotation brings high bits back down, where the next product can spread them again.
OBJECT_INLINE void core_event(struct core_hot *hot, uint64_t bytes, uint64_t slot, uint64_t target) {
    const uint64_t event = bytes ^ slot << 32 ^ target << 54;
    hot->hash = rng_rotl(hot->hash ^ event, 29) * RNG_GAMMA;
}

// Returns 0 when the allocator has no memory; the object is then empty.
OBJECT_INLINE int core_new(const struct core_env *env, struct core_hot *hot, struct object *out, uint32_t bytes,
                           uint32_t tag, enum workload_touch touch) {
    const struct object object = {env->alloc(bytes), bytes, tag};
    *out = object;
    if (__builtin_expect(object.block == NULL, 0))
        return 0;
    object_fill(&object, touch);
    hot->allocated_bytes += bytes;
    hot->allocs++;
    return 1;
}

// The usual beginning of an op: the next size of the stream, its event, and an object of it.
OBJECT_INLINE int core_draw(const struct core_env *env, struct core_hot *hot, struct object *out, uint64_t slot,
                            uint64_t target, enum workload_touch touch) {
    const uint64_t random = rng_splitmix(&hot->size_rng);
    const uint32_t bytes = sizes_pick(env->sizes, random);
    core_event(hot, bytes, slot, target);
    return core_new(env, hot, out, bytes, object_tag(0, random), touch);
}

// `free_it` is env->free or env->free_remote.
OBJECT_INLINE void core_delete_by(void (*free_it)(void *block), const struct core_env *env, struct core_hot *hot,
                                  struct object object, enum workload_touch touch) {
    hot->corruptions += object_is_bad(&object, object.bytes, touch, env->mask);
    free_it(object.block);
    hot->freed_bytes += object.bytes;
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

OBJECT_INLINE void core_publish(struct workload_counters *counters, const struct core_hot *hot,
                                const struct core_inbox *inbox) {
    core_publish_live(counters, hot);
    atomic_store_explicit(&counters->allocs, hot->allocs, memory_order_relaxed);
    atomic_store_explicit(&counters->frees_local, hot->frees_local, memory_order_relaxed);
    atomic_store_explicit(&counters->frees_remote, hot->frees_foreign + inbox->frees_remote, memory_order_relaxed);
    atomic_store_explicit(&counters->corruptions, hot->corruptions + inbox->corruptions, memory_order_relaxed);
    atomic_store_explicit(&counters->failures, inbox->failures, memory_order_relaxed);
    atomic_store_explicit(&counters->waits, inbox->waits, memory_order_relaxed);
    atomic_store_explicit(&counters->stream_hash, hot->hash, memory_order_relaxed);
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

// How many ops are left, by count or by clock.
struct core_budget {
    uint64_t left;
    uint32_t timed;
    uint32_t turns;
};

OBJECT_INLINE struct core_budget core_budget_of(const struct workload_run *run) {
    const uint32_t timed = run->params.duration_ns != 0;
    return (struct core_budget){timed ? UINT64_MAX : run->params.ops, timed, 0};
}

// Ops to do before asking again; 0: finished. Looks at the clock every fourth time, and not before the first ops.
OBJECT_INLINE uint64_t core_budget_take(struct core_budget *budget, struct workload_run *run) {
    if (core_stopped(run))
        return 0;
    if (budget->timed) {
        if ((++budget->turns & 3) == 0 && run->host->now_ns() >= run->deadline_ns)
            return 0;
        return CORE_CHUNK;
    }
    const uint64_t chunk = budget->left < CORE_CHUNK ? budget->left : CORE_CHUNK;
    budget->left -= chunk;
    return chunk;
}

// The replacement loop: a random slot's object is freed, here or by another thread, and replaced by a new one.
void core_replace_local(struct workload_run *run, uint32_t thread);
void core_replace_remote(struct workload_run *run, uint32_t thread);
void core_replace_mixed(struct workload_run *run, uint32_t thread); // and realloc, aligned and calloc

#endif
