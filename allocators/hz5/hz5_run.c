// SPDX-License-Identifier: Apache-2.0
// Runs of small blocks: carving, refill of magazines, spill, adoption and release. All of it is the owner's work, on
// slow paths.
#include "hz5_run.h"

#include "../common/check.h"
#include "../common/os_mem.h"

#include <string.h>

// ---- lists --------------------------------------------------------------------------------------------------------

static uint32_t *list_head(struct hz5_heap *heap, const struct hz5_desc *run, unsigned size_class) {
    return run->is_cold ? &heap->cold[size_class] : &heap->warm[size_class];
}

static void list_insert(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class, int is_cold) {
    run->is_cold = (uint8_t)is_cold;
    uint32_t *head = list_head(heap, run, size_class);
    run->previous = 0;
    run->next = *head;
    if (*head != 0)
        hz5_run_of_link(*head)->previous = hz5_link_of(run);
    *head = hz5_link_of(run);
}

static void list_remove(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class) {
    if (run->previous != 0)
        hz5_run_of_link(run->previous)->next = run->next;
    else
        *list_head(heap, run, size_class) = run->next;
    if (run->next != 0)
        hz5_run_of_link(run->next)->previous = run->previous;
}

// ---- birth and death of a run -------------------------------------------------------------------------------------

static void set_owner_generation(struct hz5_desc *desc, uint32_t generation_step, uint32_t owner) {
    uint32_t generation = hz5_generation_of(hz5_owner_generation_read_again(&desc->owner_generation)) + generation_step;
    hz5_owner_generation_write(&desc->owner_generation, (uint64_t)generation << 32 | owner);
}

static void run_no_longer_kept(struct hz5_heap *heap, struct hz5_desc *run) {
    if (run->is_kept)
        heap->kept_bytes -= hz5_page_groups(run->dirty_pages, run);
    run->is_kept = 0;
}

// A unit's new life, behind all that ended its last one; `run` is the descriptor of the run's first unit.
static void describe_unit(struct hz5_desc *run, uint32_t unit, unsigned size_class, struct hz5_block *states,
                          uint32_t owner) {
    struct hz5_desc *desc = run + unit;
    uint32_t block_bytes = sizeclass_bytes[size_class];
    uint64_t reciprocal = UINT64_MAX / block_bytes + 1;
    uintptr_t base = arena.base + (hz5_unit_of(run) << ARENA_UNIT_SHIFT);
    atomic_store_explicit(&desc->block_bytes, block_bytes, memory_order_relaxed);
    atomic_store_explicit(&desc->size_class, (uint8_t)size_class, memory_order_relaxed);
    atomic_store_explicit(&desc->kind, HZ5_KIND_SMALL, memory_order_relaxed);
    atomic_store_explicit(&desc->remainder_bound, reciprocal, memory_order_relaxed);
    // ORDER: release: after the store of owner_generation that ended the unit's last life; partner: free_remote(),
    // which reads owner_generation again when it has read these.
    atomic_store_explicit(&desc->base, base, memory_order_release);
    hz5_array_write(&desc->states, (uintptr_t)states);
    atomic_store_explicit(&desc->run, run, memory_order_release);
    set_owner_generation(desc, 1, owner);
    hz5_reciprocal_begin(&desc->reciprocal, reciprocal);
}

static uint32_t group_pages(const struct hz5_desc *run) {
    return (uint32_t)(1u << run->page_shift) / (uint32_t)OS_PAGE_BYTES;
}

// What the arena knows of the run's pages, as page groups.
static uint64_t dirty_groups(const struct hz5_desc *run, size_t unit, uint64_t all) {
    uint32_t each = group_pages(run);
    uint32_t in_unit = ARENA_UNIT_PAGES / each;
    uint64_t groups = 0;
    for (uint32_t group = 0; group < run->units * in_unit; group++) {
        unsigned pages = arena.pages[unit + group / in_unit] >> group % in_unit * each;
        groups |= (uint64_t)((pages & ((1u << each) - 1)) != 0) << group;
    }
    return groups & all;
}

// And the reverse. Pages behind the last block are as they were.
static void tell_arena(const struct hz5_desc *run, size_t unit, uint64_t all) {
    uint32_t each = group_pages(run);
    uint32_t in_unit = ARENA_UNIT_PAGES / each;
    for (uint32_t group = 0; group < run->units * in_unit; group++) {
        unsigned mask = ((1u << each) - 1) << group % in_unit * each;
        uint16_t *pages = arena.pages + unit + group / in_unit;
        if ((all >> group & 1) != 0)
            *pages = (uint16_t)((run->dirty_pages >> group & 1) != 0 ? *pages | mask : *pages & ~mask);
    }
}

// With canaries the first block is never handed out: its last byte is the canary before the second.
static void leave_first_out(struct hz5_desc *run, struct hz5_block *states, char *base, uint32_t block_bytes) {
    hz5_block_rest(states, HZ5_NO_BLOCK);
    run->free_count = --run->most_free;
    if ((run->dirty_pages >> ((block_bytes - 1) >> run->page_shift) & 1) != 0)
        base[block_bytes - 1] = 0;
}

static int carve(struct hz5_heap *heap, unsigned size_class) {
    uint32_t units = hz5_run_units(size_class);
    uint32_t block_bytes = sizeclass_bytes[size_class];
    uint32_t block_count = (units << ARENA_UNIT_SHIFT) / block_bytes;
    struct hz5_block *states = hz5_array_take(size_class, block_count);
    if (states == NULL)
        return 0;
    char *base = arena_take_marked(units, 1, size_class);
    if (base == NULL) {
        hz5_array_give(size_class, states);
        return 0;
    }
    struct hz5_desc *run = hz5_desc_at(hz5_unit_of_pointer(base));
    run->page_shift = units == 1 ? 12 : 13;
    run->units = units;
    run->block_count = block_count;
    run->dirty_pages = dirty_groups(run, hz5_unit_of_pointer(base), hz5_all_page_groups(run, block_bytes));
    run->free_count = run->most_free = block_count;
    run->hint = 0;
    run->draining = 0;
    run->is_kept = 0;
    hz_tally_add(&heap->dirty_bytes, hz5_page_groups(run->dirty_pages, run));
    list_insert(heap, run, size_class, run->dirty_pages == 0);
    if (HZ_UNLIKELY(hz5_has_check(HZ5_CANARY)))
        leave_first_out(run, states, base, block_bytes);
    for (uint32_t unit = 0; unit < units; unit++)
        describe_unit(run, unit, size_class, states, heap->common.id);
    // A thread that freed into the unit's last life may have set a bit after that life's last drain.
    hz5_fence_carved();
    if (hz5_bits_look(&run->remote_bits) != 0)
        hz5_remote_enqueue(run);
    return 1;
}

static void release(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class) {
    void *base = (void *)atomic_load_explicit(&run->base, memory_order_relaxed);
    struct hz5_block *states = hz5_states_of(run);
    uint32_t units = run->units;
    list_remove(heap, run, size_class);
    run_no_longer_kept(heap, run);
    hz_tally_add(&heap->dirty_bytes, 0 - hz5_page_groups(run->dirty_pages, run));
    for (uint32_t unit = 0; unit < units; unit++) {
        atomic_store_explicit(&run[unit].kind, HZ5_KIND_RELEASED, memory_order_relaxed);
        // Before the store of owner_generation: whoever sees the end of this life sees that no block starts here.
        hz5_reciprocal_end(&run[unit].reciprocal);
        set_owner_generation(run + unit, 1, HZ5_OWNER_NONE);
    }
    hz5_array_give(size_class, states);
    tell_arena(run, hz5_unit_of_pointer(base), hz5_all_page_groups(run, sizeclass_bytes[size_class]));
    arena_give_marked(base, units, size_class);
}

// ---- free blocks come back ----------------------------------------------------------------------------------------

// An empty run is kept for its class while a heap keeps little: a class whose use varies by one run must not carve and
// release a run each time, and a run that changes its class ends with all its pages resident.
//
// A run in the remote queue stays until it is drained: its next owner could not queue it while it is in ours, and we
// may sleep for long.
//
// A helper releases nothing: the owner's free() reads descriptors of its own runs once, since only it changes them. The
// run stays, without pages, until its owner needs a new one.
void hz5_run_became_empty(struct hz5_heap *heap, struct hz5_desc *run, unsigned size_class) {
    if (!hz5_queued_peek_clear(&run->is_queued))
        return;
    uint64_t bytes = hz5_page_groups(run->dirty_pages, run);
    uint64_t limit = hz5_profile.keep_bytes + hz_tally_get(&heap->used_bytes) / 100 * hz5_profile.keep_percent;
    if (heap->kept_bytes + bytes > limit) {
        if (!hz_heap_is_helped(&heap->common)) {
            release(heap, run, size_class);
            return;
        }
        hz5_trim_run(heap, run);
        bytes = hz5_page_groups(run->dirty_pages, run);
        heap->clean_empty++;
    }
    heap->kept_bytes += bytes;
    run->is_kept = 1;
}

// `count` blocks of the run, the lowest of them `lowest`, have become FREE.
void hz5_run_blocks_freed(struct hz5_heap *heap, struct hz5_desc *run, uint32_t count, uint32_t lowest) {
    unsigned size_class = hz5_size_class_of(run);
    hz_tally_add(&heap->used_bytes, 0 - (uint64_t)count * sizeclass_bytes[size_class]);
    uint32_t before = run->free_count;
    run->free_count += count;
    HZ_ASSERT(run->free_count <= run->most_free);
    if (lowest < run->hint)
        run->hint = lowest;
    if (before == 0) {
        list_insert(heap, run, size_class, 0);
    } else if (run->is_cold) {
        list_remove(heap, run, size_class);
        list_insert(heap, run, size_class, 0);
    }
    if (run->free_count == run->most_free)
        hz5_run_became_empty(heap, run, size_class);
}

void hz5_block_to_run(struct hz5_heap *heap, void *block, struct hz5_block *state) {
    struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(block));
    struct hz5_desc *run = atomic_load_explicit(&desc->run, memory_order_relaxed);
    hz5_block_spill(state);
    hz5_run_blocks_freed(heap, run, 1, (uint32_t)(state - hz5_states_of(run)));
}

void hz5_spill(struct hz5_heap *heap, unsigned size_class, uint32_t keep) {
    struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
    uint32_t count = (uint32_t)(hz5_thread.top[size_class] - bottom);
    uint32_t leave = count > keep ? count - keep : 0;
    for (uint32_t i = 1; i <= leave; i++)
        hz5_block_to_run(heap, bottom[i].block, bottom[i].state);
    memmove(bottom + 1, bottom + 1 + leave, (count - leave) * sizeof *bottom);
    hz5_thread.top[size_class] = bottom + (count - leave);
    hz5_trim_if_wasteful(heap);
}

void hz5_keep(struct hz5_heap *heap, unsigned size_class, void *block, struct hz5_block *state) {
    hz5_show_magazine(heap, size_class);
    if (hz5_thread.top[size_class] == hz5_thread.limit[size_class]) {
        hz_heap_hold(&heap->common);
        hz5_spill(heap, size_class, hz5_magazine_entries[size_class] / 2);
        hz_heap_let_go(&heap->common);
    }
    *++hz5_thread.top[size_class] = (struct hz5_entry){block, state};
}

// ---- refill -------------------------------------------------------------------------------------------------------

// Takes FREE blocks, lowest first, while the sink wants any; blocks on clean pages only if `touch_clean`. How many.
static uint32_t take_blocks(struct hz5_heap *heap, struct hz5_desc *run, int touch_clean, struct hz5_sink *sink) {
    uint32_t block_bytes = atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
    struct hz5_block *states = hz5_states_of(run);
    char *base = hz5_block_at(run, 0);
    int all_dirty = run->dirty_pages == hz5_all_page_groups(run, block_bytes);
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
        uint64_t marks = hz5_bytes_equal(hz5_eight_blocks(states + group, memory_order_relaxed), HZ5_FREE);
        for (; marks != 0 && sink->want > 0; marks &= marks - 1) {
            uint32_t index = group + hz5_first_byte(marks);
            uint64_t clean = all_dirty ? 0 : hz5_pages_of(run, index, block_bytes) & ~run->dirty_pages;
            if (HZ_UNLIKELY(clean != 0)) {
                if (!touch_clean) {
                    skipped = index < skipped ? index : skipped;
                    continue;
                }
                hz_tally_add(&heap->dirty_bytes, hz5_page_groups(clean, run));
                run->dirty_pages |= clean;
                if (heap->trimmed_bytes != 0)
                    hz5_trim_was_touched(heap, hz5_page_groups(clean, run));
            }
            hz5_block_refill(states + index);
            hz5_sink_put(sink, base + (size_t)index * block_bytes, states + index);
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

static void take_warm(struct hz5_heap *heap, unsigned size_class, struct hz5_sink *sink) {
    while (sink->want > 0 && heap->warm[size_class] != 0) {
        struct hz5_desc *run = hz5_run_of_link(heap->warm[size_class]);
        uint32_t got = take_blocks(heap, run, 0, sink);
        blocks_taken(heap, run, size_class, got);
        if (sink->want > 0 && run->free_count != 0) {
            list_remove(heap, run, size_class);
            list_insert(heap, run, size_class, 1);
        }
    }
}

// Touches new memory a page at a time: the page fault costs a hundred times what the shorter refill does.
static void take_cold(struct hz5_heap *heap, unsigned size_class, struct hz5_sink *sink) {
    struct hz5_desc *run = hz5_run_of_link(heap->cold[size_class]);
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

static void refill(struct hz5_heap *heap, unsigned size_class) {
    struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
    uint32_t want = (hz5_magazine_entries[size_class] + 1) / 2;
    struct hz5_entry *end = bottom + 1 + want;
    struct hz5_sink sink = {.next = end, .want = want};
    take_warm(heap, size_class, &sink);
    // Reclaim before grow: what others freed, then what threads that ended left, then memory not touched yet, then
    // whatever others freed of other classes, which may empty a run, then a new run.
    if (sink.next == end && hz5_remote_waits(heap, size_class)) {
        hz5_remote_drain_class(heap, size_class, &sink);
        if (sink.next == end) // a quarantine has taken them all, and given others back
            take_warm(heap, size_class, &sink);
    }
    if (sink.next == end && adopt_from_abandoned_heaps(heap, size_class) != 0)
        take_warm(heap, size_class, &sink);
    if (sink.next == end && heap->clean_empty != 0)
        hz5_release_clean_runs(heap); // the arena may have memory with pages
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
}

struct hz5_entry *hz5_filled(struct hz5_heap *heap, unsigned size_class) {
    hz5_show_magazine(heap, size_class);
    if (hz5_thread.top[size_class]->block == NULL) {
        hz_heap_hold(&heap->common);
        refill(heap, size_class);
        hz_heap_let_go(&heap->common);
    }
    return hz5_thread.top[size_class]->block != NULL ? hz5_thread.top[size_class] : NULL;
}

int hz5_adopt_runs(struct hz5_heap *heap, struct hz5_heap *giver, unsigned size_class) {
    int adopted = 0;
    for (int is_cold = 0; is_cold <= 1; is_cold++) {
        uint32_t *head = is_cold ? &giver->cold[size_class] : &giver->warm[size_class];
        while (*head != 0) {
            struct hz5_desc *run = hz5_run_of_link(*head);
            list_remove(giver, run, size_class);
            run_no_longer_kept(giver, run);
            uint64_t used = (uint64_t)(run->most_free - run->free_count) * sizeclass_bytes[size_class];
            uint64_t dirty = hz5_page_groups(run->dirty_pages, run);
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

static void release_runs(struct hz5_heap *heap, int only_clean) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        for (int is_cold = 0; is_cold <= 1; is_cold++) {
            uint32_t link = is_cold ? heap->cold[size_class] : heap->warm[size_class];
            while (link != 0) {
                struct hz5_desc *run = hz5_run_of_link(link);
                link = run->next;
                if (run->free_count == run->most_free && (!only_clean || run->dirty_pages == 0) &&
                    hz5_queued_peek_clear(&run->is_queued))
                    release(heap, run, size_class);
            }
        }
    }
    heap->clean_empty = 0;
}

void hz5_release_empty_runs(struct hz5_heap *heap) {
    release_runs(heap, 0);
}

void hz5_release_clean_runs(struct hz5_heap *heap) {
    release_runs(heap, 1);
}
