// SPDX-License-Identifier: Apache-2.0
// Heaps and threads: a heap outlives its thread and goes, whole, to the next one; while it has no thread anybody who
// has a reason may claim it for a moment (to drain what was freed into it, or to adopt its runs).
//
//   UNUSED -> ALIVE -> DEAD <-> CLAIMED,  DEAD -> ALIVE
//   after fork, in the child: others ALIVE -> DEAD; ORPHAN if they were being changed, or CLAIMED
#include "hz3.h"

#include "../common/options.h"
#include "../common/os_mem.h"
#include "../common/thread_end.h"

#include <pthread.h>

// One tag a unit for all 47 bits of user address space: 8 GiB of which only pages with tags ever exist.
#define ADDRESS_BITS 47u
#define TABLE_BYTES ((size_t)4 << (ADDRESS_BITS - ARENA_UNIT_SHIFT))
#define TABLE_LIMIT_SHARE 8u // of the address space this process may use
#define NO_TABLE_SHIFT 63u

static const _Atomic uint32_t no_tag = HZ3_TAG_NONE;

struct hz3_lookup hz3_lookup = {.table = &no_tag, .shift = NO_TABLE_SHIFT};

static struct {
    pthread_mutex_t lock; // guards initialisation
    _Atomic int ready;
    _Atomic uint32_t count;
    _Atomic uint32_t dead;
    _Atomic(struct hz3_heap *) by_id[HZ3_MAX_HEAPS + 1];
} heaps = {.lock = PTHREAD_MUTEX_INITIALIZER};

// ---- initialisation ------------------------------------------------------------------------------------------------

static struct {
    char *table; // over the whole address space, while it is there
    char *own;   // the arena's part of it, once the rest has gone: from the first page to the end of what is mapped
    char *own_end;
} tags;

static char *end_of_tags(size_t units) {
    return (char *)hz_align_up((uintptr_t)(hz3_lookup.tags + units), OS_PAGE_BYTES);
}

// A limit on address space has come. From here on every look-up finds the zero at the table's start, and the slow path
// looks in the arena's own part. Threads that have read the old shift go on with the old table: every block that may be
// freed has its tag in the part that stays.
static void drop_table(size_t units) {
    // ORDER: release: as in tags_init(), though nothing depends on it: either shift fits what stays.
    atomic_store_explicit(&hz3_lookup.shift, NO_TABLE_SHIFT, memory_order_release);
    char *first_page = tags.table + OS_PAGE_BYTES;
    char *end = tags.table + TABLE_BYTES;
    tags.own = (char *)((uintptr_t)hz3_lookup.tags & ~(OS_PAGE_BYTES - 1));
    tags.own_end = end_of_tags(units);
    os_mem_release(first_page, (size_t)(tags.own - first_page));
    os_mem_release(tags.own_end, (size_t)(end - tags.own_end));
    tags.table = NULL;
}

// The arena's, under its lock: it is going to have so many units, or a limit has come and it has no more than these.
static int follow_units(size_t units) {
    if (tags.table != NULL)
        drop_table(units);
    if (tags.own == NULL)
        return 1; // a table for all that the arena can ever have
    char *end = end_of_tags(units);
    if (end < tags.own_end
            ? !os_mem_release(end, (size_t)(tags.own_end - end))
            : end > tags.own_end && !os_mem_map(tags.own_end, (size_t)(end - tags.own_end), OS_MEM_READ_WRITE))
        return 0;
    tags.own_end = end;
    return 1;
}

void core_limit_address_space(size_t limit) {
    arena_limit_address_space(limit);
}

static int tags_init(void) {
    size_t bytes = hz_align_up(arena.span_units * sizeof *hz3_lookup.tags, OS_PAGE_BYTES);
    char *table = NULL;
    if (os_mem_address_space_limit() / TABLE_LIMIT_SHARE >= TABLE_BYTES &&
        arena.base_unit + arena.span_units <= (uintptr_t)1 << (ADDRESS_BITS - ARENA_UNIT_SHIFT))
        table = os_mem_reserve(TABLE_BYTES, OS_PAGE_BYTES, OS_MEM_READ);
    if (table == NULL) { // the slow path will do all look-ups, in a table for the arena alone
        hz3_lookup.tags = os_mem_reserve(bytes, OS_PAGE_BYTES, OS_MEM_READ_WRITE);
        return hz3_lookup.tags != NULL;
    }
    char *ours = table + arena.base_unit * sizeof *hz3_lookup.tags;
    char *page = (char *)((uintptr_t)ours & ~(OS_PAGE_BYTES - 1));
    if (!os_mem_protect(page, bytes + OS_PAGE_BYTES, OS_MEM_READ_WRITE)) {
        os_mem_release(table, TABLE_BYTES);
        return 0;
    }
    os_mem_set_dumped(table, TABLE_BYTES, 0);
    char *behind = page + bytes + OS_PAGE_BYTES;
    os_mem_zeroes(table, (size_t)(page - table));
    os_mem_zeroes(behind, (size_t)(table + TABLE_BYTES - behind));
    hz3_lookup.tags = (_Atomic uint32_t *)(void *)ours;
    tags.table = table;
    atomic_store_explicit(&hz3_lookup.table, (const _Atomic uint32_t *)(void *)table, memory_order_relaxed);
    // ORDER: release: the table; partner: hz3_tag_fast(). The old shift is in order with either table.
    atomic_store_explicit(&hz3_lookup.shift, ARENA_UNIT_SHIFT, memory_order_release);
    return 1;
}

HZ_THREAD_LOCAL int hz3_thread_has_ended;

void core_thread_end(void) {
    hz3_thread_has_ended = 1;
    hz3_thread_fini();
}

static HZ_COLD int init_slow(void) {
    pthread_mutex_lock(&heaps.lock);
    int ready = atomic_load_explicit(&heaps.ready, memory_order_relaxed);
    if (!ready && arena_init(sizeof(struct hz3_run), follow_units) && (hz3_lookup.tags != NULL || tags_init())) {
        static const struct option none = {NULL, NULL, NULL};
        struct arena_limits limits = {
            .retain_bytes = HZ_MIB(16), .retain_percent = 50, .decay_ms = 250, .learns = 1, .holes_percent = 25};
        options_load("HZ3_OPTIONS", &limits, &none);
        arena_set_limits(&limits);
        sizeclass_init();
        hz3_list_init();
        ready = 1;
        // ORDER: release: everything above; partner: the acquire load in hz3_init().
        atomic_store_explicit(&heaps.ready, ready, memory_order_release);
    }
    pthread_mutex_unlock(&heaps.lock);
    return ready;
}

int hz3_init(void) {
    // ORDER: acquire: pairs with the release store in init_slow().
    return HZ_LIKELY(atomic_load_explicit(&heaps.ready, memory_order_acquire)) ? 1 : init_slow();
}

int core_init(void) {
    return hz3_init();
}

// ---- fork ----------------------------------------------------------------------------------------------------------

static uint32_t status_of(const struct hz3_heap *heap) {
    return heap != NULL ? atomic_load_explicit(&heap->status, memory_order_relaxed) : HZ3_HEAP_UNUSED;
}

static int is_busy(const struct hz3_heap *heap) {
    return atomic_load_explicit(&heap->is_busy, memory_order_relaxed) != 0;
}

int core_fork_is_quiet(void) {
    uint32_t count = hz3_heap_count();
    for (uint32_t id = 1; id <= count; id++) {
        struct hz3_heap *heap = hz3_heap_by_id(id);
        uint32_t status = status_of(heap);
        if (heap != hz3_thread.heap && (status == HZ3_HEAP_CLAIMED || (status == HZ3_HEAP_ALIVE && is_busy(heap))))
            return 0;
    }
    return 1;
}

void core_fork_prepare(void) {
    pthread_mutex_lock(&heaps.lock);
    arena_fork_prepare();
}

void core_fork_inherit(void) {
    arena_fork_inherit();
}

void core_fork_parent(void) {
    arena_fork_done();
    pthread_mutex_unlock(&heaps.lock);
}

// Only the forking thread lives on. A heap that was not being changed is whole and dead now; what its thread had in the
// lists of its TLS is lost to the child. Of one that was, blocks can still be freed (they wait in its inbox), but
// nothing is reused.
void core_fork_child(void) {
    uint32_t count = hz3_heap_count();
    uint32_t dead = 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz3_heap *heap = hz3_heap_by_id(id);
        uint32_t status = status_of(heap);
        if (heap != hz3_thread.heap && (status == HZ3_HEAP_ALIVE || status == HZ3_HEAP_CLAIMED)) {
            status = status == HZ3_HEAP_ALIVE && !is_busy(heap) ? HZ3_HEAP_DEAD : HZ3_HEAP_ORPHAN;
            atomic_store_explicit(&heap->status, status, memory_order_relaxed);
        }
        dead += status == HZ3_HEAP_DEAD;
    }
    atomic_store_explicit(&heaps.dead, dead, memory_order_relaxed);
    core_fork_parent();
}

// ---- heaps ---------------------------------------------------------------------------------------------------------

struct hz3_heap *hz3_heap_by_id(uint32_t id) {
    // ORDER: acquire: the heap's fields; partner: register_heap().
    return atomic_load_explicit(&heaps.by_id[id], memory_order_acquire);
}

uint32_t hz3_heap_count(void) {
    return atomic_load_explicit(&heaps.count, memory_order_relaxed);
}

uint32_t hz3_dead_heap_count(void) {
    return atomic_load_explicit(&heaps.dead, memory_order_relaxed);
}

int hz3_heap_claim_dead(struct hz3_heap *heap) {
    uint32_t dead = HZ3_HEAP_DEAD;
    if (atomic_load_explicit(&heap->status, memory_order_relaxed) != HZ3_HEAP_DEAD)
        return 0;
    // ORDER: acquire: all that the last holder did; partner: the store in hz3_heap_unclaim().
    if (!atomic_compare_exchange_strong_explicit(&heap->status, &dead, HZ3_HEAP_CLAIMED, memory_order_acquire,
                                                 memory_order_relaxed))
        return 0;
    atomic_fetch_sub_explicit(&heaps.dead, 1, memory_order_relaxed);
    return 1;
}

// Sets the heap down. What is posted to it from now on is drained by the thread that posts, if it sees the status;
// otherwise it has posted before our last look.
void hz3_heap_unclaim(struct hz3_heap *heap) {
    do {
        atomic_fetch_add_explicit(&heaps.dead, 1, memory_order_relaxed);
        // ORDER: seq_cst: releases the heap, and comes before the look at the inbox; partner: post() in hz3_mail.c,
        // which looks at the status after it has posted.
        atomic_store_explicit(&heap->status, HZ3_HEAP_DEAD, memory_order_seq_cst);
        if (atomic_load_explicit(&heap->inbox, memory_order_seq_cst) == 0 || !hz3_heap_claim_dead(heap))
            return;
        hz3_mail_drain(heap);
    } while (1);
}

static struct hz3_heap *revive_heap(void) {
    uint32_t count = hz3_dead_heap_count() > 0 ? hz3_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz3_heap *heap = hz3_heap_by_id(id);
        if (heap != NULL && hz3_heap_claim_dead(heap)) {
            atomic_store_explicit(&heap->status, HZ3_HEAP_ALIVE, memory_order_relaxed);
            return heap;
        }
    }
    return NULL;
}

// Gives the heap its id and its place; 0 when all are taken. Without a lock: whoever finds the next place taken, but
// not counted yet, counts it, since the thread that took it need not be running.
static int register_heap(struct hz3_heap *heap) {
    for (;;) {
        uint32_t count = hz3_heap_count();
        if (count == HZ3_MAX_HEAPS)
            return 0;
        heap->id = count + 1;
        struct hz3_heap *nobody = NULL;
        // ORDER: release: the heap's fields; partner: hz3_heap_by_id().
        int is_ours = atomic_compare_exchange_strong_explicit(&heaps.by_id[count + 1], &nobody, heap,
                                                              memory_order_release, memory_order_relaxed);
        atomic_compare_exchange_strong_explicit(&heaps.count, &count, count + 1, memory_order_relaxed,
                                                memory_order_relaxed);
        if (is_ours)
            return 1;
    }
}

static struct hz3_heap *new_heap(void) {
    struct hz3_heap *heap =
        hz3_heap_count() < HZ3_MAX_HEAPS ? arena_metadata(sizeof(struct hz3_heap), _Alignof(struct hz3_heap)) : NULL;
    if (heap == NULL)
        return NULL;
    atomic_store_explicit(&heap->status, HZ3_HEAP_ALIVE, memory_order_relaxed);
    return register_heap(heap) ? heap : NULL;
}

static HZ_COLD struct hz3_heap *heap_begin(void) {
    struct hz3_heap *heap = revive_heap();
    if (heap == NULL)
        heap = new_heap();
    if (heap == NULL)
        return NULL;
    hz3_list_begin(heap);
    hz3_thread.heap = heap;
    hz3_thread.mine = heap->id << HZ3_TAG_SHIFT;
    if (hz3_thread_has_ended)
        return heap;       // for one call: hz3_heap_leave()
    hz_thread_end_watch(); // may allocate: the heap is complete by now
    return heap;
}

struct hz3_heap *hz3_heap_of_thread(void) {
    struct hz3_heap *heap = hz3_thread.heap;
    return HZ_LIKELY(heap != NULL) ? heap : heap_begin();
}

// The thread may still allocate and free afterwards: destructors of other keys in up to four rounds, of which the last
// follows our last, and the C library when all are through. So what it begins now lasts for one call.
void hz3_thread_fini(void) {
    struct hz3_heap *heap = hz3_thread.heap;
    if (heap == NULL)
        return;
    hz_heap_enter(&heap->is_busy);
    hz3_mail_drain(heap);
    hz3_list_return_all(heap);
    hz3_mail_flush(heap);
    hz3_large_release_cached(heap);
    hz3_run_release_empty(heap);
    hz3_list_end(heap); // posting may have drained dead heaps, never into lists
    hz3_thread.mine = 0;
    hz3_thread.heap = NULL;
    hz_heap_leave(&heap->is_busy);
    hz3_heap_unclaim(heap);
}
