// SPDX-License-Identifier: Apache-2.0
// heaps.h
#include "heaps.h"

#include "fork.h"
#include "hzn.h"

struct hz_heaps hz_heaps;

// Without a lock: whoever finds the next place taken, but not counted yet, counts it, since the thread that took it
// need not be running.
int hz_heap_register(struct hz_heap *heap) {
    for (;;) {
        uint32_t count = hz_heap_count();
        if (count == HZ_MAX_HEAPS)
            return 0;
        heap->id = count + 1;
        struct hz_heap *nobody = NULL;
        // ORDER: release: the heap's fields; partner: hz_heap_by_id().
        int is_ours = atomic_compare_exchange_strong_explicit(&hz_heaps.by_id[count + 1], &nobody, heap,
                                                              memory_order_release, memory_order_relaxed);
        // ORDER: release: the place, whoever has taken it: this thread has read or written it, so nobody who acquires
        // the count reads an older value of it; partner: hz_heap_count().
        atomic_compare_exchange_strong_explicit(&hz_heaps.count, &count, count + 1, memory_order_release,
                                                memory_order_relaxed);
        if (is_ours)
            return 1;
    }
}

int hz_heap_acquire(struct hz_heap *heap) {
    if (!hz_status_peek_abandoned(&heap->status) || !hz_status_acquire(&heap->status))
        return 0;
    atomic_fetch_sub_explicit(&hz_heaps.abandoned, 1, memory_order_relaxed);
    return 1;
}

// Who pushes to the heap's remote queue from now on sees the status and drains the queue; what was pushed before is
// seen here.
void hz_heap_release(struct hz_heap *heap) {
    for (;;) {
        atomic_fetch_add_explicit(&hz_heaps.abandoned, 1, memory_order_relaxed);
        hz_status_abandon(&heap->status);
        if (!hzn_heap_has_remote(heap) || !hz_heap_acquire(heap))
            return;
        hzn_heap_drain(heap);
    }
}

struct hz_heap *hz_heap_acquire_next(uint32_t *id) {
    uint32_t count = hz_heap_abandoned_count() > 0 ? hz_heap_count() : 0;
    while (*id < count) {
        struct hz_heap *heap = hz_heap_by_id(++*id);
        if (hz_heap_acquire(heap))
            return heap;
    }
    return NULL;
}

struct hz_heap *hz_heap_reclaim(void) {
    uint32_t id = 0;
    struct hz_heap *heap = hz_heap_acquire_next(&id);
    if (heap != NULL)
        hz_status_reclaim(&heap->status);
    return heap;
}

// ---- helping ------------------------------------------------------------------------------------------------------

int hz_heap_help(struct hz_heap *heap) {
    if (hz_status_peek(&heap->status) != HZ_HEAP_ALIVE || !hz_try_lock(&heap->helping))
        return 0;
    if (hz_status_help(&heap->status)) {
        if (!hz_fork_needs_heaps())
            return 1;
        hz_status_helped(&heap->status);
    }
    hz_unlock(&heap->helping);
    return 0;
}

void hz_heap_helped(struct hz_heap *heap) {
    hz_status_helped(&heap->status);
    hz_unlock(&heap->helping);
}

void hz_heaps_visit(void (*visit)(struct hz_heap *heap)) {
    for (uint32_t id = 1; id <= hz_heap_count(); id++) {
        struct hz_heap *heap = hz_heap_by_id(id);
        if (hz_heap_help(heap)) {
            visit(heap);
            hz_heap_helped(heap);
        } else if (hz_heap_acquire(heap)) {
            visit(heap);
            hz_heap_release(heap);
        }
    }
}

static void wait_for_helper(struct hz_heap *heap) {
    hz_lock(&heap->helping);
    hz_unlock(&heap->helping);
}

// A signal handler that allocates may have interrupted the slow path that holds the heap: nobody else would let it go.
HZ_COLD void hz_heap_hold_slow(struct hz_heap *heap) {
    while (hz_status_peek(&heap->status) != HZ_HEAP_HELD && !hz_status_hold(&heap->status))
        wait_for_helper(heap);
}

void hz_heaps_end_help(void) {
    struct hz_heap *mine = hzn_heap_of_thread();
    while (mine != NULL && hz_status_is_helped(&mine->status))
        wait_for_helper(mine);
}

// ---- fork ---------------------------------------------------------------------------------------------------------

// The heap of a thread that may be changing it, or NULL.
static struct hz_heap *other_heap(uint32_t id) {
    struct hz_heap *heap = hz_heap_by_id(id);
    int is_other = heap != hzn_heap_of_thread() && hz_status_peek(&heap->status) != HZ_HEAP_LOST;
    return is_other ? heap : NULL;
}

int hz_heaps_are_whole(void) {
    uint32_t count = hz_heap_count();
    for (uint32_t id = 1; id <= count; id++) {
        struct hz_heap *heap = other_heap(id);
        if (heap != NULL && !hzn_heap_is_whole(heap))
            return 0;
    }
    return 1;
}

// Only the forking thread lives on. What other threads had in caches of their own is lost to the child. A block of a
// lost heap can still be freed; it is not reused.
void hz_heaps_survive_fork(void) {
    uint32_t count = hz_heap_count();
    uint32_t abandoned = 0;
    struct hz_heap *mine = hzn_heap_of_thread();
    if (mine != NULL) {
        if (hz_status_peek(&mine->status) == HZ_HEAP_HELPED) // by who was about to see the fork come
            hz_status_helped(&mine->status);
        hz_lock_forget(&mine->helping);
    }
    for (uint32_t id = 1; id <= count; id++) {
        struct hz_heap *heap = other_heap(id);
        if (heap == NULL)
            continue;
        if (hzn_heap_is_whole(heap)) {
            hz_status_survive(&heap->status);
            hz_lock_forget(&heap->helping);
            abandoned++;
        } else {
            hz_status_lose(&heap->status);
        }
    }
    atomic_store_explicit(&hz_heaps.abandoned, abandoned, memory_order_relaxed);
}
