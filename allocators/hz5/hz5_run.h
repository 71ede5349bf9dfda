// SPDX-License-Identifier: Apache-2.0
// What the files that work on runs of small blocks share: hz5_run.c (carving, refill, spill, release), hz5_remote.c
// (remote queues and their drain) and hz5_trim.c (pages given back).
#ifndef HZ5_RUN_H
#define HZ5_RUN_H

#include "hz5.h"

#define HZ5_RUN_UNITS_OF_LARGE_BLOCKS 8u // of blocks above 8 KiB: a tail that is never touched costs nothing
#define HZ5_RUN_ONE_UNIT_MAX_BYTES 8256u

HZ_INLINE unsigned hz5_run_units(unsigned size_class) {
    return sizeclass_bytes[size_class] <= HZ5_RUN_ONE_UNIT_MAX_BYTES ? 1 : HZ5_RUN_UNITS_OF_LARGE_BLOCKS;
}

// 0x80 in every byte of `word` that equals `value`.
HZ_INLINE uint64_t hz5_bytes_equal(uint64_t word, uint8_t value) {
    uint64_t x = word ^ 0x0101010101010101u * value;
    uint64_t low = 0x7f7f7f7f7f7f7f7fu;
    return ~(((x & low) + low) | x | low);
}

HZ_INLINE uint32_t hz5_first_byte(uint64_t marks) {
    return (uint32_t)__builtin_ctzll(marks) / 8;
}

HZ_INLINE uint32_t hz5_link_of(const struct hz5_desc *run) {
    return (uint32_t)hz5_unit_of(run) + 1;
}

HZ_INLINE struct hz5_desc *hz5_run_of_link(uint32_t link) {
    return hz5_desc_at(link - 1);
}

HZ_INLINE unsigned hz5_size_class_of(const struct hz5_desc *run) {
    return atomic_load_explicit(&run->size_class, memory_order_relaxed);
}

HZ_INLINE char *hz5_block_at(const struct hz5_desc *run, uint32_t index) {
    return (char *)atomic_load_explicit(&run->base, memory_order_relaxed) +
           (size_t)index * atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
}

HZ_INLINE uint64_t hz5_page_groups(uint64_t dirty, const struct hz5_desc *run) {
    return (uint64_t)__builtin_popcountll(dirty) << run->page_shift;
}

// Page groups that hold blocks; a tail too small for a block is never touched.
HZ_INLINE uint64_t hz5_all_page_groups(const struct hz5_desc *run, uint32_t block_bytes) {
    uint32_t last = (run->block_count * block_bytes - 1) >> run->page_shift;
    return ~(uint64_t)0 >> (63 - last);
}

// Page groups that block `index` covers.
HZ_INLINE uint64_t hz5_pages_of(const struct hz5_desc *run, uint32_t index, uint32_t block_bytes) {
    uint32_t first = index * block_bytes >> run->page_shift;
    uint32_t last = ((index + 1) * block_bytes - 1) >> run->page_shift;
    return ((uint64_t)2 << last) - ((uint64_t)1 << first);
}

// Where refill wants blocks: filled downwards, so that the first one found leaves the magazine first.
struct hz5_sink {
    struct hz5_entry *next; // the entry above the next free one
    uint32_t want;
};

HZ_INLINE void hz5_sink_put(struct hz5_sink *sink, void *block, struct hz5_block *state) {
    (--sink->next)->block = block;
    sink->next->state = state;
    sink->want--;
}

// hz5_run.c
void hz5_run_blocks_freed(struct hz5_heap *heap, struct hz5_desc *run, uint32_t count, uint32_t lowest);
void hz5_run_became_empty(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class);

// hz5_remote.c
void hz5_remote_enqueue(struct hz5_desc *run); // a run that has remote bits, unless it is queued
int hz5_remote_waits(struct hz5_heap *heap, unsigned size_class);
void hz5_remote_drain_class(struct hz5_heap *heap, unsigned size_class, struct hz5_sink *sink);

// hz5_trim.c
void hz5_trim_if_wasteful(struct hz5_heap *heap);
void hz5_trim_was_touched(struct hz5_heap *heap, uint64_t bytes);

#endif
