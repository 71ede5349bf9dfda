// SPDX-License-Identifier: Apache-2.0
// Runs that are one block: everything above 64 KiB and every alignment no size class has. They have no owner and send
// no messages: whoever frees one keeps it in a small cache of its own, by unit count, or gives it to the arena.
#include "hz4.h"

static _Atomic int64_t large_bytes; // changed when the arena is asked, not when a cache is

static size_t units_of(size_t bytes) {
    return (bytes + ARENA_UNIT_BYTES - 1) >> ARENA_UNIT_SHIFT;
}

static uint32_t cache_limit(void) {
    size_t bytes = HZ4_LARGE_ALL_BYTES / hz4_alive_count();
    bytes = bytes > HZ4_LARGE_MAX_BYTES ? HZ4_LARGE_MAX_BYTES : bytes;
    return (uint32_t)(bytes < HZ4_LARGE_MIN_BYTES ? HZ4_LARGE_MIN_BYTES : bytes);
}

static void count(int64_t units) {
    atomic_fetch_add_explicit(&large_bytes, units * (int64_t)ARENA_UNIT_BYTES, memory_order_relaxed);
}

uint64_t hz4_large_bytes(void) {
    return (uint64_t)atomic_load_explicit(&large_bytes, memory_order_relaxed);
}

static void give(void *base, size_t units) {
    atomic_store_explicit(&hz4_tag_at(hz4_granule_of(base))->route, HZ4_ROUTE_NONE, memory_order_relaxed);
    count(-(int64_t)units);
    arena_give(base, units, 0);
}

static void *cache_pop(struct hz4_local *local, size_t units) {
    if (local->large_count[units] == 0)
        return NULL;
    local->large_bytes -= (uint32_t)(units << ARENA_UNIT_SHIFT);
    return local->large[units][--local->large_count[units]];
}

// When the cache is full, other sizes leave first: the one freed last is the one asked for next.
static int cache_push(struct hz4_local *local, void *base, size_t units) {
    uint32_t bytes = (uint32_t)(units << ARENA_UNIT_SHIFT);
    uint32_t limit = cache_limit();
    if (bytes > limit || local->large_count[units] == HZ4_LARGE_DEPTH)
        return 0;
    for (size_t other = HZ4_LARGE_UNITS; local->large_bytes + bytes > limit && other > 0; other--) {
        while (other != units && local->large_bytes + bytes > limit && local->large_count[other] > 0)
            give(cache_pop(local, other), other);
    }
    if (local->large_bytes + bytes > limit)
        return 0;
    local->large[units][local->large_count[units]++] = base;
    local->large_bytes += bytes;
    return 1;
}

void hz4_large_flush(struct hz4_local *local) {
    for (size_t units = 1; units <= HZ4_LARGE_UNITS; units++) {
        while (local->large_count[units] > 0)
            give(cache_pop(local, units), units);
    }
}

void *hz4_large_alloc(size_t bytes, size_t alignment, int *is_zero) {
    *is_zero = 0;
    if (bytes > PTRDIFF_MAX - ARENA_UNIT_BYTES || alignment > HZ_GIB(64))
        return NULL;
    size_t units = units_of(bytes == 0 ? 1 : bytes);
    size_t align_units = alignment > ARENA_UNIT_BYTES ? alignment >> ARENA_UNIT_SHIFT : 1;
    struct hz4_heap *heap = hz4_thread.heap;
    void *base = NULL;
    if (units <= HZ4_LARGE_UNITS && align_units == 1 && heap != NULL)
        base = cache_pop(&heap->local, units);
    if (base == NULL) {
        base = arena_take(units, align_units, is_zero);
        if (base == NULL)
            return NULL;
        if (!hz4_map_set_large(hz4_granule_of(base), units)) {
            arena_give(base, units, *is_zero);
            return NULL;
        }
        count((int64_t)units);
    }
    atomic_store_explicit(&hz4_tag_at(hz4_granule_of(base))->route, HZ4_ROUTE_LARGE, memory_order_relaxed);
    return base;
}

int hz4_large_free(void *block, size_t granule) {
    struct hz4_tag *tag = hz4_tag_at(granule);
    uint32_t expected = HZ4_ROUTE_LARGE;
    if (((uintptr_t)block & (ARENA_UNIT_BYTES - 1)) != 0 ||
        atomic_load_explicit(&tag->route, memory_order_relaxed) != HZ4_ROUTE_LARGE)
        return 0;
    // Relaxed is enough to let one free win; the block itself travels through this thread's cache or the arena's lock.
    if (!atomic_compare_exchange_strong_explicit(&tag->route, &expected, HZ4_ROUTE_LARGE_FREE, memory_order_relaxed,
                                                 memory_order_relaxed))
        return 0;
    size_t units = hz4_map_large(granule);
    struct hz4_heap *heap = units <= HZ4_LARGE_UNITS ? hz4_heap_of_thread() : NULL;
    if (heap == NULL || !cache_push(&heap->local, block, units))
        give(block, units);
    hz4_heap_leave();
    return 1;
}

int hz4_large_resize(void *block, size_t granule, size_t bytes) {
    size_t units = hz4_map_large(granule);
    size_t wanted = units_of(bytes);
    int is_zero;
    if (wanted > units && !arena_extend(block, units, wanted - units, &is_zero))
        return 0;
    if (wanted < units)
        arena_shrink(block, units, wanted);
    count((int64_t)wanted - (int64_t)units);
    return hz4_map_set_large(granule, wanted);
}
