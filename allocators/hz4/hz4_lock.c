// SPDX-License-Identifier: Apache-2.0
// Acquiring a heap: its lock. An alive heap is held by its thread on slow paths and by helpers for a moment, an
// abandoned one by any thread that drains it or takes its runs. The status of a heap changes only while it is held
// (common/heaps.h).
#include "hz4.h"

#include "../common/fork.h"

// The heap of another thread, which is going to fork, maybe.
static int is_needed(const struct hz4_heap *heap) {
    return heap != hz4_thread.heap && hz_status_peek(&heap->common.status) == HZ_HEAP_ALIVE && hz_fork_needs_heaps();
}

int hz4_try_acquire(struct hz4_heap *heap) {
    int is_held = hz_try_lock(&heap->lock);
    if (HZ_UNLIKELY(is_held && is_needed(heap))) {
        hz_unlock(&heap->lock);
        return 0;
    }
    hz4_thread.holds += (uint32_t)is_held;
    return is_held;
}

int hz4_may_wait(struct hz4_heap *heap) {
    return hz4_thread.holds == 0 && hz_status_peek(&heap->common.status) != HZ_HEAP_LOST;
}

void hz4_acquire_wait(struct hz4_heap *heap) {
    hz_lock(&heap->lock);
    while (HZ_UNLIKELY(is_needed(heap)) && hz_fork_is_alone()) {
        hz_unlock(&heap->lock);
        hz_fork_wait();
        hz_lock(&heap->lock);
    }
    hz4_thread.holds++;
}

// The holder may be a helper that drains the heap's queue, with a lower priority: the lock lends it ours.
void hz4_acquire(struct hz4_heap *heap) {
    uint32_t activity = atomic_load_explicit(&heap->activity, memory_order_relaxed);
    atomic_store_explicit(&heap->activity, activity + 1, memory_order_relaxed);
    if (hz_fork_is_near() && hz4_thread.holds == 0)
        hz_fork_wait();
    hz4_acquire_wait(heap);
}

void hz4_release(struct hz4_heap *heap) {
    for (;;) {
        int is_abandoned = hz_status_peek_abandoned(&heap->common.status);
        hz4_thread.holds--;
        hz_unlock(&heap->lock);
        if (!is_abandoned) // or a new thread was faster than we
            return;
        hz4_fence_released();
        if (!hzn_heap_has_remote(&heap->common) || !hz4_try_acquire(heap))
            return;
        if (hz_status_peek_abandoned(&heap->common.status))
            hzn_heap_drain(&heap->common);
    }
}

// ---- fork ---------------------------------------------------------------------------------------------------------

// One that a thread holds may be in the middle of anything.
int hzn_heap_is_whole(struct hz_heap *heap) {
    hz_mutex *lock = &hz4_heap_of(heap)->lock;
    if (!hz_try_lock(lock))
        return 0;
    hz_unlock(lock);
    return 1;
}

// A helper that holds this thread's heap lets it go, and no other comes.
void hzn_fork_lock(void) {
    struct hz4_heap *mine = hz4_thread.heap;
    if (mine != NULL && hz4_thread.holds == 0) {
        hz_lock(&mine->lock);
        hz_unlock(&mine->lock);
    }
    hz4_granule_fork_lock();
}

// A signal handler that forks may have interrupted this thread while it held heaps.
void hzn_fork_inherit(void) {
    hz4_granule_fork_inherit();
    if (hz4_thread.heap != NULL && hz4_thread.holds == 0)
        hz_lock_forget(&hz4_thread.heap->lock); // a helper's that was about to see the fork come
    uint32_t count = hz4_thread.holds != 0 ? hz_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (hz_fork_is_alone() || heap == hz4_thread.heap)
            hz_lock_inherit(&heap->lock);
    }
}

void hzn_fork_unlock(void) {
    hz4_granule_fork_unlock();
}
