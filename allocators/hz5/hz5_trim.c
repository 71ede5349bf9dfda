// SPDX-License-Identifier: Apache-2.0
// Pages of runs that are in use: when a heap holds much more than it uses, pages without blocks in use go back to the
// system.
#include "hz5_run.h"

#include "../common/os_mem.h"

// Page groups of the run on which no block is in use.
static uint64_t idle_pages(struct hz5_desc *run) {
    uint32_t block_bytes = atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
    struct hz5_block *states = hz5_states_of(run);
    uint64_t idle = run->dirty_pages;
    for (uint32_t group = 0; group < run->block_count && idle != 0; group += 8) {
        uint64_t free = hz5_bytes_equal(hz5_eight_blocks(states + group, memory_order_relaxed), HZ5_FREE);
        uint64_t busy = ~free & 0x8080808080808080u;
        for (; busy != 0; busy &= busy - 1) {
            uint32_t index = group + hz5_first_byte(busy);
            if (index < run->block_count)
                idle &= ~hz5_pages_of(run, index, block_bytes);
        }
    }
    return idle;
}

void hz5_trim_run(struct hz5_heap *heap, struct hz5_desc *run) {
    char *base = (char *)atomic_load_explicit(&run->base, memory_order_relaxed);
    uint64_t idle = idle_pages(run);
    while (idle != 0) {
        unsigned first = (unsigned)__builtin_ctzll(idle);
        uint64_t above = ~(idle >> first);
        unsigned count = above == 0 ? 64 - first : (unsigned)__builtin_ctzll(above);
        uint64_t extent = (count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1) << first;
        if (os_mem_decommit(base + ((size_t)first << run->page_shift), (size_t)count << run->page_shift)) {
            if (run->is_kept)
                heap->kept_bytes -= hz5_page_groups(extent, run);
            hz_tally_add(&heap->dirty_bytes, 0 - hz5_page_groups(extent, run));
            run->dirty_pages &= ~extent;
        }
        idle &= ~extent;
    }
}

void hz5_trim(struct hz5_heap *heap) {
    uint64_t before = hz_tally_get(&heap->dirty_bytes);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        for (uint32_t link = heap->warm[size_class]; link != 0; link = hz5_run_of_link(link)->next)
            hz5_trim_run(heap, hz5_run_of_link(link));
        for (uint32_t link = heap->cold[size_class]; link != 0; link = hz5_run_of_link(link)->next)
            hz5_trim_run(heap, hz5_run_of_link(link));
    }
    heap->trim_mark_bytes = hz_tally_get(&heap->used_bytes);
    if (hz5_profile.limits.adaptive) {
        heap->trimmed_bytes += before - hz_tally_get(&heap->dirty_bytes);
        heap->trim_ms = os_clock_coarse_ms();
    }
}

// Returning pages is expensive: only after the heap has shrunk by a quarter, and only when most of it is waste. Memory
// that was trimmed too early last time is kept, as long as the heap does not stay small.
void hz5_trim_if_wasteful(struct hz5_heap *heap) {
    uint64_t used = hz_tally_get(&heap->used_bytes);
    uint64_t dirty = hz_tally_get(&heap->dirty_bytes);
    if (used > heap->trim_mark_bytes)
        heap->trim_mark_bytes = used;
    if (used >= heap->trim_mark_bytes / 4 * 3) {
        heap->small_since_ms = 0;
        return;
    }
    uint64_t waste = dirty > used ? dirty - used : 0;
    uint64_t allowed = hz_heap_is_helped(&heap->common) ? used / 4 : 2 * used; // an owner that sleeps needs no pages
    if (waste <= hz5_profile.trim_floor_bytes || waste <= allowed)
        return;
    if (waste <= hz5_profile.trim_floor_bytes + heap->spared_bytes) {
        uint64_t now = os_clock_coarse_ms();
        if (heap->small_since_ms == 0)
            heap->small_since_ms = now;
        if (now - heap->small_since_ms <= hz5_profile.limits.decay_ms)
            return;
        heap->spared_bytes = 0;
    }
    hz5_trim(heap);
}

// New pages are about to be touched. When a quarter of what was trimmed comes back within a decay period, as much is
// spared from now on.
void hz5_trim_was_touched(struct hz5_heap *heap, uint64_t bytes) {
    heap->retouched_bytes += bytes;
    if (heap->retouched_bytes < heap->trimmed_bytes / 4)
        return;
    if (os_clock_coarse_ms() - heap->trim_ms <= hz5_profile.limits.decay_ms)
        heap->spared_bytes += heap->trimmed_bytes;
    heap->trimmed_bytes = heap->retouched_bytes = 0;
}
