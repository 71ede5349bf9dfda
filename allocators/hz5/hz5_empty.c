// SPDX-License-Identifier: Apache-2.0
// Blocks of zero bytes where guards are on: each has an address of its own in units that nobody can read or write, and
// its state in a table. They belong to no heap.
#include "hz5.h"

#include "../common/os_mem.h"

#define UNIT_BLOCKS (ARENA_UNIT_BYTES / SIZECLASS_GRANULE)
#define UNITS_MOST 1024u
#define LOOKS 64u

struct empty_unit {
    char *base;
    struct hz5_block states[UNIT_BLOCKS];
    _Atomic uint8_t births[UNIT_BLOCKS]; // 0: free; otherwise its kind and 1
};

static _Atomic(struct empty_unit *) units[UNITS_MOST]; // the first `unit_count` are there
static _Atomic uint32_t unit_count;
static _Atomic uint32_t is_growing;
static _Atomic uint64_t cursor; // round all blocks, so that a freed one stays free for as long as can be

static int grow(void) {
    uint32_t count = atomic_load_explicit(&unit_count, memory_order_relaxed);
    int is_zero;
    struct empty_unit *unit = count < UNITS_MOST ? arena_metadata(sizeof *unit, OS_PAGE_BYTES) : NULL;
    char *base = unit != NULL ? arena_take(1, 1, &is_zero) : NULL;
    if (base == NULL)
        return 0;
    unit->base = base;
    os_mem_protect(base, ARENA_UNIT_BYTES, OS_MEM_NONE); // without mappings left they can be written: still nobody's
    struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(base));
    desc->units = 1;
    desc->dirty_pages = count;
    atomic_store_explicit(&desc->run, desc, memory_order_relaxed);
    atomic_store_explicit(&desc->base, (uintptr_t)base, memory_order_relaxed);
    atomic_store_explicit(&desc->kind, HZ5_KIND_EMPTY, memory_order_relaxed);
    uint32_t generation = hz5_generation_of(hz5_owner_generation_read_again(&desc->owner_generation)) + 1;
    hz5_owner_generation_write(&desc->owner_generation, (uint64_t)generation << 32 | HZ5_OWNER_LARGE);
    atomic_store_explicit(&units[count], unit, memory_order_relaxed);
    // ORDER: release: the unit; partner: hz5_empty_alloc().
    atomic_store_explicit(&unit_count, count + 1, memory_order_release);
    return 1;
}

static void *take(enum hzn_kind kind) {
    // ORDER: acquire: partner: grow().
    uint32_t count = atomic_load_explicit(&unit_count, memory_order_acquire);
    for (unsigned look = 0; count != 0 && look < LOOKS; look++) {
        uint64_t at = atomic_fetch_add_explicit(&cursor, 1, memory_order_relaxed) % (count * UNIT_BLOCKS);
        struct empty_unit *unit = atomic_load_explicit(&units[at / UNIT_BLOCKS], memory_order_relaxed);
        size_t index = at % UNIT_BLOCKS;
        uint8_t free = 0;
        // ORDER: acquire: what its last free did to the state; partner: hz5_empty_give().
        if (!atomic_compare_exchange_strong_explicit(unit->births + index, &free, (uint8_t)(kind + 1),
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        hz5_block_rest(unit->states + index, HZ5_LIVE);
        return unit->base + index * SIZECLASS_GRANULE;
    }
    return NULL;
}

// One thread grows at a time; the others take blocks with bytes meanwhile, as a child does whose parent was growing.
void *hz5_empty_alloc(enum hzn_kind kind) {
    void *block = take(kind);
    // ORDER: acquire: what the last one who grew has done; partner: the release below.
    if (block != NULL || atomic_exchange_explicit(&is_growing, 1, memory_order_acquire) != 0)
        return block;
    int grown = grow();
    atomic_store_explicit(&is_growing, 0, memory_order_release);
    return grown ? take(kind) : NULL;
}

void hz5_empty_give(struct hz5_block *state, _Atomic uint8_t *birth) {
    hz5_block_rest(state, HZ5_FREE);
    // ORDER: release: partner: take().
    atomic_store_explicit(birth, 0, memory_order_release);
}

int hz5_find_empty(const void *pointer, struct hz5_desc *desc, struct hz5_block **state, _Atomic uint8_t **birth) {
    uint64_t owner_generation = hz5_owner_generation_read(&desc->owner_generation);
    if (hz5_owner_of(owner_generation) != HZ5_OWNER_LARGE ||
        atomic_load_explicit(&desc->kind, memory_order_relaxed) != HZ5_KIND_EMPTY ||
        (uintptr_t)pointer % SIZECLASS_GRANULE != 0)
        return 0;
    struct empty_unit *unit = atomic_load_explicit(&units[desc->dirty_pages], memory_order_relaxed);
    size_t index = (uintptr_t)pointer % ARENA_UNIT_BYTES / SIZECLASS_GRANULE;
    *state = unit->states + index;
    *birth = unit->births + index;
    return 1;
}
