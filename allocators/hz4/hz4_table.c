// SPDX-License-Identifier: Apache-2.0
// The exported vtable, and what stands behind it: statistics and purge.
#include "hz4.h"

#include <malloc.h>
#include <stdlib.h>

void hzn_stats(struct allocator_stats *out) {
    *out = (struct allocator_stats){0};
    struct arena_usage usage;
    arena_read_usage(&usage);
    out->reserved_bytes = usage.reserved_bytes;
    out->committed_bytes = usage.used_bytes + usage.dirty_free_bytes;
    out->metadata_bytes = usage.metadata_bytes;
    // What lies in magazines of other threads and in batches to owners counts as live: only those threads know it.
    int64_t live = (int64_t)hz4_large_bytes();
    for (uint32_t id = 1; id <= hz_heap_count(); id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        live += heap != NULL ? atomic_load_explicit(&heap->out_bytes, memory_order_relaxed) : 0;
    }
    struct hz4_heap *mine = hz4_thread.heap;
    if (mine != NULL)
        live -= (int64_t)hz4_magazines_bytes(mine) + mine->large_bytes + mine->local.depot_bytes;
    live -= (int64_t)(hz4_depot_bytes() + hz4_large_listed_bytes());
    out->live_bytes = live > 0 ? (uint64_t)live : 0;
    reject_read(out);
}

// Drains the remote queues of all other heaps that nobody holds and, at the second time, gives their empty runs back.
static void sweep(struct hz4_heap *mine, int is_second) {
    for (uint32_t id = 1; id <= hz_heap_count(); id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (heap == mine || !hz4_try_acquire(heap))
            continue;
        mine->local.is_spilling++;
        hz4_drain(heap, UINT32_MAX);
        mine->local.is_spilling--;
        if (is_second)
            hz4_run_release_empty(heap);
        hz4_release(heap);
    }
    hz4_remote_flush_all();
}

static void empty_own(struct hz4_heap *mine) {
    hz4_spill_all(mine);
    hz4_drain(mine, UINT32_MAX);
    hz4_spill_all(mine); // what the drain put into magazines
}

uint64_t hzn_unguarded(void) {
    return 0; // there are no guards
}

void hzn_purge(void) {
    struct hz4_heap *mine = hz4_thread.heap;
    if (mine != NULL) {
        hz4_large_flush(mine);
        hz4_depot_clear(mine);
        hz4_acquire(mine);
        empty_own(mine);
        hz4_release(mine);
        hz4_remote_flush_all();
        // The first sweep forwards blocks whose runs have another owner by now; only the second finds all runs
        // complete.
        sweep(mine, 0);
        sweep(mine, 1);
        hz4_acquire(mine);
        empty_own(mine);
        hz4_run_release_empty(mine);
        hz4_release(mine);
    }
    hz4_large_clear();
    if (arena.span_units != 0)
        arena_purge();
}

// Magazines and the large runs of a thread's cache stay: only the thread itself may take from them.
void hzn_release_idle(void) {
    for (uint32_t id = 1; id <= hz_heap_count(); id++) {
        struct hz4_heap *heap = hz4_heap_by_id(id);
        if (!hz4_try_acquire(heap))
            continue;
        hz4_run_release_empty(heap);
        hz4_release(heap);
    }
    hz4_large_clear();
}

// Contradictions between tags, runs and accounts of all heaps; exact while no other thread runs.
// Another thread was changing the heap when the process forked: nothing will ever use its runs.
static int is_lost(uint32_t id) {
    struct hz4_heap *heap = id <= hz_heap_count() ? hz4_heap_by_id(id) : NULL;
    return heap != NULL && hz_status_peek(&heap->common.status) == HZ_HEAP_LOST;
}

static int verify(void) {
    int contradictions = 0;
    int64_t out = 0;
    size_t end = arena.span_units != 0 ? arena_high_water() * HZ4_UNIT_GRANULES : 0;
    for (size_t granule = 0; granule < end; granule++) {
        struct hz4_tag *tag = hz4_tag_at(granule);
        unsigned index = atomic_load_explicit(&tag->index, memory_order_relaxed);
        if (index == 0)
            continue;
        struct hz4_run *run = hz4_map_run(granule);
        if (run == NULL || run->size_class + 1 != index) {
            contradictions++;
            continue;
        }
        uint32_t owner = hz4_route_owner(hz4_way_read(&tag->route));
        contradictions += owner == 0 || owner > hz_heap_count();
        if (granule != hz4_granule_of((void *)run->base) || is_lost(owner))
            continue;
        contradictions += hz4_run_contradictions(run);
        out += (int64_t)(run->block_count - run->free_count) * sizeclass_bytes[run->size_class];
    }
    for (uint32_t id = 1; id <= hz_heap_count(); id++)
        out -= is_lost(id) ? 0 : atomic_load_explicit(&hz4_heap_by_id(id)->out_bytes, memory_order_relaxed);
    return contradictions + (out != 0);
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
    .name = "hz4",
    .summary = "batch passing: blocks are reused before they are sent, the rest goes to its owner in batches",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_PURGE | ALLOCATOR_STATS | ALLOCATOR_ALIGNED | ALLOCATOR_VERIFY,
    .alloc = malloc,
    .free = free,
    .alloc_aligned = table_alloc_aligned,
    .calloc = calloc,
    .realloc = realloc,
    .usable_size = malloc_usable_size,
    .verify = verify,
    .thread_fini = hzn_thread_fini,
    .stats = hzn_stats,
    .purge = hzn_purge,
    .version = version,
};
