// SPDX-License-Identifier: Apache-2.0
// Large runs while checks are on. What is accessible ends with the page of the last byte; with guards the rest of the
// run is inaccessible, and so are units before and behind it. With a quarantine a freed run stays inaccessible, without
// memory, until others have pushed it out.
#include "hz5.h"

#include "../common/lock.h"
#include "../common/os_mem.h"

#include <string.h>

// A guarded block takes three mappings more, and one while it is held back; the others are the program's.
#define GUARDS_SHARE 8u // of the mappings a process may have
// Guards this wide, so that an index that is wrong by a mebibyte meets one, as long as addresses are plenty.
#define WIDE_UNITS 17u
#define WIDE_SHARE 4u // of all addresses
#define HELD_RUNS 64u
#define HELD_SHARE 16u // of all addresses

static _Atomic uint64_t guards;
static _Atomic uint64_t unguarded;   // blocks that were to have guards and have none
static _Atomic uint64_t guards_most; // const once it is not 0
static _Atomic uint64_t guard_units;

static struct {
    hz_mutex lock;
    struct hz5_desc *runs[HELD_RUNS];
    uint32_t first, count;
    uint64_t units;
} held;

void hz5_guard_lock(void) {
    hz_lock(&held.lock);
}

void hz5_guard_inherit(void) {
    hz_lock_inherit(&held.lock);
}

void hz5_guard_unlock(void) {
    hz_unlock(&held.lock);
}

uint64_t hzn_unguarded(void) {
    return atomic_load_explicit(&unguarded, memory_order_relaxed);
}

static void count(_Atomic uint64_t *counter, uint64_t more) {
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static int may_guard(void) {
    uint64_t most = atomic_load_explicit(&guards_most, memory_order_relaxed);
    if (most == 0) {
        most = os_mem_mappings_limit() / GUARDS_SHARE + 1;
        atomic_store_explicit(&guards_most, most, memory_order_relaxed);
    }
    return atomic_load_explicit(&guards, memory_order_relaxed) < most;
}

static char *block_of(const struct hz5_desc *desc) {
    return (char *)atomic_load_explicit(&desc->base, memory_order_relaxed);
}

static size_t pages_of(size_t bytes) {
    return bytes != 0 ? hz_align_up(bytes, OS_PAGE_BYTES) : OS_PAGE_BYTES;
}

size_t hz5_guarded_usable(const struct hz5_desc *desc, size_t slack) {
    return pages_of((size_t)desc->large_bytes + slack);
}

static size_t run_units(const struct hz5_desc *desc) {
    return (size_t)desc->front_units + desc->units;
}

static char *run_of(const struct hz5_desc *desc) {
    return block_of(desc) - ((size_t)desc->front_units << ARENA_UNIT_SHIFT);
}

// Guards before and behind have one width, but for what a large alignment adds before.
static size_t guard_units_of(const struct hz5_desc *desc) {
    return 2 * (size_t)desc->front_units;
}

static int protect_run(const struct hz5_desc *desc, enum os_mem_access access) {
    return os_mem_protect(run_of(desc), run_units(desc) << ARENA_UNIT_SHIFT, access);
}

// Both sides or none.
static void guard(struct hz5_desc *desc, size_t accessible) {
    char *block = block_of(desc);
    size_t front = (size_t)desc->front_units << ARENA_UNIT_SHIFT;
    size_t body = (size_t)desc->units << ARENA_UNIT_SHIFT;
    desc->is_guarded = may_guard() && os_mem_protect(block - front, front, OS_MEM_NONE);
    if (desc->is_guarded && !os_mem_protect(block + accessible, body - accessible, OS_MEM_NONE)) {
        os_mem_protect(block - front, front, OS_MEM_READ_WRITE);
        desc->is_guarded = 0;
    }
    count(desc->is_guarded ? &guards : &unguarded, 1);
}

// Units before and behind a block. Of address space that is limited, or used up, they take little.
static size_t guard_width(void) {
    uint64_t taken = atomic_load_explicit(&guard_units, memory_order_relaxed);
    int is_plenty = atomic_load_explicit(&arena.unit_count, memory_order_relaxed) == arena.span_units;
    return is_plenty && taken < arena.span_units / WIDE_SHARE && may_guard() ? WIDE_UNITS : 1;
}

void *hz5_guarded_alloc(size_t bytes, size_t slack, size_t alignment, int *is_zero) {
    if (bytes > PTRDIFF_MAX - HZ_MIB(4) || alignment > HZ_GIB(64))
        return NULL;
    size_t accessible = pages_of(bytes + slack);
    size_t body = (accessible + ARENA_UNIT_BYTES - 1) >> ARENA_UNIT_SHIFT;
    size_t align_units = alignment > ARENA_UNIT_BYTES ? alignment >> ARENA_UNIT_SHIFT : 1;
    size_t width = hz5_profile.guard_large ? guard_width() : 0;
    size_t front = hz_align_up(width, align_units);
    arena_look();
    char *run = arena_take(front + body + width, align_units, is_zero);
    if (run == NULL && width != 0) {
        width = front = 0;
        run = arena_take(body, align_units, is_zero);
    }
    if (run == NULL)
        return NULL;
    char *block = run + (front << ARENA_UNIT_SHIFT);
    struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(block));
    desc->large_bytes = bytes;
    desc->front_units = (uint32_t)front;
    desc->is_guarded = 0;
    count(&guard_units, guard_units_of(desc));
    hz5_large_begin(block, body + width, 0);
    hz5_large_count(accessible - hz5_large_usable(desc));
    if (width != 0)
        guard(desc, accessible);
    else if (hz5_profile.guard_large)
        count(&unguarded, 1);
    if (hz5_has_check(HZ5_ZERO) && !*is_zero) {
        memset(block, 0, accessible);
        *is_zero = 1;
    }
    return block;
}

// The run, its memory given back if `is_clean`, becomes the arena's.
static void give_back(struct hz5_desc *desc, int is_accessible, int is_clean) {
    char *run = run_of(desc);
    size_t units = run_units(desc);
    if (desc->is_guarded)
        count(&guards, 0 - (uint64_t)1);
    else if (hz5_profile.guard_large)
        count(&unguarded, 0 - (uint64_t)1);
    count(&guard_units, 0 - (uint64_t)guard_units_of(desc));
    if (!is_accessible && !protect_run(desc, OS_MEM_READ_WRITE))
        return; // no mapping is left to cut it out of: the arena never sees it again
    hz5_large_count(hz5_large_usable(desc));
    hz5_large_end(desc);
    arena_give(run, units, is_clean);
}

static struct hz5_desc *take_oldest(void) {
    struct hz5_desc *oldest = held.runs[held.first];
    held.first = (held.first + 1) % HELD_RUNS;
    held.count--;
    held.units -= run_units(oldest);
    return oldest;
}

// Holds the run back, and gives back what it pushes out.
static void hold(struct hz5_desc *desc) {
    struct hz5_desc *out;
    do {
        out = NULL;
        hz_lock(&held.lock);
        if (held.count == HELD_RUNS ||
            (held.count != 0 && held.units + run_units(desc) > arena.span_units / HELD_SHARE)) {
            out = take_oldest();
        } else {
            held.runs[(held.first + held.count++) % HELD_RUNS] = desc;
            held.units += run_units(desc);
        }
        hz_unlock(&held.lock);
        if (out != NULL)
            give_back(out, 0, 1);
    } while (out != NULL);
}

void hz5_guarded_flush(void) {
    struct hz5_desc *out;
    do {
        hz_lock(&held.lock);
        out = held.count != 0 ? take_oldest() : NULL;
        hz_unlock(&held.lock);
        if (out != NULL)
            give_back(out, 0, 1);
    } while (out != NULL);
}

// The caller has won the block: its state is CACHED.
void hz5_guarded_release(struct hz5_desc *desc) {
    hz5_large_count(0 - (uint64_t)hz5_guarded_usable(desc, hz5_has_check(HZ5_CANARY)));
    int is_emptied = hz5_has_check(HZ5_ZERO | HZ5_POISON) || hz5_profile.quarantine_bytes != 0;
    int is_clean = is_emptied && os_mem_decommit(block_of(desc), hz5_large_usable(desc));
    if (is_clean && desc->is_guarded && hz5_profile.quarantine_bytes != 0 && protect_run(desc, OS_MEM_NONE))
        hold(desc);
    else
        give_back(desc, !desc->is_guarded, is_clean);
}
