// SPDX-License-Identifier: Apache-2.0
// The start of the library; how a thread takes a heap and gives it up (common/heaps.h has the life cycle).
#include "hz5.h"

#include <string.h>

#include "../common/os_mem.h"

uint32_t hz5_magazine_offset[SIZECLASS_COUNT];
uint32_t hz5_magazine_entries[SIZECLASS_COUNT];

static uint32_t heap_bytes; // const after hz_init()

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
    heap_bytes = (uint32_t)(sizeof(struct hz5_heap) + offset * sizeof(struct hz5_entry));
}

int hzn_start(void) {
    if (!arena_init(sizeof(struct hz5_desc), NULL))
        return 0;
    hz5_profile_load();
    arena_set_limits(&hz5_profile.limits);
    sizeclass_init();
    lay_out_magazines();
    if (hz5_is_checked)
        hz5_checks_start();
    return 1;
}

// ---- heaps --------------------------------------------------------------------------------------------------------

struct hz_heap *hzn_heap_of_thread(void) {
    return hz5_thread.heap != NULL ? &hz5_thread.heap->common : NULL;
}

int hzn_heap_is_whole(struct hz_heap *heap) {
    return hz_heap_is_at_rest(heap) && atomic_load_explicit(&hz5_heap_of(heap)->is_busy, memory_order_relaxed) == 0;
}

static struct hz5_heap *new_heap(void) {
    struct hz5_heap *heap = hz_heap_count() < HZ_MAX_HEAPS ? arena_metadata(heap_bytes, OS_PAGE_BYTES) : NULL;
    if (heap != NULL && hz5_profile.quarantine_bytes != 0) {
        heap->quarantine = arena_metadata(sizeof(struct hz5_quarantine), OS_PAGE_BYTES);
        heap = heap->quarantine != NULL ? heap : NULL;
    }
    if (heap == NULL)
        return NULL;
    hz_status_begin(&heap->common.status);
    return hz_heap_register(&heap->common) ? heap : NULL;
}

static HZ_COLD struct hz5_heap *heap_begin(void) {
    struct hz5_heap *heap = hz5_heap_of(hz_heap_reclaim());
    if (heap == NULL)
        heap = new_heap();
    if (heap == NULL)
        return NULL;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
        hz5_thread.top[size_class] = bottom;
        hz5_thread.limit[size_class] = bottom + hz5_magazine_entries[size_class];
    }
    hz5_checks_begin(heap);
    memset(heap->hidden.classes, 0, sizeof heap->hidden.classes); // a fork has left its thread behind
    hz5_thread.heap = heap;
    hz5_thread.owner = heap->common.id;
    hz_thread_end_watch(); // may allocate: the heap is complete by now
    return heap;
}

struct hz5_heap *hz5_heap_of_thread(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    return HZ_LIKELY(heap != NULL) ? heap : heap_begin();
}

void hzn_thread_fini(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    if (heap == NULL)
        return;
    hz_heap_enter(&heap->is_busy);
    hz5_show_magazines(heap);
    hz_heap_hold(&heap->common);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        hz5_spill(heap, size_class, 0);
    hz5_drain(heap);
    hz5_quarantine_flush(heap); // after the drain, which fills it
    hz5_large_flush(heap);
    hz5_release_empty_runs(heap);
    hz5_thread.owner = HZ5_OWNER_NO_HEAP;
    hz5_thread.heap = NULL;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz5_thread.top[size_class] = &no_entry;
        hz5_thread.limit[size_class] = &no_entry;
    }
    hz_heap_leave(&heap->is_busy);
    hz_heap_release(&heap->common);
}
