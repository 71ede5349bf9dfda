// SPDX-License-Identifier: Apache-2.0
// hz4's data: tags, runs, batches, heaps, the thread's caches. Read README.md beside this file first.
//
// clang-format off
//   free:    pointer -> granule (arithmetic) -> tag -> magazine of its class; when that is full: batch to its owner
//   malloc:  magazine; when empty: own runs, own remote queue, other heaps, a new run
// clang-format on
//
// A run is 1..32 granules of equal blocks and has one owner, a heap. A block is *home* when its bit in the run is set.
// Everywhere else - in use, in any thread's magazine, in a batch - it counts as out, so a run whose bits are all set
// is empty. Nothing is kept inside user memory.
#ifndef HZ4_H
#define HZ4_H

#include "../common/arena.h"
#include "../common/compiler.h"
#include "../common/heaps.h"
#include "../common/hidden.h"
#include "../common/hzn.h"
#include "../common/lock.h"
#include "../common/process.h"
#include "../common/reject.h"
#include "../common/sizeclass.h"
#include "../common/thread_end.h"
#include "hz4_states.h"

#include <stdatomic.h>
#include <stddef.h>

#define HZ4_KEPT_RUNS 64u
#define HZ4_COMPRESSED_SHIFT 4u // a compressed pointer is the low 32 bits of address >> 4 ...
#define HZ4_WINDOW_SHIFT 36u    // ... so it is unique in a window of 64 GiB, and a batch has one window
// A run is whole granules: a quarter of an arena unit, so that a class with few blocks is small.
#define HZ4_GRANULE_SHIFT 14u
#define HZ4_GRANULE_BYTES ((size_t)1 << HZ4_GRANULE_SHIFT)
#define HZ4_UNIT_GRANULES 4u
#define HZ4_MAX_GRANULES ((size_t)1 << 30) // 16 TiB: 256 windows; what lies beyond is not used

// ---- tags ---------------------------------------------------------------------------------------------------------

// Where a block goes when nobody here wants it: owner id, size group and window, arranged so that the low byte is a
// batch slot of the thread that frees.
//   key = id << 2 | group;   bits 0..6 key & 127 | 7 set | 8..18 key >> 7 | 20..27 window
#define HZ4_SLOTS 128u
#define HZ4_FIRST_SLOT 128u          // slots 128..255; below are the classes
#define HZ4_GROUPS 4u                // of sizes: a batch has one, so its bytes are bounded by counting blocks
#define HZ4_ROUTE_CLOSED 0xffffffffu // of a batch slot: not in use

// One a granule, in the arena's side table. any: read by every thread that frees. Written by whoever holds the run's
// owner, or the block while it is large; a program that hands a block to another thread has ordered that before the
// other's free.
struct hz4_tag {
    _Atomic uint8_t index; // size class + 1; 0: no blocks of a class here
    uint8_t free_mask;     // of an arena unit, in its first tag; hz4_granule.c
    uint8_t unused[2];
    struct hz4_way route;
};

_Static_assert(sizeof(struct hz4_tag) == 8, "the side table's stride");

// The arena as the fast paths see it: single variables, so that each is one memory operand. const after hz_init() but
// for the count, which follows arena.unit_count.
extern uintptr_t hz4_base_granule;
extern _Atomic uintptr_t hz4_granule_count; // 0 before
extern struct hz4_tag *hz4_tags;

HZ_INLINE struct hz4_tag *hz4_tag_at(size_t granule) {
    return hz4_tags + granule;
}

// Granule index of any pointer; >= hz4_granule_count when it is not in the arena.
HZ_INLINE size_t hz4_granule_of(const void *pointer) {
    return ((uintptr_t)pointer >> HZ4_GRANULE_SHIFT) - hz4_base_granule;
}

HZ_INLINE uint32_t hz4_route(uint32_t owner, uint32_t group, uintptr_t address) {
    uint32_t window = (uint32_t)((address >> HZ4_WINDOW_SHIFT) - (arena.base >> HZ4_WINDOW_SHIFT));
    uint32_t key = owner << 2 | group;
    return (key & 127) | HZ4_FIRST_SLOT | key >> 7 << 8 | window << 20;
}

HZ_INLINE uint32_t hz4_route_key(uint32_t route) {
    return (route & 127) | (route >> 8 & 0xfff) << 7;
}

HZ_INLINE uint32_t hz4_route_owner(uint32_t route) {
    return hz4_route_key(route) >> 2;
}

HZ_INLINE uint32_t hz4_route_group(uint32_t route) {
    return hz4_route_key(route) & 3;
}

HZ_INLINE uintptr_t hz4_route_window(uint32_t route) {
    return ((arena.base >> HZ4_WINDOW_SHIFT) + (route >> 20)) << HZ4_WINDOW_SHIFT;
}

// ---- runs ---------------------------------------------------------------------------------------------------------

// holder: only the thread that holds the lock of the run's owner reads or writes a run.
// Invariant: free_count = number of set bits; in a list <=> free_count > 0; no word below `hint` has a set bit.
struct hz4_run {
    uintptr_t base;
    uint64_t reciprocal; // floor((2^64 - 1) / block_bytes) + 1
    uint32_t block_count;
    uint32_t granules;
    uint32_t size_class;
    uint32_t free_count;
    uint32_t hint;
    uint32_t touched;    // blocks, from the first on, that have been in use
    uint32_t kept_place; // 1 + index in the heap's `kept` while the run is empty and not released
    struct hz4_run *next, *previous;
    uint64_t bits[]; // set: the block is home
};

// ---- batches ------------------------------------------------------------------------------------------------------

#define HZ4_BATCH_BLOCKS 60u
#define HZ4_OWN_BATCHES 4u // of a heap; the others come from the pool

// Names of blocks on their way to the heap they are addressed to. Aligned to its size. Type-stable: recycled, never
// unmapped. owner: whoever took it from the pool, a batch slot or a remote queue.
struct hz4_batch {
    _Atomic uint32_t next; // index of the next batch in remote queue or pool, 0: end
    uint32_t count;        // blocks; in the pool, batches in this chain
    uint32_t route;        // of the sender's slot: owner at that time, and the window of all blocks
    uint32_t chain;        // in a pool's chain: index of the next batch of the same chain
    uint32_t compressed[HZ4_BATCH_BLOCKS];
};

_Static_assert(sizeof(struct hz4_batch) == 256, "four lines");

// ---- heaps --------------------------------------------------------------------------------------------------------

#define HZ4_LARGE_CLASSES 32u // of runs that are one block, up to 1 MiB: eight a doubling, as below 64 KiB
#define HZ4_LARGE_DEPTH 4u    // of each class in a thread's cache

// What the thread that uses a heap keeps outside of TLS. owner: that thread alone; begins with zeros.
struct hz4_local {
    int64_t budget_bytes;   // what magazines and open batches may hold together
    int64_t magazine_bytes; // capacity of all magazines
    int64_t slot_bytes;     // capacity of all open slots
    uint32_t help_bytes;    // a remote queue with more is drained by who sends to it
    uint32_t class_hand;    // clocks: next class to shrink, next slot to flush, next heap to visit
    uint32_t slot_hand;
    uint32_t heap_hand;
    uint32_t is_helping;       // drains a heap of another: no help within help ...
    uint32_t owes_help;        // ... but an abandoned heap got a batch meanwhile
    uint32_t exchanges;        // has freed, or been given, blocks of others
    uint32_t is_pressed;       // takes blocks of busy heaps rather than new memory
    int64_t looks_at_bytes;    // size of the heap at which it looks for memory of others
    uint32_t is_spilling;      // a magazine is being emptied: nothing may be put into one
    uint32_t slow_paths;       // a clock
    int64_t depot_bytes;       // put into the depot minus taken, not yet accounted
    uint32_t depot_hand;       // clock: next class of the depot to look at
    uint64_t open_slots[2];    // bit a slot
    struct hz4_batch *batches; // empty ones
    uint32_t batch_count;
    uint8_t used[SIZECLASS_COUNT];    // refilled or overflown since the class hand passed
    uint8_t is_wide[SIZECLASS_COUNT]; // the magazine has outgrown its first place
    uint8_t slot_blocks[HZ4_SLOTS];   // what a slot's last batch had room for; 0: none yet
    uint32_t slot_promise[HZ4_SLOTS]; // bytes promised to an open slot
    uint32_t slot_seen[HZ4_SLOTS];    // low half of top when the slot hand passed
};

// A list of runs with free blocks; the head is used first.
struct hz4_list {
    struct hz4_run *first, *last;
};

// What a heap has of a class. holder writes, any: who is short of the class reads one line of the heap for both.
struct hz4_supply {
    _Atomic uint32_t runs; // with free blocks: length of lists[]
    _Atomic uint32_t home; // blocks that are home
};

// A home for runs. Outlives its thread and goes, whole, to the next one; ids are heap ids and never mean another heap.
struct hz4_heap {
    // any. All that a sender needs: it pushes to the queue by compare-and-swap, then looks at the status.
    _Alignas(128) struct hz_heap common; // the holder writes the status
    struct hz4_queue queue;              // index of the newest batch | charge in bytes << 32; the holder takes all
    _Atomic uint32_t activity_seen;      // when another heap last looked
    // The owner's, as long as nobody helps it: it writes them at each visit, which must not cost senders a line.
    _Alignas(128) hz_mutex lock; // "holding" the heap
    _Atomic uint32_t activity;   // owner: counts its visits
    // holder writes, any
    _Alignas(HZ_CACHE_LINE) struct hz4_supply supply[SIZECLASS_COUNT];
    // type-stable like all batches: a thread's first ones, so that one that only frees touches one page
    _Alignas(256) struct hz4_batch batches[HZ4_OWN_BATCHES];
    struct hz4_local local;
    // holder
    _Alignas(128) struct hz4_list lists[SIZECLASS_COUNT];
    _Atomic int64_t out_bytes;           // of blocks of its runs that are not home; any reads
    _Atomic int64_t spare_bytes;         // of those that are, and have been in use; any reads
    struct hz4_batch *rest;              // taken from the remote queue, not yet looked at
    struct hz4_run *kept[HZ4_KEPT_RUNS]; // empty runs, the oldest at kept_hand or behind
    uint32_t kept_hand;
    uint32_t kept_bytes;
    // owner: its cache of large runs; empty when the thread ends
    uint32_t large_bytes;
    uint8_t large_count[HZ4_LARGE_CLASSES];
    void *large[HZ4_LARGE_CLASSES][HZ4_LARGE_DEPTH];
    struct hz_hidden hidden; // magazines out of sight
    // owner: first the narrow magazines of all classes, which share few pages, then at hz4_magazine_offset[] the wide
    // ones; entry 0 of each stays NULL
    _Alignas(128) void *magazines[];
};

_Static_assert(offsetof(struct hz4_heap, lists) <= 4096, "what a thread that only frees needs");

_Static_assert(offsetof(struct hz4_heap, common) == 0, "hz4_heap_of()");

HZ_INLINE struct hz4_heap *hz4_heap_of(struct hz_heap *base) {
    return (struct hz4_heap *)(void *)base;
}

HZ_INLINE struct hz4_heap *hz4_heap_by_id(uint32_t id) {
    return hz4_heap_of(hz_heap_by_id(id));
}

// The calling thread's view, embedded in initial-exec TLS. One index space for all that a thread may push to, because
// an array at offset 0 costs the fast paths no address arithmetic: 0 is always empty and full, class + 1 is the
// magazine of a class, 128..255 are batch slots.
struct hz4_thread {
    union {
        void *top[256]; // void **: behind the newest entry of a magazine, top[-1] is NULL when it is empty;
                        // uint32_t *: next pointer of an open batch
        struct {
            void *none;
            void *top_of_class[255];
        };
    };
    void *limit[256];         // top may not pass this
    uint32_t slot_route[256]; // of the slot's open batch, or HZ4_ROUTE_CLOSED; 0..127 never equal a route
    struct hz4_heap *heap;    // NULL before the first slow path and after the thread's end
    uint32_t holds;           // heaps that the thread holds
};

extern HZ_THREAD_LOCAL struct hz4_thread hz4_thread;
extern uint32_t hz4_magazine_offset[SIZECLASS_COUNT];
extern uint32_t hz4_magazine_entries[SIZECLASS_COUNT];
extern const uint32_t hz4_group_bytes[HZ4_GROUPS]; // largest block of a size group

// ---- knobs (reasons in README.md) ---------------------------------------------------------------------------------

// What magazines and open batches of a thread may hold: a share of this, ...
#define HZ4_BUDGET_ALL_BYTES HZ_MIB(8)
#define HZ4_BUDGET_SHARE_BYTES HZ_KIB(512)   // ... at most this, ...
#define HZ4_BUDGET_FEW_SHARE_BYTES HZ_MIB(1) // ... or this as long as there are few threads, ...
#define HZ4_BUDGET_THREAD_BYTES HZ_KIB(128)  // ... this for each thread ...
#define HZ4_BUDGET_OUT_SHARE 8               // ... and an eighth of what its heap has out; ...
#define HZ4_BUDGET_FEW_OUT_SHARE 4           // ... a quarter with few threads
#define HZ4_FEW_THREADS 4u
#define HZ4_MAGAZINE_BYTES HZ_KIB(64) // a class's share at most
#define HZ4_MAGAZINE_MAX 96u          // entries
#define HZ4_MAGAZINE_MIN 8u
#define HZ4_MAGAZINE_NARROW 8u         // entries, until a class needs more
#define HZ4_SLOT_MAX_BYTES HZ_KIB(256) // a batch slot's share at most
#define HZ4_SLOT_MIN_BYTES HZ_KIB(2)
#define HZ4_DRAIN_BYTES HZ_KIB(64) // an owner with more in its remote queue drains on any slow path
#define HZ4_HELP_BYTES HZ_KIB(256) // a sender that sees more, or its share of the budget, drains for the owner
#define HZ4_DRAIN_BATCHES 8u       // in one call
#define HZ4_DEPOT_BYTES HZ_MIB(2)
#define HZ4_DEPOT_THREAD_BYTES HZ_KIB(32) // more for each thread
#define HZ4_KEPT_BYTES HZ_MIB(1)          // in empty runs that a heap keeps, ...
#define HZ4_KEPT_ALL_BYTES HZ_MIB(4)      // ... all heaps together
// What may be free in runs of a thread that exchanges nothing until it takes blocks of busy heaps: a share of this, ...
#define HZ4_SPARE_ALL_BYTES ((int64_t)HZ_MIB(8))
#define HZ4_SPARE_BYTES HZ_KIB(32)      // ... at most this, ...
#define HZ4_SPARE_SHARE 8               // ... and an eighth of what is out
#define HZ4_LOOK_BYTES HZ_KIB(64)       // it looks at other heaps when its own has grown by this and an eighth
#define HZ4_VISITS 16u                  // heaps looked at before a run is taken from the arena
#define HZ4_LARGE_ALL_BYTES HZ_MIB(16)  // divided by the number of threads ...
#define HZ4_LARGE_MIN_BYTES HZ_KIB(256) // ... within these
#define HZ4_LARGE_MAX_BYTES HZ_MIB(2)
#define HZ4_LARGE_LISTED_BYTES HZ_MIB(4) // large runs that wait for the next one of their class: this ...
#define HZ4_LARGE_LISTED_SHARE 8         // ... and an eighth of all there are

// ---- hz4_heap.c: heaps and threads --------------------------------------------------------------------------------
struct hz4_heap *hz4_heap_of_thread(void); // begins one if need be; NULL when out of memory

// ---- hz4_lock.c: acquiring a heap ---------------------------------------------------------------------------------
void hz4_acquire(struct hz4_heap *heap);      // the own heap; waits for a helper
int hz4_try_acquire(struct hz4_heap *heap);   // 1 on success; any heap
int hz4_may_wait(struct hz4_heap *heap);      // 0: waiting could last for ever
void hz4_acquire_wait(struct hz4_heap *heap); // holds it then; only if hz4_may_wait()
void hz4_release(struct hz4_heap *heap);      // abandoned heaps: looks for late batches

// ---- hz4_run.c: runs of equal blocks; all under the heap's lock ---------------------------------------------------
uint32_t hz4_run_take(struct hz4_heap *heap, unsigned size_class, void **out, uint32_t want);
// Puts home the first block, of a run that `heap` owns, and those behind it that lie in the same run; refused ones
// count as put. Returns how many, 1 at least.
uint32_t hz4_run_put(struct hz4_heap *heap, void *const *blocks, uint32_t count);
int hz4_run_carve(struct hz4_heap *heap, unsigned size_class); // 0: out of memory
size_t hz4_run_bytes(unsigned size_class);
uint32_t hz4_run_move(struct hz4_heap *to, struct hz4_heap *from, unsigned size_class, uint32_t limit);
void hz4_run_release_empty(struct hz4_heap *heap);
int hz4_run_contradictions(const struct hz4_run *run);

// ---- hz4_granule.c: memory for runs, and the map that finds them --------------------------------------------------
void *hz4_granules_take(uint32_t granules, unsigned size_class); // 1, 2, 4 or 32; NULL when out of memory
void hz4_granules_give(struct hz4_run *run);                     // and its descriptor
int hz4_map_set_run(struct hz4_run *run);                        // for each granule; 0: out of memory
struct hz4_run *hz4_map_run(size_t granule);                     // NULL when there is no run of blocks
// Of a large run, by its first granule: length in arena units, class, and a link while it lies in a free list.
int hz4_map_set_large(size_t granule, size_t units, unsigned large_class); // 0: out of memory
size_t hz4_map_large(size_t granule);                                      // its length
unsigned hz4_map_large_class(size_t granule);
void hz4_map_set_link(size_t granule, uint32_t link);
uint32_t hz4_map_link(size_t granule);
void hz4_map_set_room(size_t granule, size_t units); // of a large run
size_t hz4_map_room(size_t granule);
struct hz4_run *hz4_descriptor_take(unsigned size_class, size_t bytes);
void hz4_descriptor_give(struct hz4_run *run); // of a run that never had memory
int hz4_granule_init(void);                    // 0: out of memory
void hz4_granule_fork_lock(void);
void hz4_granule_fork_inherit(void); // child
void hz4_granule_fork_unlock(void);

// ---- hz4_remote.c: open batches, remote queues, the pool ----------------------------------------------------------
void hz4_remote_free(void *block, uint32_t route); // slow twin of what free does
int hz4_remote_has_room(uint32_t route);           // 0: a batch to another owner would have to leave
void hz4_remote_flush(uint32_t slot);
void hz4_remote_flush_stale(void);
void hz4_remote_flush_all(void);
uint32_t hz4_queue_charge(struct hz4_heap *heap);          // bytes waiting, an upper bound; 0: no batch
void hz4_drain(struct hz4_heap *heap, uint32_t batches);   // the calling thread holds `heap`
struct hz4_batch *hz4_batch_take(struct hz4_local *local); // an empty one; NULL when out of memory
void hz4_batch_give(struct hz4_local *local, struct hz4_batch *batch);
uint32_t hz4_batch_index(const struct hz4_batch *batch); // never 0
struct hz4_batch *hz4_batch_at(uint32_t index);          // NULL for 0
void hz4_batches_begin(struct hz4_heap *heap);           // its own batches, once
void hz4_pool_give_all(struct hz4_local *local);
// The first block, and those behind it if they go into the same run of `heap`, which the calling thread holds. Returns
// how many.
uint32_t hz4_blocks_return(struct hz4_heap *heap, void *const *blocks, uint32_t count);

// ---- hz4_depot.c: batches for whoever needs them ------------------------------------------------------------------
uint32_t hz4_depot_put(struct hz4_local *local, unsigned size_class, void **blocks, uint32_t count);
uint64_t hz4_depot_take(unsigned size_class); // a batch, 0: none
uint32_t hz4_depot_count(uint64_t packed);
void hz4_depot_unpack(struct hz4_local *local, unsigned size_class, uint64_t packed, void **out);
void hz4_depot_fold(struct hz4_local *local);
uint64_t hz4_depot_bytes(void);
void hz4_depot_age(struct hz4_heap *heap);
void hz4_depot_clear(struct hz4_heap *heap); // through the calling thread's hands, home

// ---- hz4_cache.c: magazines ---------------------------------------------------------------------------------------
void hz4_magazines_lay_out(void);
uint32_t hz4_magazines_entries(void); // of one heap
void hz4_magazines_begin(struct hz4_heap *heap);
void hz4_magazines_end(struct hz4_heap *heap);                // the calling thread holds it
void *hz4_refill(struct hz4_heap *heap, unsigned size_class); // a block, and more behind it; NULL: out of memory
void hz4_overflow(struct hz4_heap *heap, void *block, unsigned size_class, uint32_t route); // no room for the block
void hz4_spill_all(struct hz4_heap *heap); // the calling thread holds it
uint64_t hz4_magazines_bytes(struct hz4_heap *heap);

// ---- hz4_large.c: runs that are one block -------------------------------------------------------------------------
void *hz4_large_alloc(size_t bytes, size_t alignment, int *is_zero);
void *hz4_large_alloc_growing(size_t bytes); // for a block that has grown, and may again
// 0: refused. `is_copied`: its contents lie elsewhere now.
int hz4_large_free(void *block, size_t granule, int is_copied);
int hz4_large_resize(void *block, size_t granule, size_t bytes);
void hz4_large_flush(struct hz4_heap *heap); // to the free lists
void hz4_large_clear(void);                  // the free lists, to the arena
uint64_t hz4_large_bytes(void);              // of all large runs, those in caches and in free lists included
uint64_t hz4_large_listed_bytes(void);
int hz4_large_look(void); // free lists that nobody uses are emptied as time passes; 1 while there is enough to look for

// ---- hz4_reject.c: what happens to a pointer that is refused ------------------------------------------------------
enum allocator_reject hz4_classify(const void *pointer);

#endif
