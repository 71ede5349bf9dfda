// SPDX-License-Identifier: Apache-2.0
// The registry of a library's heaps, and their life cycle. A heap has one thread; it outlives it and goes, whole, to a
// new one. Heaps are never freed, and an id never means another heap.
//
//   UNUSED -> ALIVE -> ABANDONED -> ALIVE    its thread ends, a new thread reclaims it
//   ABANDONED -> ACQUIRED -> ABANDONED       hz3, hz5: a thread drains it, or adopts runs of it
//   ALIVE -> HELD -> ALIVE or ABANDONED      hz3, hz5: its thread changes its runs
//   ALIVE -> HELPED -> ALIVE                 hz3, hz5: another thread drains it, since its own one does not
//   any -> ABANDONED or LOST                 in the child of a fork: heaps of other threads, whole or not
//
// hz4 has a lock in each heap instead of ACQUIRED, HELD and HELPED, since its threads also take blocks and runs of
// heaps that are alive.
//
// SYNCHRONIZATION: no lock. A heap is registered by one compare-and-swap on its place in the table. Who pushes to a
// heap's remote queue looks at the status afterwards; who abandons the heap looks at the queue afterwards: one of them
// sees the other, so nothing stays in the queue of an abandoned heap. Helpers only try; the heap's thread waits for its
// helper, by a lock that lends the helper its priority. Layer: common.
#ifndef HZ_HEAPS_H
#define HZ_HEAPS_H

#include "compiler.h"
#include "heap_states.h"
#include "lock.h"

#define HZ_MAX_HEAPS 65535u

// What the heap of every allocator begins with; on a line that other threads read.
struct hz_heap {
    struct hz_status status; // any: enum hz_heap_status
    uint32_t id;             // const once registered, 1..HZ_MAX_HEAPS; owners of runs are named by it
    hz_mutex helping;        // hz3, hz5: of the thread that helps; the heap's thread waits by it
    _Atomic uint32_t holds;  // hz3, hz5: how often its thread has held it, for who asks whether it comes at all
};

struct hz_heaps {
    _Atomic uint32_t count;
    _Atomic uint32_t abandoned;
    _Atomic(struct hz_heap *) by_id[HZ_MAX_HEAPS + 1];
};

HZ_HIDDEN extern struct hz_heaps hz_heaps;

// Ids 1..count are taken: hz_heap_by_id() has a heap for each.
HZ_INLINE uint32_t hz_heap_count(void) {
    // ORDER: acquire: the places of the table up to it; partner: hz_heap_register().
    return atomic_load_explicit(&hz_heaps.count, memory_order_acquire);
}

HZ_INLINE uint32_t hz_heap_abandoned_count(void) {
    return atomic_load_explicit(&hz_heaps.abandoned, memory_order_relaxed);
}

// Heaps that have a thread; at least 1.
HZ_INLINE uint32_t hz_heap_alive_count(void) {
    uint32_t count = hz_heap_count();
    uint32_t abandoned = hz_heap_abandoned_count();
    return count > abandoned ? count - abandoned : 1;
}

HZ_INLINE struct hz_heap *hz_heap_by_id(uint32_t id) {
    // ORDER: acquire: the heap's fields; partner: hz_heap_register().
    return atomic_load_explicit(&hz_heaps.by_id[id], memory_order_acquire);
}

int hz_heap_register(struct hz_heap *heap); // gives a complete heap its id; 0 when all are taken

// Of hz3 and hz5.
int hz_heap_acquire(struct hz_heap *heap);          // 1 if it was abandoned and is the caller's now
void hz_heap_release(struct hz_heap *heap);         // by its thread, that ends, or by who has acquired it
struct hz_heap *hz_heap_acquire_next(uint32_t *id); // the first one above *id that can be acquired, or NULL
struct hz_heap *hz_heap_reclaim(void);              // an abandoned heap for the calling thread, or NULL

// Of hz3 and hz5: between these two the heap's thread alone changes its runs.
void hz_heap_hold_slow(struct hz_heap *heap);

HZ_INLINE void hz_heap_hold(struct hz_heap *heap) {
    if (HZ_UNLIKELY(!hz_status_hold(&heap->status)))
        hz_heap_hold_slow(heap);
    uint32_t holds = atomic_load_explicit(&heap->holds, memory_order_relaxed);
    atomic_store_explicit(&heap->holds, holds + 1, memory_order_relaxed);
}

HZ_INLINE void hz_heap_let_go(struct hz_heap *heap) {
    hz_status_let_go(&heap->status);
}

// And between these two another thread, if the heap is alive, its thread is on no slow path, and no fork is coming.
int hz_heap_help(struct hz_heap *heap); // 1 on success; never waits
void hz_heap_helped(struct hz_heap *heap);

// Visits every heap whose thread is on no slow path or has ended, as its helper or holder.
void hz_heaps_visit(void (*visit)(struct hz_heap *heap));

HZ_INLINE int hz_heap_is_helped(const struct hz_heap *heap) { // asked by who holds or helps
    return hz_status_peek(&heap->status) == HZ_HEAP_HELPED;
}

// Nobody changes the heap's runs. Of hz3 and hz5.
HZ_INLINE int hz_heap_is_at_rest(const struct hz_heap *heap) {
    uint32_t status = hz_status_peek(&heap->status);
    return status == HZ_HEAP_ALIVE || status == HZ_HEAP_ABANDONED;
}

// Of hz4, which holds the heap's lock.
HZ_INLINE void hz_heap_abandon_locked(struct hz_heap *heap) {
    atomic_fetch_add_explicit(&hz_heaps.abandoned, 1, memory_order_relaxed);
    hz_status_abandon_locked(&heap->status);
}

HZ_INLINE void hz_heap_reclaim_locked(struct hz_heap *heap) {
    atomic_fetch_sub_explicit(&hz_heaps.abandoned, 1, memory_order_relaxed);
    hz_status_reclaim_locked(&heap->status);
}

// Fork: waits for a helper of the calling thread's heap; none comes while hz_fork_is_coming.
void hz_heaps_end_help(void);
// 1 while no thread but the calling one changes a heap; in the child: heaps of threads that are not there become
// abandoned ones if they are whole, and lost if not.
int hz_heaps_are_whole(void);
void hz_heaps_survive_fork(void);

#endif
