// SPDX-License-Identifier: Apache-2.0
// hz3's data: tags, runs, thread lists, heaps. Read README.md beside this file first.
//
//   pointer -> unit (one shift) -> tag: owner | size class -> the calling thread's list of that class
//
// Free blocks are linked in band. What a thread holds in its lists is touched by no other thread; what changes hands
// travels in batches of compressed pointers.
#ifndef HZ3_H
#define HZ3_H

// For a header that is read alone; the build gives it to sizeclass.c as well (meson.build).
#ifndef SIZECLASS_FIRST_SLOT
#define SIZECLASS_FIRST_SLOT 118u
#endif

#include "../common/arena.h"
#include "../common/compiler.h"
#include "../common/fork.h"
#include "../common/heaps.h"
#include "../common/hzn.h"
#include "../common/process.h"
#include "../common/reject.h"
#include "../common/sizeclass.h"
#include "../common/tally.h"
#include "../common/thread_end.h"

#include <stdatomic.h>
#include <stddef.h>

// Not on the fast path, yet too frequent to be optimised for size.
#define HZ3_SLOW __attribute__((noinline))

struct hz3_block {
    struct hz3_block *next;
};

// ---- tags ---------------------------------------------------------------------------------------------------------

// PTAG32: owner << 8 | slot of the size class, one for every unit in which blocks may start; 0: no block starts here.
#define HZ3_TAG_NONE 0u
#define HZ3_TAG_LARGE 0xffu // first unit of a run that is one block; below every owner's tags
#define HZ3_TAG_SHIFT 8u
#define HZ3_FIRST_SLOT SIZECLASS_FIRST_SLOT // slot = this + class, see union hz3_thread

// How free() finds a tag without any test: a table over the whole address space, in which everything that is not ours
// reads 0. Before it exists, and for good when the address space is limited or a limit has come, the shift makes every
// pointer find one zero; then the slow path looks.
struct hz3_lookup {
    _Alignas(HZ_CACHE_LINE) _Atomic(const _Atomic uint32_t *) table;
    _Atomic uint32_t shift;
    _Atomic uint32_t *tags; // const after hz_init(): the arena's part, one tag a unit
};

// A line of its own: every free() of every thread reads it.
extern HZ_HIDDEN struct hz3_lookup hz3_lookup;

HZ_INLINE uint32_t hz3_tag_fast(const void *pointer) {
    // ORDER: acquire: who sees the new shift must see the new table; partner: the release store in hz3_heap.c.
    uint32_t shift = atomic_load_explicit(&hz3_lookup.shift, memory_order_acquire);
    const _Atomic uint32_t *table = atomic_load_explicit(&hz3_lookup.table, memory_order_relaxed);
    return atomic_load_explicit(table + ((uintptr_t)pointer >> shift), memory_order_relaxed);
}

// Unit index of any pointer; the arena has no such unit when it is not of the arena.
HZ_INLINE size_t hz3_unit_of(const void *pointer) {
    return ((uintptr_t)pointer >> ARENA_UNIT_SHIFT) - arena.base_unit;
}

HZ_INLINE uint32_t hz3_tag_of(const void *pointer) {
    size_t unit = hz3_unit_of(pointer);
    return arena_has(unit) ? atomic_load_explicit(hz3_lookup.tags + unit, memory_order_relaxed) : HZ3_TAG_NONE;
}

HZ_INLINE unsigned hz3_tag_class(uint32_t tag) {
    return (tag & ((1u << HZ3_TAG_SHIFT) - 1)) - HZ3_FIRST_SLOT;
}

HZ_INLINE uint32_t hz3_tag_make(uint32_t owner, unsigned size_class) {
    return owner << HZ3_TAG_SHIFT | (HZ3_FIRST_SLOT + size_class);
}

HZ_INLINE uint32_t hz3_tag_owner(uint32_t tag) {
    return tag >> HZ3_TAG_SHIFT;
}

HZ_INLINE void hz3_tag_set(size_t unit, uint32_t tag) {
    atomic_store_explicit(hz3_lookup.tags + unit, tag, memory_order_relaxed);
}

// ---- runs ---------------------------------------------------------------------------------------------------------

#define HZ3_WIDE_UNITS 8u // a run of blocks above HZ3_ONE_UNIT_BYTES; starts at a multiple of its size
#define HZ3_ONE_UNIT_BYTES 8256u
#define HZ3_EMPTY_UNITS_MAX 32u // of empty runs that a heap keeps, at most
#define HZ3_EMPTY_UNITS_ALL 64u // and that all heaps keep, a like share each

// One a unit, in the arena's side table; used by a run's first unit. owner: every field of a small run; counts are
// atomic only for readers of statistics.
struct hz3_run {
    _Alignas(HZ_CACHE_LINE) struct hz3_block *free; // blocks that came back
    struct hz3_block *free_last;                    // end of that list: it joins another one in one store
    uint32_t next, previous;                        // unit index + 1 in a list of the heap, 0: end
    _Atomic uint32_t free_count;                    // blocks in `free`
    _Atomic uint32_t carved;                        // blocks that have existed; those behind have never been touched
    uint32_t block_count;
    uint32_t touched_bytes; // of the run, from its start: they may be resident, whatever is carved
    _Atomic uint32_t units;
    uint32_t room;         // units behind a run that is one block, kept for its growth
    _Atomic(void *) large; // the block, when the run is one block
    uint32_t size_class;   // of the blocks that it has, or had last
};

_Static_assert(sizeof(struct hz3_run) == HZ_CACHE_LINE, "the side table's stride");

HZ_INLINE struct hz3_run *hz3_run_at(size_t unit) {
    return (struct hz3_run *)(void *)arena.table + unit;
}

HZ_INLINE unsigned hz3_run_units(unsigned size_class) {
    return sizeclass_bytes[size_class] <= HZ3_ONE_UNIT_BYTES ? 1 : HZ3_WIDE_UNITS;
}

// ---- remote frees -------------------------------------------------------------------------------------------------

#define HZ3_BATCH_BLOCKS 60u
#define HZ3_OPEN_BATCHES 32u

// A link of a remote queue: the address of a batch, or of a single block + 1, which then is its own batch.
#define HZ3_LINK_IS_BLOCK ((uintptr_t)1)
// The queue's word: the newest link, and above it how many bytes wait, in these units, at most as many as fit.
#define HZ3_QUEUE_LINK_BITS 48u
#define HZ3_QUEUE_BYTES_SHIFT 8u

// Blocks of one owner by compressed pointers: address bits 4 to 35; `window` has the bits above. Batches are
// type-stable metadata.
struct hz3_batch {
    _Alignas(HZ_CACHE_LINE) uintptr_t next;
    uint32_t window;
    uint16_t count;
    uint16_t granules; // SIZECLASS_GRANULE bytes each, of all the blocks
    uint32_t compressed[HZ3_BATCH_BLOCKS];
};

// The batch in the making for one owner. Private: its lines never leave this core, only copies of it do.
struct hz3_open_batch {
    _Alignas(HZ_CACHE_LINE) uint32_t owner;
    uint32_t window;
    uint16_t count;
    uint16_t is_stale; // the clock hand has passed since the last flush
    uint32_t bytes;
    uint32_t compressed[HZ3_BATCH_BLOCKS];
};

// ---- heaps and threads --------------------------------------------------------------------------------------------

#define HZ3_LARGE_CACHED_UNITS 17u // largest run kept by a thread: 1 MiB and its colour
#define HZ3_LARGE_SLOTS 16u        // of each size

struct hz3_large_cache {
    uint32_t sizes; // bit a size in units that is there
    hz_tally units; // sum
    uint32_t hand;  // size evicted last
    uint8_t count[HZ3_LARGE_CACHED_UNITS + 1];
    uint32_t unit[HZ3_LARGE_CACHED_UNITS + 1][HZ3_LARGE_SLOTS];
};

#define HZ3_CLASS_WORDS ((SIZECLASS_COUNT + 63) / 64)

// The cold part of what a thread owns; outlives the thread and goes to the next one (owner ids are heap ids).
struct hz3_heap {
    // any
    _Alignas(128) struct hz_heap common;
    _Atomic uintptr_t remote_queue;              // newest link, bytes
    _Atomic uint64_t with_runs[HZ3_CLASS_WORDS]; // bit a class with runs in a list; a hint for adopters
    // owner: the thread, or whoever has acquired the abandoned heap. Runs, their lists and counts: who holds the heap
    // (common/heaps.h), which may be a helper.
    _Alignas(128) _Atomic uint32_t is_busy;     // fork.h: set while anything below or a run of the heap changes
    hz_tally empty_units;                       // in `empty`
    uint32_t empty[2];                          // runs without blocks, of one unit and of HZ3_WIDE_UNITS
    hz_tally carved_bytes;                      // blocks that exist, whoever holds them
    hz_tally free_bytes;                        // of these, in the lists of runs
    hz_tally sent_bytes;                        // of blocks in batches this thread has pushed
    hz_tally received_bytes;                    // and in those it has drained
    uint64_t limit_bytes;                       // by which all lists may exceed their first length
    uint64_t reclaim_mark_bytes;                // carved_bytes at which quiet lists are searched
    uint64_t lend_mark_bytes;                   // carved_bytes at which other heaps are asked for blocks
    struct hz3_batch *batches;                  // empty ones
    struct hz3_open_batch *open;                // NULL until the first foreign free
    hz_tally open_bytes;                        // of blocks in `open`
    uint32_t open_hand;                         // entry looked at last
    uint32_t adopt_hand, lend_hand;             // heap looked at last
    uint64_t recent[HZ3_CLASS_WORDS];           // bit a class that was refilled since the last reclaim
    uint64_t underflowed[HZ3_CLASS_WORDS];      // bit a class that was empty since it was last full
    uint32_t partial[SIZECLASS_COUNT];          // runs with blocks in `free`
    uint32_t fresh[SIZECLASS_COUNT];            // runs without, and not carved to the end
    uint16_t half[SIZECLASS_COUNT];             // a list's length at which it becomes the spare
    int32_t base[SIZECLASS_COUNT];              // room of an empty list: length = base - room
    uint32_t spare_count[SIZECLASS_COUNT];      //
    struct hz3_block *spare[SIZECLASS_COUNT];   // second list of the class, whole
    uint8_t shared_count[SIZECLASS_FINE_COUNT]; // blocks a class had from a shared one
    struct hz3_large_cache large;
    // Lists out of sight, so that the next malloc or free of the class takes a slow path (hz3_list.c).
    uint64_t hidden[HZ3_CLASS_WORDS]; // bit a class
    uint64_t watch_ms;                // when all were hidden last
    uint32_t watch_count;             // slow paths since
    uint32_t has_given;               // a run went to the arena since
    struct {
        struct hz3_block *list;
        int32_t room;
    } behind[SIZECLASS_COUNT];
};

_Static_assert(offsetof(struct hz3_heap, common) == 0, "hz3_heap_of()");

HZ_INLINE struct hz3_heap *hz3_heap_of(struct hz_heap *base) {
    return (struct hz3_heap *)(void *)base;
}

HZ_INLINE struct hz3_heap *hz3_heap_by_id(uint32_t id) {
    return hz3_heap_of(hz_heap_by_id(id));
}

// Blocks of it have been freed by other threads, or its thread has freed blocks of others.
HZ_INLINE int hz3_exchanges(const struct hz3_heap *heap) {
    return hz_tally_get(&heap->sent_bytes) != 0 || hz_tally_get(&heap->received_bytes) != 0;
}

// The hot part, in initial-exec TLS, all zero until the thread needs a heap: every list is empty and has no room, so
// the first malloc and the first free leave the fast path by tests that are there anyway.
//
// The two arrays overlap, and the classes' slots begin where they no longer do: then one register addresses both
// without a displacement, which saves free() an instruction. The elements below are never indexed but for element 0,
// with which tag 0 meets a thread without a heap; the rest of that space serves other fields.
union hz3_thread {
    struct {
        int32_t always_zero[2];
        uint32_t mine; // id << HZ3_TAG_SHIFT; 0 without a heap
        struct hz3_heap *heap;
    };
    int32_t room[2 * SIZECLASS_COUNT]; // counts down, so that one subtraction is the overflow test
    struct hz3_block *head[2 * SIZECLASS_COUNT];
};

_Static_assert(sizeof(int32_t) * 2 * SIZECLASS_COUNT <= sizeof(void *) * HZ3_FIRST_SLOT, "no class's slots overlap");

extern HZ_HIDDEN HZ_THREAD_LOCAL union hz3_thread hz3_thread;

HZ_INLINE struct hz3_block **hz3_head(unsigned size_class) {
    return &hz3_thread.head[HZ3_FIRST_SLOT + size_class];
}

HZ_INLINE int32_t *hz3_room(unsigned size_class) {
    return &hz3_thread.room[HZ3_FIRST_SLOT + size_class];
}

HZ_INLINE void hz3_list_push(struct hz3_block *block, unsigned size_class) {
    block->next = *hz3_head(size_class);
    *hz3_head(size_class) = block;
    --*hz3_room(size_class);
}

// hz3_malloc.c
void *hz3_alloc_slow(size_t bytes); // sets errno
void hz3_free_other(void *block);   // what the tag test sends away

// hz3_list.c: the thread's lists
void hz3_list_init(void);
void hz3_list_begin(struct hz3_heap *heap);                        // lists of a thread that starts
void hz3_list_end(struct hz3_heap *heap);                          // and of one that ends
void *hz3_list_refill(struct hz3_heap *heap, unsigned size_class); // one block, and more behind it; NULL: no memory
void hz3_list_full(void *block); // the list of its class has no room, and was charged for it
int hz3_list_borrow(struct hz3_heap *heap, struct hz3_block *block,
                    unsigned size_class); // 1 when the list has taken it
void hz3_list_return_all(struct hz3_heap *heap);
void hz3_list_show(struct hz3_heap *heap, unsigned size_class); // the list of the class, if it was hidden
void hz3_list_return_left(struct hz3_heap *heap); // what a thread that a fork left behind had outside of its TLS

// hz3_run.c: runs of equal blocks
void hz3_run_push(struct hz3_heap *heap, struct hz3_block *block, unsigned size_class);
void hz3_run_return(struct hz3_heap *heap, struct hz3_block *list, unsigned size_class);
uint32_t hz3_run_take(struct hz3_heap *heap, unsigned size_class, uint32_t want, struct hz3_block **list);
uint32_t hz3_run_carve(struct hz3_heap *heap, unsigned size_class, struct hz3_block **list);
int hz3_run_open(struct hz3_heap *heap, unsigned size_class, int only_kept);
int hz3_run_adopt(struct hz3_heap *heap, unsigned size_class); // from abandoned heaps; 1 when something came
uint32_t hz3_run_borrow(struct hz3_heap *heap, unsigned size_class, uint32_t want,
                        struct hz3_block **list); // from heaps that are alive
void hz3_run_release_empty(struct hz3_heap *heap);
void hz3_units_give(size_t unit, size_t units); // to the arena, errno kept

// hz3_remote.c: blocks that go to their owners
void hz3_remote_free(struct hz3_heap *heap, uint32_t owner, void *block, unsigned size_class);
void hz3_remote_send(uint32_t owner, void *block); // at once, alone; needs neither a heap nor memory
void hz3_remote_flush(struct hz3_heap *heap);
void hz3_remote_tick(struct hz3_heap *heap); // flushes one entry that waits for long
void hz3_remote_drain(struct hz3_heap *heap);

// hz3_heap.c: heaps and threads
struct hz3_heap *hz3_heap_of_thread(void); // acquires one if need be; NULL when out of memory

// hz3_large.c: runs that are one block
void *hz3_large_alloc(size_t bytes, size_t alignment, int *is_zero);
void hz3_large_free_copied(void *block);     // its contents lie elsewhere now
void *hz3_large_alloc_growing(size_t bytes); // for a block that has grown, and may again
void *hz3_large_alloc_cached(size_t bytes);  // else hz3_alloc_slow()
void hz3_large_free(void *block);
int hz3_large_is_start(const void *block); // of a live one; its tag is HZ3_TAG_LARGE
size_t hz3_large_usable(const void *block);
int hz3_large_resize(void *block, size_t bytes);
uint64_t hz3_large_bytes(void); // of all large runs, those in caches included
void hz3_large_release_cached(struct hz3_heap *heap);

// hz3_reject.c: pointers that lead to no block
void hz3_reject(const void *pointer, enum reject_operation operation);

#endif
