// SPDX-License-Identifier: Apache-2.0
// The start of the library; how a thread takes a heap and gives it up (common/heaps.h has the life cycle).
#include "hz4.h"

#include "../common/options.h"
#include "../common/os_mem.h"

#include <string.h>

static int follow_units(size_t units) {
    atomic_store_explicit(&hz4_granule_count, units * HZ4_UNIT_GRANULES, memory_order_relaxed);
    return 1;
}

const char hzn_options_variable[] = "HZ4_OPTIONS";

int hzn_start(void) {
    if (!arena_init(HZ4_UNIT_GRANULES * sizeof(struct hz4_tag), follow_units))
        return 0;
    hz4_base_granule = arena.base >> HZ4_GRANULE_SHIFT;
    follow_units(atomic_load_explicit(&arena.unit_count, memory_order_relaxed));
    hz4_tags = (struct hz4_tag *)(void *)arena.table;
    // The next burst needs the memory of the last one, and page faults are expensive: free memory is kept as long as it
    // is less than the memory in use, or small. The peak does not rise: free units are used before new ones.
    static const struct option none = {NULL, NULL, NULL, NULL};
    struct arena_limits limits = {
        .retain_bytes = HZ_MIB(4), .retain_percent = 100, .decay_ms = 1000, .adaptive = 1, .fragmentation_percent = 25};
    options_load(hzn_options_variable, &limits, &none);
    arena_set_limits(&limits);
    sizeclass_init();
    hz4_magazines_lay_out();
    return hz4_granule_init();
}

// ---- heaps --------------------------------------------------------------------------------------------------------

struct hz_heap *hzn_heap_of_thread(void) {
    return hz4_thread.heap != NULL ? &hz4_thread.heap->common : NULL;
}

// Held.
static struct hz4_heap *reclaim_heap(void) {
    uint32_t count = hz_heap_abandoned_count() > 0 ? hz_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (!hz_status_peek_abandoned(&heap->common.status) || !hz4_try_acquire(heap))
            continue;
        if (hz_status_peek_abandoned(&heap->common.status)) {
            hz_heap_reclaim_locked(&heap->common);
            // After a fork the last owner may have been stopped anywhere; what it cached is lost.
            memset(&heap->local, 0, sizeof heap->local);
            memset(heap->large_count, 0, sizeof heap->large_count);
            heap->large_bytes = 0;
            return heap;
        }
        hz4_release(heap);
    }
    return NULL;
}

// Held.
static struct hz4_heap *new_heap(void) {
    size_t bytes = sizeof(struct hz4_heap) + hz4_magazines_entries() * sizeof(void *);
    struct hz4_heap *heap = hz_heap_count() < HZ_MAX_HEAPS ? arena_metadata(bytes, OS_PAGE_BYTES) : NULL;
    if (heap == NULL)
        return NULL;
    hz4_batches_begin(heap);
    hz4_acquire_wait(heap);
    hz_status_begin(&heap->common.status);
    if (hz_heap_register(&heap->common))
        return heap;
    hz4_release(heap);
    return NULL;
}

static HZ_COLD struct hz4_heap *heap_begin(void) {
    struct hz4_heap *heap = hz_init() ? reclaim_heap() : NULL;
    if (heap == NULL && hz_init())
        heap = new_heap();
    if (heap == NULL)
        return NULL;
    hz4_magazines_begin(heap);
    hz4_thread.heap = heap;
    hz4_release(heap);
    hz_thread_end_watch(); // may allocate: the heap is complete by now
    return heap;
}

struct hz4_heap *hz4_heap_of_thread(void) {
    struct hz4_heap *heap = hz4_thread.heap;
    return HZ_LIKELY(heap != NULL) ? heap : heap_begin();
}

void hzn_thread_fini(void) {
    struct hz4_heap *heap = hz4_thread.heap;
    if (heap == NULL)
        return;
    hz4_large_flush(heap);
    if (hz_heap_alive_count() <= 2)
        hz4_depot_clear(heap); // no other thread would take from it
    hz4_acquire(heap);
    hz4_magazines_end(heap);
    hz4_drain(heap, UINT32_MAX);
    hz4_run_release_empty(heap);
    hz4_remote_flush_all();
    hz4_pool_give_all(&heap->local);
    hz4_depot_fold(&heap->local);
    hz_heap_abandon_locked(&heap->common);
    hz4_release(heap);
    hz4_thread.heap = NULL;
}
