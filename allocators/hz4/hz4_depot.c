// SPDX-License-Identifier: Apache-2.0
// The depot: batches without an address, a few of each size class, for whoever is short of that class next. A full
// magazine leaves half of itself here in one atomic operation and an empty one picks it up in another; owners, runs and
// locks are not touched. What does not fit goes to its owner. Bounded in bytes, all classes together.
//
// Linearisation points: the compare-and-swap from 0 puts a batch in, the exchange takes it out. A place holds a
// batch's index << 1 | 1, or the address of a single block; nobody compares it with anything but 0, so there is no
// ABA.
#include "hz4.h"

#define PLACES 8u             // of a class: one line
#define FOLD_BYTES HZ_KIB(32) // a thread's share of the account that others do not see yet

struct depot_bin {
    _Alignas(HZ_CACHE_LINE) struct hz4_place places[PLACES];
};

static struct depot_bin bins[SIZECLASS_COUNT];
static _Atomic uint64_t last_seen[SIZECLASS_COUNT];
static _Alignas(HZ_CACHE_LINE) _Atomic int64_t held_bytes;

static int64_t limit_bytes(void) {
    return (int64_t)(HZ4_DEPOT_BYTES + hz_heap_alive_count() * HZ4_DEPOT_THREAD_BYTES);
}

static void account(struct hz4_local *local, int64_t bytes) {
    local->depot_bytes += bytes;
    if (local->depot_bytes > (int64_t)FOLD_BYTES || local->depot_bytes < -(int64_t)FOLD_BYTES)
        hz4_depot_fold(local);
}

void hz4_depot_fold(struct hz4_local *local) {
    atomic_fetch_add_explicit(&held_bytes, local->depot_bytes, memory_order_relaxed);
    local->depot_bytes = 0;
}

uint64_t hz4_depot_bytes(void) {
    int64_t bytes = atomic_load_explicit(&held_bytes, memory_order_relaxed);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

// As many of the blocks as have the first one's window; 0: no batch can be had.
static uint32_t pack(struct hz4_local *local, void **blocks, uint32_t count, uint64_t *packed) {
    if (count == 1) {
        *packed = (uintptr_t)blocks[0];
        return 1;
    }
    struct hz4_batch *batch = hz4_batch_take(local);
    if (batch == NULL)
        return 0;
    uintptr_t window = (uintptr_t)blocks[0] >> HZ4_WINDOW_SHIFT;
    uint32_t packing = 0;
    for (; packing < count && packing < HZ4_BATCH_BLOCKS; packing++) {
        if ((uintptr_t)blocks[packing] >> HZ4_WINDOW_SHIFT != window)
            break;
        batch->compressed[packing] = (uint32_t)((uintptr_t)blocks[packing] >> HZ4_COMPRESSED_SHIFT);
    }
    batch->count = packing;
    batch->route = hz4_route(0, 0, (uintptr_t)blocks[0]); // nobody's; for the window
    *packed = (uint64_t)hz4_batch_index(batch) << 1 | 1;
    return packing;
}

// Returns how many of the blocks it took, from the first on.
uint32_t hz4_depot_put(struct hz4_local *local, unsigned size_class, void **blocks, uint32_t count) {
    struct depot_bin *bin = &bins[size_class];
    uint32_t place = 0;
    while (place < PLACES && !hz4_place_is_empty(&bin->places[place]))
        place++;
    if (place == PLACES || atomic_load_explicit(&held_bytes, memory_order_relaxed) > limit_bytes())
        return 0;
    uint64_t packed;
    uint32_t taken = pack(local, blocks, count, &packed);
    for (; taken != 0 && place < PLACES; place++) {
        if (hz4_place_is_empty(&bin->places[place]) && hz4_place_put(&bin->places[place], packed)) {
            account(local, (int64_t)taken * sizeclass_bytes[size_class]);
            return taken;
        }
    }
    if ((packed & 1) != 0 && taken != 0)
        hz4_batch_give(local, hz4_batch_at((uint32_t)(packed >> 1)));
    return 0;
}

static uint64_t take_place(unsigned size_class, uint32_t place) {
    struct hz4_place *at = &bins[size_class].places[place];
    return hz4_place_look(at) != 0 ? hz4_place_take(at) : 0;
}

// Up to 60 blocks, no more than the class's wide magazine has entries.
uint32_t hz4_depot_count(uint64_t packed) {
    return (packed & 1) != 0 ? hz4_batch_at((uint32_t)(packed >> 1))->count : 1;
}

void hz4_depot_unpack(struct hz4_local *local, unsigned size_class, uint64_t packed, void **out) {
    uint32_t count = hz4_depot_count(packed);
    if ((packed & 1) == 0) {
        out[0] = (void *)(uintptr_t)packed;
    } else {
        struct hz4_batch *batch = hz4_batch_at((uint32_t)(packed >> 1));
        uintptr_t window = hz4_route_window(batch->route);
        for (uint32_t i = 0; i < count; i++) {
            out[i] = (void *)(window | (uintptr_t)batch->compressed[i] << HZ4_COMPRESSED_SHIFT);
            __builtin_prefetch(out[i], 1);
        }
        hz4_batch_give(local, batch);
    }
    account(local, -(int64_t)count * sizeclass_bytes[size_class]);
}

uint64_t hz4_depot_take(unsigned size_class) {
    uint64_t packed = 0;
    for (uint32_t place = 0; place < PLACES && packed == 0; place++)
        packed = take_place(size_class, place);
    return packed;
}

static void clear_place(struct hz4_heap *heap, unsigned size_class, uint32_t place) {
    void *blocks[HZ4_BATCH_BLOCKS];
    uint64_t packed = take_place(size_class, place);
    if (packed == 0)
        return;
    uint32_t count = hz4_depot_count(packed);
    hz4_depot_unpack(&heap->local, size_class, packed, blocks);
    hz4_acquire(heap);
    for (uint32_t gone = 0; gone < count;)
        gone += hz4_blocks_return(heap, blocks + gone, count - gone);
    hz4_release(heap);
}

void hz4_depot_clear(struct hz4_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        for (uint32_t place = 0; place < PLACES; place++)
            clear_place(heap, size_class, place);
}

// A block in the depot keeps its whole run from becoming empty. One class is looked at; batches are taken from the
// first place on, so a batch in the last one that is the same as at the previous look is not needed, and goes to its
// owner.
void hz4_depot_age(struct hz4_heap *heap) {
    unsigned size_class = heap->local.depot_hand;
    heap->local.depot_hand = size_class + 1 < SIZECLASS_COUNT ? size_class + 1 : 0;
    struct depot_bin *bin = &bins[size_class];
    uint32_t place = PLACES;
    uint64_t packed = 0;
    while (place > 0 && packed == 0)
        packed = hz4_place_look(&bin->places[--place]);
    uint64_t seen = atomic_load_explicit(&last_seen[size_class], memory_order_relaxed);
    atomic_store_explicit(&last_seen[size_class], packed, memory_order_relaxed);
    if (packed != 0 && packed == seen)
        clear_place(heap, size_class, place);
}
