// SPDX-License-Identifier: Apache-2.0
// Heaps and threads: a heap outlives its thread and goes, whole, to the next one; while it has no thread anybody who
// has a reason may claim it for a moment (to collect what was freed into it, or to adopt its runs).
//
//   UNUSED -> ALIVE -> DEAD <-> CLAIMED,  DEAD -> ALIVE
//   after fork, in the child: others ALIVE -> DEAD; ORPHAN if they were being changed, or CLAIMED
#include "hz5.h"

#include "../common/check.h"
#include "../common/os_mem.h"
#include "../common/thread_end.h"

#include <pthread.h>

uint32_t hz5_magazine_offset[SIZECLASS_COUNT];
uint32_t hz5_magazine_entries[SIZECLASS_COUNT];

static struct {
    pthread_mutex_t lock; // guards initialisation
    _Atomic int ready;
    uint32_t heap_bytes;
    _Atomic uint32_t count;
    _Atomic uint32_t dead;
    _Atomic(struct hz5_heap *) by_id[HZ5_MAX_HEAPS + 1];
} heaps = {.lock = PTHREAD_MUTEX_INITIALIZER};

_Atomic uint64_t hz5_heapless_issued;

static struct hz5_entry no_entry = {NULL, NULL};

// ---- initialisation -----------------------------------------------------------------------------------------------

static void lay_out_magazines(void) {
    uint32_t offset = 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        uint32_t entries = hz5_profile.magazine_bytes / sizeclass_bytes[size_class];
        if (entries > hz5_profile.magazine_max)
            entries = hz5_profile.magazine_max;
        if (entries < hz5_profile.magazine_min)
            entries = hz5_profile.magazine_min;
        hz5_magazine_entries[size_class] = entries;
        hz5_magazine_offset[size_class] = offset;
        offset += entries + 1; // entry 0 is the empty mark
    }
    heaps.heap_bytes = (uint32_t)(sizeof(struct hz5_heap) + offset * sizeof(struct hz5_entry));
}

HZ_THREAD_LOCAL int hz5_thread_has_ended;

void core_thread_end(void) {
    hz5_thread_has_ended = 1;
    hz5_thread_fini();
}

static HZ_COLD int init_slow(void) {
    pthread_mutex_lock(&heaps.lock);
    int ready = atomic_load_explicit(&heaps.ready, memory_order_relaxed);
    if (!ready && arena_init(sizeof(struct hz5_desc), NULL)) {
        hz5_profile_load();
        arena_set_limits(&hz5_profile.limits);
        sizeclass_init();
        lay_out_magazines();
        ready = 1;
        // ORDER: release: everything above; partner: the acquire load in hz5_init().
        atomic_store_explicit(&heaps.ready, ready, memory_order_release);
    }
    pthread_mutex_unlock(&heaps.lock);
    return ready;
}

int hz5_init(void) {
    // ORDER: acquire: pairs with the release store in init_slow().
    return HZ_LIKELY(atomic_load_explicit(&heaps.ready, memory_order_acquire)) ? 1 : init_slow();
}

int core_init(void) {
    return hz5_init();
}

// ---- fork
// ----------------------------------------------------------------------------------------------------------------

static uint32_t status_of(const struct hz5_heap *heap) {
    return heap != NULL ? hz5_status_peek(&heap->status) : HZ5_HEAP_UNUSED;
}

static int is_busy(const struct hz5_heap *heap) {
    return atomic_load_explicit(&heap->is_busy, memory_order_relaxed) != 0;
}

int core_fork_is_quiet(void) {
    uint32_t count = hz5_heap_count();
    for (uint32_t id = 1; id <= count; id++) {
        struct hz5_heap *heap = hz5_heap_by_id(id);
        uint32_t status = status_of(heap);
        if (heap != hz5_thread.heap && (status == HZ5_HEAP_CLAIMED || (status == HZ5_HEAP_ALIVE && is_busy(heap))))
            return 0;
    }
    return 1;
}

void core_fork_prepare(void) {
    pthread_mutex_lock(&heaps.lock);
    hz5_run_fork_prepare();
    arena_fork_prepare();
}

void core_fork_inherit(void) {
    arena_fork_inherit();
    hz5_run_fork_inherit();
}

void core_fork_parent(void) {
    arena_fork_done();
    hz5_run_fork_done();
    pthread_mutex_unlock(&heaps.lock);
}

// Only the forking thread lives on. A heap that was not being changed is whole and dead now; blocks in its magazines
// are lost to the child, since their tops are in the thread. Of one that was, blocks can still be freed (one state byte
// each), but nothing is reused.
void core_fork_child(void) {
    uint32_t count = hz5_heap_count();
    uint32_t dead = 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz5_heap *heap = hz5_heap_by_id(id);
        uint32_t status = status_of(heap);
        if (heap != hz5_thread.heap && (status == HZ5_HEAP_ALIVE || status == HZ5_HEAP_CLAIMED)) {
            status = status == HZ5_HEAP_ALIVE && !is_busy(heap) ? HZ5_HEAP_DEAD : HZ5_HEAP_ORPHAN;
            if (status == HZ5_HEAP_DEAD)
                hz5_status_survive(&heap->status);
            else
                hz5_status_orphan(&heap->status);
        }
        dead += status == HZ5_HEAP_DEAD;
    }
    atomic_store_explicit(&heaps.dead, dead, memory_order_relaxed);
    core_fork_parent();
}

void core_limit_address_space(size_t limit) {
    arena_limit_address_space(limit);
}

// ---- heaps --------------------------------------------------------------------------------------------------------

struct hz5_heap *hz5_heap_by_id(uint32_t id) {
    // ORDER: acquire: the heap's fields; partner: register_heap().
    return atomic_load_explicit(&heaps.by_id[id], memory_order_acquire);
}

uint32_t hz5_heap_count(void) {
    return atomic_load_explicit(&heaps.count, memory_order_relaxed);
}

uint32_t hz5_dead_heap_count(void) {
    return atomic_load_explicit(&heaps.dead, memory_order_relaxed);
}

int hz5_heap_claim_dead(struct hz5_heap *heap) {
    if (!hz5_status_peek_dead(&heap->status) || !hz5_status_claim(&heap->status))
        return 0;
    atomic_fetch_sub_explicit(&heaps.dead, 1, memory_order_relaxed);
    return 1;
}

// Sets the heap down. Blocks freed into it from now on are collected by the thread that frees them, if it sees the
// status; otherwise it has queued its run before our last look.
void hz5_heap_unclaim(struct hz5_heap *heap) {
    do {
        atomic_fetch_add_explicit(&heaps.dead, 1, memory_order_relaxed);
        hz5_status_set_down(&heap->status);
        if (!hz5_has_pending(heap) || !hz5_heap_claim_dead(heap))
            return;
        hz5_collect_pending(heap);
    } while (1);
}

static struct hz5_heap *revive_heap(void) {
    uint32_t count = hz5_dead_heap_count() > 0 ? hz5_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz5_heap *heap = hz5_heap_by_id(id);
        if (heap != NULL && hz5_heap_claim_dead(heap)) {
            hz5_status_revive(&heap->status);
            return heap;
        }
    }
    return NULL;
}

// Gives the heap its id and its place; 0 when all are taken. Without a lock: whoever finds the next place taken, but
// not counted yet, counts it, since the thread that took it need not be running.
static int register_heap(struct hz5_heap *heap) {
    for (;;) {
        uint32_t count = hz5_heap_count();
        if (count == HZ5_MAX_HEAPS)
            return 0;
        heap->id = count + 1;
        struct hz5_heap *nobody = NULL;
        // ORDER: release: the heap's fields; partner: hz5_heap_by_id().
        int is_ours = atomic_compare_exchange_strong_explicit(&heaps.by_id[count + 1], &nobody, heap,
                                                              memory_order_release, memory_order_relaxed);
        atomic_compare_exchange_strong_explicit(&heaps.count, &count, count + 1, memory_order_relaxed,
                                                memory_order_relaxed);
        if (is_ours)
            return 1;
    }
}

static struct hz5_heap *new_heap(void) {
    struct hz5_heap *heap = hz5_heap_count() < HZ5_MAX_HEAPS ? arena_metadata(heaps.heap_bytes, OS_PAGE_BYTES) : NULL;
    if (heap != NULL && hz5_profile.quarantine_bytes != 0) {
        heap->quarantine = arena_metadata(sizeof(struct hz5_quarantine), OS_PAGE_BYTES);
        heap = heap->quarantine != NULL ? heap : NULL;
    }
    if (heap == NULL)
        return NULL;
    hz5_status_begin(&heap->status);
    return register_heap(heap) ? heap : NULL;
}

static HZ_COLD struct hz5_heap *heap_begin(void) {
    struct hz5_heap *heap = revive_heap();
    if (heap == NULL)
        heap = new_heap();
    if (heap == NULL)
        return NULL;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
        hz5_thread.top[size_class] = bottom;
        // With a quarantine no free may end in a magazine: it counts as full from the start.
        hz5_thread.limit[size_class] =
            hz5_profile.quarantine_bytes != 0 ? bottom : bottom + hz5_magazine_entries[size_class];
    }
    hz5_thread.heap = heap;
    hz5_thread.owner = heap->id;
    if (hz5_thread_has_ended)
        return heap;       // for one call: hz5_heap_leave()
    hz_thread_end_watch(); // may allocate: the heap is complete by now
    return heap;
}

struct hz5_heap *hz5_heap_of_thread(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    return HZ_LIKELY(heap != NULL) ? heap : heap_begin();
}

// The thread may still allocate and free afterwards: destructors of other keys in up to four rounds, of which the last
// follows our last, and the C library when all are through. So what it begins now lasts for one call.
void hz5_thread_fini(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    if (heap == NULL)
        return;
    hz_heap_enter(&heap->is_busy);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        hz5_spill(heap, size_class, 0);
    hz5_collect_pending(heap);
    hz5_quarantine_flush(heap); // after the collection, which fills it
    hz5_large_flush(heap);
    hz5_release_empty_runs(heap);
    hz5_thread.owner = HZ5_OWNER_NO_HEAP;
    hz5_thread.heap = NULL;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz5_thread.top[size_class] = &no_entry;
        hz5_thread.limit[size_class] = &no_entry;
    }
    hz_heap_leave(&heap->is_busy);
    hz5_heap_unclaim(heap);
}
