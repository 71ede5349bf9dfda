// SPDX-License-Identifier: Apache-2.0
// Heaps and threads: who holds a heap, how one begins, outlives its thread and goes to the next one, and fork.
//
//   ALIVE -> DEAD     its thread has ended
//   DEAD -> ALIVE     a new thread has taken it
//   any -> LOST       after a fork, in the child: a thread that is not there held it
//
// All but the last while it is held. An alive heap is held by its owner on slow paths and by helpers for a moment, a
// dead one by anybody who has a reason.
#include "hz4.h"

#include "../common/check.h"
#include "../common/fork.h"
#include "../common/options.h"
#include "../common/os_mem.h"
#include "../common/thread_end.h"

#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t lock; // guards initialisation
    _Atomic int ready;
    _Atomic uint32_t count;
    _Atomic uint32_t dead;
    _Atomic(struct hz4_heap *) by_id[HZ4_MAX_HEAPS + 1];
} heaps = {.lock = PTHREAD_MUTEX_INITIALIZER};

// ---- holding ------------------------------------------------------------------------------------------------------

int hz4_try_hold(struct hz4_heap *heap) {
    int is_held = hz_try_lock(&heap->lock);
    hz4_thread.holds += (uint32_t)is_held;
    return is_held;
}

int hz4_may_await(struct hz4_heap *heap) {
    return hz4_thread.holds == 0 && !hz4_control_is_lost(&heap->control);
}

void hz4_await(struct hz4_heap *heap) {
    hz_lock(&heap->lock);
    hz4_thread.holds++;
}

// Who holds it may be a helper that brings messages home, and have a lower priority: the lock lends it ours.
void hz4_hold(struct hz4_heap *heap) {
    uint32_t activity = atomic_load_explicit(&heap->activity, memory_order_relaxed);
    atomic_store_explicit(&heap->activity, activity + 1, memory_order_relaxed);
    if (hz_fork_is_near() && hz4_thread.holds == 0)
        hz_fork_wait();
    hz4_await(heap);
}

void hz4_let_go(struct hz4_heap *heap) {
    for (;;) {
        int is_dead = hz4_control_is_dead(&heap->control);
        hz4_thread.holds--;
        hz_unlock(&heap->lock);
        if (!is_dead) // or a new thread was faster than we
            return;
        hz4_fence_let_go();
        if (hz4_inbox_look(&heap->inbox) == 0 || !hz4_try_hold(heap))
            return;
        if (!hz4_control_is_dead(&heap->control))
            continue;
        hz4_drain(heap, UINT32_MAX);
        if (heap == hz4_thread.heap) { // the end of its thread: what belongs to others goes on at once
            hz4_stage_flush_all();
            hz4_pool_give_all(&heap->local);
        }
    }
}

// ---- initialisation and fork --------------------------------------------------------------------------------------

HZ_THREAD_LOCAL int hz4_thread_has_ended;

void core_thread_end(void) {
    hz4_thread_has_ended = 1;
    hz4_thread_fini();
}

int core_fork_is_quiet(void) {
    uint32_t count = hz4_heap_count();
    for (uint32_t id = 1; id <= count; id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (heap == NULL || heap == hz4_thread.heap || hz4_control_is_lost(&heap->control))
            continue;
        if (!hz_try_lock(&heap->lock))
            return 0;
        hz_unlock(&heap->lock);
    }
    return 1;
}

// A signal handler that forks may have interrupted this thread while it held heaps.
void core_fork_inherit(void) {
    arena_fork_inherit();
    hz4_granule_fork_inherit();
    uint32_t count = hz4_thread.holds != 0 ? hz4_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (heap != NULL && (hz_fork_is_alone() || heap == hz4_thread.heap))
            hz_lock_inherit(&heap->lock);
    }
}

void core_fork_prepare(void) {
    pthread_mutex_lock(&heaps.lock);
    hz4_granule_fork_prepare();
    arena_fork_prepare();
}

void core_fork_parent(void) {
    arena_fork_done();
    hz4_granule_fork_done();
    pthread_mutex_unlock(&heaps.lock);
}

// Only the forking thread lives on. A heap that nobody held is whole, and dead now; one that was held may be in the
// middle of anything and stays held for ever. What other threads had cached or staged is lost to the child.
void core_fork_child(void) {
    uint32_t count = atomic_load_explicit(&heaps.count, memory_order_relaxed);
    for (uint32_t id = 1; id <= count; id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (heap == NULL || heap == hz4_thread.heap)
            continue;
        if (!hz_try_lock(&heap->lock)) {
            hz4_control_lose(&heap->control);
            continue;
        }
        if (hz4_control_is_alive(&heap->control)) {
            hz4_control_survive(&heap->control);
            atomic_fetch_add_explicit(&heaps.dead, 1, memory_order_relaxed);
        }
        hz_unlock(&heap->lock);
    }
    core_fork_parent();
}

static int follow_units(size_t units) {
    atomic_store_explicit(&hz4_granule_count, units * HZ4_UNIT_GRANULES, memory_order_relaxed);
    return 1;
}

void core_limit_address_space(size_t limit) {
    arena_limit_address_space(limit);
}

static HZ_COLD int init_slow(void) {
    pthread_mutex_lock(&heaps.lock);
    int ready = atomic_load_explicit(&heaps.ready, memory_order_relaxed);
    if (!ready && arena_init(HZ4_UNIT_GRANULES * sizeof(struct hz4_tag), follow_units)) {
        hz4_base_granule = arena.base >> HZ4_GRANULE_SHIFT;
        follow_units(atomic_load_explicit(&arena.unit_count, memory_order_relaxed));
        hz4_tags = (struct hz4_tag *)(void *)arena.table;
        // Memory that a burst has brought is needed by the next one, and page faults are dear: what is free may stay as
        // long as it is less than what is used, or small. The peak does not suffer: free units are used before new
        // ones.
        static const struct option none = {NULL, NULL, NULL};
        struct arena_limits limits = {
            .retain_bytes = HZ_MIB(4), .retain_percent = 100, .decay_ms = 1000, .learns = 1, .holes_percent = 25};
        options_load("HZ4_OPTIONS", &limits, &none);
        arena_set_limits(&limits);
        sizeclass_init();
        hz4_magazines_lay_out();
        ready = hz4_granule_init();
        // ORDER: release: everything above; partner: the acquire load in hz4_init().
        atomic_store_explicit(&heaps.ready, ready, memory_order_release);
    }
    pthread_mutex_unlock(&heaps.lock);
    return ready;
}

int hz4_init(void) {
    // ORDER: acquire: pairs with the release store in init_slow().
    return HZ_LIKELY(atomic_load_explicit(&heaps.ready, memory_order_acquire)) ? 1 : init_slow();
}

int core_init(void) {
    return hz4_init();
}

// ---- heaps --------------------------------------------------------------------------------------------------------

struct hz4_heap *hz4_heap_by_id(uint32_t id) {
    // ORDER: acquire: the heap's fields; partner: register_heap().
    return atomic_load_explicit(&heaps.by_id[id], memory_order_acquire);
}

uint32_t hz4_heap_count(void) {
    return atomic_load_explicit(&heaps.count, memory_order_relaxed);
}

uint32_t hz4_alive_count(void) {
    uint32_t count = hz4_heap_count();
    uint32_t dead = atomic_load_explicit(&heaps.dead, memory_order_relaxed);
    return count > dead ? count - dead : 1;
}

static struct hz4_heap *revive_heap(void) {
    uint32_t count = atomic_load_explicit(&heaps.dead, memory_order_relaxed) > 0 ? hz4_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (heap == NULL || !hz4_control_is_dead(&heap->control) || !hz4_try_hold(heap))
            continue;
        if (hz4_control_is_dead(&heap->control)) {
            atomic_fetch_sub_explicit(&heaps.dead, 1, memory_order_relaxed);
            // After a fork the last owner may have been stopped anywhere; what it cached is lost.
            memset(&heap->local, 0, sizeof heap->local);
            memset(heap->large_count, 0, sizeof heap->large_count);
            heap->large_bytes = 0;
            return heap;
        }
        hz4_let_go(heap);
    }
    return NULL;
}

// Gives the heap its id and its place; 0 when all are taken. Without a lock: whoever finds the next place taken, but
// not counted yet, counts it, since the thread that took it need not be running.
static int register_heap(struct hz4_heap *heap) {
    for (;;) {
        uint32_t count = hz4_heap_count();
        if (count == HZ4_MAX_HEAPS)
            return 0;
        heap->id = count + 1;
        struct hz4_heap *nobody = NULL;
        // ORDER: release: the heap's fields; partner: hz4_heap_by_id().
        int is_ours = atomic_compare_exchange_strong_explicit(&heaps.by_id[count + 1], &nobody, heap,
                                                              memory_order_release, memory_order_relaxed);
        atomic_compare_exchange_strong_explicit(&heaps.count, &count, count + 1, memory_order_relaxed,
                                                memory_order_relaxed);
        if (is_ours)
            return 1;
    }
}

// Held.
static struct hz4_heap *new_heap(void) {
    size_t bytes = sizeof(struct hz4_heap) + hz4_magazines_entries() * sizeof(void *);
    struct hz4_heap *heap = hz4_heap_count() < HZ4_MAX_HEAPS ? arena_metadata(bytes, OS_PAGE_BYTES) : NULL;
    if (heap == NULL)
        return NULL;
    hz4_messages_begin(heap);
    hz4_await(heap);
    if (register_heap(heap))
        return heap;
    hz4_let_go(heap);
    return NULL;
}

static HZ_COLD struct hz4_heap *heap_begin(void) {
    struct hz4_heap *heap = hz4_init() ? revive_heap() : NULL;
    if (heap == NULL && hz4_init())
        heap = new_heap();
    if (heap == NULL)
        return NULL;
    hz4_magazines_begin(heap);
    hz4_thread.heap = heap;
    hz4_control_begin(&heap->control);
    hz4_let_go(heap);
    if (hz4_thread_has_ended)
        return heap;       // for one call: hz4_heap_leave()
    hz_thread_end_watch(); // may allocate: the heap is complete by now
    return heap;
}

struct hz4_heap *hz4_heap_of_thread(void) {
    struct hz4_heap *heap = hz4_thread.heap;
    return HZ_LIKELY(heap != NULL) ? heap : heap_begin();
}

// The thread may still allocate and free afterwards: destructors of other keys in up to four rounds, of which the last
// follows our last, and the C library when all are through. So what it begins now lasts for one call.
void hz4_thread_fini(void) {
    struct hz4_heap *heap = hz4_thread.heap;
    if (heap == NULL)
        return;
    hz4_large_flush(heap);
    if (hz4_alive_count() <= 2)
        hz4_depot_clear(heap); // nobody is left to exchange with
    hz4_hold(heap);
    hz4_magazines_end(heap);
    hz4_drain(heap, UINT32_MAX);
    hz4_run_release_empty(heap);
    hz4_stage_flush_all();
    hz4_pool_give_all(&heap->local);
    hz4_depot_fold(&heap->local);
    atomic_fetch_add_explicit(&heaps.dead, 1, memory_order_relaxed);
    hz4_control_end(&heap->control);
    hz4_let_go(heap);
    hz4_thread.heap = NULL;
}
