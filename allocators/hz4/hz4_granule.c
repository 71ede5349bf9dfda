// SPDX-License-Identifier: Apache-2.0
// Memory for runs and the way from an address to its run. Small runs take one or two granules of an arena unit that
// they may share with runs of other classes and other heaps; a unit without runs goes back to the arena.
//
// SYNCHRONIZATION: one lock for shared units, the map's growth and spare descriptors. Entries of the map are read
// without it: whoever has a block of a run has been given it after the entry was written.
#include "hz4.h"

#include "../common/check.h"
#include "../common/lock.h"

#define CHUNK_SHIFT 10u
#define CHUNK_GRANULES ((size_t)1 << CHUNK_SHIFT)
#define WORD_BITS 64u
#define LENGTH_SHIFT 8u
#define ALL_GRANULES ((1u << HZ4_UNIT_GRANULES) - 1)
#define KIND_SHARED SIZECLASS_COUNT // of units in which runs of several classes lie

static struct {
    hz_mutex lock;
    struct hz4_run *spare[SIZECLASS_COUNT]; // descriptors to use again
    // Two levels, because tags have no room for a pointer and must stay dense. An entry is a run, or for the first
    // granule of a large run its length << LENGTH_SHIFT | class << 1 | 1, its second's a link << 1 | 1, and its third's
    // the units of its room << 1 | 1.
    _Atomic(_Atomic uintptr_t *) *chunks; // const
    uint64_t *shared;                     // const; bit a unit: some of its granules are free
    size_t first_word, end_word;          // no bit is set outside of these
} map;

int hz4_granule_init(void) {
    size_t chunks = (arena.span_units * HZ4_UNIT_GRANULES + CHUNK_GRANULES - 1) / CHUNK_GRANULES;
    size_t words = arena.span_units / WORD_BITS + 1;
    map.chunks = arena_metadata(chunks * sizeof *map.chunks, HZ_CACHE_LINE);
    map.shared = arena_metadata(words * sizeof *map.shared, HZ_CACHE_LINE);
    return map.chunks != NULL && map.shared != NULL;
}

void hz4_granule_fork_lock(void) {
    hz_lock(&map.lock);
}

void hz4_granule_fork_inherit(void) {
    hz_lock_inherit(&map.lock);
}

void hz4_granule_fork_unlock(void) {
    hz_unlock(&map.lock);
}

// ---- shared units -------------------------------------------------------------------------------------------------

// Bit a granule of the unit, set: free. Kept in the tag of its first granule.
static uint8_t *free_mask(size_t unit) {
    return &hz4_tag_at(unit * HZ4_UNIT_GRANULES)->free_mask;
}

static void mark_shared(size_t unit, int is_shared) {
    size_t word = unit / WORD_BITS;
    uint64_t bit = (uint64_t)1 << unit % WORD_BITS;
    map.shared[word] = is_shared ? map.shared[word] | bit : map.shared[word] & ~bit;
    if (is_shared && word < map.first_word)
        map.first_word = word;
    if (is_shared && word >= map.end_word)
        map.end_word = word + 1;
}

// `granules` neighbours, aligned to their number.
static int find_in_mask(unsigned mask, uint32_t granules) {
    for (uint32_t at = 0; at < HZ4_UNIT_GRANULES; at += granules) {
        unsigned wanted = ((1u << granules) - 1) << at;
        if ((mask & wanted) == wanted)
            return (int)at;
    }
    return -1;
}

// The lowest unit with room: the higher ones get the chance to become empty.
static void *take_shared(uint32_t granules) {
    int leading = 1;
    for (size_t word = map.first_word; word < map.end_word; word++) {
        if (leading && map.shared[word] == 0)
            map.first_word = word + 1;
        else
            leading = 0;
        for (uint64_t bits = map.shared[word]; bits != 0; bits &= bits - 1) {
            size_t unit = word * WORD_BITS + (size_t)__builtin_ctzll(bits);
            uint8_t *mask = free_mask(unit);
            int at = find_in_mask(*mask, granules);
            if (at < 0)
                continue;
            *mask &= (uint8_t) ~(((1u << granules) - 1) << at);
            mark_shared(unit, *mask != 0);
            return (void *)(arena.base + (unit << ARENA_UNIT_SHIFT) + ((uintptr_t)at << HZ4_GRANULE_SHIFT));
        }
    }
    return NULL;
}

void *hz4_granules_take(uint32_t granules, unsigned size_class) {
    int is_part = granules < HZ4_UNIT_GRANULES;
    hz_lock(&map.lock);
    void *base = is_part ? take_shared(granules) : NULL;
    if (base == NULL) {
        size_t units = is_part ? 1 : granules / HZ4_UNIT_GRANULES;
        unsigned kind = is_part ? KIND_SHARED : size_class;
        base = arena_take_marked(units, 1, kind);
        if (base == NULL) { // before an allocation fails, the free large runs go back to the arena
            hz4_large_clear();
            base = arena_take_marked(units, 1, kind);
        }
        size_t end = base != NULL ? hz4_granule_of(base) + granules : 0;
        if (end > HZ4_MAX_GRANULES) {
            arena_give_marked(base, units, kind);
            base = NULL;
        }
        if (base != NULL && is_part) {
            size_t unit = hz4_granule_of(base) / HZ4_UNIT_GRANULES;
            *free_mask(unit) = (uint8_t)(ALL_GRANULES & ~((1u << granules) - 1));
            mark_shared(unit, 1);
        }
    }
    hz_unlock(&map.lock);
    return base;
}

// The caller holds the lock.
static void spare_push(struct hz4_run *run) {
    run->next = map.spare[run->size_class];
    map.spare[run->size_class] = run;
}

// With its descriptor: one lock for both, since runs die in numbers.
void hz4_granules_give(struct hz4_run *run) {
    void *base = (void *)run->base;
    uint32_t granules = run->granules;
    int is_part = granules < HZ4_UNIT_GRANULES;
    unsigned kind = is_part ? KIND_SHARED : run->size_class;
    size_t unit = hz4_granule_of(base) / HZ4_UNIT_GRANULES;
    int is_empty = !is_part;
    hz_lock(&map.lock);
    arena_mark(base, run->touched * sizeclass_bytes[run->size_class]);
    if (is_part) {
        uint8_t *mask = free_mask(unit);
        *mask |= (uint8_t)(((1u << granules) - 1) << hz4_granule_of(base) % HZ4_UNIT_GRANULES);
        is_empty = *mask == ALL_GRANULES;
        mark_shared(unit, !is_empty);
        if (is_empty)
            *mask = 0;
    }
    spare_push(run);
    hz_unlock(&map.lock);
    if (is_empty)
        arena_give_marked((void *)(arena.base + (unit << ARENA_UNIT_SHIFT)), is_part ? 1 : granules / HZ4_UNIT_GRANULES,
                          kind);
}

// ---- the map ------------------------------------------------------------------------------------------------------

static _Atomic uintptr_t *map_chunk(size_t granule) {
    // ORDER: acquire: the zeroed chunk; partner: the release in map_prepare().
    return atomic_load_explicit(&map.chunks[granule >> CHUNK_SHIFT], memory_order_acquire);
}

static int map_prepare(size_t granule, size_t granules) {
    for (size_t at = granule & ~(CHUNK_GRANULES - 1); at < granule + granules; at += CHUNK_GRANULES) {
        if (map_chunk(at) != NULL)
            continue;
        hz_lock(&map.lock);
        _Atomic uintptr_t *chunk = map_chunk(at);
        if (chunk == NULL) {
            chunk = arena_metadata(CHUNK_GRANULES * sizeof *chunk, HZ_CACHE_LINE);
            // ORDER: release: the chunk reads zero; partner: map_chunk().
            atomic_store_explicit(&map.chunks[at >> CHUNK_SHIFT], chunk, memory_order_release);
        }
        hz_unlock(&map.lock);
        if (chunk == NULL)
            return 0;
    }
    return 1;
}

static void map_store(size_t granule, uintptr_t value) {
    atomic_store_explicit(map_chunk(granule) + (granule & (CHUNK_GRANULES - 1)), value, memory_order_relaxed);
}

static uintptr_t map_load(size_t granule) {
    _Atomic uintptr_t *chunk = map_chunk(granule);
    return chunk != NULL ? atomic_load_explicit(chunk + (granule & (CHUNK_GRANULES - 1)), memory_order_relaxed) : 0;
}

int hz4_map_set_run(struct hz4_run *run) {
    size_t granule = hz4_granule_of((void *)run->base);
    if (!map_prepare(granule, run->granules))
        return 0;
    for (uint32_t i = 0; i < run->granules; i++)
        map_store(granule + i, (uintptr_t)run);
    return 1;
}

struct hz4_run *hz4_map_run(size_t granule) {
    uintptr_t entry = map_load(granule);
    return (entry & 1) == 0 ? (struct hz4_run *)entry : NULL;
}

int hz4_map_set_large(size_t granule, size_t units, unsigned large_class) {
    if (granule >= HZ4_MAX_GRANULES || !map_prepare(granule, HZ4_UNIT_GRANULES))
        return 0;
    map_store(granule, units << LENGTH_SHIFT | large_class << 1 | 1);
    return 1;
}

size_t hz4_map_large(size_t granule) {
    uintptr_t entry = map_load(granule);
    return (entry & 1) != 0 ? entry >> LENGTH_SHIFT : 0;
}

unsigned hz4_map_large_class(size_t granule) {
    return (map_load(granule) & (((uintptr_t)1 << LENGTH_SHIFT) - 1)) >> 1;
}

void hz4_map_set_link(size_t granule, uint32_t link) {
    map_store(granule + 1, (uintptr_t)link << 1 | 1);
}

uint32_t hz4_map_link(size_t granule) {
    return (uint32_t)(map_load(granule + 1) >> 1);
}

void hz4_map_set_room(size_t granule, size_t units) {
    map_store(granule + 2, units << 1 | 1);
}

size_t hz4_map_room(size_t granule) {
    return map_load(granule + 2) >> 1;
}

// ---- descriptors --------------------------------------------------------------------------------------------------

struct hz4_run *hz4_descriptor_take(unsigned size_class, size_t bytes) {
    hz_lock(&map.lock);
    struct hz4_run *run = map.spare[size_class];
    if (run != NULL)
        map.spare[size_class] = run->next;
    hz_unlock(&map.lock);
    if (run == NULL)
        run = arena_metadata(bytes, HZ_CACHE_LINE);
    if (run != NULL)
        run->size_class = size_class;
    return run;
}

void hz4_descriptor_give(struct hz4_run *run) {
    hz_lock(&map.lock);
    spare_push(run);
    hz_unlock(&map.lock);
}
