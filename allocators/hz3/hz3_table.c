// SPDX-License-Identifier: Apache-2.0
// The exported vtable, and what stands behind it: statistics, purge, audit.
#include "hz3.h"

#include <malloc.h>
#include <stdlib.h>

static uint64_t cached_bytes(struct hz3_heap *heap) {
    uint64_t bytes = 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz3_list_show(heap, size_class);
        bytes +=
            ((uint64_t)(uint32_t)(heap->base[size_class] - *hz3_room(size_class)) + heap->spare_count[size_class]) *
            sizeclass_bytes[size_class];
    }
    return bytes;
}

// Takes as long as there are heaps and, for the calling thread's lists, size classes, however many blocks live. Lists
// of other threads cannot be read: what they hold counts as live.
void hzn_stats(struct allocator_stats *out) {
    *out = (struct allocator_stats){0};
    struct arena_usage usage;
    arena_read_usage(&usage);
    out->reserved_bytes = usage.reserved_bytes;
    out->metadata_bytes = usage.metadata_bytes;
    out->committed_bytes = usage.dirty_free_bytes + hz3_large_bytes();
    uint64_t held = hz3_large_bytes();
    uint64_t freed = hz3_thread.heap != NULL ? cached_bytes(hz3_thread.heap) : 0;
    uint64_t sent = 0;
    uint64_t received = 0;
    for (uint32_t id = 1; id <= hz_heap_count(); id++) {
        struct hz3_heap *heap = hz3_heap_by_id(id);
        uint64_t carved = hz_tally_get(&heap->carved_bytes);
        out->committed_bytes += carved + (hz_tally_get(&heap->empty_units) << ARENA_UNIT_SHIFT);
        held += carved;
        freed += hz_tally_get(&heap->free_bytes) + (hz_tally_get(&heap->large.units) << ARENA_UNIT_SHIFT);
        freed += hz_tally_get(&heap->open_bytes);
        received += hz_tally_get(&heap->received_bytes);
        sent += hz_tally_get(&heap->sent_bytes);
    }
    freed += sent > received ? sent - received : 0;
    out->live_bytes = held > freed ? held - freed : 0;
    reject_read(out);
}

uint64_t hzn_unguarded(void) {
    return 0; // there are no guards
}

void hzn_purge(void) {
    struct hz3_heap *heap = hz3_thread.heap;
    if (heap != NULL) {
        hz_heap_enter(&heap->is_busy);
        hz_heap_hold(&heap->common);
        hz3_remote_drain(heap);
        hz3_list_return_all(heap);
        hz3_remote_flush(heap);
        hz3_large_release_cached(heap);
        hz3_run_release_empty(heap);
        hz_heap_let_go(&heap->common);
        hz_heap_leave(&heap->is_busy);
    }
    struct hz_heap *abandoned;
    for (uint32_t id = 0; (abandoned = hz_heap_acquire_next(&id)) != NULL; hz_heap_release(abandoned)) {
        heap = hz3_heap_of(abandoned);
        hz3_remote_drain(heap);
        hz3_list_return_left(heap);
        hz3_remote_flush(heap);
        hz3_large_release_cached(heap);
        hz3_run_release_empty(heap);
    }
    if (arena.span_units != 0)
        arena_purge();
}

static void release_idle(struct hz_heap *heap) {
    hz3_remote_drain(hz3_heap_of(heap));
    hz3_run_release_empty(hz3_heap_of(heap));
}

// Lists and the cache of large runs stay: only the thread itself may take from them.
void hzn_release_idle(void) {
    hz_heaps_visit(release_idle);
}

// ---- audit --------------------------------------------------------------------------------------------------------

// Blocks of a list, all of which must be able to start where they do; UINT32_MAX when one is not or the list has no
// end.
static uint32_t list_count(const struct hz3_block *list, unsigned size_class, uint32_t most) {
    uint32_t count = 0;
    for (; list != NULL; list = list->next, count++) {
        uint32_t tag = hz3_tag_of(list);
        uintptr_t run_bytes = (uintptr_t)hz3_run_units(size_class) << ARENA_UNIT_SHIFT;
        if (count == most || tag <= HZ3_TAG_LARGE || hz3_tag_class(tag) != size_class ||
            ((uintptr_t)list & (run_bytes - 1)) % sizeclass_bytes[size_class] != 0)
            return UINT32_MAX;
    }
    return count;
}

// Contradictions in the calling thread's lists and in the runs of its heap.
static int verify(void) {
    struct hz3_heap *heap = hz3_thread.heap;
    int contradictions = 0;
    for (unsigned size_class = 0; heap != NULL && size_class < SIZECLASS_COUNT; size_class++) {
        hz3_list_show(heap, size_class);
        uint32_t count = (uint32_t)(heap->base[size_class] - *hz3_room(size_class));
        contradictions += list_count(*hz3_head(size_class), size_class, count) != count;
        count = heap->spare_count[size_class];
        contradictions += list_count(heap->spare[size_class], size_class, count) != count;
    }
    size_t end = heap != NULL ? arena_high_water() : 0;
    for (size_t unit = 0; unit < end; unit++) {
        uint32_t tag = atomic_load_explicit(hz3_lookup.tags + unit, memory_order_relaxed);
        if (tag <= HZ3_TAG_LARGE || hz3_tag_owner(tag) != heap->common.id)
            continue;
        struct hz3_run *run = hz3_run_at(unit);
        uint32_t free_count = atomic_load_explicit(&run->free_count, memory_order_relaxed);
        uint32_t carved = atomic_load_explicit(&run->carved, memory_order_relaxed);
        contradictions += list_count(run->free, hz3_tag_class(tag), free_count) != free_count;
        contradictions += carved > run->block_count || (carved != 0 && free_count >= carved);
        unit += hz3_run_units(hz3_tag_class(tag)) - 1;
    }
    return contradictions;
}

static const char *version(void) {
    return HZBENCH_VERSION;
}

static void *table_alloc_aligned(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}

HZ_EXPORT const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "hz3",
    .summary = "tag lookup first, thread-private lists, compact",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_PURGE | ALLOCATOR_STATS | ALLOCATOR_ALIGNED | ALLOCATOR_VERIFY,
    .alloc = malloc,
    .free = free,
    .alloc_aligned = table_alloc_aligned,
    .calloc = calloc,
    .realloc = realloc,
    .usable_size = malloc_usable_size,
    .owns = NULL,
    .verify = verify,
    .thread_fini = hzn_thread_fini,
    .stats = hzn_stats,
    .purge = hzn_purge,
    .version = version,
    .contract = NULL,
};
