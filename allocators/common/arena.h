// SPDX-License-Identifier: Apache-2.0
// The arena: one reservation cut into 64 KiB units, from which an allocator takes runs of 1..n units.
//
//   [ unit bitmaps | side table: n bytes a unit | index of free extents | pages | metadata | guard | units ........ |
//   guard ]
//
// Everything lies in one range of addresses, so a pointer is classified by arithmetic and a linear overflow of user
// memory meets a guard, not metadata. The range is reserved at once where the address space is not limited; under a
// limit (RLIMIT_AS), which counts what is reserved, it is mapped in steps as it is needed, and a limit that comes later
// takes back what has not been needed yet. Memory is committed behind a high-water mark that only rises, and what is
// not committed is left out of core dumps. A free unit is *dirty* while its pages may be resident; dirty units are
// reused first and given back by age or when there are more of them than the retention bound allows. The bound learns:
// memory that it gave back and that was taken again within a decay period raises it by as much, up to what would have
// been enough to give nothing back, to the most that was in use lately and a share of that for the holes between large
// runs; memory that leaves by age lowers it. A program
// that frees once returns its memory at once, one that frees and fills in turns keeps it until nobody has called for
// half a second, or for as long as light work takes to look (arena_look). While nobody calls at all, only the purge
// thread, if there is one, looks at the time (purge.h).
//
// SYNCHRONIZATION: one lock around all bitmaps; the side table belongs to the allocator. `arena` is constant after
// arena_init() but for unit_count. Reading the side table below unit_count is always safe: the part not committed yet
// is mapped read-only and reads zero. unit_count falls only when a limit comes, and never below units that are in use.
#ifndef HZ_ARENA_H
#define HZ_ARENA_H

#include "compiler.h"

#include <stdatomic.h>

#define ARENA_UNIT_SHIFT 16u
#define ARENA_UNIT_BYTES ((size_t)1 << ARENA_UNIT_SHIFT)
#define ARENA_UNIT_PAGES 16u

struct arena {
    uintptr_t base;       // const: first unit
    uintptr_t base_unit;  // const: base >> ARENA_UNIT_SHIFT
    uintptr_t span_units; // const: units there can be; 0 until arena_init() succeeded
    char *table;          // const: side table, table_stride bytes a unit
    uint16_t *pages;      // const: a bit a page of each unit that may be resident; while it is in use, its user's
    _Atomic uintptr_t unit_count; // any reads: units whose part of the side table can be read
    // any reads: the same, or 0 once arena_leave_fast_paths() was called
    _Atomic uintptr_t fast_unit_count;
};

HZ_HIDDEN extern struct arena arena;

// index < *count: a relaxed load and a comparison. The compiler folds no atomic load into the comparison, which would
// cost free() an instruction; the machine's own comparison is such a load. Sanitizers must see the load itself.
#if defined(__x86_64__) && defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(__SANITIZE_THREAD__) &&                       \
    !defined(__SANITIZE_ADDRESS__)
HZ_INLINE int arena_is_below(uintptr_t index, const _Atomic uintptr_t *count) {
    int is_below;
    __asm__("cmpq %2, %1" : "=@ccb"(is_below) : "r"(index), "m"(*count));
    return is_below;
}
#else
HZ_INLINE int arena_is_below(uintptr_t index, const _Atomic uintptr_t *count) {
    return index < atomic_load_explicit(count, memory_order_relaxed);
}
#endif

HZ_INLINE int arena_has(uintptr_t unit) {
    return arena_is_below(unit, &arena.unit_count);
}

HZ_INLINE int arena_has_fast(uintptr_t unit) {
    return arena_is_below(unit, &arena.fast_unit_count);
}

struct arena_limits {
    uint64_t retain_bytes;   // dirty free memory kept whatever is in use
    uint32_t retain_percent; // and this share of the memory in use
    uint32_t decay_ms;       // dirty free units older than this leave; 0: at once
    uint32_t adaptive;       // 1: the bound rises by what it returned too early, within the recent peak of use ...
    uint32_t fragmentation_percent; // ... and this part of it
};

struct arena_usage {
    uint64_t reserved_bytes;
    uint64_t used_bytes;       // units taken
    uint64_t dirty_free_bytes; // free units that may be resident
    uint64_t metadata_bytes;   // committed bitmaps, table and metadata (an upper bound of what is resident)
};

// Reserves; idempotent, and nobody else may use the arena meanwhile. `table_stride` is the side table's bytes per unit.
// Returns 0 when not even a small reservation can be had; may be tried again. `resize`, if not NULL, is told under the
// arena's lock before unit_count rises, and may refuse by 0, and when it has fallen, before that part of the side table
// goes.
int arena_init(uint32_t table_stride, int (*resize)(size_t units));
// This process is going to have no more than `limit` bytes of address space: what is reserved and was never needed goes
// back, and is mapped again in steps.
void arena_limit_address_space(size_t limit);
// From now on fast_unit_count is 0: to a fast path that asks for it no pointer is of the arena. Before the first block.
void arena_leave_fast_paths(void);
void arena_set_limits(const struct arena_limits *limits);

// Takes `units` contiguous units that start at a multiple of `align_units` (a power of two). *is_zero tells whether all
// of it reads zero. NULL when there is no room or the system refuses memory.
void *arena_take(size_t units, size_t align_units, int *is_zero);
// Gives a whole run back. `clean`: nothing of it is resident.
void arena_give(void *run, size_t units, int clean);
// Of a run that is used from one end on, only some pages are ever touched. Who takes it finds in arena.pages which may
// be resident, marks those that it has touched, and gives the run back: so a page that nobody has touched is not
// counted as retained, and the next user begins where pages are. A run goes where one of its kind was given back last,
// if it can: runs of a kind have pages to about the same place, and runs of all kinds in turns would have them
// everywhere.
#define ARENA_KINDS 128u
void *arena_take_marked(size_t units, size_t align_units, unsigned kind); // as arena_take()
void arena_mark(const void *from, size_t bytes);
size_t arena_marked_bytes(const void *run, size_t units); // from its start, without a gap
void arena_give_marked(void *run, size_t units, unsigned kind);
// As arena_give() of a run whose contents have been copied to a longer one, which leaves its place to nobody of its
// length: a long one gives its pages back at once, so that a growing block holds them once and not twice.
void arena_give_copied(void *run, size_t units);
// Extends the run of `units` in place by `more` units; 1 on success.
int arena_extend(void *run, size_t units, size_t more, int *is_zero);
// Returns the tail of a run beyond `keep` units.
void arena_shrink(void *run, size_t units, size_t keep);

// Room behind a run that has grown: nobody else takes it, it has no pages, and it counts as used only once the run
// grows into it. A block that grows again then stays where it is, instead of being copied beside its old pages.
//
// A run that takes `units`, and *room units behind them: 0 when the run is short, or address space is scarce.
void *arena_take_growing(size_t units, size_t *room, int *is_zero);
void arena_use_room(void *run, size_t units, size_t more);  // of its room, which is shorter by as much
void arena_drop_room(void *run, size_t units, size_t room); // all of it

// First unit of the run that holds unit `index`, or SIZE_MAX when the unit is free. For diagnosis: takes the lock.
size_t arena_run_of(size_t index);
// Units below this have been handed out at some time.
size_t arena_high_water(void);

// A thread has ended and has given its memory back: work is over more often than between two calls of free(), and what
// was learned from that work is retained only where ends of threads, too, returned memory that was taken again.
void arena_thread_ended(void);

void arena_purge(void); // gives all dirty free units back, and what the bound has learned goes

// For slow paths that need no memory of the arena: while a mebibyte or more is retained, time must pass for it, too,
// though nobody takes or gives. arena_look() returns at once otherwise, or when a thread has looked just now.
HZ_HIDDEN extern _Atomic uint32_t arena_holds;
HZ_HIDDEN extern _Atomic uint32_t arena_decay_ms; // of the limits
void arena_look_slow(void);

HZ_INLINE void arena_look(void) {
    if (HZ_UNLIKELY(atomic_load_explicit(&arena_holds, memory_order_relaxed) != 0))
        arena_look_slow();
}

// Of the purge thread (purge.h). arena_wait_idle() returns 1 when free memory may be resident and no thread has taken
// or given any for half a second and a decay period, which is when a call would find the arena quiet; 0 when it is to
// end. Until there is such memory it sleeps without waking up. arena_end_idle() gives that memory back.
int arena_wait_idle(void);
void arena_end_idle(void);
void arena_stop_waiting(void); // async-signal-safe

void arena_read_usage(struct arena_usage *out);

// Metadata that is never returned: zeroed, `alignment` a power of two up to a page. NULL when there is none.
void *arena_metadata(size_t bytes, size_t alignment);

void arena_fork_prepare(void);
void arena_fork_inherit(void); // child, before the next; there is no purge thread there
void arena_fork_done(void);    // parent and child

#endif
