// SPDX-License-Identifier: Apache-2.0
// Runs of equal blocks: opened, carved a page at a time, taken from and given back to in batches, released when empty.
// Counts and lists of a run change here only, that is at slow paths of its owner or of a helper (common/heaps.h);
// free() and malloc() never see a run.
#include "hz3.h"

#include "../common/check.h"
#include "../common/os_mem.h"

#include <errno.h>

#define ADOPT_LOOKS 8u          // heaps looked at in one attempt
#define BORROW_LOOKS 16u        // likewise
#define BORROW_BYTES HZ_KIB(64) // growth of a heap, after it has looked in vain, until it looks again
#define BORROW_SHARE 8u         // or this part of it
#define CARVE_BYTES HZ_KIB(32)  // carved at once of memory that has been in use before
#define CARVE_BLOCKS 4u         // or so many

static struct hz3_run *run_of_link(uint32_t link) {
    return hz3_run_at(link - 1);
}

static size_t unit_of_run(const struct hz3_run *run) {
    return (size_t)(run - hz3_run_at(0));
}

static char *run_base(const struct hz3_run *run) {
    return (char *)arena.base + (unit_of_run(run) << ARENA_UNIT_SHIFT);
}

static struct hz3_run *run_of_block(const void *block, unsigned units) {
    uintptr_t first = (uintptr_t)block >> ARENA_UNIT_SHIFT & ~(uintptr_t)(units - 1);
    return hz3_run_at(first - arena.base_unit);
}

static uint32_t count_get(const _Atomic uint32_t *count) {
    return atomic_load_explicit(count, memory_order_relaxed);
}

static void count_set(_Atomic uint32_t *count, uint32_t value) {
    atomic_store_explicit(count, value, memory_order_relaxed);
}

// ---- lists --------------------------------------------------------------------------------------------------------

static void hint_update(struct hz3_heap *heap, unsigned size_class) {
    uint64_t bit = (uint64_t)1 << size_class % 64;
    uint64_t old = atomic_load_explicit(&heap->with_runs[size_class / 64], memory_order_relaxed);
    uint64_t now = heap->partial[size_class] != 0 || heap->fresh[size_class] != 0 ? old | bit : old & ~bit;
    if (now != old)
        atomic_store_explicit(&heap->with_runs[size_class / 64], now, memory_order_relaxed);
}

static void list_insert(uint32_t *list, struct hz3_run *run) {
    uint32_t link = (uint32_t)unit_of_run(run) + 1;
    run->previous = 0;
    run->next = *list;
    if (*list != 0)
        run_of_link(*list)->previous = link;
    *list = link;
}

static void list_remove(uint32_t *list, struct hz3_run *run) {
    if (run->previous != 0)
        run_of_link(run->previous)->next = run->next;
    else
        *list = run->next;
    if (run->next != 0)
        run_of_link(run->next)->previous = run->previous;
}

static void set_tags(const struct hz3_run *run, unsigned units, uint32_t tag) {
    for (unsigned i = 0; i < units; i++)
        hz3_tag_set(unit_of_run(run) + i, tag);
}

// ---- birth and death of a run -------------------------------------------------------------------------------------

void hz3_units_give(size_t unit, size_t units) {
    int saved = errno;
    arena_give((char *)arena.base + (unit << ARENA_UNIT_SHIFT), units, 0);
    errno = saved;
}

static void give_run(struct hz3_run *run, unsigned units) {
    int saved = errno;
    arena_mark(run_base(run), run->touched_bytes);
    arena_give_marked(run_base(run), units, run->size_class);
    errno = saved;
}

// The link to a kept empty run, best one that had this class: its pages are where they will be used.
static uint32_t *find_empty(struct hz3_heap *heap, unsigned size_class) {
    uint32_t *first = &heap->empty[hz3_run_units(size_class) > 1];
    for (uint32_t *link = first; *link != 0; link = &run_of_link(*link)->next)
        if (run_of_link(*link)->size_class == size_class)
            return link;
    return first;
}

int hz3_run_open(struct hz3_heap *heap, unsigned size_class, int only_kept) {
    unsigned units = hz3_run_units(size_class);
    uint32_t *empty = find_empty(heap, size_class);
    struct hz3_run *run;
    if (*empty != 0) {
        run = run_of_link(*empty);
        *empty = run->next;
        hz_tally_add(&heap->empty_units, 0 - (uint64_t)units);
    } else {
        char *base = only_kept ? NULL : arena_take_marked(units, units, size_class);
        if (base == NULL)
            return 0;
        run = hz3_run_at(hz3_unit_of(base));
        run->touched_bytes = (uint32_t)arena_marked_bytes(base, units);
    }
    run->size_class = size_class;
    run->free = NULL;
    count_set(&run->free_count, 0);
    count_set(&run->carved, 0);
    count_set(&run->units, units);
    run->block_count = (uint32_t)((units << ARENA_UNIT_SHIFT) / sizeclass_bytes[size_class]);
    set_tags(run, units, hz3_tag_make(heap->common.id, size_class));
    list_insert(&heap->fresh[size_class], run);
    hint_update(heap, size_class);
    return 1;
}

// All blocks are in the run. A heap with a thread keeps a few such runs for any class that needs one.
static HZ3_SLOW void run_became_empty(struct hz3_heap *heap, struct hz3_run *run, unsigned size_class) {
    unsigned units = hz3_run_units(size_class);
    list_remove(&heap->partial[size_class], run);
    hint_update(heap, size_class);
    set_tags(run, units, HZ3_TAG_NONE);
    uint32_t carved_bytes = count_get(&run->carved) * sizeclass_bytes[size_class];
    hz_tally_add(&heap->carved_bytes, 0 - (uint64_t)carved_bytes);
    hz_tally_add(&heap->free_bytes, 0 - (uint64_t)carved_bytes);
    if (run->touched_bytes < carved_bytes)
        run->touched_bytes = carved_bytes;
    uint32_t most = HZ3_EMPTY_UNITS_ALL / hz_heap_alive_count();
    most = most < HZ3_EMPTY_UNITS_MAX ? most : HZ3_EMPTY_UNITS_MAX;
    if (heap == hz3_thread.heap && hz_tally_get(&heap->empty_units) + units <= most) {
        run->next = heap->empty[units > 1];
        heap->empty[units > 1] = (uint32_t)unit_of_run(run) + 1;
        hz_tally_add(&heap->empty_units, units);
        return;
    }
    if (heap == hz3_thread.heap)
        heap->has_given = 1;
    give_run(run, units);
}

void hz3_run_release_empty(struct hz3_heap *heap) {
    for (int wide = 0; wide <= 1; wide++) {
        while (heap->empty[wide] != 0) {
            struct hz3_run *run = run_of_link(heap->empty[wide]);
            heap->empty[wide] = run->next;
            give_run(run, wide ? HZ3_WIDE_UNITS : 1);
        }
    }
    hz_tally_set(&heap->empty_units, 0);
}

// ---- blocks out, blocks in ----------------------------------------------------------------------------------------

// `count` blocks of one run, linked from `first` to `last`.
static void push_chain(struct hz3_heap *heap, unsigned size_class, struct hz3_block *first, struct hz3_block *last,
                       uint32_t count) {
    struct hz3_run *run = run_of_block(first, hz3_run_units(size_class));
    uint32_t free_count = count_get(&run->free_count);
    uint32_t carved = count_get(&run->carved);
    last->next = run->free;
    run->free = first;
    if (free_count == 0) { // a run that was in full use comes first: it is the last that could become empty
        run->free_last = last;
        if (carved < run->block_count)
            list_remove(&heap->fresh[size_class], run);
        list_insert(&heap->partial[size_class], run);
        hint_update(heap, size_class);
    }
    count_set(&run->free_count, free_count + count);
    hz_tally_add(&heap->free_bytes, (uint64_t)count * sizeclass_bytes[size_class]);
    if (HZ_UNLIKELY(free_count + count == carved))
        run_became_empty(heap, run, size_class);
}

void hz3_run_push(struct hz3_heap *heap, struct hz3_block *block, unsigned size_class) {
    push_chain(heap, size_class, block, block, 1);
}

// Blocks of own runs go to their runs, others to their owners. Blocks that were freed one after the other often lie in
// one run, and then they are linked already.
void hz3_run_return(struct hz3_heap *heap, struct hz3_block *list, unsigned size_class) {
    uintptr_t run_bytes = (uintptr_t)hz3_run_units(size_class) << ARENA_UNIT_SHIFT;
    while (list != NULL) {
        struct hz3_block *first = list;
        uint32_t owner = hz3_tag_owner(hz3_tag_of(first));
        if (HZ_UNLIKELY(owner != heap->common.id)) {
            list = first->next;
            hz3_remote_free(heap, owner, first, size_class);
            continue;
        }
        struct hz3_block *last = first;
        uint32_t count = 1;
        for (list = first->next; list != NULL && ((uintptr_t)list ^ (uintptr_t)first) < run_bytes; list = list->next) {
            last = list;
            count++;
        }
        push_chain(heap, size_class, first, last, count);
    }
}

// Whole lists of as many runs as it takes.
uint32_t hz3_run_take(struct hz3_heap *heap, unsigned size_class, uint32_t want, struct hz3_block **list) {
    uint32_t taken = 0;
    while (taken < want && heap->partial[size_class] != 0) {
        struct hz3_run *run = run_of_link(heap->partial[size_class]);
        run->free_last->next = *list;
        *list = run->free;
        run->free = NULL;
        taken += count_get(&run->free_count);
        count_set(&run->free_count, 0);
        list_remove(&heap->partial[size_class], run);
        if (count_get(&run->carved) < run->block_count)
            list_insert(&heap->fresh[size_class], run);
    }
    hz_tally_add(&heap->free_bytes, 0 - (uint64_t)taken * sizeclass_bytes[size_class]);
    if (taken != 0)
        hint_update(heap, size_class);
    return taken;
}

// The next blocks of a fresh run, lowest first. Of memory that may have no pages yet only those that begin on one page:
// it is touched as it is used, not before.
uint32_t hz3_run_carve(struct hz3_heap *heap, unsigned size_class, struct hz3_block **list) {
    if (heap->fresh[size_class] == 0)
        return 0;
    struct hz3_run *run = run_of_link(heap->fresh[size_class]);
    uint32_t carved = count_get(&run->carved);
    uint32_t bytes = sizeclass_bytes[size_class];
    uint32_t from = carved * bytes;
    uint32_t page_end = (uint32_t)hz_align_up(from + 1, OS_PAGE_BYTES);
    uint32_t again = bytes * CARVE_BLOCKS > CARVE_BYTES ? bytes * CARVE_BLOCKS : CARVE_BYTES;
    uint32_t end = run->touched_bytes > from + again ? from + again : run->touched_bytes;
    end = end > page_end ? end : page_end;
    uint32_t count = (end - from + bytes - 1) / bytes;
    if (count > run->block_count - carved)
        count = run->block_count - carved;
    char *at = run_base(run) + from;
    *list = (struct hz3_block *)(void *)at;
    for (uint32_t i = 1; i < count; i++, at += bytes)
        ((struct hz3_block *)(void *)at)->next = (struct hz3_block *)(void *)(at + bytes);
    ((struct hz3_block *)(void *)at)->next = NULL;
    count_set(&run->carved, carved + count);
    hz_tally_add(&heap->carved_bytes, (uint64_t)count * bytes);
    if (carved + count == run->block_count) {
        list_remove(&heap->fresh[size_class], run);
        hint_update(heap, size_class);
    }
    return count;
}

// ---- runs of abandoned heaps --------------------------------------------------------------------------------------

static int has_runs_of(const struct hz3_heap *heap, unsigned size_class) {
    return (int)(atomic_load_explicit(&heap->with_runs[size_class / 64], memory_order_relaxed) >> size_class % 64 & 1);
}

static int adopt_list(struct hz3_heap *heap, struct hz3_heap *giver, unsigned size_class, uint32_t *from,
                      uint32_t *to) {
    int adopted = 0;
    while (*from != 0) {
        struct hz3_run *run = run_of_link(*from);
        uint64_t bytes = count_get(&run->carved) * (uint64_t)sizeclass_bytes[size_class];
        uint64_t free_bytes = count_get(&run->free_count) * (uint64_t)sizeclass_bytes[size_class];
        list_remove(from, run);
        list_insert(to, run);
        hz_tally_add(&giver->carved_bytes, 0 - bytes);
        hz_tally_add(&giver->free_bytes, 0 - free_bytes);
        hz_tally_add(&heap->carved_bytes, bytes);
        hz_tally_add(&heap->free_bytes, free_bytes);
        // Frees under way still go to the abandoned heap; who drains its remote queue sees this tag and sends them on.
        set_tags(run, count_get(&run->units), hz3_tag_make(heap->common.id, size_class));
        adopted = 1;
    }
    return adopted;
}

int hz3_run_adopt(struct hz3_heap *heap, unsigned size_class) {
    int adopted = 0;
    uint32_t count = hz_heap_count();
    for (uint32_t looks = 0; looks < ADOPT_LOOKS && looks < count && !adopted; looks++) {
        heap->adopt_hand = heap->adopt_hand % count + 1;
        struct hz3_heap *giver = hz3_heap_by_id(heap->adopt_hand);
        if (!has_runs_of(giver, size_class) || !hz_heap_acquire(&giver->common))
            continue;
        adopted = adopt_list(heap, giver, size_class, &giver->partial[size_class], &heap->partial[size_class]);
        adopted |= adopt_list(heap, giver, size_class, &giver->fresh[size_class], &heap->fresh[size_class]);
        hint_update(giver, size_class);
        hz_heap_release(&giver->common);
    }
    hint_update(heap, size_class);
    return adopted;
}

// ---- blocks of heaps that are alive -------------------------------------------------------------------------------

// Free blocks that lie in the runs of others, before memory is touched that was never in use: a thread that frees
// blocks of others, or whose blocks others free, has too few of a class for a while and then too many, and each heap
// would keep what it had at most. Threads that exchange nothing stay apart, since neighbours would share cache lines.
uint32_t hz3_run_borrow(struct hz3_heap *heap, unsigned size_class, uint32_t want, struct hz3_block **list) {
    uint32_t count = hz_heap_count();
    uint64_t carved_bytes = hz_tally_get(&heap->carved_bytes);
    if (!hz3_exchanges(heap) || carved_bytes < heap->lend_mark_bytes)
        return 0;
    for (uint32_t looks = 0; looks < BORROW_LOOKS && looks < count; looks++) {
        heap->lend_hand = heap->lend_hand % count + 1;
        struct hz3_heap *lender = hz3_heap_by_id(heap->lend_hand);
        if (lender == heap || !has_runs_of(lender, size_class) || !hz_heap_help(&lender->common))
            continue;
        uint32_t taken = hz3_run_take(lender, size_class, want, list);
        hz_heap_helped(&lender->common);
        if (taken != 0)
            return taken;
    }
    uint64_t step = carved_bytes / BORROW_SHARE;
    heap->lend_mark_bytes = carved_bytes + (step > BORROW_BYTES ? step : BORROW_BYTES);
    return 0;
}
