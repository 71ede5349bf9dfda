// SPDX-License-Identifier: Apache-2.0
// arena.h
#include "arena.h"

#include "check.h"
#include "extents.h"
#include "lock.h"
#include "os_mem.h"

#include <stdatomic.h>
#include <string.h>

#define GUARD_BYTES HZ_MIB(1)
#define WORD_BITS 64u
// Free extents looked at that may be too short, before one that cannot be is taken.
#define EXTENTS_LOOKED_AT 8u
#define ALL_PAGES UINT16_MAX
// Less dirty free memory than this is not worth looking at the time for.
#define HELD_PAGES 256u
// Without a call for a decay period, and for this, a program is idle: pauses between bursts are shorter.
#define QUIET_MS 500u
// Room behind runs that grow: for runs above, so many times their length, at most this part of all addresses.
#define ROOM_ABOVE_UNITS 32u
#define ROOM_TIMES 7u
#define ROOM_SHARE 64u
#define COPIED_ABOVE_UNITS 64u // for less, faulting the pages again takes longer than the copy did
#define LAST_PLACES 16u        // remembered of a kind: of threads that end together
#define SMALLEST_ARENA_BYTES HZ_MIB(4)
#define DEFAULT_ARENA_BYTES HZ_GIB(64)
// Metadata that is mapped ahead of the arena's growth: a program that has had all its address space in large blocks,
// and has freed them, needs some for small ones.
#define METADATA_AHEAD_SHARE 64u
#define INDEX_STEP_BYTES HZ_KIB(64)
// Growth of the side table where the address space is limited: 64 MiB of the arena.
#define TABLE_STEP_UNITS ((size_t)1024)
// Growth of the committed part: large enough that steady growth makes few system calls, small enough that strict
// overcommit accounting is not charged for memory that is not needed yet.
#define COMMIT_STEP_BYTES HZ_MIB(2)
#define METADATA_STEP_BYTES HZ_KIB(256)
// States of 16-byte blocks take 1/16 of the memory they describe; thread heaps come on top.
#define METADATA_SHARE 8u
// Where an arena is placed that is mapped in steps; see find_place().
#define LOWEST_PLACE HZ_GIB((uint64_t)24 << 10)
#define PLACES_BYTES HZ_GIB((uint64_t)12 << 10)
#define PLACE_TRIES 8

_Static_assert(ARENA_UNIT_PAGES *OS_PAGE_BYTES == ARENA_UNIT_BYTES, "a bit a page");

struct arena arena;

// Addresses for one purpose. The first part is mapped, all of it where the address space is not limited; of that the
// first part is committed.
struct range {
    char *base;
    size_t span_bytes;
    size_t mapped_bytes;
    size_t committed_bytes;
};

// Where runs of a kind were given back: a stack, of which the lowest fall out.
struct last_places {
    uint32_t unit[LAST_PLACES];
    uint32_t top;
    uint32_t count;
};

// Invariants, under the lock: a unit above high_water is neither used nor dirty; `head` is set only on used units;
// units of a room are used, have no head, are not dirty and not counted in used_units; extents.h's dirty units are
// those with dirty and not used, which are the free ones with a bit in `pages`, and free_dirty_pages is the number of
// these bits; aged is a subset of them; extents.h's free extents are the units below high_water that are not used.
// Pairs hold the current and the previous decay period.
static struct {
    hz_mutex lock;
    struct range units, table, index, pages, metadata;
    uint32_t table_stride;
    int has_no_fast_paths;
    int is_charged; // const: address space is memory here; asked at the start, since a sandbox may kill who opens files
    int (*resize)(size_t units);
    size_t span_units;  // most there can ever be; arena.unit_count are those whose part of the side table is mapped
    size_t other_bytes; // bitmaps and guards
    size_t high_water;  // units handed out at some time
    uint64_t *used;     // bit a unit
    uint64_t *head;     // first unit of a run
    uint64_t *dirty;    // may be resident
    uint64_t *aged;     // free and dirty since before the last tick
    size_t first_dirty; // no dirty free unit lies below
    size_t used_units;
    size_t free_dirty_pages;  // of units with dirty and not used
    size_t metadata_used;     // bytes of `metadata` handed out
    size_t learned_pages;     // added to the retention bound
    size_t returned_pages[2]; // by the bound, and not taken again since
    size_t needed_pages[2];   // learned so much, the bound would have returned nothing
    size_t peak_pages[2];     // most in use
    size_t ends_learned;      // as learned_pages, for the bound at a thread's end
    size_t ends_returned[2];  // as returned_pages, by that bound; part of them
    struct last_places last[ARENA_KINDS];
    uint64_t tick_ms;
    uint64_t active_ms; // of the last call while there was dirty free memory; 0: unknown
    struct arena_limits limits;
} state = {
    .limits = {.retain_bytes = HZ_MIB(4), .retain_percent = 12, .decay_ms = 250},
};

static void lock_arena(void) {
    hz_lock(&state.lock);
}

_Atomic uint32_t arena_holds;
_Atomic uint32_t arena_decay_ms;
static _Atomic uint64_t looked_ms;

// The purge thread. ASLEEP: until somebody wakes it; set by itself, under the lock, while there is nothing to give
// back.
enum { WAITER_NONE_OR_AWAKE, WAITER_ASLEEP, WAITER_ENDS };
static _Atomic uint32_t waiter;

static int waiter_change(uint32_t from, uint32_t to) {
    return atomic_load_explicit(&waiter, memory_order_relaxed) == from &&
           atomic_compare_exchange_strong_explicit(&waiter, &from, to, memory_order_relaxed, memory_order_relaxed);
}

static void unlock_arena(void) {
    uint32_t holds = state.free_dirty_pages > HELD_PAGES;
    if (holds != atomic_load_explicit(&arena_holds, memory_order_relaxed))
        atomic_store_explicit(&arena_holds, holds, memory_order_relaxed);
    int wakes = state.free_dirty_pages > 0 && waiter_change(WAITER_ASLEEP, WAITER_NONE_OR_AWAKE);
    hz_unlock(&state.lock);
    if (HZ_UNLIKELY(wakes))
        os_wake(&waiter);
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t unit_count(void) {
    return atomic_load_explicit(&arena.unit_count, memory_order_relaxed);
}

static void set_unit_count(size_t units) {
    atomic_store_explicit(&arena.unit_count, units, memory_order_relaxed);
    atomic_store_explicit(&arena.fast_unit_count, state.has_no_fast_paths ? 0 : units, memory_order_relaxed);
}

static int is_set(const uint64_t *map, size_t bit) {
    return (int)(map[bit / WORD_BITS] >> (bit % WORD_BITS) & 1);
}

// Bits `from` up to WORD_BITS of a word, cut at `to` (both within the word that holds `from`).
static uint64_t word_mask(size_t from, size_t to) {
    size_t low = from % WORD_BITS;
    size_t count = to - from;
    uint64_t bits = count >= WORD_BITS ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
    return bits << low;
}

static void set_bits(uint64_t *map, size_t from, size_t to) {
    while (from < to) {
        size_t end = hz_align_up(from + 1, WORD_BITS);
        end = end < to ? end : to;
        map[from / WORD_BITS] |= word_mask(from, end);
        from = end;
    }
}

static void clear_bits(uint64_t *map, size_t from, size_t to) {
    while (from < to) {
        size_t end = hz_align_up(from + 1, WORD_BITS);
        end = end < to ? end : to;
        map[from / WORD_BITS] &= ~word_mask(from, end);
        from = end;
    }
}

static void set_pages(size_t from, size_t to, uint16_t value) {
    for (size_t unit = from; unit < to; unit++)
        arena.pages[unit] = value;
}

static size_t count_pages(size_t from, size_t to) {
    size_t count = 0;
    for (size_t unit = from; unit < to; unit++)
        count += arena.pages[unit] == ALL_PAGES ? ARENA_UNIT_PAGES : (size_t)__builtin_popcount(arena.pages[unit]);
    return count;
}

static size_t find_dirty_free(size_t from, size_t to) {
    size_t found = extents_dirty_next(from);
    return found < to ? found : to;
}

static char *unit_address(size_t index) {
    return (char *)arena.base + (index << ARENA_UNIT_SHIFT);
}

// Makes the first `bytes` of a range usable.
static int range_commit(struct range *range, size_t bytes, size_t step) {
    if (bytes <= range->committed_bytes)
        return 1;
    size_t target = hz_align_up(bytes, step);
    if (target > range->span_bytes)
        target = range->span_bytes;
    if (bytes > target)
        return 0;
    char *from = range->base + range->committed_bytes;
    size_t held = min_size(target, range->mapped_bytes) - range->committed_bytes;
    if (target > range->mapped_bytes) {
        if (!os_mem_map(range->base + range->mapped_bytes, target - range->mapped_bytes, OS_MEM_READ_WRITE))
            return 0;
        range->mapped_bytes = target;
    }
    if (held > 0) {
        if (!os_mem_protect(from, held, OS_MEM_READ_WRITE))
            return 0;
        os_mem_set_dumped(from, held, 1); // failing costs a part of a dump, nothing else
    }
    range->committed_bytes = target;
    return 1;
}

// Maps the first `bytes` of a range, to be committed later; not having them is no failure.
static void range_map_ahead(struct range *range, size_t bytes) {
    size_t target = min_size(hz_align_up(bytes, METADATA_STEP_BYTES), range->span_bytes);
    if (target > range->mapped_bytes &&
        os_mem_map(range->base + range->mapped_bytes, target - range->mapped_bytes, OS_MEM_NONE))
        range->mapped_bytes = target;
}

// Unmaps the parts of a range's mapping that are not needed any more.
static void range_unmap(struct range *range, size_t keep) {
    if (keep < range->mapped_bytes && os_mem_release(range->base + keep, range->mapped_bytes - keep)) {
        range->mapped_bytes = keep;
        range->committed_bytes = min_size(range->committed_bytes, keep);
    }
}

struct layout {
    size_t map_bytes, top_bytes, table_bytes, index_bytes, pages_bytes, metadata_bytes, front_bytes, total_bytes;
};

static struct layout lay_out(size_t arena_bytes, uint32_t table_stride) {
    size_t units = arena_bytes >> ARENA_UNIT_SHIFT;
    struct layout layout = {
        .map_bytes = hz_align_up(units / 8 + sizeof(uint64_t), OS_PAGE_BYTES),
        .top_bytes = hz_align_up(extents_top_bytes(units), OS_PAGE_BYTES),
        .table_bytes = hz_align_up(units * table_stride, OS_PAGE_BYTES),
        .index_bytes = hz_align_up(extents_low_bytes(units), OS_PAGE_BYTES),
        .pages_bytes = hz_align_up(units * sizeof(uint16_t), OS_PAGE_BYTES),
        .metadata_bytes = arena_bytes / METADATA_SHARE + HZ_MIB(1),
    };
    layout.front_bytes = hz_align_up(4 * layout.map_bytes + layout.top_bytes + layout.table_bytes + layout.index_bytes +
                                         layout.pages_bytes + layout.metadata_bytes + GUARD_BYTES,
                                     ARENA_UNIT_BYTES);
    layout.total_bytes = layout.front_bytes + arena_bytes + GUARD_BYTES;
    return layout;
}

// Addresses for an arena of which only the first `mapped` bytes are mapped. The system places what others map from the
// top of the address space, programs near it, and some tools use what lies below LOWEST_PLACE. NULL when there are
// none.
static char *find_place(size_t mapped, size_t total) {
    uint64_t random = os_random64();
    for (int i = 0; i < PLACE_TRIES; i++, random = random * 6364136223846793005u + 1442695040888963407u) {
        uint64_t place = LOWEST_PLACE + (random >> 32) % (PLACES_BYTES / ARENA_UNIT_BYTES) * ARENA_UNIT_BYTES;
        char *base = (char *)(uintptr_t)place;
        // Whether the end is free as well: maps its last page and releases it.
        if (place + total > UINTPTR_MAX || !os_mem_map(base + total - OS_PAGE_BYTES, OS_PAGE_BYTES, OS_MEM_NONE))
            continue;
        os_mem_release(base + total - OS_PAGE_BYTES, OS_PAGE_BYTES);
        if (os_mem_map(base, mapped, OS_MEM_NONE))
            return base;
    }
    return NULL;
}

// The whole at once, or only its fixed parts: the rest will be mapped when it is needed.
static int reserve(size_t arena_bytes, uint32_t table_stride, int in_steps) {
    struct layout layout = lay_out(arena_bytes, table_stride);
    size_t fixed_bytes = 4 * layout.map_bytes + layout.top_bytes;
    size_t mapped = in_steps ? fixed_bytes : layout.total_bytes;
    char *base = in_steps ? find_place(mapped, layout.total_bytes)
                          : os_mem_reserve(layout.total_bytes, ARENA_UNIT_BYTES, OS_MEM_NONE);
    if (base == NULL)
        return 0;
    char *table = base + fixed_bytes;
    // The whole table can be read from the start (private zero pages); strict overcommit charges only what is writable.
    if (!os_mem_protect(base, fixed_bytes, OS_MEM_READ_WRITE) ||
        (!in_steps && !os_mem_protect(table, layout.table_bytes, OS_MEM_READ))) {
        os_mem_release(base, mapped);
        return 0;
    }
    os_mem_set_dumped(base, mapped, 0);
    size_t all = in_steps ? 0 : SIZE_MAX;
    state.table = (struct range){table, layout.table_bytes, min_size(layout.table_bytes, all), 0};
    state.index = (struct range){table + layout.table_bytes, layout.index_bytes, min_size(layout.index_bytes, all), 0};
    state.pages =
        (struct range){state.index.base + layout.index_bytes, layout.pages_bytes, min_size(layout.pages_bytes, all), 0};
    state.metadata = (struct range){state.pages.base + layout.pages_bytes, layout.metadata_bytes,
                                    min_size(layout.metadata_bytes, all), 0};
    state.units = (struct range){base + layout.front_bytes, arena_bytes, min_size(arena_bytes, all), 0};
    state.used = (uint64_t *)(void *)base;
    state.head = (uint64_t *)(void *)(base + layout.map_bytes);
    state.dirty = (uint64_t *)(void *)(base + 2 * layout.map_bytes);
    state.aged = (uint64_t *)(void *)(base + 3 * layout.map_bytes);
    state.span_units = arena_bytes >> ARENA_UNIT_SHIFT;
    extents_init(base + 4 * layout.map_bytes, state.index.base, state.span_units);
    state.table_stride = table_stride;
    state.other_bytes = fixed_bytes + (in_steps ? 0 : 2 * GUARD_BYTES);
    arena.base = (uintptr_t)state.units.base;
    arena.base_unit = arena.base >> ARENA_UNIT_SHIFT;
    arena.span_units = state.span_units;
    arena.table = state.table.base;
    arena.pages = (uint16_t *)(void *)state.pages.base;
    set_unit_count(in_steps ? 0 : state.span_units);
    return 1;
}

int arena_init(uint32_t table_stride, int (*resize)(size_t units)) {
    lock_arena();
    int done = arena.table != NULL;
    if (!done) {
        state.resize = resize;
        // Room for four times the memory of the machine: an allocation must never fail by fragmentation of address
        // space.
        size_t bytes = DEFAULT_ARENA_BYTES;
        while (bytes < 4 * os_mem_physical_bytes())
            bytes *= 2;
        // What is reserved counts against a limit on address space, and what the program maps itself needs room too.
        size_t limit = os_mem_address_space_limit();
        if (limit / 2 < lay_out(bytes, table_stride).total_bytes) {
            size_t span = hz_align_up(min_size(limit, bytes), ARENA_UNIT_BYTES);
            done = reserve(span > SMALLEST_ARENA_BYTES ? span : SMALLEST_ARENA_BYTES, table_stride, 1);
        }
        while (bytes > limit / 2 && bytes > SMALLEST_ARENA_BYTES)
            bytes /= 2;
        for (; !done && bytes >= SMALLEST_ARENA_BYTES; bytes /= 2)
            done = reserve(bytes, table_stride, 0);
        state.is_charged = os_mem_is_charged();
    }
    unlock_arena();
    return done;
}

static void forget_learned(void) {
    state.learned_pages = state.ends_learned = 0;
    for (int period = 0; period <= 1; period++)
        state.returned_pages[period] = state.ends_returned[period] = state.needed_pages[period] = 0;
}

void arena_leave_fast_paths(void) {
    lock_arena();
    state.has_no_fast_paths = 1;
    set_unit_count(unit_count());
    unlock_arena();
}

void arena_set_limits(const struct arena_limits *limits) {
    lock_arena();
    state.limits = *limits;
    atomic_store_explicit(&arena_decay_ms, limits->decay_ms, memory_order_relaxed);
    if (!limits->adaptive)
        forget_learned();
    unlock_arena();
}

// Maps the side table for more units. Readers take nothing from it that lies above arena.unit_count.
static int extend_table(size_t units) {
    size_t target = min_size(hz_align_up(units, TABLE_STEP_UNITS), state.span_units);
    size_t bytes = hz_align_up(target * state.table_stride, OS_PAGE_BYTES);
    if (bytes > state.table.mapped_bytes) {
        char *from = state.table.base + state.table.mapped_bytes;
        if (!os_mem_map(from, bytes - state.table.mapped_bytes, OS_MEM_READ))
            return 0;
        os_mem_set_dumped(from, bytes - state.table.mapped_bytes, 0);
        state.table.mapped_bytes = bytes;
    }
    if (state.resize != NULL && !state.resize(target))
        return 0;
    set_unit_count(target);
    return 1;
}

static int grow(size_t new_high_water) {
    if (new_high_water > state.span_units || (new_high_water > unit_count() && !extend_table(new_high_water)))
        return 0;
    size_t bytes = new_high_water << ARENA_UNIT_SHIFT;
    size_t step = COMMIT_STEP_BYTES;
    while (step < bytes / 16)
        step *= 2;
    // A large step may be more than the system still grants; the exact need may still be granted.
    if (!range_commit(&state.table, new_high_water * state.table_stride, HZ_KIB(64)) ||
        !range_commit(&state.index, extents_low_bytes(new_high_water), INDEX_STEP_BYTES) ||
        !range_commit(&state.pages, new_high_water * sizeof(uint16_t), INDEX_STEP_BYTES) ||
        (!range_commit(&state.units, bytes, step) && !range_commit(&state.units, bytes, ARENA_UNIT_BYTES)))
        return 0;
    range_map_ahead(&state.metadata, bytes / METADATA_AHEAD_SHARE);
    state.high_water = new_high_water;
    extents_grow(new_high_water);
    return 1;
}

void arena_limit_address_space(size_t limit) {
    if (arena.span_units == 0)
        return; // arena_init() will see the limit
    lock_arena();
    size_t mapped = state.units.mapped_bytes + state.table.mapped_bytes + state.metadata.mapped_bytes;
    if (limit / 2 < mapped) {
        range_unmap(&state.units, state.units.committed_bytes);
        range_unmap(&state.metadata, state.metadata.committed_bytes);
        range_unmap(&state.index, state.index.committed_bytes);
        range_unmap(&state.pages, state.pages.committed_bytes);
        size_t units = min_size(hz_align_up(state.high_water, TABLE_STEP_UNITS), state.span_units);
        set_unit_count(min_size(units, unit_count()));
        if (state.resize != NULL)
            state.resize(unit_count());
        range_unmap(&state.table, hz_align_up(unit_count() * state.table_stride, OS_PAGE_BYTES));
    }
    unlock_arena();
}

// Gives the dirty free units of [from, to) back, in extents as long as they come; only aged ones if `aged_only`.
static void decommit_range(size_t from, size_t to, int aged_only) {
    for (size_t at = find_dirty_free(from, to); at < to; at = find_dirty_free(at, to)) {
        size_t end = at;
        while (end < to && !is_set(state.used, end) && is_set(state.dirty, end) &&
               (!aged_only || is_set(state.aged, end)))
            end++;
        if (end == at) { // on to the next aged unit of this word, or to the next word
            uint64_t aged = state.aged[at / WORD_BITS] >> at % WORD_BITS;
            at = aged != 0 ? at + (size_t)__builtin_ctzll(aged) : hz_align_up(at + 1, WORD_BITS);
            continue;
        }
        if (os_mem_decommit(unit_address(at), (end - at) << ARENA_UNIT_SHIFT)) {
            clear_bits(state.dirty, at, end);
            clear_bits(state.aged, at, end);
            extents_dirty_remove(at, end);
            state.free_dirty_pages -= count_pages(at, end);
            set_pages(at, end, 0);
        }
        at = end;
    }
}

static size_t used_pages(void) {
    return state.used_units * ARENA_UNIT_PAGES;
}

// Memory has left by age: so much was retained for nothing.
static void unlearn(size_t pages) {
    state.learned_pages -= min_size(pages, state.learned_pages);
    state.ends_learned -= min_size(pages, state.ends_learned);
}

// No call for long: all free units have been free for as long, and the adapted bound is out of date.
static void end_quiet(uint64_t now) {
    size_t before = state.free_dirty_pages;
    state.tick_ms = now;
    decommit_range(state.first_dirty, state.high_water, 0);
    unlearn(before - state.free_dirty_pages);
    for (int period = 0; period <= 1; period++) {
        state.returned_pages[period] = state.ends_returned[period] = state.needed_pages[period] = 0;
        state.peak_pages[period] = used_pages();
    }
}

static void begin_period(size_t *pair, size_t value) {
    pair[1] = pair[0];
    pair[0] = value;
}

// Free dirty units that were free at the previous tick leave now: each unit gets between one and two decay periods.
static void tick(void) {
    if (state.free_dirty_pages == 0) {
        state.active_ms = 0;
        return;
    }
    uint64_t now = os_clock_coarse_ms();
    uint64_t quiet_ms = state.active_ms != 0 ? now - state.active_ms : 0;
    state.active_ms = now;
    if (quiet_ms >= QUIET_MS && quiet_ms >= state.limits.decay_ms) {
        end_quiet(now);
        return;
    }
    if (now - state.tick_ms < state.limits.decay_ms)
        return;
    state.tick_ms = now;
    size_t before = state.free_dirty_pages;
    decommit_range(state.first_dirty, state.high_water, 1);
    unlearn(before - state.free_dirty_pages);
    begin_period(state.returned_pages, 0);
    begin_period(state.ends_returned, 0);
    begin_period(state.needed_pages, 0);
    begin_period(state.peak_pages, used_pages());
    size_t end = state.high_water;
    for (size_t at = find_dirty_free(0, end); at < end; at = find_dirty_free(hz_align_up(at + 1, WORD_BITS), end))
        state.aged[at / WORD_BITS] = state.dirty[at / WORD_BITS] & ~state.used[at / WORD_BITS];
}

// What is retained without having learned anything.
static size_t first_bound(void) {
    return (size_t)(state.limits.retain_bytes / OS_PAGE_BYTES) + used_pages() * state.limits.retain_percent / 100;
}

static size_t max_of(const size_t *pair) {
    return pair[pair[1] > pair[0]];
}

// Memory taken that has no pages, though the bounds had some: those they returned too early. Learning far beyond what
// would have been enough helps nobody, and would keep everything once the program frees it all; twice as much outlives
// a period in which the program is slow.
static void learn(size_t clean_pages) {
    size_t most = 2 * max_of(state.needed_pages);
    for (int period = 0; period <= 1; period++) {
        size_t regretted = min_size(clean_pages, state.returned_pages[period]);
        size_t at_ends = min_size(regretted, state.ends_returned[period]);
        state.returned_pages[period] -= regretted;
        state.ends_returned[period] -= at_ends;
        state.ends_learned += at_ends;
        if (state.learned_pages < most)
            state.learned_pages = min_size(state.learned_pages + regretted, most);
        clean_pages -= regretted;
    }
    state.ends_learned = min_size(state.ends_learned, state.learned_pages);
}

static size_t retention_bound(void) {
    size_t limit = first_bound();
    // What is learned costs no new memory, or little: used and retained together stay within the recent peak of use and
    // the holes that blocks of different lengths leave between them.
    size_t peak = max_of(state.peak_pages);
    size_t holes = peak * state.limits.fragmentation_percent / 100;
    size_t learned = min_size(limit + state.learned_pages, peak + holes - used_pages());
    return learned > limit ? learned : limit;
}

// 1 when something may have gone back.
static int bound_retained(size_t limit) {
    if (state.free_dirty_pages <= limit)
        return 0;
    size_t all = state.free_dirty_pages;
    size_t whole = all + state.returned_pages[0] + state.returned_pages[1];
    size_t needed = whole - min_size(whole, first_bound());
    // Down to a quarter of the bound, from the high end, so that the next call comes only after much has been freed
    // again and the low addresses stay dense.
    size_t end = state.high_water;
    while (end > 0 && state.free_dirty_pages > limit / 4) {
        size_t last = extents_dirty_last(end - 1);
        if (last == EXTENTS_NONE)
            break; // the rest could not be given back
        size_t low = last / WORD_BITS * WORD_BITS;
        decommit_range(low, last + 1, 0);
        end = low;
    }
    if (state.limits.adaptive) {
        state.returned_pages[0] += all - state.free_dirty_pages;
        if (state.needed_pages[0] < needed)
            state.needed_pages[0] = needed;
    }
    return 1;
}

static void count_used(size_t more) {
    state.used_units += more;
    if (used_pages() > state.peak_pages[0])
        state.peak_pages[0] = used_pages();
}

static void mark_taken(size_t from, size_t units, int *is_zero) {
    size_t pages = count_pages(from, from + units);
    *is_zero = pages == 0;
    state.free_dirty_pages -= pages;
    count_used(units);
    learn(units * ARENA_UNIT_PAGES - pages);
    extents_take(from, units);
    if (pages > 0)
        extents_dirty_remove(from, from + units);
    set_bits(state.used, from, from + units);
    set_bits(state.dirty, from, from + units);
    clear_bits(state.aged, from, from + units);
}

// Extent of `units` free units, aligned in the address space; grows the arena when there is none below high water. An
// extent of that very length comes first: it served this size before and has its resident pages where they will be
// touched again, and long extents stay long.
static size_t find_extent(size_t units, size_t align_units) {
    size_t found = extents_find(units, arena.base_unit, align_units, EXTENTS_LOOKED_AT);
    if (found != EXTENTS_NONE)
        return found;
    size_t end = state.high_water - extents_last_length(); // what is free there becomes longer
    size_t start = hz_align_up(arena.base_unit + end, align_units) - arena.base_unit;
    if (start + units <= state.high_water || grow(start + units))
        return start;
    return extents_find(units, arena.base_unit, align_units, SIZE_MAX); // before memory is refused, every one
}

// What is resident in the room goes back: nobody could use it. 0 when that fails.
static int hold(size_t from, size_t units) {
    decommit_range(from, from + units, 0);
    if (find_dirty_free(from, from + units) < from + units)
        return 0;
    extents_take(from, units);
    set_bits(state.used, from, from + units);
    return 1;
}

static size_t room_for(size_t units) {
    size_t most = arena.span_units / ROOM_SHARE;
    int is_reserved = state.units.mapped_bytes == state.units.span_bytes; // all of it, from the start
    if (units <= ROOM_ABOVE_UNITS || !is_reserved || state.is_charged)
        return 0;
    return min_size(ROOM_TIMES * units, most);
}

void *arena_take_growing(size_t units, size_t *room, int *is_zero) {
    *room = 0;
    if (units > arena.span_units)
        return NULL;
    lock_arena();
    size_t wanted = room_for(units);
    size_t at = wanted > 0 ? find_extent(units + wanted, 1) : EXTENTS_NONE;
    void *run = NULL;
    if (at != EXTENTS_NONE) {
        mark_taken(at, units, is_zero);
        set_bits(state.head, at, at + 1);
        if (hold(at + units, wanted))
            *room = wanted;
        run = unit_address(at);
        tick();
    }
    unlock_arena();
    return run != NULL ? run : arena_take(units, 1, is_zero);
}

void arena_use_room(void *run, size_t units, size_t more) {
    size_t end = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit + units;
    lock_arena();
    count_used(more);
    learn(more * ARENA_UNIT_PAGES);
    set_bits(state.dirty, end, end + more);
    unlock_arena();
}

void arena_drop_room(void *run, size_t units, size_t room) {
    size_t end = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit + units;
    lock_arena();
    HZ_ASSERT(is_set(state.used, end) && !is_set(state.head, end) && !is_set(state.dirty, end));
    clear_bits(state.used, end, end + room);
    extents_free(end, room);
    unlock_arena();
}

static int is_free(size_t from, size_t units) {
    if (from + units > state.high_water)
        return 0;
    for (size_t at = from, end; at < from + units; at = end) {
        end = min_size(hz_align_up(at + 1, WORD_BITS), from + units);
        if ((state.used[at / WORD_BITS] & word_mask(at, end)) != 0)
            return 0;
    }
    return 1;
}

// Where a run of this kind was given back last, if that is free still and has pages.
static size_t find_last(unsigned kind, size_t units) {
    struct last_places *last = state.last + kind;
    while (last->count > 0) {
        size_t at = last->unit[--last->top % LAST_PLACES];
        last->count--;
        if (is_free(at, units) && arena.pages[at] != 0)
            return at;
    }
    return SIZE_MAX;
}

static void remember(unsigned kind, size_t at) {
    struct last_places *last = state.last + kind;
    last->unit[last->top++ % LAST_PLACES] = (uint32_t)at;
    last->count += last->count < LAST_PLACES;
}

static size_t find(size_t units, size_t align_units) {
    if (units != 1 || align_units != 1 || state.free_dirty_pages == 0)
        return find_extent(units, align_units);
    size_t at = find_dirty_free(state.first_dirty, state.high_water);
    HZ_ASSERT(at < state.high_water);
    state.first_dirty = at + 1;
    return at;
}

static void *take(size_t at, size_t units, int *is_zero) {
    if (at == SIZE_MAX)
        return NULL;
    mark_taken(at, units, is_zero);
    set_bits(state.head, at, at + 1);
    return unit_address(at);
}

void *arena_take_marked(size_t units, size_t align_units, unsigned kind) {
    int is_zero;
    lock_arena();
    size_t at = find_last(kind, units);
    void *run = take(at != SIZE_MAX ? at : find(units, align_units), units, &is_zero);
    tick();
    unlock_arena();
    return run;
}

void *arena_take(size_t units, size_t align_units, int *is_zero) {
    if (units > arena.span_units)
        return NULL;
    lock_arena();
    void *run = take(find(units, align_units), units, is_zero);
    tick();
    unlock_arena();
    return run;
}

// Units whose `pages` say what may be resident.
static void release_marked(size_t from, size_t units) {
    tick(); // first: the units given now have been in use until now
    clear_bits(state.used, from, from + units);
    clear_bits(state.head, from, from + units);
    for (size_t at = from, end; at < from + units; at = end) {
        int clean = arena.pages[at] == 0;
        for (end = at + 1; end < from + units && (arena.pages[end] == 0) == clean; end++) {
        }
        if (clean) {
            clear_bits(state.dirty, at, end);
            continue;
        }
        extents_dirty_add(at, end);
        state.free_dirty_pages += count_pages(at, end);
        if (at < state.first_dirty)
            state.first_dirty = at;
    }
    extents_free(from, units);
    state.used_units -= units;
    if (state.limits.decay_ms == 0 && state.limits.retain_bytes == 0)
        decommit_range(from, from + units, 0);
    else
        bound_retained(retention_bound());
}

static void release_units(size_t from, size_t units, int clean) {
    set_pages(from, from + units, clean ? 0 : ALL_PAGES);
    release_marked(from, units);
}

void arena_give(void *run, size_t units, int clean) {
    size_t at = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit;
    lock_arena();
    HZ_ASSERT(is_set(state.used, at) && is_set(state.head, at));
    release_units(at, units, clean);
    unlock_arena();
}

void arena_give_marked(void *run, size_t units, unsigned kind) {
    size_t at = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit;
    lock_arena();
    HZ_ASSERT(is_set(state.used, at) && is_set(state.head, at));
    remember(kind, at);
    release_marked(at, units);
    unlock_arena();
}

void arena_mark(const void *from, size_t bytes) {
    size_t first = ((uintptr_t)from - arena.base) / OS_PAGE_BYTES;
    size_t end = ((uintptr_t)from - arena.base + bytes + OS_PAGE_BYTES - 1) / OS_PAGE_BYTES;
    for (size_t page = first, next; page < end; page = next) {
        next = min_size(hz_align_up(page + 1, ARENA_UNIT_PAGES), end);
        arena.pages[page / ARENA_UNIT_PAGES] |= (uint16_t)(((1u << (next - page)) - 1) << page % ARENA_UNIT_PAGES);
    }
}

size_t arena_marked_bytes(const void *run, size_t units) {
    size_t at = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit;
    size_t whole = 0;
    while (whole < units && arena.pages[at + whole] == ALL_PAGES)
        whole++;
    size_t more = whole < units ? (size_t)__builtin_ctz(~(unsigned)arena.pages[at + whole]) : 0;
    return whole * ARENA_UNIT_BYTES + more * OS_PAGE_BYTES;
}

void arena_give_copied(void *run, size_t units) {
    int clean = units > COPIED_ABOVE_UNITS && os_mem_decommit(run, units << ARENA_UNIT_SHIFT);
    arena_give(run, units, clean);
}

int arena_extend(void *run, size_t units, size_t more, int *is_zero) {
    size_t end = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit + units;
    lock_arena();
    size_t room = extents_length_at(end);
    int done = room >= more || (end + room == state.high_water && more <= state.span_units - end && grow(end + more));
    if (done)
        mark_taken(end, more, is_zero);
    unlock_arena();
    return done;
}

void arena_shrink(void *run, size_t units, size_t keep) {
    size_t at = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit;
    lock_arena();
    release_units(at + keep, units - keep, 0);
    unlock_arena();
}

size_t arena_run_of(size_t index) {
    size_t found = SIZE_MAX;
    lock_arena();
    if (index < state.high_water && is_set(state.used, index)) {
        size_t word = index / WORD_BITS;
        uint64_t heads = state.head[word] & word_mask(index / WORD_BITS * WORD_BITS, index + 1);
        while (heads == 0)
            heads = state.head[--word];
        found = word * WORD_BITS + WORD_BITS - 1 - (size_t)__builtin_clzll(heads);
    }
    unlock_arena();
    return found;
}

size_t arena_high_water(void) {
    lock_arena();
    size_t units = state.high_water;
    unlock_arena();
    return units;
}

void arena_purge(void) {
    lock_arena();
    decommit_range(state.first_dirty, state.high_water, 0);
    forget_learned(); // who purges knows that the busy time is over
    unlock_arena();
}

void arena_thread_ended(void) {
    lock_arena();
    tick();
    size_t before = state.free_dirty_pages;
    if (bound_retained(first_bound() + state.ends_learned) && state.limits.adaptive)
        state.ends_returned[0] += before - state.free_dirty_pages;
    unlock_arena();
}

void arena_look_slow(void) {
    uint64_t now = os_clock_coarse_ms();
    uint64_t last = atomic_load_explicit(&looked_ms, memory_order_relaxed);
    if (now == last || !hz_try_lock(&state.lock))
        return;
    atomic_store_explicit(&looked_ms, now, memory_order_relaxed);
    tick();
    unlock_arena();
}

// As tick(), but the look of the purge thread is no call for memory. Milliseconds that it has to wait: 0 when the
// arena is quiet, OS_FOREVER while nothing is retained.
static uint32_t until_quiet(void) {
    if (state.free_dirty_pages == 0)
        return OS_FOREVER;
    uint64_t now = os_clock_coarse_ms();
    uint32_t needed = state.limits.decay_ms > QUIET_MS ? state.limits.decay_ms : QUIET_MS;
    if (state.active_ms == 0)
        state.active_ms = now;
    uint64_t quiet = now - state.active_ms;
    return quiet < needed ? needed - (uint32_t)quiet : 0;
}

int arena_wait_idle(void) {
    for (;;) {
        lock_arena();
        uint32_t ms = until_quiet();
        if (ms == OS_FOREVER)
            waiter_change(WAITER_NONE_OR_AWAKE, WAITER_ASLEEP);
        unlock_arena();
        uint32_t now = atomic_load_explicit(&waiter, memory_order_relaxed);
        if (now == WAITER_ENDS)
            return 0;
        if (ms == 0)
            return 1;
        os_wait(&waiter, ms == OS_FOREVER ? WAITER_ASLEEP : now, ms);
    }
}

void arena_end_idle(void) {
    lock_arena();
    end_quiet(os_clock_coarse_ms());
    state.active_ms = 0; // what could not be given back is tried again when as much time has passed
    unlock_arena();
}

void arena_stop_waiting(void) {
    atomic_store_explicit(&waiter, WAITER_ENDS, memory_order_relaxed);
    os_wake(&waiter);
}

void arena_read_usage(struct arena_usage *out) {
    *out = (struct arena_usage){0};
    if (arena.span_units == 0)
        return;
    lock_arena();
    out->reserved_bytes = state.other_bytes + state.units.mapped_bytes + state.table.mapped_bytes +
                          state.index.mapped_bytes + state.pages.mapped_bytes + state.metadata.mapped_bytes;
    out->used_bytes = (uint64_t)state.used_units << ARENA_UNIT_SHIFT;
    out->dirty_free_bytes = (uint64_t)state.free_dirty_pages * OS_PAGE_BYTES;
    out->metadata_bytes = hz_align_up(state.high_water / 8 + 1, OS_PAGE_BYTES) * 4 +
                          hz_align_up(state.high_water * state.table_stride, OS_PAGE_BYTES) +
                          hz_align_up(extents_low_bytes(state.high_water), OS_PAGE_BYTES) +
                          hz_align_up(state.high_water * sizeof(uint16_t), OS_PAGE_BYTES) +
                          hz_align_up(state.metadata_used, OS_PAGE_BYTES);
    unlock_arena();
}

void *arena_metadata(size_t bytes, size_t alignment) {
    lock_arena();
    size_t at = hz_align_up(state.metadata_used, alignment);
    void *result = NULL;
    if (range_commit(&state.metadata, at + bytes, METADATA_STEP_BYTES)) {
        state.metadata_used = at + bytes;
        result = state.metadata.base + at;
    }
    unlock_arena();
    return result;
}

void arena_fork_prepare(void) {
    lock_arena();
}

void arena_fork_inherit(void) {
    atomic_store_explicit(&waiter, WAITER_NONE_OR_AWAKE, memory_order_relaxed);
    hz_lock_inherit(&state.lock);
}

void arena_fork_done(void) {
    unlock_arena();
}
