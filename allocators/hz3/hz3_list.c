// SPDX-License-Identifier: Apache-2.0
// The thread's lists: two of each class. The head list serves malloc and free; when it is full it becomes the spare,
// when it is empty the spare becomes it, both in constant time. Only a full pair goes to the runs, and only an empty
// pair is filled from them. Lengths start short and double while the class proves busy, within a budget for all
// classes.
#include "hz3.h"

#include "../common/hidden.h"
#include "../common/os_mem.h"

#include <string.h>

#define FIRST_BYTES 4096u // half a list at the start of a thread: a page, as much as one carving brings
#define FIRST_BLOCKS 64u
#define MOST_BYTES HZ_MIB(1) // and at most
#define MOST_BLOCKS 512u
#define MOST_BLOCKS_MIN 32u // however large the blocks
#define REFILL_BLOCKS 32u
#define BUDGET_BYTES HZ_MIB(4)          // of a thread, at most
#define BUDGET_EXCHANGE_BYTES HZ_MIB(1) // of one that exchanges blocks with others
#define BUDGET_ALL_BYTES HZ_MIB(8)      // of all threads, a like share each
#define BUDGET_SHARE 16u                // or this part of what the heap has carved
#define SHARED_BLOCKS 4u                // before a class gets a run of its own
#define RECLAIM_BYTES HZ_KIB(128)       // less than this in idle lists stays there
#define RECLAIM_STEP_BYTES HZ_MIB(1)    // growth between two reclaims
#define RECLAIM_SHARE 8u                // or this part of the heap

static struct { uint16_t first, most; } lengths[SIZECLASS_COUNT]; // const after hz3_list_init()

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high) {
    return value < low ? low : value > high ? high : value;
}

void hz3_list_init(void) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        uint32_t bytes = sizeclass_bytes[size_class];
        lengths[size_class].first = (uint16_t)clamp(FIRST_BYTES / bytes, 1, FIRST_BLOCKS);
        lengths[size_class].most = (uint16_t)clamp(MOST_BYTES / bytes, MOST_BLOCKS_MIN, MOST_BLOCKS);
    }
}

static void mark(uint64_t *classes, unsigned size_class) {
    classes[size_class / 64] |= (uint64_t)1 << size_class % 64;
}

static void unmark(uint64_t *classes, unsigned size_class) {
    classes[size_class / 64] &= ~((uint64_t)1 << size_class % 64);
}

static int is_marked(const uint64_t *classes, unsigned size_class) {
    return (int)(classes[size_class / 64] >> size_class % 64 & 1);
}

// ---- watching the time --------------------------------------------------------------------------------------------
//
// A program that only allocates and frees in turns never leaves the fast paths, and the arena would keep what it
// retained for busier times. So while it retains a mebibyte or more, lists are hidden: the next malloc or free of their
// class comes here, looks at the time and shows the list again. Few operations a moment hide the list at once, so each
// of them comes here; a busy thread is left alone after HZ_HIDDEN_MOST of them until the clock moves on (a few
// milliseconds) or it gives a run back. hz4 and hz5 do the same with whole magazines (common/hidden.h).

void hz3_list_show(struct hz3_heap *heap, unsigned size_class) {
    if (HZ_LIKELY(!is_marked(heap->hidden, size_class)))
        return;
    unmark(heap->hidden, size_class);
    *hz3_head(size_class) = heap->behind[size_class].list;
    *hz3_room(size_class) = heap->behind[size_class].room;
}

static void hide(struct hz3_heap *heap, unsigned size_class) {
    if (is_marked(heap->hidden, size_class))
        return;
    mark(heap->hidden, size_class);
    heap->behind[size_class].list = *hz3_head(size_class);
    heap->behind[size_class].room = *hz3_room(size_class);
    *hz3_head(size_class) = NULL;
    *hz3_room(size_class) = 0;
}

static HZ3_SLOW void watch_slow(struct hz3_heap *heap, unsigned size_class) {
    uint64_t now = os_clock_coarse_ms();
    if (now != heap->watch_ms || heap->has_given) {
        heap->watch_ms = now;
        heap->watch_count = 0;
        heap->has_given = 0;
        for (unsigned each = 0; each < SIZECLASS_COUNT; each++)
            hide(heap, each);
    } else if (++heap->watch_count < HZ_HIDDEN_MOST) {
        hide(heap, size_class);
    }
}

// At the end of a slow path: nobody looks at the lists behind it.
static void watch(struct hz3_heap *heap, unsigned size_class) {
    arena_look();
    if (HZ_UNLIKELY(atomic_load_explicit(&arena_holds, memory_order_relaxed) != 0))
        watch_slow(heap, size_class);
}

// ---- lists --------------------------------------------------------------------------------------------------------

static uint32_t length(const struct hz3_heap *heap, unsigned size_class) {
    return (uint32_t)(heap->base[size_class] - *hz3_room(size_class));
}

// Makes a list of `count` blocks the head list. It gets room for half a list more, however long it is, so that a few
// frees after a refill stay on the fast path.
static void install(struct hz3_heap *heap, unsigned size_class, struct hz3_block *list, uint32_t count) {
    uint32_t half = heap->half[size_class];
    uint32_t base = count + half / 2 + 1;
    base = base > half ? base : half;
    heap->base[size_class] = (int32_t)base;
    *hz3_head(size_class) = list;
    *hz3_room(size_class) = (int32_t)(base - count);
}

static void set_half(struct hz3_heap *heap, unsigned size_class, uint32_t half) {
    int64_t change = ((int64_t)half - heap->half[size_class]) * 2 * sizeclass_bytes[size_class];
    heap->limit_bytes = (uint64_t)((int64_t)heap->limit_bytes + change);
    heap->half[size_class] = (uint16_t)half;
}

static void return_spare(struct hz3_heap *heap, unsigned size_class) {
    struct hz3_block *list = heap->spare[size_class];
    heap->spare[size_class] = NULL;
    heap->spare_count[size_class] = 0;
    hz3_run_return(heap, list, size_class);
}

static void return_class(struct hz3_heap *heap, unsigned size_class) {
    hz3_list_show(heap, size_class);
    struct hz3_block *list = *hz3_head(size_class);
    install(heap, size_class, NULL, 0);
    hz3_run_return(heap, list, size_class);
    return_spare(heap, size_class);
}

void hz3_list_return_all(struct hz3_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        return_class(heap, size_class);
}

static void return_hidden(struct hz3_heap *heap, unsigned size_class) {
    if (!is_marked(heap->hidden, size_class))
        return;
    unmark(heap->hidden, size_class);
    hz3_run_return(heap, heap->behind[size_class].list, size_class);
}

void hz3_list_return_left(struct hz3_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        return_hidden(heap, size_class);
        return_spare(heap, size_class);
    }
}

void hz3_list_begin(struct hz3_heap *heap) {
    hz_heap_enter(&heap->is_busy);
    hz_heap_hold(&heap->common);
    heap->limit_bytes = 0;
    memset(heap->shared_count, 0, sizeof heap->shared_count);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        return_hidden(heap, size_class);
        heap->half[size_class] = lengths[size_class].first;
        install(heap, size_class, NULL, 0);
    }
    hz_heap_let_go(&heap->common);
    hz_heap_leave(&heap->is_busy);
}

void hz3_list_end(struct hz3_heap *heap) {
    hz3_list_return_all(heap);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        *hz3_room(size_class) = 0;
}

// ---- a full list --------------------------------------------------------------------------------------------------

static int may_grow(const struct hz3_heap *heap, unsigned size_class) {
    uint64_t share = hz_tally_get(&heap->carved_bytes) / BUDGET_SHARE;
    uint64_t budget = BUDGET_ALL_BYTES / hz_heap_alive_count();
    uint64_t most = hz3_exchanges(heap) ? BUDGET_EXCHANGE_BYTES : BUDGET_BYTES;
    budget = budget < most ? budget : most;
    uint64_t more = (uint64_t)heap->half[size_class] * 2 * sizeclass_bytes[size_class];
    return heap->half[size_class] < lengths[size_class].most &&
           heap->limit_bytes + more <= (budget > share ? budget : share);
}

static void grow(struct hz3_heap *heap, unsigned size_class) {
    uint32_t half = heap->half[size_class];
    uint32_t more = clamp(half, 1, lengths[size_class].most - half);
    set_half(heap, size_class, half + more);
    heap->base[size_class] += (int32_t)more;
    *hz3_room(size_class) += (int32_t)more;
}

static void head_becomes_spare(struct hz3_heap *heap, unsigned size_class) {
    heap->spare[size_class] = *hz3_head(size_class);
    heap->spare_count[size_class] = length(heap, size_class);
    install(heap, size_class, NULL, 0);
}

HZ3_SLOW void hz3_list_full(void *block) {
    struct hz3_heap *heap = hz3_thread.heap;
    if (HZ_UNLIKELY(heap == NULL)) { // a thread that has never allocated met tag 0
        hz3_thread.always_zero[0] = 0;
        hz3_free_other(block);
        return;
    }
    unsigned size_class = hz3_tag_class(hz3_tag_of(block));
    ++*hz3_room(size_class);
    hz_heap_enter(&heap->is_busy);
    if (is_marked(heap->hidden, size_class)) {
        hz3_list_show(heap, size_class);
        if (*hz3_room(size_class) > 0) {
            hz3_list_push(block, size_class);
            watch(heap, size_class);
            hz_heap_leave(&heap->is_busy);
            return;
        }
    }
    unmark(heap->underflowed, size_class);
    if (heap->spare[size_class] != NULL && may_grow(heap, size_class)) {
        grow(heap, size_class);
    } else {
        hz_heap_hold(&heap->common);
        return_spare(heap, size_class);
        hz_heap_let_go(&heap->common);
        head_becomes_spare(heap, size_class);
    }
    hz3_list_push(block, size_class);
    watch(heap, size_class);
    hz_heap_leave(&heap->is_busy);
}

// A foreign block is kept by a thread that allocates its class: the next malloc reuses it, and it need not be sent to
// its owner. A thread that frees and never allocates keeps two lists of the class once, and then no more.
int hz3_list_borrow(struct hz3_heap *heap, struct hz3_block *block, unsigned size_class) {
    hz3_list_show(heap, size_class);
    if (HZ_UNLIKELY(*hz3_room(size_class) <= 0)) {
        if (heap->spare[size_class] == NULL) {
            head_becomes_spare(heap, size_class);
        } else if (is_marked(heap->underflowed, size_class) && may_grow(heap, size_class)) {
            unmark(heap->underflowed, size_class);
            grow(heap, size_class);
        } else {
            return 0;
        }
    }
    hz3_list_push(block, size_class);
    return 1;
}

// ---- an empty list ------------------------------------------------------------------------------------------------

// Before the heap grows beyond its largest size so far: lists of classes that were not refilled lately go back to the
// runs. 1 when they did. Each time the heap must have grown by a part, or two busy classes would take turns at emptying
// each other.
static int reclaim(struct hz3_heap *heap) {
    uint64_t carved_bytes = hz_tally_get(&heap->carved_bytes);
    if (carved_bytes < heap->reclaim_mark_bytes)
        return 0;
    uint64_t idle_bytes = 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz3_list_show(heap, size_class);
        if (!is_marked(heap->recent, size_class))
            idle_bytes +=
                (uint64_t)(length(heap, size_class) + heap->spare_count[size_class]) * sizeclass_bytes[size_class];
    }
    int worth = idle_bytes >= RECLAIM_BYTES;
    for (unsigned size_class = 0; worth && size_class < SIZECLASS_COUNT; size_class++) {
        if (is_marked(heap->recent, size_class))
            continue;
        uint32_t half = heap->half[size_class] / 2u;
        set_half(heap, size_class, half > lengths[size_class].first ? half : lengths[size_class].first);
        return_class(heap, size_class);
    }
    for (unsigned word = 0; word < HZ3_CLASS_WORDS; word++)
        heap->recent[word] = 0;
    carved_bytes = hz_tally_get(&heap->carved_bytes);
    uint64_t step = carved_bytes / RECLAIM_SHARE;
    heap->reclaim_mark_bytes = carved_bytes + (step > RECLAIM_STEP_BYTES ? step : RECLAIM_STEP_BYTES);
    return worth;
}

static struct hz3_block *pop(unsigned size_class) {
    struct hz3_block *block = *hz3_head(size_class);
    *hz3_head(size_class) = block->next;
    ++*hz3_room(size_class);
    return block;
}

static struct hz3_block *take_or_refill(struct hz3_heap *heap, unsigned size_class);

// A class with few blocks costs a page however small they are. The first requests of a class that has no run are
// therefore served with blocks of one of three classes; they return to that one when they are freed.
static unsigned shared_class(unsigned size_class) {
    static const uint8_t classes[] = {64 / SIZECLASS_GRANULE - 1, 256 / SIZECLASS_GRANULE - 1,
                                      1024 / SIZECLASS_GRANULE - 1};
    return size_class <= classes[0] ? classes[0] : size_class <= classes[1] ? classes[1] : classes[2];
}

static uint32_t supply_shared(struct hz3_heap *heap, unsigned size_class, struct hz3_block **list) {
    if (size_class >= SIZECLASS_FINE_COUNT || heap->shared_count[size_class] == SHARED_BLOCKS)
        return 0;
    unsigned shared = shared_class(size_class);
    if (shared == size_class)
        return 0;
    heap->shared_count[size_class]++;
    struct hz3_block *block = *hz3_head(shared) != NULL ? pop(shared) : take_or_refill(heap, shared);
    if (block == NULL)
        return 0;
    block->next = NULL;
    *list = block;
    return 1;
}

// Freed memory is used before memory that was never touched.
static uint32_t supply(struct hz3_heap *heap, unsigned size_class, struct hz3_block **list) {
    uint32_t want = clamp(heap->half[size_class], 1, REFILL_BLOCKS);
    uint32_t count = hz3_run_take(heap, size_class, want, list);
    if (count == 0 && hz_heap_abandoned_count() != 0 && hz3_run_adopt(heap, size_class))
        count = hz3_run_take(heap, size_class, want, list);
    if (count == 0)
        count = hz3_run_borrow(heap, size_class, want, list);
    if (count == 0)
        count = hz3_run_carve(heap, size_class, list);
    if (count == 0)
        count = supply_shared(heap, size_class, list);
    if (count == 0 && (hz3_run_open(heap, size_class, 1) || (reclaim(heap) && hz3_run_open(heap, size_class, 1)) ||
                       hz3_run_open(heap, size_class, 0)))
        count = hz3_run_carve(heap, size_class, list);
    return count;
}

// From what the thread has out of sight: a hidden list, or the spare. NULL when there is none.
static struct hz3_block *take_own(struct hz3_heap *heap, unsigned size_class) {
    hz3_list_show(heap, size_class);
    if (*hz3_head(size_class) != NULL)
        return pop(size_class);
    mark(heap->recent, size_class);
    mark(heap->underflowed, size_class);
    struct hz3_block *list = heap->spare[size_class];
    if (list == NULL)
        return NULL;
    heap->spare[size_class] = NULL;
    install(heap, size_class, list, heap->spare_count[size_class]);
    heap->spare_count[size_class] = 0;
    return pop(size_class);
}

// The thread holds its heap.
static struct hz3_block *refill(struct hz3_heap *heap, unsigned size_class) {
    hz3_remote_tick(heap);
    if (atomic_load_explicit(&heap->remote_queue, memory_order_relaxed) != 0)
        hz3_remote_drain(heap);
    if (*hz3_head(size_class) == NULL) {
        struct hz3_block *list = NULL;
        uint32_t count = supply(heap, size_class, &list);
        if (count == 0)
            return NULL;
        install(heap, size_class, list, count);
    }
    return pop(size_class);
}

static struct hz3_block *take_or_refill(struct hz3_heap *heap, unsigned size_class) {
    struct hz3_block *block = take_own(heap, size_class);
    return block != NULL ? block : refill(heap, size_class);
}

void *hz3_list_refill(struct hz3_heap *heap, unsigned size_class) {
    struct hz3_block *block = take_own(heap, size_class);
    if (block == NULL) {
        hz_heap_hold(&heap->common);
        block = refill(heap, size_class);
        hz_heap_let_go(&heap->common);
    }
    watch(heap, size_class);
    return block;
}
