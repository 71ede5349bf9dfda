// SPDX-License-Identifier: Apache-2.0
// Runs that are one block: everything above 64 KiB and every alignment no size class has. They have no owner; the
// thread that wins the state byte keeps the run for itself or gives it back to the arena, which keeps recent ones
// resident too.
#include "hz5.h"

static _Atomic uint64_t large_bytes; // changed when the arena is asked, not when a cache is

static void set_owner_generation(struct hz5_desc *desc, uint32_t owner) {
    uint32_t generation = hz5_generation_of(hz5_owner_generation_read_again(&desc->owner_generation)) + 1;
    hz5_owner_generation_write(&desc->owner_generation, (uint64_t)generation << 32 | owner);
}

static size_t units_of(size_t bytes) {
    return (bytes + ARENA_UNIT_BYTES - 1) >> ARENA_UNIT_SHIFT;
}

static void count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

void hz5_large_count(uint64_t more) {
    count(&large_bytes, more);
}

uint64_t hz5_large_bytes(void) {
    return atomic_load_explicit(&large_bytes, memory_order_relaxed);
}

static void *take_cached(size_t units) {
    if (units > HZ5_LARGE_CACHE_UNITS)
        return NULL;
    struct hz5_heap *heap = hz5_heap_of_thread(); // begun if need be: whose blocks are all large needs the cache most
    void *base = NULL;
    if (heap != NULL && heap->large.count[units] != 0) {
        hz_heap_enter(&heap->is_busy);
        struct hz5_desc *desc = heap->large.runs[units][--heap->large.count[units]];
        hz_tally_add(&heap->large.bytes, 0 - ((uint64_t)units << ARENA_UNIT_SHIFT));
        hz_heap_leave(&heap->is_busy);
        hz5_block_hand_out(&desc->large_state);
        base = (void *)atomic_load_explicit(&desc->base, memory_order_relaxed);
    }
    hz_thread_leave_heap();
    return base;
}

static int put_cached(struct hz5_desc *desc) {
    struct hz5_heap *heap = hz5_thread.heap;
    uint32_t units = desc->units;
    uint64_t bytes = (uint64_t)units << ARENA_UNIT_SHIFT;
    if (heap == NULL || units > HZ5_LARGE_CACHE_UNITS || heap->large.count[units] == HZ5_LARGE_CACHE_DEPTH ||
        hz_tally_get(&heap->large.bytes) + bytes > hz5_profile.large_cache_bytes)
        return 0;
    hz_heap_enter(&heap->is_busy);
    heap->large.runs[units][heap->large.count[units]++] = desc;
    hz_tally_add(&heap->large.bytes, bytes);
    hz_heap_leave(&heap->is_busy);
    return 1;
}

static void give_dirty(void *run, size_t units) {
    arena_give(run, units, 0);
}

static void drop_room(struct hz5_desc *desc) {
    if (desc->room == 0)
        return;
    arena_drop_room((void *)atomic_load_explicit(&desc->base, memory_order_relaxed), desc->units, desc->room);
    desc->room = 0;
}

void hz5_large_end(struct hz5_desc *desc) {
    drop_room(desc);
    count(&large_bytes, 0 - (uint64_t)hz5_large_usable(desc));
    atomic_store_explicit(&desc->kind, HZ5_KIND_RELEASED, memory_order_relaxed);
    set_owner_generation(desc, HZ5_OWNER_NONE);
}

static void give_back(struct hz5_desc *desc, void (*give)(void *run, size_t units)) {
    void *base = (void *)atomic_load_explicit(&desc->base, memory_order_relaxed);
    uint32_t units = desc->units;
    hz5_large_end(desc);
    give(base, units);
}

void *hz5_large_begin(char *base, size_t units, size_t room) {
    struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(base));
    // ORDER: release: as in carve().
    atomic_store_explicit(&desc->base, (uintptr_t)base, memory_order_release);
    atomic_store_explicit(&desc->run, desc, memory_order_release);
    atomic_store_explicit(&desc->size_class, SIZECLASS_COUNT, memory_order_relaxed);
    atomic_store_explicit(&desc->kind, HZ5_KIND_LARGE, memory_order_relaxed);
    desc->units = (uint32_t)units;
    desc->room = (uint32_t)room;
    count(&large_bytes, hz5_large_usable(desc));
    hz5_block_hand_out(&desc->large_state);
    set_owner_generation(desc, HZ5_OWNER_LARGE);
    return base;
}

void *hz5_large_alloc(size_t bytes, size_t alignment, int *is_zero) {
    if (bytes > PTRDIFF_MAX - 2 * ARENA_UNIT_BYTES || alignment > HZ_GIB(64))
        return NULL;
    size_t units = units_of(bytes == 0 ? 1 : bytes);
    size_t align_units = alignment > ARENA_UNIT_BYTES ? alignment >> ARENA_UNIT_SHIFT : 1;
    arena_look();
    void *cached = align_units == 1 ? take_cached(units) : NULL;
    if (cached != NULL) {
        *is_zero = 0;
        return cached;
    }
    char *base = arena_take(units, align_units, is_zero);
    return base != NULL ? hz5_large_begin(base, units, 0) : NULL;
}

void *hz5_large_alloc_growing(size_t bytes) {
    int is_zero;
    size_t room;
    if (bytes > PTRDIFF_MAX - 2 * ARENA_UNIT_BYTES || units_of(bytes) <= HZ5_LARGE_CACHE_UNITS)
        return hz5_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero);
    char *base = arena_take_growing(units_of(bytes), &room, &is_zero);
    return base != NULL ? hz5_large_begin(base, units_of(bytes), room) : NULL;
}

// The caller has won the block: its state is CACHED.
void hz5_large_release(struct hz5_desc *desc) {
    if (!put_cached(desc))
        give_back(desc, give_dirty);
}

void hz5_large_release_copied(struct hz5_desc *desc) {
    if (!put_cached(desc))
        give_back(desc, arena_give_copied);
}

void hz5_large_flush(struct hz5_heap *heap) {
    for (unsigned units = 1; units <= HZ5_LARGE_CACHE_UNITS && hz_tally_get(&heap->large.bytes) > 0; units++) {
        while (heap->large.count[units] > 0) {
            hz_tally_add(&heap->large.bytes, 0 - ((uint64_t)units << ARENA_UNIT_SHIFT));
            give_back(heap->large.runs[units][--heap->large.count[units]], give_dirty);
        }
    }
}

int hz5_large_resize(struct hz5_desc *desc, size_t bytes) {
    size_t units = desc->units;
    size_t wanted = units_of(bytes);
    void *base = (void *)atomic_load_explicit(&desc->base, memory_order_relaxed);
    if (wanted > units && wanted - units <= desc->room) {
        arena_use_room(base, units, wanted - units);
        desc->room -= (uint32_t)(wanted - units);
    } else if (wanted > units) {
        int is_zero;
        drop_room(desc);
        if (!arena_extend(base, units, wanted - units, &is_zero))
            return 0;
    } else if (wanted < units) {
        drop_room(desc);
        arena_shrink(base, units, wanted);
    }
    desc->units = (uint32_t)wanted;
    count(&large_bytes, ((uint64_t)wanted - units) << ARENA_UNIT_SHIFT);
    return 1;
}
