// SPDX-License-Identifier: Apache-2.0
// The delay of freed small blocks: a block waits until later frees have pushed it out, so that a second free or a use
// after free meets a block that is not live rather than somebody else's. All threads share one bound.
#include "hz5.h"

#define CLAIM_BYTES 16384u

static _Atomic uint64_t claimed; // by all threads, in multiples of CLAIM_BYTES

static uint32_t block_bytes_of(const struct hz5_desc *desc) {
    return atomic_load_explicit(&desc->block_bytes, memory_order_relaxed);
}

// Claims what is held, rounded up; gives back only when it is more than one multiple too much.
static void claim(struct hz5_quarantine *quarantine) {
    uint64_t wanted = hz_align_up(quarantine->bytes, CLAIM_BYTES);
    if (wanted > quarantine->claimed || quarantine->claimed - wanted > CLAIM_BYTES) {
        atomic_fetch_add_explicit(&claimed, wanted - quarantine->claimed, memory_order_relaxed);
        quarantine->claimed = wanted;
    }
}

// A thread may hold twice as much as nobody has claimed: one alone two thirds of the bound, each of many as much as the
// others, and a new one always finds something left.
static int is_too_much(const struct hz5_quarantine *quarantine, uint64_t bytes) {
    uint64_t all = atomic_load_explicit(&claimed, memory_order_relaxed);
    uint64_t left = all < hz5_profile.quarantine_bytes ? hz5_profile.quarantine_bytes - all : 0;
    return bytes > 2 * left || quarantine->count == HZ5_QUARANTINE_ENTRIES;
}

// With random placement one of the oldest half.
static struct hz5_entry take_oldest(struct hz5_heap *heap) {
    struct hz5_quarantine *quarantine = heap->quarantine;
    struct hz5_entry *first = &quarantine->entries[quarantine->first];
    struct hz5_entry oldest = *first;
    if (hz5_has_check(HZ5_RANDOM)) {
        uint32_t ahead = (uint32_t)((hz5_random(heap) >> 32) * (quarantine->count / 2 + 1) >> 32);
        struct hz5_entry *drawn = &quarantine->entries[(quarantine->first + ahead) % HZ5_QUARANTINE_ENTRIES];
        oldest = *drawn;
        *drawn = *first;
    }
    quarantine->first = (quarantine->first + 1) % HZ5_QUARANTINE_ENTRIES;
    quarantine->count--;
    const struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(oldest.block));
    quarantine->bytes -= block_bytes_of(desc);
    hz5_check_released(desc, oldest.block, oldest.state);
    return oldest;
}

static void put(struct hz5_quarantine *quarantine, void *block, struct hz5_block *state, uint32_t block_bytes) {
    quarantine->entries[(quarantine->first + quarantine->count) % HZ5_QUARANTINE_ENTRIES] =
        (struct hz5_entry){block, state};
    quarantine->count++;
    quarantine->bytes += block_bytes;
    claim(quarantine);
}

static void to_magazine(struct hz5_heap *heap, struct hz5_entry entry) {
    unsigned size_class =
        atomic_load_explicit(&hz5_desc_at(hz5_unit_of_pointer(entry.block))->size_class, memory_order_relaxed);
    hz5_keep(heap, size_class, entry.block, entry.state);
}

// What becomes free goes into magazines.
void hz5_quarantine(struct hz5_heap *heap, void *block, struct hz5_block *state, unsigned size_class) {
    struct hz5_quarantine *quarantine = heap->quarantine;
    uint32_t block_bytes = sizeclass_bytes[size_class];
    while (quarantine->count > 0 && is_too_much(quarantine, quarantine->bytes + block_bytes))
        to_magazine(heap, take_oldest(heap));
    put(quarantine, block, state, block_bytes);
}

// The same in a drain, which may be filling a magazine: what becomes free goes to its run.
void hz5_quarantine_of_drain(struct hz5_heap *heap, void *block, struct hz5_block *state, unsigned size_class) {
    struct hz5_quarantine *quarantine = heap->quarantine;
    uint32_t block_bytes = sizeclass_bytes[size_class];
    while (quarantine->count > 0 && is_too_much(quarantine, quarantine->bytes + block_bytes)) {
        struct hz5_entry oldest = take_oldest(heap);
        hz5_block_to_run(heap, oldest.block, oldest.state);
    }
    put(quarantine, block, state, block_bytes);
}

void hz5_quarantine_flush(struct hz5_heap *heap) {
    while (heap->quarantine != NULL && heap->quarantine->count > 0) {
        struct hz5_entry oldest = take_oldest(heap);
        hz5_block_to_run(heap, oldest.block, oldest.state);
    }
    if (heap->quarantine != NULL)
        claim(heap->quarantine);
}
