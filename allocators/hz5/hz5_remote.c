// SPDX-License-Identifier: Apache-2.0
// Remote frees: other threads mark the regions of a run in which they have freed blocks and queue the run with its
// owner, who drains the queue. hz5_remote_push() runs in the threads that free, all else in the owner's.
#include "hz5_run.h"

#include "../common/os_mem.h"

// What the runs of a heap's remote queues may be before who queues one more drains them for an owner that does not come
// to it: so much for all heaps together, so much at least for each, and this part of what the heap has in memory.
#define QUEUED_ALL_UNITS 64u
#define QUEUED_UNITS 8u
#define QUEUED_SHARE 4u
// A thread does not come if it is on no slow path for so long, or while so many units of runs are queued: one that runs
// is there every few microseconds, and drains more cheaply itself.
#define ABSENT_MS 8u
#define ABSENT_UNITS 64u

static void drain_all(struct hz5_heap *heap, unsigned size_class);

// As far as those saw who have asked before.
static int is_absent(struct hz5_heap *heap, uint32_t queued) {
    uint32_t holds = atomic_load_explicit(&heap->common.holds, memory_order_relaxed);
    uint64_t now = os_clock_coarse_ms();
    int has_come = holds != atomic_load_explicit(&heap->seen_holds, memory_order_relaxed);
    int is_late =
        !has_come && (now - atomic_load_explicit(&heap->seen_ms, memory_order_relaxed) >= ABSENT_MS ||
                      queued >= atomic_load_explicit(&heap->seen_queued, memory_order_relaxed) + ABSENT_UNITS);
    if (has_come || is_late) { // late: who asks will drain the queue
        atomic_store_explicit(&heap->seen_holds, holds, memory_order_relaxed);
        atomic_store_explicit(&heap->seen_ms, now, memory_order_relaxed);
        atomic_store_explicit(&heap->seen_queued, is_late ? 0 : queued, memory_order_relaxed);
    }
    return is_late;
}

// A heap with a quarantine is left to its thread, which delays what others freed.
static int waits_too_much(struct hz5_heap *heap) {
    uint32_t queued = atomic_load_explicit(&heap->queued_units, memory_order_relaxed);
    return queued >= QUEUED_UNITS && queued >= QUEUED_ALL_UNITS / hz_heap_alive_count() &&
           (uint64_t)queued << ARENA_UNIT_SHIFT >= hz_tally_get(&heap->dirty_bytes) / QUEUED_SHARE &&
           heap != hz5_thread.heap && heap->quarantine == NULL && is_absent(heap, queued);
}

// The run leaves the heap's queues.
static void unqueue(struct hz5_heap *heap, struct hz5_desc *run) {
    atomic_fetch_sub_explicit(&heap->queued_units, run->queued_units, memory_order_relaxed);
    hz5_queued_clear(&run->is_queued);
}

// Puts a run that has remote bits, and that this thread has just marked as queued, into its owner's queue. If the run
// changes its class meanwhile it may land in the queue of another one: it is drained all the same, before the next
// carve.
static void push(struct hz5_desc *run) {
    for (;;) {
        uint32_t owner = hz5_owner_of(hz5_owner_generation_read_to_queue(&run->owner_generation));
        if (owner != HZ5_OWNER_NONE && owner != HZ5_OWNER_LARGE) {
            struct hz5_heap *heap = hz5_heap_by_id(owner);
            unsigned size_class = hz5_size_class_of(run);
            size_class = size_class < SIZECLASS_COUNT ? size_class : 0;
            struct hz5_queue *queue = &heap->remote_queue[size_class];
            run->queued_units = (uint8_t)hz5_run_units(size_class);
            atomic_fetch_add_explicit(&heap->queued_units, run->queued_units, memory_order_relaxed);
            uint32_t head = hz5_queue_head(queue);
            do
                atomic_store_explicit(&run->remote_next, head, memory_order_relaxed);
            while (!hz5_queue_push(queue, &head, hz5_link_of(run)));
            // Nobody else would drain for a thread that has ended.
            if (HZ_UNLIKELY(hz_status_is_abandoned(&heap->common.status)) && hz_heap_acquire(&heap->common)) {
                drain_all(heap, size_class);
                hz_heap_release(&heap->common);
            } else if (HZ_UNLIKELY(waits_too_much(heap)) && hz_heap_help(&heap->common)) {
                hz5_drain(heap);
                hz_heap_helped(&heap->common);
            }
            return;
        }
        // Released meanwhile: all its blocks have been drained. If it is carved anew between the load and this store,
        // the bits are still there and one of us must queue it.
        hz5_queued_clear(&run->is_queued);
        owner = hz5_owner_of(hz5_owner_generation_read_to_queue(&run->owner_generation));
        if (owner == HZ5_OWNER_NONE || owner == HZ5_OWNER_LARGE || hz5_bits_look(&run->remote_bits) == 0 ||
            hz5_queued_mark(&run->is_queued) != 0)
            return;
    }
}

void hz5_remote_enqueue(struct hz5_desc *run) {
    if (hz5_queued_is_clear(&run->is_queued) && hz5_queued_mark(&run->is_queued) == 0)
        push(run);
}

// Regions pushed by threads without a heap.
static struct hz5_regions heapless_regions;

// States behind one bit of `remote_bits`.
static uint32_t region_blocks(unsigned size_class) {
    uint32_t blocks = (hz5_run_units(size_class) << ARENA_UNIT_SHIFT) / sizeclass_bytes[size_class];
    uint32_t most = (1u << HZ5_REGION_SHIFT) * (blocks / (HZ5_REGIONS << HZ5_REGION_SHIFT) + 1);
    return blocks < most ? blocks : most;
}

// The run may be in its next life: its sizes are good enough for an estimate, and `count` does not depend on them.
static void count_sizes(struct hz5_regions *regions, const struct hz5_desc *run, uint64_t count) {
    unsigned size_class = hz5_size_class_of(run);
    uint64_t blocks = size_class < SIZECLASS_COUNT ? count * region_blocks(size_class) : 0;
    hz_tally_add(&regions->blocks, blocks);
    hz_tally_add(&regions->bytes, size_class < SIZECLASS_COUNT ? blocks * sizeclass_bytes[size_class] : 0);
}

void hz5_remote_push(struct hz5_desc *run, uint64_t index) {
    struct hz5_heap *mine = hz5_thread.heap;
    uint64_t bit = (uint64_t)1 << hz5_region_of(index);
    // Counted before the bit is set, and taken back if another thread has set it meanwhile: see hzn_stats().
    if (mine != NULL) {
        hz_tally_add(&mine->pushed.count, 1);
        count_sizes(&mine->pushed, run, 1);
    } else {
        atomic_fetch_add_explicit(&heapless_regions.count, 1, memory_order_relaxed);
    }
    if ((hz5_bits_set(&run->remote_bits, bit) & bit) != 0) {
        if (mine != NULL)
            hz_tally_add(&mine->pushed.count, 0 - (uint64_t)1);
        else
            atomic_fetch_sub_explicit(&heapless_regions.count, 1, memory_order_relaxed);
    }
    hz5_remote_enqueue(run);
    hz5_count_issued(mine);
}

static void count_searched(struct hz5_heap *heap, const struct hz5_desc *run, uint64_t count) {
    count_sizes(&heap->searched, run, count);
    // ORDER: release: who sees the region counted as searched sees all its blocks counted as drained; partner: the load
    // of count below.
    atomic_store_explicit(&heap->searched.count, hz_tally_get(&heap->searched.count) + count, memory_order_release);
}

// The REMOTE blocks among eight states: to the sink while it wants any, to the run otherwise.
static void drain_eight(struct hz5_heap *heap, struct hz5_desc *run, uint32_t group, struct hz5_sink *sink) {
    struct hz5_block *states = hz5_states_of(run) + group;
    uint64_t marks =
        hz5_bytes_equal(hz5_eight_blocks(states, (memory_order)hz5_block_is_remote_order), hz5_block_is_remote_from);
    if (marks == 0)
        return;
    uint64_t drained = atomic_load_explicit(&heap->remote_drained, memory_order_relaxed);
    atomic_store_explicit(&heap->remote_drained, drained + (uint64_t)__builtin_popcountll(marks), memory_order_relaxed);
    // An abandoned heap's quarantine stays empty: its runs may be adopted, and nobody would empty it.
    int is_delayed = heap->quarantine != NULL && heap == hz5_thread.heap;
    uint32_t freed = 0;
    uint32_t lowest = UINT32_MAX;
    char *block = hz5_block_at(run, group);
    uint32_t block_bytes = atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
    for (; marks != 0; marks &= marks - 1) {
        uint32_t index = hz5_first_byte(marks);
        struct hz5_block *state = states + index;
        // The wide load has only found the byte: accesses of different sizes do not synchronise.
        (void)hz5_block_see_remote(state);
        if (HZ_UNLIKELY(is_delayed)) {
            hz5_block_drain_to_magazine(state);
            hz5_quarantine_of_drain(heap, block + (size_t)index * block_bytes, state, hz5_size_class_of(run));
        } else if (sink->want > 0) {
            hz5_block_drain_to_magazine(state);
            hz5_sink_put(sink, block + (size_t)index * block_bytes, state);
        } else {
            hz5_block_drain_to_run(state);
            lowest = freed++ == 0 ? group + index : lowest;
        }
    }
    if (freed != 0)
        hz5_run_blocks_freed(heap, run, freed, lowest);
}

// Searches the run's regions, one after another; stops early only when the sink becomes full. 1 when it has seen all.
static int drain(struct hz5_heap *heap, struct hz5_desc *run, struct hz5_sink *sink) {
    int has_sink = sink->want > 0;
    if (run->draining == 0)
        run->draining = hz5_bits_take(&run->remote_bits);
    for (; run->draining != 0; run->draining &= run->draining - 1) {
        if (has_sink && sink->want == 0)
            return 0;
        uint32_t region = (uint32_t)__builtin_ctzll(run->draining);
        for (; region << HZ5_REGION_SHIFT < run->block_count; region += HZ5_REGIONS) {
            uint32_t group = region << HZ5_REGION_SHIFT;
            uint32_t end = group + (1u << HZ5_REGION_SHIFT);
            for (; group < end && group < run->block_count; group += 8)
                drain_eight(heap, run, group, sink);
        }
        count_searched(heap, run, 1);
    }
    return 1;
}

// The queue of the class becomes part of the heap's own list. Runs that are not this heap's go on at once: while they
// are marked as queued nobody else queues them.
static void take_queue(struct hz5_heap *heap, unsigned size_class) {
    uint32_t link = hz5_queue_take(&heap->remote_queue[size_class]);
    while (link != 0) {
        struct hz5_desc *run = hz5_run_of_link(link);
        uint32_t next = atomic_load_explicit(&run->remote_next, memory_order_relaxed);
        int is_mine = hz5_owner_of(hz5_owner_generation_read_again(&run->owner_generation)) == heap->common.id;
        if (is_mine && atomic_load_explicit(&run->run, memory_order_relaxed) == run) {
            atomic_store_explicit(&run->remote_next, heap->draining[size_class], memory_order_relaxed);
            heap->draining[size_class] = link;
        } else {
            unqueue(heap, run);
            if (is_mine) // late bits of the unit's last life: it lies inside a longer run now
                count_searched(heap, run, (uint64_t)__builtin_popcountll(hz5_bits_drop(&run->remote_bits)));
            else if (hz5_bits_look(&run->remote_bits) != 0)
                hz5_remote_enqueue(run); // it has a new owner, or none
        }
        link = next;
    }
}

// Drains until the sink is full, or, with a sink that wants nothing, all.
void hz5_remote_drain_class(struct hz5_heap *heap, unsigned size_class, struct hz5_sink *sink) {
    int has_sink = sink->want > 0;
    if (heap->draining[size_class] == 0)
        take_queue(heap, size_class);
    while (heap->draining[size_class] != 0 && (!has_sink || sink->want > 0)) {
        struct hz5_desc *run = hz5_run_of_link(heap->draining[size_class]);
        if (!drain(heap, run, sink))
            return;
        heap->draining[size_class] = atomic_load_explicit(&run->remote_next, memory_order_relaxed);
        unqueue(heap, run);
        if (hz5_bits_look(&run->remote_bits) != 0)
            hz5_remote_enqueue(run);
        else if (run->free_count == run->most_free && !run->is_kept)
            hz5_run_became_empty(heap, run, hz5_size_class_of(run));
    }
}

static void drain_all(struct hz5_heap *heap, unsigned size_class) {
    struct hz5_sink nothing = {0};
    if (heap->draining[size_class] != 0)
        hz5_remote_drain_class(heap, size_class, &nothing);
    hz5_remote_drain_class(heap, size_class, &nothing);
}

static void sum_regions(struct hz5_regions *sum, const struct hz5_regions *more) {
    // ORDER: acquire: partners: count_searched(), hz5_count_issued().
    hz_tally_add(&sum->count, atomic_load_explicit(&more->count, memory_order_acquire));
    hz_tally_add(&sum->blocks, hz_tally_get(&more->blocks));
    hz_tally_add(&sum->bytes, hz_tally_get(&more->bytes));
}

// What has been searched is read first: whatever is missing there counts as waiting.
void hz5_regions_read(struct hz5_regions *pushed, struct hz5_regions *searched) {
    *pushed = *searched = (struct hz5_regions){0};
    for (uint32_t id = 1; id <= hz_heap_count(); id++)
        sum_regions(searched, &hz5_heap_by_id(id)->searched);
    sum_regions(pushed, &heapless_regions);
    for (uint32_t id = 1; id <= hz_heap_count(); id++)
        sum_regions(pushed, &hz5_heap_by_id(id)->pushed);
}

static int is_queue_filled(struct hz5_heap *heap, unsigned size_class) {
    return !hz5_queue_is_empty(&heap->remote_queue[size_class]);
}

int hz5_remote_waits(struct hz5_heap *heap, unsigned size_class) {
    return heap->draining[size_class] != 0 || is_queue_filled(heap, size_class);
}

// Looks at the queues alone: the heap has been released, with nothing left in `draining`.
int hzn_heap_has_remote(struct hz_heap *base) {
    struct hz5_heap *heap = hz5_heap_of(base);
    unsigned size_class = 0;
    while (size_class < SIZECLASS_COUNT && !is_queue_filled(heap, size_class))
        size_class++;
    return size_class < SIZECLASS_COUNT;
}

void hz5_drain(struct hz5_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        if (hz5_remote_waits(heap, size_class))
            drain_all(heap, size_class);
    hz5_trim_if_wasteful(heap);
}

void hzn_heap_drain(struct hz_heap *heap) {
    hz5_drain(hz5_heap_of(heap));
}
