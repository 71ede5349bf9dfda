// SPDX-License-Identifier: Apache-2.0
// hz5's data: descriptors, block states, thread heaps. Read README.md beside this file first.
//
//   pointer -> unit (arithmetic) -> descriptor -> owner | kind | size class -> state byte of the block
//
// The state byte is the only authority on a block; nothing is kept inside user memory.
#ifndef HZ5_H
#define HZ5_H

#include "../common/arena.h"
#include "../common/compiler.h"
#include "../common/fork.h"
#include "../common/heaps.h"
#include "../common/hidden.h"
#include "../common/hzn.h"
#include "../common/process.h"
#include "../common/reject.h"
#include "../common/sizeclass.h"
#include "../common/tally.h"
#include "../common/thread_end.h"
#include "hz5_states.h"

#include <stdatomic.h>
#include <stddef.h>

enum hz5_kind {
    HZ5_KIND_NONE = 0, // never used
    HZ5_KIND_SMALL,    // a run of equal blocks
    HZ5_KIND_LARGE,    // a run that is one block
    HZ5_KIND_RELEASED, // was a run
    HZ5_KIND_EMPTY,    // a unit of blocks without bytes
};

#define HZ5_OWNER_NONE 0u
#define HZ5_OWNER_LARGE 0xfffffffeu   // large runs have no owner: whoever wins the state byte releases them
#define HZ5_OWNER_NO_HEAP 0xffffffffu // a thread without a heap; never in a descriptor

#define HZ5_RUN_PAGES_MAX 64u // page groups a run has at most, one bit each
#define HZ5_QUARANTINE_ENTRIES 8192u
#define HZ5_LARGE_CACHE_UNITS 32u // 2 MiB: above, page work outweighs a lock
#define HZ5_LARGE_CACHE_DEPTH 8u

// One a unit, 128 bytes. All units of a small run carry the same first line; only the first unit's second line is used.
// Reserved and type-stable: never unmapped, never user memory.
struct hz5_desc {
    // Read by every thread that frees. any: written only while no block of the run is live, except `remote_bits`.
    // owner_generation: generation << 32 | owner; a new generation at every carve and release.
    // remainder_bound: = reciprocal; owner: from a field it has loaded already the compiler would make a copy.
    _Alignas(64) struct hz5_owner_generation owner_generation;
    _Atomic uintptr_t base;           // first block
    struct hz5_reciprocal reciprocal; // floor((2^64 - 1) / block_bytes) + 1; 0 when no small block starts in the unit
    _Atomic uint64_t remainder_bound;
    struct hz5_array states;        // struct hz5_block[]: one byte a block, one more for the tail
    _Atomic(struct hz5_desc *) run; // descriptor of the run's first unit
    struct hz5_bits remote_bits;    // any: bit a region of states with REMOTE blocks the owner does not know of yet
    _Atomic uint32_t block_bytes;
    _Atomic uint8_t kind;       // enum hz5_kind
    _Atomic uint8_t size_class; // SIZECLASS_COUNT for large
    uint8_t page_shift;         // owner: bytes a page group, log2

    // owner: list links and counts change at refill, spill and drain, never on the fast paths.
    _Alignas(64) uint64_t dirty_pages; // page groups that may be resident
    union {
        uint64_t draining;    // regions taken from `remote_bits` and not searched yet
        uint64_t large_bytes; // of a large run with checks: what was asked for
    };
    uint32_t block_count; // const while the run lives
    uint32_t free_count;  // blocks in state FREE; 0 <=> in no list
    uint32_t most_free;   // of an empty run
    union {
        uint32_t hint;        // no FREE block lies below
        uint32_t front_units; // of a large run with checks: units before it that are its guard
    };
    uint32_t next, previous;      // unit index + 1 in the list of the class, 0: end
    uint32_t units;               // of the run
    uint8_t is_cold;              // in the cold list: all FREE blocks lie on clean pages, as far as known
    uint8_t is_kept;              // empty, and its pages are in kept_bytes
    uint8_t is_guarded;           // what lies around a large run's block is inaccessible
    struct hz5_queued is_queued;  // any: 1 while in some heap's remote queue, or in its owner's list of such
    struct hz5_block large_state; // the state byte of a large run
    uint8_t queued_units;         // who queues the run, then who takes it out: its part of heap->queued_units
    _Atomic uint8_t birth;        // enum hzn_kind and 1, of a large run with checks
    _Atomic uint32_t remote_next; // any: link in that queue, unit index + 1; owner: in heap->draining
    uint32_t room;                // units behind a large run that are kept for its growth
};

_Static_assert(sizeof(struct hz5_desc) == 128, "the side table's stride");

// A cached block. The state's address is kept because finding it again costs eight instructions in malloc.
struct hz5_entry {
    void *block;
    struct hz5_block *state;
};

// Large runs a thread has freed and may use again without the arena's lock; their state is CACHED.
struct hz5_large_cache {
    hz_tally bytes;
    uint8_t count[HZ5_LARGE_CACHE_UNITS + 1]; // by units of the run
    struct hz5_desc *runs[HZ5_LARGE_CACHE_UNITS + 1][HZ5_LARGE_CACHE_DEPTH];
};

// Regions of states with REMOTE blocks, for statistics: a freed block's size is not looked at when it is freed.
struct hz5_regions {
    hz_tally count;  // of bits in `remote_bits`
    hz_tally blocks; // states in these regions
    hz_tally bytes;  // of all these blocks
};

// What a thread owns; outlives the thread and goes to the next one (owner ids are heap ids).
struct hz5_heap {
    // any
    _Alignas(128) struct hz_heap common;
    // queues of runs with remote bits, unit index + 1; by class, so that a run is drained when its class needs blocks,
    // not at every refill
    struct hz5_queue remote_queue[SIZECLASS_COUNT];
    _Atomic uint32_t queued_units; // of runs in these queues or in `draining`
    // what who queues saw last: common.holds, and the time and queued_units when it was new or the queue was drained
    _Atomic uint32_t seen_holds, seen_queued;
    _Atomic uint64_t seen_ms;
    // owner: the thread, or whoever has acquired the abandoned heap. Runs, their lists and counts: who holds the heap
    // (common/heaps.h), which may be a helper; magazines and cached large runs: the owner alone.
    _Alignas(128) _Atomic uint32_t is_busy; // fork.h: while anything here or in a run changes, but states
    uint32_t warm[SIZECLASS_COUNT];         // runs with FREE blocks on resident pages, unit index + 1
    uint32_t cold[SIZECLASS_COUNT];         // runs whose FREE blocks would touch new pages
    uint32_t draining[SIZECLASS_COUNT];     // runs out of the remote queues that are being drained, unit index + 1
    hz_tally used_bytes;                    // blocks not FREE
    hz_tally dirty_bytes;                   // page groups that may be resident
    uint64_t trim_mark_bytes;               // used_bytes at the last trim
    uint64_t trim_ms;                       // its time
    uint64_t trimmed_bytes;                 // given back since the last comparison
    uint64_t retouched_bytes;               // new pages touched since the last comparison
    uint64_t spared_bytes;                  // waste allowed beyond the floor, because it was trimmed too early
    uint64_t small_since_ms;                // how long it has been spared; 0: the heap is not small
    uint64_t kept_bytes;                    // resident pages of empty runs not released
    uint32_t clean_empty;                   // runs that a helper has emptied, and that have no pages
    _Atomic uint64_t remote_issued;         // frees this thread did for other heaps; read by audits
    _Atomic uint64_t remote_drained;
    struct hz5_regions pushed;         // by this thread, of other heaps
    struct hz5_regions searched;       // of this heap
    struct hz5_quarantine *quarantine; // of a profile that has one
    struct hz5_large_cache large;
    struct hz_hidden hidden; // magazines out of sight
    uint64_t random;         // state of the generator for random placement
    uint32_t until_guard;    // small blocks until the next one with guards
    // owner: magazine of class c begins at magazines[hz5_magazine_offset[c]]; entry 0 of each is the empty mark
    _Alignas(128) struct hz5_entry magazines[];
};

_Static_assert(offsetof(struct hz5_heap, common) == 0, "hz5_heap_of()");

HZ_INLINE struct hz5_heap *hz5_heap_of(struct hz_heap *base) {
    return (struct hz5_heap *)(void *)base;
}

HZ_INLINE struct hz5_heap *hz5_heap_by_id(uint32_t id) {
    return hz5_heap_of(hz_heap_by_id(id));
}

// The calling thread's view, embedded in initial-exec TLS.
struct hz5_thread {
    struct hz5_entry *top[SIZECLASS_COUNT + 10];   // most recent entry; its block is NULL when the magazine is empty.
                                                   // First, so that a class is a plain index for the fast paths
    struct hz5_entry *limit[SIZECLASS_COUNT + 10]; // last entry that may be used
    uint32_t owner;                                // heap id, or HZ5_OWNER_NO_HEAP
    struct hz5_heap *heap;
};

// Freed blocks that may not be handed out yet, first in, first out; their state is CACHED.
struct hz5_quarantine {
    uint64_t bytes;
    uint64_t claimed; // of the bound that all threads share: `bytes`, rounded up
    uint32_t first, count;
    struct hz5_entry entries[HZ5_QUARANTINE_ENTRIES];
};

extern HZ_THREAD_LOCAL struct hz5_thread hz5_thread;
extern _Atomic uint64_t hz5_heapless_issued;          // frees of foreign blocks by threads without a heap
extern uint32_t hz5_magazine_offset[SIZECLASS_COUNT]; // entries
extern uint32_t hz5_magazine_entries[SIZECLASS_COUNT];

HZ_INLINE struct hz5_desc *hz5_desc_at(size_t unit) {
    return (struct hz5_desc *)(void *)arena.table + unit;
}

HZ_INLINE size_t hz5_unit_of(const struct hz5_desc *desc) {
    return (size_t)(desc - (struct hz5_desc *)(void *)arena.table);
}

// Unit index of any pointer; the arena has no such unit when it is not of the arena.
HZ_INLINE size_t hz5_unit_of_pointer(const void *pointer) {
    return ((uintptr_t)pointer >> ARENA_UNIT_SHIFT) - arena.base_unit;
}

HZ_INLINE struct hz5_block *hz5_states_of(const struct hz5_desc *desc) {
    return (struct hz5_block *)hz5_array_read_own(&desc->states);
}

// Accessible bytes of a large run, but for guards.
HZ_INLINE size_t hz5_large_usable(const struct hz5_desc *desc) {
    return (size_t)desc->units << ARENA_UNIT_SHIFT;
}

HZ_INLINE uint32_t hz5_owner_of(uint64_t owner_generation) {
    return (uint32_t)owner_generation;
}

HZ_INLINE uint32_t hz5_generation_of(uint64_t owner_generation) {
    return (uint32_t)(owner_generation >> 32);
}

// A field of an own run, read by the owner: only it writes there, so the read may be a plain one, which the compiler
// can fold into the instruction that uses it (atomic loads it never folds; four instructions of free).
#define HZ5_OWN(desc, type, field) (*(const type *)(const void *)&(desc)->field)

// A free of another heap's block, whose region has its bit in `remote_bits`.
HZ_INLINE void hz5_count_issued(struct hz5_heap *mine) {
    // ORDER: release: who sees this free counted sees its region counted, too; partner: the loads in hz5_table.c.
    if (HZ_LIKELY(mine != NULL)) {
        uint64_t issued = atomic_load_explicit(&mine->remote_issued, memory_order_relaxed);
        atomic_store_explicit(&mine->remote_issued, issued + 1, memory_order_release);
    } else {
        atomic_fetch_add_explicit(&hz5_heapless_issued, 1, memory_order_release);
    }
}

// Where a pointer lies in a run: `index` is that of its block, and a block starts there, that is, its offset is a
// multiple of the block size, exactly when `remainder`, a scaled one, is below the reciprocal (Lemire, Kaser, Kurz:
// Faster remainder by direct computation, 2019). With reciprocal 0 nothing ever starts.
struct hz5_position {
    uint64_t index, remainder;
};

HZ_INLINE struct hz5_position hz5_position_of(uint64_t offset, uint64_t reciprocal) {
    hz_uint128 product = (hz_uint128)offset * reciprocal;
    return (struct hz5_position){.index = (uint64_t)(product >> 64), .remainder = (uint64_t)product};
}

// The bit of a block's region in `remote_bits`. Runs of more than 64 regions share bits.
#define HZ5_REGION_SHIFT 5u
#define HZ5_REGIONS 64u

HZ_INLINE unsigned hz5_region_of(uint64_t index) {
    return (unsigned)((index >> HZ5_REGION_SHIFT) % HZ5_REGIONS);
}

// Magazines of the calling thread that are out of sight come back.
HZ_INLINE void hz5_show_magazine(struct hz5_heap *heap, unsigned size_class) {
    hz_hidden_show(&heap->hidden, size_class, (void **)hz5_thread.top, (void **)hz5_thread.limit);
}

HZ_INLINE void hz5_show_magazines(struct hz5_heap *heap) {
    hz_hidden_show_all(&heap->hidden, (void **)hz5_thread.top, (void **)hz5_thread.limit);
}

// hz5_array.c: arrays of states
struct hz5_block *hz5_array_take(unsigned size_class, uint32_t block_count); // NULL: no memory
void hz5_array_give(unsigned size_class, struct hz5_block *array);

// hz5_run.c: runs of small blocks
// The top of the class's magazine, which is filled when it is empty; NULL: no memory.
struct hz5_entry *hz5_filled(struct hz5_heap *heap, unsigned size_class);
void hz5_spill(struct hz5_heap *heap, unsigned size_class, uint32_t keep);
// Puts a freed block into its class's magazine; of a full one half goes back to the runs first.
void hz5_keep(struct hz5_heap *heap, unsigned size_class, void *block, struct hz5_block *state);
void hz5_block_to_run(struct hz5_heap *heap, void *block, struct hz5_block *state); // CACHED -> FREE
void hz5_release_empty_runs(struct hz5_heap *heap);
void hz5_release_clean_runs(struct hz5_heap *heap);                                     // empty ones without pages
int hz5_adopt_runs(struct hz5_heap *heap, struct hz5_heap *giver, unsigned size_class); // runs that changed hands

// hz5_remote.c: remote frees
void hz5_drain(struct hz5_heap *heap);                                           // of all classes
void hz5_remote_push(struct hz5_desc *run, uint64_t index);                      // and counts the free
void hz5_regions_read(struct hz5_regions *pushed, struct hz5_regions *searched); // of all heaps

// The block's state has become REMOTE by this thread: accounts for it and lets the owner know.
HZ_INLINE void hz5_remote_freed(struct hz5_desc *run, uint64_t index) {
    uint64_t bits = hz5_bits_look(&run->remote_bits);
    if (HZ_UNLIKELY((bits >> hz5_region_of(index) & 1) == 0)) {
        hz5_remote_push(run, index);
        return;
    }
    hz5_count_issued(hz5_thread.heap);
}

// hz5_trim.c
void hz5_trim(struct hz5_heap *heap);                           // gives back pages of partial runs
void hz5_trim_run(struct hz5_heap *heap, struct hz5_desc *run); // of one

// hz5_quarantine.c
void hz5_quarantine(struct hz5_heap *heap, void *block, struct hz5_block *state, unsigned size_class);
void hz5_quarantine_of_drain(struct hz5_heap *heap, void *block, struct hz5_block *state, unsigned size_class);
void hz5_quarantine_flush(struct hz5_heap *heap);

// hz5_checks.c: the way in and out of every block while any check is on; `kind` is the operation's.
HZ_HIDDEN extern int hz5_is_checked; // const after hz_init()
void hz5_checks_start(void);
void hz5_checks_begin(struct hz5_heap *heap); // a thread has it from now on
void hz5_checks_inherit(void);                // this process is a child
void *hz5_checked_alloc(size_t bytes, size_t alignment, enum hzn_kind kind, int *is_zero);
void hz5_checked_free(void *block, enum hzn_kind kind, size_t bytes); // bytes: SIZE_MAX when not told
void *hz5_checked_realloc(void *block, size_t bytes, int *refused);
size_t hz5_checked_usable_size(const void *block, int *found);
void hz5_checked_set_kind(void *block, enum hzn_kind kind);
// The block is no longer held back: whether it was written meanwhile.
void hz5_check_released(const struct hz5_desc *desc, void *block, const struct hz5_block *state);
size_t hz5_births_bytes(uint32_t block_count); // behind the states of a run, zero when it is carved
uint64_t hz5_random(struct hz5_heap *heap);

// hz5_guard.c: large runs with checks, and with guards around them
void *hz5_guarded_alloc(size_t bytes, size_t slack, size_t alignment, int *is_zero);
void hz5_guarded_release(struct hz5_desc *desc);
size_t hz5_guarded_usable(const struct hz5_desc *desc, size_t slack); // up to the end of the last accessible page
void hz5_guarded_flush(void);
void hz5_guard_lock(void);
void hz5_guard_inherit(void);
void hz5_guard_unlock(void);

// hz5_empty.c: blocks without bytes
void *hz5_empty_alloc(enum hzn_kind kind);                            // NULL: no memory
void hz5_empty_give(struct hz5_block *state, _Atomic uint8_t *birth); // the caller has won its state
// 1 when one starts at `pointer`; *state is its state byte, *birth its kind and 1.
int hz5_find_empty(const void *pointer, struct hz5_desc *desc, struct hz5_block **state, _Atomic uint8_t **birth);

// hz5_heap.c: heaps and threads
struct hz5_heap *hz5_heap_of_thread(void); // acquires one if need be; NULL when out of memory

// hz5_large.c: runs that are one block
void *hz5_large_alloc(size_t bytes, size_t alignment, int *is_zero);
void *hz5_large_alloc_growing(size_t bytes);                  // for a block that has grown, and may again
void *hz5_large_begin(char *base, size_t units, size_t room); // a new run becomes a block
void hz5_large_end(struct hz5_desc *desc);
void hz5_large_count(uint64_t more); // bytes of hz5_large_bytes(): guards are none
void hz5_large_release(struct hz5_desc *desc);
void hz5_large_release_copied(struct hz5_desc *desc); // its contents lie elsewhere now
int hz5_large_resize(struct hz5_desc *desc, size_t bytes);
uint64_t hz5_large_bytes(void); // of all large runs, those in caches included
void hz5_large_flush(struct hz5_heap *heap);

// hz5_reject.c: why a pointer is not a live block's start
enum allocator_reject hz5_classify(const void *pointer);
void hz5_audit(void); // counts the double frees that were absorbed without being refused (hz5_table.c)

// hz5_find.c: 1 when a block starts at `pointer` in the unit of `desc`: one of a run of small blocks, or the one of a
// large run. *state is its state byte.
int hz5_find_small(const void *pointer, struct hz5_desc *desc, struct hz5_block **state);
int hz5_find_large(const void *pointer, struct hz5_desc *desc, struct hz5_block **state);

// Descriptor of the live block that starts at `pointer`, or NULL. *state is its state byte.
struct hz5_desc *hz5_find_live(const void *pointer, struct hz5_block **state);

// hz5_profile.c
enum hz5_check {
    HZ5_CANARY = 1,  // bytes beside each block that nobody may change
    HZ5_ZERO = 2,    // contents go at free, and new blocks read zero
    HZ5_POISON = 4,  // freed memory is filled, and must still be when it is used again
    HZ5_BIRTH = 8,   // malloc, new and new[] each with their own free, and with the size asked for
    HZ5_RANDOM = 16, // which block comes next is drawn
};

struct hz5_profile {
    const char *name;
    uint32_t magazine_bytes;    // a class's magazine holds about this much
    uint32_t magazine_max;      // entries, however small the blocks
    uint32_t magazine_min;      // entries, however large the blocks
    uint32_t trim_floor_bytes;  // waste below this is never trimmed
    uint32_t keep_bytes;        // pages of empty runs a heap keeps for their classes
    uint32_t keep_percent;      // and this share of the bytes in use
    uint32_t large_cache_bytes; // large runs a thread keeps
    uint32_t checks;            // bits of enum hz5_check
    uint32_t quarantine_bytes;  // freed memory held back from reuse, of all threads together; 0: none
    uint32_t guard_large;       // 1: inaccessible units around every large run
    uint32_t guard_every;       // and around one of so many small blocks; 0: none
    uint64_t seed;              // of random placement; 0: from the system
    struct arena_limits limits;
};

extern struct hz5_profile hz5_profile; // const after hz_init()
void hz5_profile_load(void);           // from HZ5_OPTIONS

HZ_INLINE int hz5_has_check(uint32_t checks) { // any of them
    return (hz5_profile.checks & checks) != 0;
}

#endif
