// SPDX-License-Identifier: Apache-2.0
// Runs that are one block: everything above 64 KiB and every alignment no size class has. They have no owner: whoever
// clears the tag has freed the block. Each thread keeps a few of up to 1 MiB, found by size in constant time.
#include "hz3.h"

#define CACHE_UNITS 24u // 1.5 MiB a thread: other sizes cannot use what is cached
// Blocks that all start at multiples of 64 KiB would share one set of every cache.
#define COLOUR_BYTES 64u
#define COLOURS 16u
#define COLOUR_MOST_BYTES ((COLOURS - 1) * COLOUR_BYTES)

_Static_assert(CACHE_UNITS >= HZ3_LARGE_CACHED_UNITS, "making room for the largest run must end");

static _Atomic uint64_t large_units; // changed when the arena is asked, not when a cache is

static void count_units(uint64_t more) {
    atomic_fetch_add_explicit(&large_units, more, memory_order_relaxed);
}

uint64_t hz3_large_bytes(void) {
    return atomic_load_explicit(&large_units, memory_order_relaxed) << ARENA_UNIT_SHIFT;
}

static char *unit_address(size_t unit) {
    return (char *)arena.base + (unit << ARENA_UNIT_SHIFT);
}

static void drop_room(size_t unit, size_t units) {
    struct hz3_run *run = hz3_run_at(unit);
    if (run->room == 0)
        return;
    arena_drop_room(unit_address(unit), units, run->room);
    run->room = 0;
}

static void give(size_t unit, uint32_t units) {
    count_units(0 - (uint64_t)units);
    drop_room(unit, units);
    hz3_units_give(unit, units);
}

static size_t units_of(size_t bytes) {
    return (bytes + ARENA_UNIT_BYTES - 1) >> ARENA_UNIT_SHIFT;
}

static uint32_t units_get(const struct hz3_run *run) {
    return atomic_load_explicit(&run->units, memory_order_relaxed);
}

// ---- the thread's cache -------------------------------------------------------------------------------------------

static size_t cache_pop(struct hz3_large_cache *cache, unsigned units) {
    uint32_t at = --cache->count[units];
    if (at == 0)
        cache->sizes &= ~(1u << units);
    hz_tally_add(&cache->units, 0 - (uint64_t)units);
    return cache->unit[units][at];
}

static HZ3_SLOW void cache_evict(struct hz3_large_cache *cache) {
    uint32_t behind = cache->sizes & ~((2u << cache->hand) - 1); // sizes take turns
    cache->hand = (uint32_t)__builtin_ctz(behind != 0 ? behind : cache->sizes);
    give(cache_pop(cache, cache->hand), cache->hand);
}

// A run of `units`, or up to a quarter more; SIZE_MAX when there is none.
static size_t cache_take(struct hz3_heap *heap, size_t units) {
    struct hz3_large_cache *cache = &heap->large;
    if (units > HZ3_LARGE_CACHED_UNITS)
        return SIZE_MAX;
    uint32_t fitting = cache->sizes >> units;
    if (fitting == 0 || (uint32_t)__builtin_ctz(fitting) > units / 4)
        return SIZE_MAX;
    hz_heap_enter(&heap->is_busy);
    size_t unit = cache_pop(cache, (unsigned)units + (unsigned)__builtin_ctz(fitting));
    hz_heap_leave(&heap->is_busy);
    return unit;
}

static int cache_put(struct hz3_heap *heap, size_t unit, uint32_t units) {
    struct hz3_large_cache *cache = &heap->large;
    if (units > HZ3_LARGE_CACHED_UNITS || cache->count[units] == HZ3_LARGE_SLOTS)
        return 0;
    hz_heap_enter(&heap->is_busy);
    while (HZ_UNLIKELY(hz_tally_get(&cache->units) + units > CACHE_UNITS))
        cache_evict(cache);
    cache->unit[units][cache->count[units]++] = (uint32_t)unit;
    cache->sizes |= 1u << units;
    hz_tally_add(&cache->units, units);
    hz_heap_leave(&heap->is_busy);
    return 1;
}

void hz3_large_release_cached(struct hz3_heap *heap) {
    while (heap->large.sizes != 0)
        cache_evict(&heap->large);
}

// ---- blocks -------------------------------------------------------------------------------------------------------

static void *begin(size_t unit, int is_coloured) {
    char *block = unit_address(unit) + (is_coloured ? unit % COLOURS * COLOUR_BYTES : 0);
    atomic_store_explicit(&hz3_run_at(unit)->large, block, memory_order_relaxed);
    hz3_tag_set(unit, HZ3_TAG_LARGE);
    return block;
}

// A new run, to become a block.
static size_t take(char *base, size_t units, size_t room) {
    size_t unit = hz3_unit_of(base);
    count_units(units);
    atomic_store_explicit(&hz3_run_at(unit)->units, (uint32_t)units, memory_order_relaxed);
    hz3_run_at(unit)->room = (uint32_t)room;
    return unit;
}

void *hz3_large_alloc(size_t bytes, size_t alignment, int *is_zero) {
    if (bytes > PTRDIFF_MAX - 2 * ARENA_UNIT_BYTES || alignment > HZ_GIB(64))
        return NULL;
    size_t spread = alignment <= COLOUR_BYTES ? COLOUR_MOST_BYTES : 0;
    size_t units = units_of(bytes + spread == 0 ? 1 : bytes + spread);
    size_t align_units = alignment > ARENA_UNIT_BYTES ? alignment >> ARENA_UNIT_SHIFT : 1;
    struct hz3_heap *heap = hz3_heap_of_thread();
    size_t unit = heap != NULL && align_units == 1 ? cache_take(heap, units) : SIZE_MAX;
    hz_thread_leave_heap();
    *is_zero = 0;
    if (unit == SIZE_MAX) {
        char *base = arena_take(units, align_units, is_zero);
        if (base == NULL)
            return NULL;
        unit = take(base, units, 0);
    }
    return begin(unit, spread != 0);
}

void *hz3_large_alloc_growing(size_t bytes) {
    int is_zero;
    size_t room;
    if (bytes > PTRDIFF_MAX - 2 * ARENA_UNIT_BYTES || units_of(bytes + COLOUR_MOST_BYTES) <= HZ3_LARGE_CACHED_UNITS)
        return hz3_large_alloc(bytes, SIZECLASS_GRANULE, &is_zero);
    size_t units = units_of(bytes + COLOUR_MOST_BYTES);
    char *base = arena_take_growing(units, &room, &is_zero);
    return base != NULL ? begin(take(base, units, room), 1) : NULL;
}

// What malloc() does most of the time, without the cases.
HZ3_SLOW void *hz3_large_alloc_cached(size_t bytes) {
    arena_look();
    struct hz3_heap *heap = hz3_thread.heap;
    if (HZ_LIKELY(heap != NULL && bytes <= (size_t)HZ3_LARGE_CACHED_UNITS << ARENA_UNIT_SHIFT)) {
        size_t unit = cache_take(heap, units_of(bytes + COLOUR_MOST_BYTES));
        if (HZ_LIKELY(unit != SIZE_MAX))
            return begin(unit, 1);
    }
    return hz3_alloc_slow(bytes);
}

int hz3_large_is_start(const void *block) {
    return atomic_load_explicit(&hz3_run_at(hz3_unit_of(block))->large, memory_order_relaxed) == block;
}

size_t hz3_large_usable(const void *block) {
    return ((size_t)units_get(hz3_run_at(hz3_unit_of(block))) << ARENA_UNIT_SHIFT) -
           (uintptr_t)block % ARENA_UNIT_BYTES;
}

HZ_INLINE void free_run(void *block, int is_copied) {
    size_t unit = hz3_unit_of(block);
    if (!hz3_large_is_start(block)) {
        hz3_reject(block, REJECT_FREE);
        return;
    }
    // A second free finds no tag. Not an exchange: two frees at the same instant are not told apart, as with small
    // blocks.
    hz3_tag_set(unit, HZ3_TAG_NONE);
    uint32_t units = units_get(hz3_run_at(unit));
    struct hz3_heap *heap = hz3_thread.heap;
    if (heap != NULL && cache_put(heap, unit, units))
        return;
    if (!is_copied) {
        give(unit, units);
        return;
    }
    count_units(0 - (uint64_t)units);
    drop_room(unit, units);
    arena_give_copied(unit_address(unit), units);
}

void hz3_large_free(void *block) {
    free_run(block, 0);
}

void hz3_large_free_copied(void *block) {
    free_run(block, 1);
}

int hz3_large_resize(void *block, size_t bytes) {
    struct hz3_run *run = hz3_run_at(hz3_unit_of(block));
    size_t units = units_get(run);
    size_t wanted = units_of(bytes + (uintptr_t)block % ARENA_UNIT_BYTES);
    char *base = (char *)block - (uintptr_t)block % ARENA_UNIT_BYTES;
    if (wanted > units && wanted - units <= run->room) {
        arena_use_room(base, units, wanted - units);
        run->room -= (uint32_t)(wanted - units);
    } else if (wanted > units) {
        int is_zero;
        drop_room(hz3_unit_of(block), units);
        if (!arena_extend(base, units, wanted - units, &is_zero))
            return 0;
    } else if (wanted < units) {
        drop_room(hz3_unit_of(block), units);
        arena_shrink(base, units, wanted);
    }
    count_units((uint64_t)wanted - units);
    atomic_store_explicit(&run->units, (uint32_t)wanted, memory_order_relaxed);
    return 1;
}
