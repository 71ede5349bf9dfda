// SPDX-License-Identifier: Apache-2.0
// Runs that are one block: everything above 64 KiB and every alignment no size class has. They have no owner and send
// no batches: whoever frees one keeps it in a small cache of its own, puts it in the free list of its class, where
// every thread takes from, or gives it to the arena. Classes are as fine as those below 64 KiB, because a run that
// serves a size again has its resident pages where the next block of that size begins and ends.
//
// A free list is a stack without a lock. Linearisation points: the compare-and-swaps on its head, which carries a
// counter against ABA. Links lie in the map, whose memory stays, so a reader that comes too late reads a stale link and
// fails.
#include "hz4.h"

#include "../common/os_mem.h"

#define NO_CLASS HZ4_LARGE_CLASSES
#define SMALLEST_SHIFT 16u // the first class begins above this power of two
#define STEP_SHIFT 3u      // classes a doubling

struct large_free_list {
    _Alignas(HZ_CACHE_LINE) _Atomic uint64_t head; // 1 + unit of the newest run | counter << 32; low half 0: empty
};

static struct large_free_list free_lists[HZ4_LARGE_CLASSES];
static _Alignas(HZ_CACHE_LINE) _Atomic int64_t listed_bytes;
static _Atomic uint32_t list_hand;  // clock: next free list to make room on
static _Atomic int64_t large_bytes; // changed when the arena is asked, not when a cache or a free list is

static size_t units_of(size_t bytes) {
    return (bytes + ARENA_UNIT_BYTES - 1) >> ARENA_UNIT_SHIFT;
}

static unsigned class_of(size_t bytes) {
    if (bytes <= SIZECLASS_MAX_BYTES)
        return NO_CLASS;
    unsigned shift = 63 - (unsigned)__builtin_clzll(bytes - 1);
    size_t step = ((bytes - 1) >> (shift - STEP_SHIFT)) - (1u << STEP_SHIFT);
    size_t large_class = ((size_t)(shift - SMALLEST_SHIFT) << STEP_SHIFT) + step;
    return large_class < HZ4_LARGE_CLASSES ? (unsigned)large_class : NO_CLASS;
}

static uint32_t cache_limit(void) {
    size_t bytes = HZ4_LARGE_ALL_BYTES / hz_heap_alive_count();
    bytes = bytes > HZ4_LARGE_MAX_BYTES ? HZ4_LARGE_MAX_BYTES : bytes;
    return (uint32_t)(bytes < HZ4_LARGE_MIN_BYTES ? HZ4_LARGE_MIN_BYTES : bytes);
}

static void count(int64_t units) {
    atomic_fetch_add_explicit(&large_bytes, units * (int64_t)ARENA_UNIT_BYTES, memory_order_relaxed);
}

uint64_t hz4_large_bytes(void) {
    return (uint64_t)atomic_load_explicit(&large_bytes, memory_order_relaxed);
}

static size_t units_at(void *base) {
    return hz4_map_large(hz4_granule_of(base));
}

static void drop_room(void *base, size_t units) {
    size_t granule = hz4_granule_of(base);
    size_t room = hz4_map_room(granule);
    if (room == 0)
        return;
    arena_drop_room(base, units, room);
    hz4_map_set_room(granule, 0);
}

// The run is nobody's any more; its length.
static size_t end(void *base) {
    size_t units = units_at(base);
    drop_room(base, units);
    hz4_way_write(&hz4_tag_at(hz4_granule_of(base))->route, HZ4_ROUTE_NONE);
    count(-(int64_t)units);
    return units;
}

static void give(void *base) {
    size_t units = end(base);
    arena_give(base, units, 0);
}

// ---- free lists ---------------------------------------------------------------------------------------------------

uint64_t hz4_large_listed_bytes(void) {
    int64_t bytes = atomic_load_explicit(&listed_bytes, memory_order_relaxed);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static int64_t list_limit(void) {
    return (int64_t)(HZ4_LARGE_LISTED_BYTES + hz4_large_bytes() / HZ4_LARGE_LISTED_SHARE);
}

static void *list_pop(unsigned large_class) {
    struct large_free_list *list = &free_lists[large_class];
    // ORDER: acquire: the run's link, and what its last user did to it; partner: the release in list_push(). Both
    // change the head by an exchange, which continues the release sequence of each push before it.
    uint64_t head = atomic_load_explicit(&list->head, memory_order_acquire);
    while ((uint32_t)head != 0) {
        size_t granule = (size_t)((uint32_t)head - 1) * HZ4_UNIT_GRANULES;
        uint64_t next = hz4_map_link(granule) | ((head >> 32) + 1) << 32;
        // ORDER: acquire: as above, on either way out.
        if (atomic_compare_exchange_weak_explicit(&list->head, &head, next, memory_order_acquire,
                                                  memory_order_acquire)) {
            void *base = (void *)(arena.base + ((uintptr_t)granule << HZ4_GRANULE_SHIFT));
            atomic_fetch_sub_explicit(&listed_bytes, (int64_t)(units_at(base) << ARENA_UNIT_SHIFT),
                                      memory_order_relaxed);
            return base;
        }
    }
    return NULL;
}

static void list_push(void *base, unsigned large_class) {
    struct large_free_list *list = &free_lists[large_class];
    size_t granule = hz4_granule_of(base);
    atomic_fetch_add_explicit(&listed_bytes, (int64_t)(units_at(base) << ARENA_UNIT_SHIFT), memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&list->head, memory_order_relaxed);
    uint64_t desired;
    do {
        hz4_map_set_link(granule, (uint32_t)head);
        desired = (granule / HZ4_UNIT_GRANULES + 1) | ((head >> 32) + 1) << 32;
        // ORDER: release: the link, and this thread's uses of the run; partner: list_pop().
    } while (!atomic_compare_exchange_weak_explicit(&list->head, &head, desired, memory_order_release,
                                                    memory_order_relaxed));
}

// What has no room anywhere makes some: whichever class has most to spare is not known, so they take turns.
static void put_away(void *base, unsigned large_class) {
    if (large_class == NO_CLASS) {
        give(base);
        return;
    }
    list_push(base, large_class);
    // More than one may have to leave: the limit falls with each that does.
    for (unsigned empty = 0; empty < HZ4_LARGE_CLASSES && (int64_t)hz4_large_listed_bytes() > list_limit();) {
        uint32_t hand = atomic_fetch_add_explicit(&list_hand, 1, memory_order_relaxed);
        void *other = list_pop(hand % HZ4_LARGE_CLASSES);
        empty = other != NULL ? 0 : empty + 1;
        if (other != NULL)
            give(other);
    }
}

void hz4_large_clear(void) {
    for (unsigned large_class = 0; large_class < HZ4_LARGE_CLASSES; large_class++)
        for (void *base; (base = list_pop(large_class)) != NULL;)
            give(base);
}

// A free list that has not changed for a decay period goes to the arena.
static void age_lists(void) {
    static _Atomic uint64_t aged_ms, seen[HZ4_LARGE_CLASSES];
    uint64_t now = os_clock_coarse_ms();
    uint64_t last = atomic_load_explicit(&aged_ms, memory_order_relaxed);
    if (now - last < atomic_load_explicit(&arena_decay_ms, memory_order_relaxed) ||
        !atomic_compare_exchange_strong_explicit(&aged_ms, &last, now, memory_order_relaxed, memory_order_relaxed))
        return;
    for (unsigned large_class = 0; large_class < HZ4_LARGE_CLASSES; large_class++) {
        uint64_t head = atomic_load_explicit(&free_lists[large_class].head, memory_order_relaxed);
        if (head == atomic_exchange_explicit(seen + large_class, head, memory_order_relaxed))
            for (void *base; (base = list_pop(large_class)) != NULL;)
                give(base);
    }
}

int hz4_large_look(void) {
    if (HZ_LIKELY(atomic_load_explicit(&listed_bytes, memory_order_relaxed) < (int64_t)HZ_MIB(1)))
        return 0;
    age_lists();
    return 1;
}

// ---- a thread's cache ---------------------------------------------------------------------------------------------

static void *cache_pop(struct hz4_heap *heap, unsigned large_class) {
    if (heap->large_count[large_class] == 0)
        return NULL;
    void *base = heap->large[large_class][--heap->large_count[large_class]];
    heap->large_bytes -= (uint32_t)(units_at(base) << ARENA_UNIT_SHIFT);
    return base;
}

// When the cache is full, other classes leave first: the one freed last is the one asked for next.
static int cache_push(struct hz4_heap *heap, void *base, size_t units, unsigned large_class) {
    uint32_t bytes = (uint32_t)(units << ARENA_UNIT_SHIFT);
    uint32_t limit = cache_limit();
    if (bytes > limit || heap->large_count[large_class] == HZ4_LARGE_DEPTH)
        return 0;
    for (unsigned other = HZ4_LARGE_CLASSES; heap->large_bytes + bytes > limit && other-- > 0;)
        while (other != large_class && heap->large_bytes + bytes > limit && heap->large_count[other] > 0)
            put_away(cache_pop(heap, other), other);
    if (heap->large_bytes + bytes > limit)
        return 0;
    heap->large[large_class][heap->large_count[large_class]++] = base;
    heap->large_bytes += bytes;
    return 1;
}

void hz4_large_flush(struct hz4_heap *heap) {
    for (unsigned large_class = 0; large_class < HZ4_LARGE_CLASSES; large_class++)
        while (heap->large_count[large_class] > 0)
            put_away(cache_pop(heap, large_class), large_class);
}

// ---- blocks -------------------------------------------------------------------------------------------------------

void *hz4_large_alloc(size_t bytes, size_t alignment, int *is_zero) {
    *is_zero = 0;
    arena_look();
    if (bytes > PTRDIFF_MAX - ARENA_UNIT_BYTES || alignment > HZ_GIB(64))
        return NULL;
    size_t units = units_of(bytes == 0 ? 1 : bytes);
    size_t align_units = alignment > ARENA_UNIT_BYTES ? alignment >> ARENA_UNIT_SHIFT : 1;
    unsigned large_class = align_units == 1 ? class_of(bytes) : NO_CLASS;
    struct hz4_heap *heap = hz4_thread.heap;
    void *base = NULL;
    if (large_class != NO_CLASS) {
        base = heap != NULL ? cache_pop(heap, large_class) : NULL;
        base = base != NULL ? base : list_pop(large_class);
    }
    if (base == NULL) {
        base = arena_take(units, align_units, is_zero);
        if (base == NULL) { // free large runs of other classes may become memory for this one
            hz4_large_clear();
            base = arena_take(units, align_units, is_zero);
        }
        if (base == NULL)
            return NULL;
        if (!hz4_map_set_large(hz4_granule_of(base), units, large_class)) {
            arena_give(base, units, *is_zero);
            return NULL;
        }
        hz4_map_set_room(hz4_granule_of(base), 0);
        count((int64_t)units);
    }
    hz4_way_write(&hz4_tag_at(hz4_granule_of(base))->route, HZ4_ROUTE_LARGE);
    return base;
}

void *hz4_large_alloc_growing(size_t bytes) {
    int is_zero;
    size_t room;
    if (bytes > PTRDIFF_MAX - ARENA_UNIT_BYTES || class_of(bytes) != NO_CLASS)
        return hz4_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero);
    size_t units = units_of(bytes);
    void *base = arena_take_growing(units, &room, &is_zero);
    if (base == NULL)
        return hz4_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero); // which makes room
    size_t granule = hz4_granule_of(base);
    if (!hz4_map_set_large(granule, units, NO_CLASS)) {
        if (room != 0)
            arena_drop_room(base, units, room);
        arena_give(base, units, is_zero);
        return NULL;
    }
    hz4_map_set_room(granule, room);
    count((int64_t)units);
    hz4_way_write(&hz4_tag_at(granule)->route, HZ4_ROUTE_LARGE);
    return base;
}

int hz4_large_free(void *block, size_t granule, int is_copied) {
    struct hz4_tag *tag = hz4_tag_at(granule);
    if (((uintptr_t)block & (ARENA_UNIT_BYTES - 1)) != 0 || !hz4_way_is_large(&tag->route))
        return 0;
    // Relaxed is enough to let one free win; the block itself travels through this thread's cache, a free list or the
    // arena's lock.
    if (!hz4_way_free_large(&tag->route))
        return 0;
    size_t units = hz4_map_large(granule);
    unsigned large_class = hz4_map_large_class(granule);
    struct hz4_heap *heap = large_class != NO_CLASS ? hz4_heap_of_thread() : NULL;
    if (large_class == NO_CLASS && is_copied)
        arena_give_copied(block, end(block));
    else if (heap == NULL || !cache_push(heap, block, units, large_class))
        put_away(block, large_class);
    hz_thread_leave_heap();
    return 1;
}

int hz4_large_resize(void *block, size_t granule, size_t bytes) {
    size_t units = hz4_map_large(granule);
    size_t wanted = units_of(bytes);
    size_t room = hz4_map_room(granule);
    int is_zero;
    if (wanted > units && wanted - units <= room) {
        arena_use_room(block, units, wanted - units);
        hz4_map_set_room(granule, room - (wanted - units));
    } else if (wanted > units) {
        drop_room(block, units);
        if (!arena_extend(block, units, wanted - units, &is_zero))
            return 0;
    } else if (wanted < units) {
        drop_room(block, units);
        arena_shrink(block, units, wanted);
    }
    count((int64_t)wanted - (int64_t)units);
    // A block that has grown in steps is freed at a size that the next one reaches last, if at all. It will go to the
    // arena, where the next one grows into its pages; in a cache, each round of growth would leave another run behind.
    unsigned old_class = hz4_map_large_class(granule);
    unsigned new_class = class_of(bytes);
    return hz4_map_set_large(granule, wanted, new_class <= old_class && old_class != NO_CLASS ? new_class : NO_CLASS);
}
