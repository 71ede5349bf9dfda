// SPDX-License-Identifier: Apache-2.0
// arena.h
#include "arena.h"

#include "check.h"
#include "lock.h"
#include "os_mem.h"

#include <stdatomic.h>
#include <string.h>

#define GUARD_BYTES HZ_MIB(1)
#define WORD_BITS 64u
// Free extents of sufficient length compared before the best of them is taken.
#define EXTENTS_LOOKED_AT 64u
#define SMALLEST_ARENA_BYTES HZ_MIB(4)
#define DEFAULT_ARENA_BYTES HZ_GIB(64)
// Growth of the committed part: large enough that steady growth makes few system calls, small enough that strict
// overcommit accounting is not charged for memory nobody asked for.
#define COMMIT_STEP_BYTES HZ_MIB(2)
#define METADATA_STEP_BYTES HZ_KIB(256)
// States of 16-byte blocks take 1/16 of the memory they describe; thread heaps come on top.
#define METADATA_SHARE 8u

struct arena arena;

// A reserved range whose first part is committed.
struct range {
    char *base;
    size_t reserved_bytes;
    size_t committed_bytes;
};

// Invariants, under the lock: a unit above high_water is neither used nor dirty; `head` is set only on used units;
// free_dirty_units = number of units with dirty and not used; aged is a subset of dirty and not used. Pairs hold the
// current and the previous decay period.
static struct {
    pthread_mutex_t lock;
    struct range units, table, bitmaps, metadata;
    uint32_t table_stride;
    size_t reserved_bytes;
    size_t high_water;  // units handed out at some time
    uint64_t *used;     // bit a unit
    uint64_t *head;     // first unit of a run
    uint64_t *dirty;    // may be resident
    uint64_t *aged;     // free and dirty since before the last tick
    size_t first_free;  // no free unit lies below
    size_t first_dirty; // no dirty free unit lies below
    size_t used_units;
    size_t free_dirty_units;
    size_t metadata_used;     // bytes of `metadata` handed out
    size_t learned_units;     // added to the retention bound
    size_t returned_units[2]; // by the bound, and not taken again since
    size_t peak_units[2];     // most in use
    uint64_t tick_ms;
    struct arena_limits limits;
} state = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .limits = {.retain_bytes = HZ_MIB(4), .retain_percent = 12, .decay_ms = 250},
};

static void lock_arena(void) {
    hz_lock(&state.lock);
}

static void unlock_arena(void) {
    hz_unlock(&state.lock);
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
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

static size_t count_bits(const uint64_t *map, size_t from, size_t to) {
    size_t count = 0;
    while (from < to) {
        size_t end = hz_align_up(from + 1, WORD_BITS);
        end = end < to ? end : to;
        count += (size_t)__builtin_popcountll(map[from / WORD_BITS] & word_mask(from, end));
        from = end;
    }
    return count;
}

// First unit in [from, to) whose `used` bit equals `used`; `to` when there is none.
static size_t find_used(size_t from, size_t to, int used) {
    while (from < to) {
        uint64_t word = state.used[from / WORD_BITS];
        word = (used ? word : ~word) >> (from % WORD_BITS);
        if (word != 0) {
            size_t found = from + (size_t)__builtin_ctzll(word);
            return found < to ? found : to;
        }
        from = hz_align_up(from + 1, WORD_BITS);
    }
    return to;
}

static size_t find_dirty_free(size_t from, size_t to) {
    while (from < to) {
        uint64_t word = state.dirty[from / WORD_BITS] & ~state.used[from / WORD_BITS];
        word >>= from % WORD_BITS;
        if (word != 0) {
            size_t found = from + (size_t)__builtin_ctzll(word);
            return found < to ? found : to;
        }
        from = hz_align_up(from + 1, WORD_BITS);
    }
    return to;
}

static char *unit_address(size_t index) {
    return (char *)arena.base + (index << ARENA_UNIT_SHIFT);
}

// Makes the first `bytes` of a range usable.
static int range_commit(struct range *range, size_t bytes, size_t step) {
    if (bytes <= range->committed_bytes)
        return 1;
    size_t target = hz_align_up(bytes, step);
    if (target > range->reserved_bytes)
        target = range->reserved_bytes;
    if (bytes > target)
        return 0;
    if (!os_mem_protect(range->base + range->committed_bytes, target - range->committed_bytes, OS_MEM_READ_WRITE))
        return 0;
    range->committed_bytes = target;
    return 1;
}

static int reserve(size_t arena_bytes, uint32_t table_stride) {
    size_t units = arena_bytes >> ARENA_UNIT_SHIFT;
    size_t map_bytes = hz_align_up(units / 8 + sizeof(uint64_t), OS_PAGE_BYTES);
    size_t bitmap_bytes = 4 * map_bytes;
    size_t table_bytes = hz_align_up(units * table_stride, OS_PAGE_BYTES);
    size_t metadata_bytes = arena_bytes / METADATA_SHARE + HZ_MIB(1);
    size_t front_bytes = hz_align_up(bitmap_bytes + table_bytes + metadata_bytes + GUARD_BYTES, ARENA_UNIT_BYTES);
    size_t total = front_bytes + arena_bytes + GUARD_BYTES;
    char *base = os_mem_reserve(total, ARENA_UNIT_BYTES, OS_MEM_NONE);
    if (base == NULL)
        return 0;
    state.bitmaps = (struct range){base, bitmap_bytes, 0};
    state.table = (struct range){base + bitmap_bytes, table_bytes, 0};
    state.metadata = (struct range){base + bitmap_bytes + table_bytes, metadata_bytes, 0};
    state.units = (struct range){base + front_bytes, arena_bytes, 0};
    // The whole table can be read from the start (private zero pages); strict overcommit charges only what is writable.
    if (!os_mem_protect(base, bitmap_bytes, OS_MEM_READ_WRITE) ||
        !os_mem_protect(state.table.base, table_bytes, OS_MEM_READ)) {
        os_mem_release(base, total);
        return 0;
    }
    state.used = (uint64_t *)(void *)base;
    state.head = (uint64_t *)(void *)(base + map_bytes);
    state.dirty = (uint64_t *)(void *)(base + 2 * map_bytes);
    state.aged = (uint64_t *)(void *)(base + 3 * map_bytes);
    state.bitmaps.committed_bytes = bitmap_bytes;
    state.table_stride = table_stride;
    state.reserved_bytes = total;
    arena.base = (uintptr_t)state.units.base;
    arena.base_unit = arena.base >> ARENA_UNIT_SHIFT;
    arena.table = state.table.base;
    arena.unit_count = units;
    return 1;
}

int arena_init(uint32_t table_stride) {
    if (arena.unit_count == 0)
        hz_lock_init(&state.lock);
    lock_arena();
    int done = arena.unit_count != 0;
    if (!done) {
        // Room for four times the memory of the machine: fragmentation of address space must never be what fails.
        size_t bytes = DEFAULT_ARENA_BYTES;
        while (bytes < 4 * os_mem_physical_bytes())
            bytes *= 2;
        // Under a limit the program's stacks and libraries need address space too.
        size_t limit = os_mem_address_space_limit();
        while (bytes > limit / 2 && bytes > SMALLEST_ARENA_BYTES)
            bytes /= 2;
        for (; !done && bytes >= SMALLEST_ARENA_BYTES; bytes /= 2)
            done = reserve(bytes, table_stride);
    }
    unlock_arena();
    return done;
}

void arena_set_limits(const struct arena_limits *limits) {
    lock_arena();
    state.limits = *limits;
    if (!limits->learns)
        state.learned_units = state.returned_units[0] = state.returned_units[1] = 0;
    unlock_arena();
}

static int grow(size_t new_high_water) {
    if (new_high_water > arena.unit_count)
        return 0;
    size_t bytes = new_high_water << ARENA_UNIT_SHIFT;
    size_t step = COMMIT_STEP_BYTES;
    while (step < bytes / 16)
        step *= 2;
    // A large step may exceed what strict accounting still grants; the exact need may not.
    if (!range_commit(&state.table, new_high_water * state.table_stride, HZ_KIB(64)) ||
        (!range_commit(&state.units, bytes, step) && !range_commit(&state.units, bytes, ARENA_UNIT_BYTES)))
        return 0;
    state.high_water = new_high_water;
    return 1;
}

// Gives the dirty free units of [from, to) back, in extents as long as they come; only aged ones if `aged_only`.
static void decommit_range(size_t from, size_t to, int aged_only) {
    for (size_t at = find_dirty_free(from, to); at < to; at = find_dirty_free(at, to)) {
        size_t end = at;
        while (end < to && !is_set(state.used, end) && is_set(state.dirty, end) &&
               (!aged_only || is_set(state.aged, end)))
            end++;
        if (end == at) {
            at++;
            continue;
        }
        if (os_mem_decommit(unit_address(at), (end - at) << ARENA_UNIT_SHIFT)) {
            clear_bits(state.dirty, at, end);
            clear_bits(state.aged, at, end);
            state.free_dirty_units -= end - at;
        }
        at = end;
    }
}

// Free dirty units that were free at the previous tick leave now: each unit gets between one and two decay periods.
static void tick(void) {
    if (state.free_dirty_units == 0)
        return;
    uint64_t now = os_clock_coarse_ms();
    if (now - state.tick_ms < state.limits.decay_ms)
        return;
    state.tick_ms = now;
    size_t before = state.free_dirty_units;
    decommit_range(state.first_dirty, state.high_water, 1);
    state.learned_units -= min_size(before - state.free_dirty_units, state.learned_units);
    state.returned_units[1] = state.returned_units[0];
    state.returned_units[0] = 0;
    state.peak_units[1] = state.peak_units[0];
    state.peak_units[0] = state.used_units;
    size_t words = (state.high_water + WORD_BITS - 1) / WORD_BITS;
    for (size_t i = state.first_dirty / WORD_BITS; i < words; i++)
        state.aged[i] = state.dirty[i] & ~state.used[i];
}

// Memory taken that has no pages, though the bound had some: those it returned too early.
static void learn(size_t clean_units) {
    for (int period = 0; period <= 1; period++) {
        size_t regretted = min_size(clean_units, state.returned_units[period]);
        state.returned_units[period] -= regretted;
        state.learned_units += regretted;
        clean_units -= regretted;
    }
}

static size_t retention_bound(void) {
    size_t limit =
        (size_t)(state.limits.retain_bytes >> ARENA_UNIT_SHIFT) + state.used_units * state.limits.retain_percent / 100;
    // What is learned costs no new memory, or little: used and retained together stay within the recent peak of use and
    // the holes that blocks of different lengths leave between them.
    size_t peak = state.peak_units[state.peak_units[1] > state.peak_units[0]];
    size_t holes = peak * state.limits.holes_percent / 100;
    size_t learned = min_size(limit + state.learned_units, peak + holes - state.used_units);
    return learned > limit ? learned : limit;
}

static void bound_retained(void) {
    size_t limit = retention_bound();
    if (state.free_dirty_units <= limit)
        return;
    size_t all = state.free_dirty_units;
    // Down to a quarter of the bound, from the high end, so that the next call comes only after much has been freed again
    // and the low addresses stay dense.
    size_t end = state.high_water;
    while (end > 0 && state.free_dirty_units > limit / 4) {
        size_t low = (end - 1) / WORD_BITS * WORD_BITS;
        decommit_range(low, end, 0);
        end = low;
    }
    if (state.limits.learns)
        state.returned_units[0] += all - state.free_dirty_units;
}

static void mark_taken(size_t from, size_t units, int *is_zero) {
    size_t dirty = count_bits(state.dirty, from, from + units);
    *is_zero = dirty == 0;
    state.free_dirty_units -= dirty;
    state.used_units += units;
    if (state.used_units > state.peak_units[0])
        state.peak_units[0] = state.used_units;
    learn(units - dirty);
    set_bits(state.used, from, from + units);
    set_bits(state.dirty, from, from + units);
    clear_bits(state.aged, from, from + units);
    if (from == state.first_free)
        state.first_free = from + units;
}

// Extent of `units` free units, aligned in the address space; grows the arena when there is none below high water. Of
// the first extents that are long enough it takes the shortest: an extent that served this size before has its resident
// pages where they will be touched again, and long extents stay long.
static size_t find_extent(size_t units, size_t align_units) {
    size_t best = SIZE_MAX;
    size_t best_length = SIZE_MAX;
    size_t looked = 0;
    size_t at = find_used(state.first_free, state.high_water, 0);
    state.first_free = at;
    while (at < state.high_water && best_length > units && looked < EXTENTS_LOOKED_AT) {
        size_t end = find_used(at, state.high_water, 1);
        size_t start = hz_align_up(arena.base_unit + at, align_units) - arena.base_unit;
        if (start + units > end && end == state.high_water && best == SIZE_MAX) // it reaches the mark: make it longer
            return grow(start + units) ? start : SIZE_MAX;
        if (start + units <= end) {
            looked++;
            if (end - at < best_length) {
                best = start;
                best_length = end - at;
            }
        }
        at = find_used(end, state.high_water, 0);
    }
    if (best != SIZE_MAX)
        return best;
    size_t start = hz_align_up(arena.base_unit + state.high_water, align_units) - arena.base_unit;
    return grow(start + units) ? start : SIZE_MAX;
}

void *arena_take(size_t units, size_t align_units, int *is_zero) {
    if (units > arena.unit_count)
        return NULL;
    lock_arena();
    size_t at = SIZE_MAX;
    if (units == 1 && align_units == 1 && state.free_dirty_units > 0) {
        at = find_dirty_free(state.first_dirty, state.high_water);
        HZ_ASSERT(at < state.high_water);
        state.first_dirty = at + 1;
    } else {
        at = find_extent(units, align_units);
    }
    void *run = NULL;
    if (at != SIZE_MAX) {
        mark_taken(at, units, is_zero);
        set_bits(state.head, at, at + 1);
        run = unit_address(at);
    }
    tick();
    unlock_arena();
    return run;
}

static void release_units(size_t from, size_t units, int clean) {
    clear_bits(state.used, from, from + units);
    clear_bits(state.head, from, from + units);
    if (clean)
        clear_bits(state.dirty, from, from + units);
    else
        state.free_dirty_units += units;
    state.used_units -= units;
    if (from < state.first_free)
        state.first_free = from;
    if (!clean && from < state.first_dirty)
        state.first_dirty = from;
    if (state.limits.decay_ms == 0 && state.limits.retain_bytes == 0)
        decommit_range(from, from + units, 0);
    else
        bound_retained();
    tick();
}

void arena_give(void *run, size_t units, int clean) {
    size_t at = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit;
    lock_arena();
    HZ_ASSERT(is_set(state.used, at) && is_set(state.head, at));
    release_units(at, units, clean);
    unlock_arena();
}

int arena_extend(void *run, size_t units, size_t more, int *is_zero) {
    size_t end = ((uintptr_t)run >> ARENA_UNIT_SHIFT) - arena.base_unit + units;
    lock_arena();
    int done = more <= arena.unit_count - end;
    if (done && end + more > state.high_water) {
        done = find_used(end, state.high_water, 1) == state.high_water || end >= state.high_water;
        done = done && grow(end + more);
    }
    done = done && find_used(end, end + more, 1) == end + more;
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
        found = index;
        while (!is_set(state.head, found))
            found--;
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
    unlock_arena();
}

void arena_read_usage(struct arena_usage *out) {
    *out = (struct arena_usage){0};
    if (arena.unit_count == 0)
        return;
    lock_arena();
    out->reserved_bytes = state.reserved_bytes;
    out->used_bytes = (uint64_t)state.used_units << ARENA_UNIT_SHIFT;
    out->dirty_free_bytes = (uint64_t)state.free_dirty_units << ARENA_UNIT_SHIFT;
    out->metadata_bytes = hz_align_up(state.high_water / 8 + 1, OS_PAGE_BYTES) * 4 +
                          hz_align_up(state.high_water * state.table_stride, OS_PAGE_BYTES) +
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
    hz_lock_inherit(&state.lock);
}

void arena_fork_done(void) {
    unlock_arena();
}
