// SPDX-License-Identifier: Apache-2.0
// Runs: granules of equal blocks with one bit a block, set while the block is home. Lists change by transition: full ->
// partial
// -> empty, and an empty run goes back to the arena at once, but for a few. Everything but the map and the spare
// descriptors is guarded by the lock of the heap that owns the run.
#include "hz4.h"

#include "../common/check.h"

#define WORD_BITS 64u

// A run has room for a dozen blocks at least and wastes little behind the last; what is never touched costs nothing.
static uint32_t run_granules(unsigned size_class) {
    uint32_t bytes = sizeclass_bytes[size_class];
    return bytes <= 1024 ? 1 : bytes <= 2048 ? 2 : bytes <= 8256 ? HZ4_UNIT_GRANULES : 8 * HZ4_UNIT_GRANULES;
}

size_t hz4_run_bytes(unsigned size_class) {
    return (size_t)run_granules(size_class) << HZ4_GRANULE_SHIFT;
}

static uint32_t run_blocks(unsigned size_class) {
    return (run_granules(size_class) << HZ4_GRANULE_SHIFT) / sizeclass_bytes[size_class];
}

// ---- lists --------------------------------------------------------------------------------------------------------

static void count_runs(struct hz4_heap *heap, unsigned size_class, int more) {
    _Atomic uint32_t *runs = &heap->supply[size_class].runs;
    atomic_store_explicit(runs, atomic_load_explicit(runs, memory_order_relaxed) + (uint32_t)more,
                          memory_order_relaxed);
}

static void count_home(struct hz4_heap *heap, unsigned size_class, uint32_t more) {
    _Atomic uint32_t *home = &heap->supply[size_class].home;
    atomic_store_explicit(home, atomic_load_explicit(home, memory_order_relaxed) + more, memory_order_relaxed);
}

// Blocks of a run that are home and have been in use: what lies above `touched` costs no memory.
static uint32_t used_home(const struct hz4_run *run) {
    return run->free_count - (run->block_count - run->touched);
}

static void count_spare(struct hz4_heap *heap, unsigned size_class, int64_t blocks) {
    int64_t spare = atomic_load_explicit(&heap->spare_bytes, memory_order_relaxed);
    spare += blocks * (int64_t)sizeclass_bytes[size_class];
    atomic_store_explicit(&heap->spare_bytes, spare, memory_order_relaxed);
}

static void list_push_first(struct hz4_heap *heap, struct hz4_run *run) {
    struct hz4_list *list = &heap->lists[run->size_class];
    run->previous = NULL;
    run->next = list->first;
    if (list->first != NULL)
        list->first->previous = run;
    else
        list->last = run;
    list->first = run;
    count_runs(heap, run->size_class, 1);
}

static void list_push_last(struct hz4_heap *heap, struct hz4_run *run) {
    struct hz4_list *list = &heap->lists[run->size_class];
    run->next = NULL;
    run->previous = list->last;
    if (list->last != NULL)
        list->last->next = run;
    else
        list->first = run;
    list->last = run;
    count_runs(heap, run->size_class, 1);
}

static void list_remove(struct hz4_heap *heap, struct hz4_run *run) {
    struct hz4_list *list = &heap->lists[run->size_class];
    if (run->previous != NULL)
        run->previous->next = run->next;
    else
        list->first = run->next;
    if (run->next != NULL)
        run->next->previous = run->previous;
    else
        list->last = run->previous;
    count_runs(heap, run->size_class, -1);
}

// ---- death --------------------------------------------------------------------------------------------------------

static void set_tags(struct hz4_run *run, uint32_t owner, unsigned index) {
    size_t granule = hz4_granule_of((void *)run->base);
    uint32_t group = 0;
    while (hz4_group_bytes[group] < sizeclass_bytes[run->size_class])
        group++;
    for (uint32_t i = 0; i < run->granules; i++) {
        struct hz4_tag *tag = hz4_tag_at(granule + i);
        uintptr_t address = run->base + ((uintptr_t)i << HZ4_GRANULE_SHIFT);
        uint32_t route = owner != 0 ? hz4_route(owner, group, address) : HZ4_ROUTE_NONE;
        hz4_way_write(&tag->route, route);
        atomic_store_explicit(&tag->index, (uint8_t)index, memory_order_relaxed);
    }
}

static void forget_kept(struct hz4_heap *heap, struct hz4_run *run) {
    if (run->kept_place == 0)
        return;
    heap->kept[run->kept_place - 1] = NULL;
    heap->kept_bytes -= (uint32_t)hz4_run_bytes(run->size_class);
    run->kept_place = 0;
}

static void release(struct hz4_heap *heap, struct hz4_run *run) {
    list_remove(heap, run);
    count_home(heap, run->size_class, 0 - run->block_count);
    count_spare(heap, run->size_class, -(int64_t)run->touched);
    forget_kept(heap, run);
    set_tags(run, 0, 0);
    hz4_granules_give(run);
}

// ---- empty runs ---------------------------------------------------------------------------------------------------

// Between threads that pass blocks in one direction, whole runs fill and empty all the time; each birth and each death
// takes three locks.
static void keep(struct hz4_heap *heap, struct hz4_run *run) {
    uint32_t bytes = (uint32_t)hz4_run_bytes(run->size_class);
    uint32_t limit = HZ4_KEPT_ALL_BYTES / hz_heap_alive_count();
    limit = limit > HZ4_KEPT_BYTES ? HZ4_KEPT_BYTES : limit;
    if (bytes > limit) {
        release(heap, run);
        return;
    }
    while (heap->kept[heap->kept_hand] != NULL || heap->kept_bytes + bytes > limit) {
        if (heap->kept[heap->kept_hand] != NULL)
            release(heap, heap->kept[heap->kept_hand]);
        heap->kept_hand = (heap->kept_hand + 1) % HZ4_KEPT_RUNS;
    }
    heap->kept[heap->kept_hand] = run;
    heap->kept_hand = (heap->kept_hand + 1) % HZ4_KEPT_RUNS;
    run->kept_place = heap->kept_hand != 0 ? heap->kept_hand : HZ4_KEPT_RUNS;
    heap->kept_bytes += bytes;
    // Used last: the others may become empty, too.
    list_remove(heap, run);
    list_push_last(heap, run);
}

// What other classes keep is memory for this one.
static void release_kept(struct hz4_heap *heap) {
    for (uint32_t i = 0; i < HZ4_KEPT_RUNS; i++)
        if (heap->kept[i] != NULL)
            release(heap, heap->kept[i]);
}

void hz4_run_release_empty(struct hz4_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        for (struct hz4_run *run = heap->lists[size_class].first, *next; run != NULL; run = next) {
            next = run->next;
            if (run->free_count == run->block_count)
                release(heap, run);
        }
    }
}

// ---- birth --------------------------------------------------------------------------------------------------------

int hz4_run_carve(struct hz4_heap *heap, unsigned size_class) {
    release_kept(heap);
    uint32_t blocks = run_blocks(size_class);
    uint32_t words = (blocks + WORD_BITS - 1) / WORD_BITS;
    struct hz4_run *run = hz4_descriptor_take(size_class, sizeof *run + words * sizeof(uint64_t));
    if (run == NULL)
        return 0;
    void *base = hz4_granules_take(run_granules(size_class), size_class);
    run->base = (uintptr_t)base;
    run->reciprocal = UINT64_MAX / sizeclass_bytes[size_class] + 1;
    run->block_count = blocks;
    run->granules = run_granules(size_class);
    run->free_count = blocks;
    run->hint = 0;
    run->touched = 0;
    run->kept_place = 0;
    if (base == NULL || !hz4_map_set_run(run)) {
        if (base != NULL)
            hz4_granules_give(run);
        else
            hz4_descriptor_give(run);
        return 0;
    }
    for (uint32_t word = 0; word < words; word++) {
        uint32_t left = blocks - word * WORD_BITS;
        run->bits[word] = left >= WORD_BITS ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
    }
    set_tags(run, heap->common.id, size_class + 1);
    list_push_first(heap, run);
    count_home(heap, size_class, blocks);
    return 1;
}

// Single writer: the holder.
static void count_out(struct hz4_heap *heap, int64_t bytes) {
    int64_t out = atomic_load_explicit(&heap->out_bytes, memory_order_relaxed) + bytes;
    atomic_store_explicit(&heap->out_bytes, out, memory_order_relaxed);
}

// ---- blocks leave and come home -----------------------------------------------------------------------------------

// The lowest blocks of one run, the lowest of them last, where the magazine's next pop finds it: memory of a fresh run
// is touched in address order, one page after the other.
static uint32_t take_blocks(struct hz4_heap *heap, struct hz4_run *run, void **out, uint32_t want) {
    uint32_t taken = want < run->free_count ? want : run->free_count;
    uint32_t block_bytes = sizeclass_bytes[run->size_class];
    uint32_t word = run->hint;
    for (uint32_t left = taken; left > 0; word++) {
        uint64_t bits = run->bits[word];
        char *base = (char *)run->base + (size_t)word * WORD_BITS * block_bytes;
        for (; bits != 0 && left > 0; bits &= bits - 1) {
            void *block = base + (size_t)__builtin_ctzll(bits) * block_bytes;
            __builtin_prefetch(block, 1);
            out[--left] = block;
        }
        run->bits[word] = bits;
        if (bits != 0)
            break;
    }
    run->hint = word;
    uint32_t home = used_home(run);
    run->free_count -= taken;
    if (taken > home)
        run->touched += taken - home;
    count_spare(heap, run->size_class, -(int64_t)(taken < home ? taken : home));
    return taken;
}

uint32_t hz4_run_take(struct hz4_heap *heap, unsigned size_class, void **out, uint32_t want) {
    uint32_t taken = 0;
    while (taken < want && heap->lists[size_class].first != NULL) {
        struct hz4_run *run = heap->lists[size_class].first;
        forget_kept(heap, run);
        taken += take_blocks(heap, run, out + taken, want - taken);
        if (run->free_count == 0)
            list_remove(heap, run);
    }
    count_home(heap, size_class, 0 - taken);
    count_out(heap, (int64_t)taken * sizeclass_bytes[size_class]);
    return taken;
}

// Blocks that are returned together are often neighbours: the run is updated once for all of them.
uint32_t hz4_run_put(struct hz4_heap *heap, void *const *blocks, uint32_t count) {
    struct hz4_run *run = hz4_map_run(hz4_granule_of(blocks[0]));
    uintptr_t run_bytes = (uintptr_t)run->granules << HZ4_GRANULE_SHIFT;
    uint32_t hint = run->free_count != 0 ? run->hint : UINT32_MAX;
    uint32_t home = 0;
    uint32_t done = 0;
    for (; done < count; done++) {
        uintptr_t offset = (uintptr_t)blocks[done] - run->base;
        if (offset >= run_bytes)
            break;
        hz_uint128 product = (hz_uint128)offset * run->reciprocal;
        uint32_t index = (uint32_t)(product >> 64);
        uint32_t word = index / WORD_BITS;
        uint64_t bit = (uint64_t)1 << index % WORD_BITS;
        // Detected late, and not always: a pointer inside a block, or a block that was returned before.
        if (HZ_UNLIKELY((uint64_t)product >= run->reciprocal || index >= run->block_count)) {
            reject(blocks[done], REJECT_RETURN, ALLOCATOR_REJECT_INTERIOR);
            continue;
        }
        if (HZ_UNLIKELY((run->bits[word] & bit) != 0)) {
            reject(blocks[done], REJECT_RETURN, ALLOCATOR_REJECT_DOUBLE_FREE);
            continue;
        }
        run->bits[word] |= bit;
        hint = word < hint ? word : hint;
        home++;
    }
    if (HZ_UNLIKELY(home == 0))
        return done;
    uint32_t before = run->free_count;
    run->hint = hint;
    run->free_count = before + home;
    count_home(heap, run->size_class, home);
    count_spare(heap, run->size_class, home);
    count_out(heap, -(int64_t)home * sizeclass_bytes[run->size_class]);
    if (before == 0)
        list_push_first(heap, run);
    if (run->free_count == run->block_count)
        keep(heap, run);
    return done;
}

// From the cold end of the list. The receiver holds both heaps.
uint32_t hz4_run_move(struct hz4_heap *to, struct hz4_heap *from, unsigned size_class, uint32_t limit) {
    uint32_t moved = 0;
    while (moved < limit && from->lists[size_class].last != NULL) {
        struct hz4_run *run = from->lists[size_class].last;
        list_remove(from, run);
        forget_kept(from, run);
        int64_t out = (int64_t)(run->block_count - run->free_count) * sizeclass_bytes[size_class];
        count_out(from, -out);
        count_out(to, out);
        count_home(from, size_class, 0 - run->free_count);
        count_home(to, size_class, run->free_count);
        count_spare(from, size_class, -(int64_t)used_home(run));
        count_spare(to, size_class, used_home(run));
        set_tags(run, to->common.id, size_class + 1);
        list_push_first(to, run);
        moved++;
    }
    return moved;
}

int hz4_run_contradictions(const struct hz4_run *run) {
    uint32_t count = 0;
    uint32_t first = UINT32_MAX;
    for (uint32_t word = 0; word < (run->block_count + WORD_BITS - 1) / WORD_BITS; word++) {
        count += (uint32_t)__builtin_popcountll(run->bits[word]);
        if (run->bits[word] != 0 && first == UINT32_MAX)
            first = word;
    }
    return (count != run->free_count) + (count != 0 && first < run->hint);
}
