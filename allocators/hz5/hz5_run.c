// SPDX-License-Identifier: Apache-2.0
// Runs of small blocks: carving, refill of magazines, spill, drain of remote frees, release and trim. All of it is
// the owner's work, on slow paths; hz5_remote_push() alone runs in other threads.
#include "hz5.h"

#include "../common/check.h"
#include "../common/lock.h"
#include "../common/os_mem.h"

#include <string.h>

#define UNITS_OF_LARGE_BLOCKS 8u // run of blocks above 8 KiB: a tail that is never touched costs nothing
#define ONE_UNIT_MAX_BYTES 8256u
#define STATE_ARRAY_ALIGN 64u // no two runs share a line of states

static unsigned run_units(unsigned size_class) {
    return sizeclass_bytes[size_class] <= ONE_UNIT_MAX_BYTES ? 1 : UNITS_OF_LARGE_BLOCKS;
}

// ---- state arrays: type-stable, recycled within their class -------------------------------------------------------

// A free array holds its link in its first eight bytes, seven bits a byte under a set top bit: no stale
// compare-and-swap that expects LIVE can hit it. A returned array rests until STATE_ARRAYS_RESTING others of its class
// have been returned: a free that is stalled between its look at the descriptor and its exchange meets bytes that are
// not LIVE, not those of the run's next life.
#define STATE_ARRAYS_RESTING 8u

static struct {
    hz_mutex lock;
    struct {
        struct hz5_block *first, *last; // oldest and youngest
        uint32_t count;
    } resting[SIZECLASS_COUNT];
} state_arrays;

void core_fork_lock(void) {
    hz_lock(&state_arrays.lock);
}

void core_fork_inherit(void) {
    hz_lock_inherit(&state_arrays.lock);
}

void core_fork_unlock(void) {
    hz_unlock(&state_arrays.lock);
}

static void link_write(struct hz5_block *array, struct hz5_block *next) {
    for (int i = 0; i < 8; i++)
        hz5_block_rest(array + i, (uint8_t)(0x80 | ((uintptr_t)next >> (7 * i) & 0x7f)));
}

static struct hz5_block *link_read(struct hz5_block *array) {
    uintptr_t next = 0;
    for (int i = 0; i < 8; i++)
        next |= (uintptr_t)(hz5_block_peek(array + i) & 0x7f) << (7 * i);
    return (struct hz5_block *)next;
}

static struct hz5_block *state_array_take(unsigned size_class, uint32_t block_count) {
    struct hz5_block *array = NULL;
    hz_lock(&state_arrays.lock);
    if (state_arrays.resting[size_class].count > STATE_ARRAYS_RESTING) {
        array = state_arrays.resting[size_class].first;
        state_arrays.resting[size_class].first = link_read(array);
        state_arrays.resting[size_class].count--;
    }
    hz_unlock(&state_arrays.lock);
    uint32_t bytes = (uint32_t)hz_align_up(block_count + 1, STATE_ARRAY_ALIGN);
    uint32_t fresh_from = array == NULL ? block_count : 8;
    if (array == NULL)
        array = arena_metadata(bytes, STATE_ARRAY_ALIGN);
    else
        for (uint32_t i = 0; i < 8; i++)
            hz5_block_rest(array + i, i < block_count ? HZ5_FREE : HZ5_NO_BLOCK);
    for (uint32_t i = fresh_from; array != NULL && i >= block_count && i < bytes; i++)
        hz5_block_rest(array + i, HZ5_NO_BLOCK);
    return array;
}

static void state_array_give(unsigned size_class, struct hz5_block *array) {
    hz_lock(&state_arrays.lock);
    link_write(array, NULL);
    if (state_arrays.resting[size_class].count++ == 0)
        state_arrays.resting[size_class].first = array;
    else
        link_write(state_arrays.resting[size_class].last, array);
    state_arrays.resting[size_class].last = array;
    hz_unlock(&state_arrays.lock);
}

// ---- eight states at a time ---------------------------------------------------------------------------------------

// 0x80 in every byte of `word` that equals `value`.
static uint64_t bytes_equal(uint64_t word, uint8_t value) {
    uint64_t x = word ^ 0x0101010101010101u * value;
    uint64_t low = 0x7f7f7f7f7f7f7f7fu;
    return ~(((x & low) + low) | x | low);
}

static uint32_t first_byte(uint64_t marks) {
    return (uint32_t)__builtin_ctzll(marks) / 8;
}

// ---- lists --------------------------------------------------------------------------------------------------------

static uint32_t link_of(const struct hz5_desc *run) {
    return (uint32_t)hz5_unit_of(run) + 1;
}

static struct hz5_desc *run_of_link(uint32_t link) {
    return hz5_desc_at(link - 1);
}

static uint32_t *list_head(struct hz5_heap *heap, const struct hz5_desc *run, unsigned size_class) {
    return run->is_cold ? &heap->cold[size_class] : &heap->warm[size_class];
}

static void list_insert(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class, int is_cold) {
    run->is_cold = (uint8_t)is_cold;
    uint32_t *head = list_head(heap, run, size_class);
    run->previous = 0;
    run->next = *head;
    if (*head != 0)
        run_of_link(*head)->previous = link_of(run);
    *head = link_of(run);
}

static void list_remove(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class) {
    if (run->previous != 0)
        run_of_link(run->previous)->next = run->next;
    else
        *list_head(heap, run, size_class) = run->next;
    if (run->next != 0)
        run_of_link(run->next)->previous = run->previous;
}

// ---- birth and death of a run -------------------------------------------------------------------------------------

static void set_owner_generation(struct hz5_desc *desc, uint32_t generation_step, uint32_t owner) {
    uint32_t generation = hz5_generation_of(hz5_owner_generation_read_again(&desc->owner_generation)) + generation_step;
    hz5_owner_generation_write(&desc->owner_generation, (uint64_t)generation << 32 | owner);
}

static unsigned size_class_of(const struct hz5_desc *run) {
    return atomic_load_explicit(&run->size_class, memory_order_relaxed);
}

static char *block_at(const struct hz5_desc *run, uint32_t index) {
    return (char *)atomic_load_explicit(&run->base, memory_order_relaxed) +
           (size_t)index * atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
}

static uint64_t page_groups(uint64_t dirty, const struct hz5_desc *run) {
    return (uint64_t)__builtin_popcountll(dirty) << run->page_shift;
}

// Page groups that hold blocks; a tail too small for a block is never touched.
static uint64_t all_page_groups(const struct hz5_desc *run, uint32_t block_bytes) {
    uint32_t last = (run->block_count * block_bytes - 1) >> run->page_shift;
    return ~(uint64_t)0 >> (63 - last);
}

static void run_no_longer_kept(struct hz5_heap *heap, struct hz5_desc *run) {
    if (run->is_kept)
        heap->kept_bytes -= page_groups(run->dirty_pages, run);
    run->is_kept = 0;
}

static void enqueue(struct hz5_desc *run);

static int carve(struct hz5_heap *heap, unsigned size_class) {
    uint32_t units = run_units(size_class);
    uint32_t block_bytes = sizeclass_bytes[size_class];
    uint32_t block_count = (units << ARENA_UNIT_SHIFT) / block_bytes;
    struct hz5_block *states = state_array_take(size_class, block_count);
    if (states == NULL)
        return 0;
    int is_zero;
    char *base = arena_take(units, 1, &is_zero);
    if (base == NULL) {
        state_array_give(size_class, states);
        return 0;
    }
    struct hz5_desc *run = hz5_desc_at(hz5_unit_of_pointer(base));
    run->page_shift = units == 1 ? 12 : 13;
    run->units = units;
    run->block_count = block_count;
    run->dirty_pages = is_zero ? 0 : all_page_groups(run, block_bytes);
    run->free_count = block_count;
    run->hint = 0;
    run->draining = 0;
    run->is_kept = 0;
    hz_tally_add(&heap->dirty_bytes, page_groups(run->dirty_pages, run));
    list_insert(heap, run, size_class, is_zero);
    for (uint32_t unit = 0; unit < units; unit++) {
        struct hz5_desc *desc = run + unit;
        uint64_t reciprocal = UINT64_MAX / block_bytes + 1;
        atomic_store_explicit(&desc->block_bytes, block_bytes, memory_order_relaxed);
        atomic_store_explicit(&desc->size_class, (uint8_t)size_class, memory_order_relaxed);
        atomic_store_explicit(&desc->kind, HZ5_KIND_SMALL, memory_order_relaxed);
        atomic_store_explicit(&desc->remainder_bound, reciprocal, memory_order_relaxed);
        // ORDER: release: after the store of owner_generation that ended the unit's last life; partner: free_remote(),
        // which reads owner_generation again when it has read these.
        atomic_store_explicit(&desc->base, (uintptr_t)base, memory_order_release);
        hz5_array_write(&desc->states, (uintptr_t)states);
        atomic_store_explicit(&desc->run, run, memory_order_release);
        set_owner_generation(desc, 1, heap->common.id);
        hz5_reciprocal_begin(&desc->reciprocal, reciprocal);
    }
    // A thread that freed into the unit's last life may have set a bit after that life's last drain.
    hz5_fence_carved();
    if (hz5_bits_look(&run->remote_bits) != 0)
        enqueue(run);
    return 1;
}

static void release(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class) {
    void *base = (void *)atomic_load_explicit(&run->base, memory_order_relaxed);
    struct hz5_block *states = hz5_states_of(run);
    uint32_t units = run->units;
    int clean = run->dirty_pages == 0;
    list_remove(heap, run, size_class);
    run_no_longer_kept(heap, run);
    hz_tally_add(&heap->dirty_bytes, 0 - page_groups(run->dirty_pages, run));
    for (uint32_t unit = 0; unit < units; unit++) {
        atomic_store_explicit(&run[unit].kind, HZ5_KIND_RELEASED, memory_order_relaxed);
        // Before the store of owner_generation: whoever sees the end of this life sees that no block starts here.
        hz5_reciprocal_end(&run[unit].reciprocal);
        set_owner_generation(run + unit, 1, HZ5_OWNER_NONE);
    }
    state_array_give(size_class, states);
    arena_give(base, units, clean);
}

// ---- free blocks come back ----------------------------------------------------------------------------------------

// An empty run is kept for its class while a heap keeps little: a class whose population sways by one run must not
// carve and release on every sway, and a run that changes its class comes to have all its pages resident.
//
// A run in the remote queue stays until it is drained: its next owner could not queue it while it is in ours, and we
// may sleep for long.
static void run_became_empty(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class) {
    if (!hz5_queued_peek_clear(&run->is_queued))
        return;
    uint64_t bytes = page_groups(run->dirty_pages, run);
    uint64_t limit = hz5_profile.keep_bytes + hz_tally_get(&heap->used_bytes) / 100 * hz5_profile.keep_percent;
    if (heap->kept_bytes + bytes > limit) {
        release(heap, run, size_class);
        return;
    }
    heap->kept_bytes += bytes;
    run->is_kept = 1;
}

// `count` blocks of the run, the lowest of them `lowest`, have become FREE.
static void blocks_freed(struct hz5_heap *heap, struct hz5_desc *run, uint32_t count, uint32_t lowest) {
    unsigned size_class = size_class_of(run);
    hz_tally_add(&heap->used_bytes, 0 - (uint64_t)count * sizeclass_bytes[size_class]);
    uint32_t before = run->free_count;
    run->free_count += count;
    HZ_ASSERT(run->free_count <= run->block_count);
    if (lowest < run->hint)
        run->hint = lowest;
    if (before == 0) {
        list_insert(heap, run, size_class, 0);
    } else if (run->is_cold) {
        list_remove(heap, run, size_class);
        list_insert(heap, run, size_class, 0);
    }
    if (run->free_count == run->block_count)
        run_became_empty(heap, run, size_class);
}

// Returning pages is expensive: only after the heap has shrunk by a quarter, and only when most of it is waste. Memory
// that was trimmed too early last time is kept, as long as the heap does not stay small.
static void maybe_trim(struct hz5_heap *heap) {
    uint64_t used = hz_tally_get(&heap->used_bytes);
    uint64_t dirty = hz_tally_get(&heap->dirty_bytes);
    if (used > heap->trim_mark_bytes)
        heap->trim_mark_bytes = used;
    if (used >= heap->trim_mark_bytes / 4 * 3) {
        heap->small_since_ms = 0;
        return;
    }
    uint64_t waste = dirty > used ? dirty - used : 0;
    if (waste <= hz5_profile.trim_floor_bytes || waste <= 2 * used)
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
static void learn_from_touching(struct hz5_heap *heap, uint64_t bytes) {
    heap->retouched_bytes += bytes;
    if (heap->retouched_bytes < heap->trimmed_bytes / 4)
        return;
    if (os_clock_coarse_ms() - heap->trim_ms <= hz5_profile.limits.decay_ms)
        heap->spared_bytes += heap->trimmed_bytes;
    heap->trimmed_bytes = heap->retouched_bytes = 0;
}

void hz5_block_to_run(struct hz5_heap *heap, void *block, struct hz5_block *state) {
    struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(block));
    struct hz5_desc *run = atomic_load_explicit(&desc->run, memory_order_relaxed);
    hz5_block_spill(state);
    blocks_freed(heap, run, 1, (uint32_t)(state - hz5_states_of(run)));
}

void hz5_spill(struct hz5_heap *heap, unsigned size_class, uint32_t keep) {
    arena_look();
    struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
    uint32_t count = (uint32_t)(hz5_thread.top[size_class] - bottom);
    uint32_t leave = count > keep ? count - keep : 0;
    for (uint32_t i = 1; i <= leave; i++)
        hz5_block_to_run(heap, bottom[i].block, bottom[i].state);
    memmove(bottom + 1, bottom + 1 + leave, (count - leave) * sizeof *bottom);
    hz5_thread.top[size_class] = bottom + (count - leave);
    maybe_trim(heap);
}

// ---- remote frees -------------------------------------------------------------------------------------------------

static void drain_all(struct hz5_heap *heap, unsigned size_class);

// Puts a run that has remote bits, and that this thread has just marked as queued, into its owner's queue. If the run
// changes its class meanwhile it may land in the queue of another one: it is drained all the same, before the next
// carve.
static void push(struct hz5_desc *run) {
    for (;;) {
        uint32_t owner = hz5_owner_of(hz5_owner_generation_read_to_queue(&run->owner_generation));
        if (owner != HZ5_OWNER_NONE && owner != HZ5_OWNER_LARGE) {
            struct hz5_heap *heap = hz5_heap_by_id(owner);
            unsigned size_class = size_class_of(run);
            size_class = size_class < SIZECLASS_COUNT ? size_class : 0;
            struct hz5_queue *queue = &heap->remote_queue[size_class];
            uint32_t head = hz5_queue_head(queue);
            do
                atomic_store_explicit(&run->remote_next, head, memory_order_relaxed);
            while (!hz5_queue_push(queue, &head, link_of(run)));
            // Nobody else would drain for a thread that has ended.
            if (HZ_UNLIKELY(hz_status_is_abandoned(&heap->common.status)) && hz_heap_acquire(&heap->common)) {
                drain_all(heap, size_class);
                hz_heap_release(&heap->common);
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

static void enqueue(struct hz5_desc *run) {
    if (hz5_queued_is_clear(&run->is_queued) && hz5_queued_mark(&run->is_queued) == 0)
        push(run);
}

// Regions pushed by threads without a heap.
static struct hz5_regions heapless_regions;

// States behind one bit of `remote_bits`.
static uint32_t region_blocks(unsigned size_class) {
    uint32_t blocks = (run_units(size_class) << ARENA_UNIT_SHIFT) / sizeclass_bytes[size_class];
    uint32_t most = (1u << HZ5_REGION_SHIFT) * (blocks / (HZ5_REGIONS << HZ5_REGION_SHIFT) + 1);
    return blocks < most ? blocks : most;
}

// The run may be in its next life: its sizes are good enough for an estimate, and `count` does not depend on them.
static void count_sizes(struct hz5_regions *regions, const struct hz5_desc *run, uint64_t count) {
    unsigned size_class = size_class_of(run);
    uint64_t blocks = size_class < SIZECLASS_COUNT ? count * region_blocks(size_class) : 0;
    hz_tally_add(&regions->blocks, blocks);
    hz_tally_add(&regions->bytes, size_class < SIZECLASS_COUNT ? blocks * sizeclass_bytes[size_class] : 0);
}

void hz5_remote_push(struct hz5_desc *run, uint64_t index) {
    struct hz5_heap *mine = hz5_thread.heap;
    uint64_t bit = (uint64_t)1 << hz5_region_of(index);
    // Counted before the bit is set, and taken back if another thread has set it meanwhile: see core_stats().
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
    enqueue(run);
    hz5_count_issued(mine);
}

static void count_searched(struct hz5_heap *heap, const struct hz5_desc *run, uint64_t count) {
    count_sizes(&heap->searched, run, count);
    // ORDER: release: who sees the region counted as searched sees all its blocks counted as drained (core_stats).
    atomic_store_explicit(&heap->searched.count, hz_tally_get(&heap->searched.count) + count, memory_order_release);
}

// Where refill wants blocks: filled downwards, so that the first one found leaves the magazine first.
struct sink {
    struct hz5_entry *next; // the entry above the next free one
    uint32_t want;
};

static void sink_put(struct sink *sink, void *block, struct hz5_block *state) {
    (--sink->next)->block = block;
    sink->next->state = state;
    sink->want--;
}

// The REMOTE blocks among eight states: to the sink while it wants any, to the run otherwise.
static void drain_eight(struct hz5_heap *heap, struct hz5_desc *run, uint32_t group, struct sink *sink) {
    struct hz5_block *states = hz5_states_of(run) + group;
    uint64_t marks =
        bytes_equal(hz5_eight_blocks(states, (memory_order)hz5_block_is_remote_order), hz5_block_is_remote_from);
    if (marks == 0)
        return;
    uint64_t drained = atomic_load_explicit(&heap->remote_drained, memory_order_relaxed);
    atomic_store_explicit(&heap->remote_drained, drained + (uint64_t)__builtin_popcountll(marks), memory_order_relaxed);
    // An abandoned heap's quarantine stays empty: its runs may be adopted, and nobody would empty it.
    int is_delayed = heap->quarantine != NULL && heap == hz5_thread.heap;
    uint32_t freed = 0;
    uint32_t lowest = UINT32_MAX;
    char *block = block_at(run, group);
    uint32_t block_bytes = atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
    for (; marks != 0; marks &= marks - 1) {
        uint32_t index = first_byte(marks);
        struct hz5_block *state = states + index;
        // The wide load has only found the byte: accesses of different sizes do not synchronise.
        (void)hz5_block_see_remote(state);
        if (HZ_UNLIKELY(is_delayed)) {
            hz5_block_drain_to_magazine(state);
            hz5_quarantine(heap, block + (size_t)index * block_bytes, state, size_class_of(run));
        } else if (sink->want > 0) {
            hz5_block_drain_to_magazine(state);
            sink_put(sink, block + (size_t)index * block_bytes, state);
        } else {
            hz5_block_drain_to_run(state);
            lowest = freed++ == 0 ? group + index : lowest;
        }
    }
    if (freed != 0)
        blocks_freed(heap, run, freed, lowest);
}

// Searches the run's regions, one after another; stops early only when the sink becomes full. 1 when it has seen all.
static int drain(struct hz5_heap *heap, struct hz5_desc *run, struct sink *sink) {
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
        struct hz5_desc *run = run_of_link(link);
        uint32_t next = atomic_load_explicit(&run->remote_next, memory_order_relaxed);
        int is_mine = hz5_owner_of(hz5_owner_generation_read_again(&run->owner_generation)) == heap->common.id;
        if (is_mine && atomic_load_explicit(&run->run, memory_order_relaxed) == run) {
            atomic_store_explicit(&run->remote_next, heap->draining[size_class], memory_order_relaxed);
            heap->draining[size_class] = link;
        } else {
            hz5_queued_clear(&run->is_queued);
            if (is_mine) // late bits of the unit's last life: it lies inside a longer run now
                count_searched(heap, run, (uint64_t)__builtin_popcountll(hz5_bits_drop(&run->remote_bits)));
            else if (hz5_bits_look(&run->remote_bits) != 0)
                enqueue(run); // it has a new owner, or none
        }
        link = next;
    }
}

// Drains until the sink is full, or, with a sink that wants nothing, all.
static void drain_class(struct hz5_heap *heap, unsigned size_class, struct sink *sink) {
    int has_sink = sink->want > 0;
    if (heap->draining[size_class] == 0)
        take_queue(heap, size_class);
    while (heap->draining[size_class] != 0 && (!has_sink || sink->want > 0)) {
        struct hz5_desc *run = run_of_link(heap->draining[size_class]);
        if (!drain(heap, run, sink))
            return;
        heap->draining[size_class] = atomic_load_explicit(&run->remote_next, memory_order_relaxed);
        hz5_queued_clear(&run->is_queued);
        if (hz5_bits_look(&run->remote_bits) != 0)
            enqueue(run);
        else if (run->free_count == run->block_count && !run->is_kept)
            run_became_empty(heap, run, size_class_of(run));
    }
}

static void drain_all(struct hz5_heap *heap, unsigned size_class) {
    struct sink nothing = {0};
    if (heap->draining[size_class] != 0)
        drain_class(heap, size_class, &nothing);
    drain_class(heap, size_class, &nothing);
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

static int has_remote(struct hz5_heap *heap, unsigned size_class) {
    return heap->draining[size_class] != 0 || is_queue_filled(heap, size_class);
}

// The queues alone: whoever asks has given the heap away, with nothing under drain.
int core_heap_has_remote(struct hz_heap *base) {
    struct hz5_heap *heap = hz5_heap_of(base);
    unsigned size_class = 0;
    while (size_class < SIZECLASS_COUNT && !is_queue_filled(heap, size_class))
        size_class++;
    return size_class < SIZECLASS_COUNT;
}

void hz5_drain(struct hz5_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        if (has_remote(heap, size_class))
            drain_all(heap, size_class);
    maybe_trim(heap);
}

void core_heap_drain(struct hz_heap *heap) {
    hz5_drain(hz5_heap_of(heap));
}

// ---- refill -------------------------------------------------------------------------------------------------------

// Page groups that block `index` covers.
static uint64_t pages_of(const struct hz5_desc *run, uint32_t index, uint32_t block_bytes) {
    uint32_t first = index * block_bytes >> run->page_shift;
    uint32_t last = ((index + 1) * block_bytes - 1) >> run->page_shift;
    return ((uint64_t)2 << last) - ((uint64_t)1 << first);
}

// Takes FREE blocks, lowest first, while the sink wants any; blocks on clean pages only if `touch_clean`. How many.
static uint32_t take_blocks(struct hz5_heap *heap, struct hz5_desc *run, int touch_clean, struct sink *sink) {
    uint32_t block_bytes = atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
    struct hz5_block *states = hz5_states_of(run);
    char *base = block_at(run, 0);
    int all_dirty = run->dirty_pages == all_page_groups(run, block_bytes);
    uint32_t end = run->block_count;
    if (!touch_clean && !all_dirty) {
        if (run->dirty_pages == 0)
            return 0;
        uint32_t dirty_end = (64 - (uint32_t)__builtin_clzll(run->dirty_pages)) << run->page_shift;
        uint32_t dirty_blocks = dirty_end / block_bytes;
        end = dirty_blocks < end ? dirty_blocks : end;
    }
    run_no_longer_kept(heap, run);
    uint32_t wanted = sink->want;
    uint32_t skipped = UINT32_MAX;
    for (uint32_t group = run->hint & ~7u; group < end && sink->want > 0; group += 8) {
        uint64_t marks = bytes_equal(hz5_eight_blocks(states + group, memory_order_relaxed), HZ5_FREE);
        for (; marks != 0 && sink->want > 0; marks &= marks - 1) {
            uint32_t index = group + first_byte(marks);
            uint64_t clean = all_dirty ? 0 : pages_of(run, index, block_bytes) & ~run->dirty_pages;
            if (HZ_UNLIKELY(clean != 0)) {
                if (!touch_clean) {
                    skipped = index < skipped ? index : skipped;
                    continue;
                }
                hz_tally_add(&heap->dirty_bytes, page_groups(clean, run));
                run->dirty_pages |= clean;
                if (heap->trimmed_bytes != 0)
                    learn_from_touching(heap, page_groups(clean, run));
            }
            hz5_block_refill(states + index);
            sink_put(sink, base + (size_t)index * block_bytes, states + index);
            run->hint = index + 1;
        }
    }
    if (skipped < run->hint)
        run->hint = skipped;
    return wanted - sink->want;
}

static void blocks_taken(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class, uint32_t count) {
    hz_tally_add(&heap->used_bytes, (uint64_t)count * sizeclass_bytes[size_class]);
    run->free_count -= count;
    if (run->free_count == 0)
        list_remove(heap, run, size_class);
}

static void take_warm(struct hz5_heap *heap, unsigned size_class, struct sink *sink) {
    while (sink->want > 0 && heap->warm[size_class] != 0) {
        struct hz5_desc *run = run_of_link(heap->warm[size_class]);
        uint32_t got = take_blocks(heap, run, 0, sink);
        blocks_taken(heap, run, size_class, got);
        if (sink->want > 0 && run->free_count != 0) {
            list_remove(heap, run, size_class);
            list_insert(heap, run, size_class, 1);
        }
    }
}

// Touches new memory a page at a time: the page fault costs a hundred times what the shorter refill does.
static void take_cold(struct hz5_heap *heap, unsigned size_class, struct sink *sink) {
    struct hz5_desc *run = run_of_link(heap->cold[size_class]);
    uint32_t page_blocks = (uint32_t)OS_PAGE_BYTES / sizeclass_bytes[size_class];
    page_blocks = page_blocks > 0 ? page_blocks : 1;
    sink->want = sink->want < page_blocks ? sink->want : page_blocks;
    uint32_t taken = take_blocks(heap, run, 1, sink);
    HZ_ASSERT(taken > 0);
    blocks_taken(heap, run, size_class, taken);
}

static int adopt_from_abandoned_heaps(struct hz5_heap *heap, unsigned size_class) {
    int adopted = 0;
    struct hz_heap *abandoned;
    for (uint32_t id = 0; !adopted && (abandoned = hz_heap_acquire_next(&id)) != NULL; hz_heap_release(abandoned)) {
        struct hz5_heap *giver = hz5_heap_of(abandoned);
        hz5_drain(giver);
        hz5_quarantine_flush(giver); // a thread that a fork left behind had one; it names blocks of these runs
        adopted = hz5_adopt_runs(heap, giver, size_class);
    }
    return adopted;
}

int hz5_refill(struct hz5_heap *heap, unsigned size_class) {
    arena_look();
    struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
    uint32_t want = (hz5_magazine_entries[size_class] + 1) / 2;
    struct hz5_entry *end = bottom + 1 + want;
    struct sink sink = {.next = end, .want = want};
    take_warm(heap, size_class, &sink);
    // Reclaim before grow: what others freed, then what threads that ended left, then memory not touched yet, then
    // whatever others freed of other classes, which may empty a run, then a new run.
    if (sink.next == end && has_remote(heap, size_class)) {
        drain_class(heap, size_class, &sink);
        if (sink.next == end) // a quarantine has taken them all, and given others back
            take_warm(heap, size_class, &sink);
    }
    if (sink.next == end && adopt_from_abandoned_heaps(heap, size_class) != 0)
        take_warm(heap, size_class, &sink);
    if (sink.next == end && heap->cold[size_class] == 0) {
        hz5_drain(heap);
        if (heap->warm[size_class] == 0 && heap->cold[size_class] == 0)
            carve(heap, size_class);
        take_warm(heap, size_class, &sink);
    }
    if (sink.next == end && heap->cold[size_class] != 0)
        take_cold(heap, size_class, &sink);
    uint32_t taken = (uint32_t)(end - sink.next);
    if (taken < want)
        memmove(bottom + 1, sink.next, taken * sizeof *bottom);
    hz5_thread.top[size_class] = bottom + taken;
    return taken != 0;
}

int hz5_adopt_runs(struct hz5_heap *heap, struct hz5_heap *giver, unsigned size_class) {
    int adopted = 0;
    for (int is_cold = 0; is_cold <= 1; is_cold++) {
        uint32_t *head = is_cold ? &giver->cold[size_class] : &giver->warm[size_class];
        while (*head != 0) {
            struct hz5_desc *run = run_of_link(*head);
            list_remove(giver, run, size_class);
            run_no_longer_kept(giver, run);
            uint64_t used = (uint64_t)(run->block_count - run->free_count) * sizeclass_bytes[size_class];
            uint64_t dirty = page_groups(run->dirty_pages, run);
            hz_tally_add(&giver->used_bytes, 0 - used);
            hz_tally_add(&heap->used_bytes, used);
            hz_tally_add(&giver->dirty_bytes, 0 - dirty);
            hz_tally_add(&heap->dirty_bytes, dirty);
            list_insert(heap, run, size_class, is_cold);
            for (uint32_t unit = 0; unit < run->units; unit++)
                set_owner_generation(run + unit, 0, heap->common.id); // same generation: frees under way stay valid
            adopted++;
        }
    }
    return adopted;
}

// ---- giving memory back -------------------------------------------------------------------------------------------

void hz5_release_empty_runs(struct hz5_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        for (int is_cold = 0; is_cold <= 1; is_cold++) {
            uint32_t link = is_cold ? heap->cold[size_class] : heap->warm[size_class];
            while (link != 0) {
                struct hz5_desc *run = run_of_link(link);
                link = run->next;
                if (run->free_count == run->block_count && hz5_queued_peek_clear(&run->is_queued))
                    release(heap, run, size_class);
            }
        }
    }
}

// Page groups of the run on which no block is in use.
static uint64_t idle_pages(struct hz5_desc *run) {
    uint32_t block_bytes = atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
    struct hz5_block *states = hz5_states_of(run);
    uint64_t idle = run->dirty_pages;
    for (uint32_t group = 0; group < run->block_count && idle != 0; group += 8) {
        uint64_t free = bytes_equal(hz5_eight_blocks(states + group, memory_order_relaxed), HZ5_FREE);
        uint64_t busy = ~free & 0x8080808080808080u;
        for (; busy != 0; busy &= busy - 1) {
            uint32_t index = group + first_byte(busy);
            if (index < run->block_count)
                idle &= ~pages_of(run, index, block_bytes);
        }
    }
    return idle;
}

static void trim_run(struct hz5_heap *heap, struct hz5_desc *run) {
    char *base = (char *)atomic_load_explicit(&run->base, memory_order_relaxed);
    uint64_t idle = idle_pages(run);
    while (idle != 0) {
        unsigned first = (unsigned)__builtin_ctzll(idle);
        uint64_t above = ~(idle >> first);
        unsigned count = above == 0 ? 64 - first : (unsigned)__builtin_ctzll(above);
        uint64_t extent = (count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1) << first;
        if (os_mem_decommit(base + ((size_t)first << run->page_shift), (size_t)count << run->page_shift)) {
            if (run->is_kept)
                heap->kept_bytes -= page_groups(extent, run);
            hz_tally_add(&heap->dirty_bytes, 0 - page_groups(extent, run));
            run->dirty_pages &= ~extent;
        }
        idle &= ~extent;
    }
}

void hz5_trim(struct hz5_heap *heap) {
    uint64_t before = hz_tally_get(&heap->dirty_bytes);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        for (uint32_t link = heap->warm[size_class]; link != 0; link = run_of_link(link)->next)
            trim_run(heap, run_of_link(link));
        for (uint32_t link = heap->cold[size_class]; link != 0; link = run_of_link(link)->next)
            trim_run(heap, run_of_link(link));
    }
    heap->trim_mark_bytes = hz_tally_get(&heap->used_bytes);
    if (hz5_profile.limits.adaptive) {
        heap->trimmed_bytes += before - hz_tally_get(&heap->dirty_bytes);
        heap->trim_ms = os_clock_coarse_ms();
    }
}
