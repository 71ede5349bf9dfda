// SPDX-License-Identifier: Apache-2.0
// Fork in a process of several threads: the child has the forking thread alone, and of the other threads' heaps what
// was in memory at the instant of the fork. A heap's owner says in `is_busy` when it changes what only it may change,
// so the child sees which heaps are whole. While a fork is under way owners wait before they begin. Layer: common.
#ifndef HZ_FORK_H
#define HZ_FORK_H

#include "compiler.h"

#include <stdatomic.h>
#include <stdint.h>

extern HZ_HIDDEN _Atomic uint32_t hz_fork_is_coming;
void hz_fork_wait(void); // until it is over; not in the thread that forks
void hz_fork_wait_idle(_Atomic uint32_t *is_busy);

int hz_fork_is_alone(void); // the process had one thread when it forked

HZ_INLINE int hz_fork_is_near(void) {
    return HZ_UNLIKELY(atomic_load_explicit(&hz_fork_is_coming, memory_order_relaxed) != 0);
}

// Asked by who has just taken a heap of another thread, which must not be held when that thread forks: the child would
// wait for a holder that is not there.
HZ_INLINE int hz_fork_needs_heaps(void) {
    // ORDER: seq_cst: after the heap was taken; partner: the store in fork_linux.c, before the look who holds the heap.
    return atomic_load_explicit(&hz_fork_is_coming, memory_order_seq_cst) != 0;
}

// Between these two an owner changes the lists and counts of its heap: on every slow path that does, never nested.
HZ_INLINE void hz_heap_enter(_Atomic uint32_t *is_busy) {
    atomic_store_explicit(is_busy, 1, memory_order_relaxed);
    if (hz_fork_is_near())
        hz_fork_wait_idle(is_busy);
    // ORDER: release: the mark comes before all changes, in the memory that a child is given; partner: fork itself.
    // Both this and the look above may come too late for a fork on another processor: then the child sees the mark.
    atomic_thread_fence(memory_order_release);
}

HZ_INLINE void hz_heap_leave(_Atomic uint32_t *is_busy) {
    // ORDER: release: all changes come before; partner: as above.
    atomic_store_explicit(is_busy, 0, memory_order_release);
}

#endif
