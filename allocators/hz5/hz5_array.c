// SPDX-License-Identifier: Apache-2.0
// Arrays of states: one byte a block of a run and one or more for its end. Type-stable: a run's array is used again by
// another run of its class, and by nothing else.
//
// A free array holds its link in its first eight bytes, seven bits a byte under a set top bit: no stale
// compare-and-swap that expects LIVE can hit it. A returned array rests until RESTING_ARRAYS others of its class
// have been returned: a free that is stalled between its look at the descriptor and its exchange meets bytes that are
// not LIVE, not those of the run's next life.
#include "hz5.h"

#include "../common/lock.h"

#include <string.h>

#define ARRAY_ALIGN 64u // no two runs share a line of states
#define RESTING_ARRAYS 8u

static struct {
    hz_mutex lock;
    struct {
        struct hz5_block *first, *last; // oldest and youngest
        uint32_t count;
    } resting[SIZECLASS_COUNT];
} arrays;

void hzn_fork_lock(void) {
    hz5_guard_lock();
    hz_lock(&arrays.lock);
}

void hzn_fork_inherit(void) {
    hz_lock_inherit(&arrays.lock);
    hz5_guard_inherit();
    hz5_checks_inherit();
}

void hzn_fork_unlock(void) {
    hz_unlock(&arrays.lock);
    hz5_guard_unlock();
}

static void link_write(struct hz5_block *array, struct hz5_block *next) {
    for (int i = 0; i < 8; i++)
        hz5_block_rest(array + i, (uint8_t)(0x80 | ((uintptr_t)next >> (7 * i) & 0x7f)));
}

static struct hz5_block *link_read(struct hz5_block *array) {
    uintptr_t next = 0;
    for (int i = 0; i < 8; i++)
        next |= (uintptr_t)(hz5_block_peek(array + i) & 0x7f) << (7 * i);
    return (struct hz5_block *)next;
}

struct hz5_block *hz5_array_take(unsigned size_class, uint32_t block_count) {
    struct hz5_block *array = NULL;
    hz_lock(&arrays.lock);
    if (arrays.resting[size_class].count > RESTING_ARRAYS) {
        array = arrays.resting[size_class].first;
        arrays.resting[size_class].first = link_read(array);
        arrays.resting[size_class].count--;
    }
    hz_unlock(&arrays.lock);
    uint32_t bytes = (uint32_t)hz_align_up(block_count + 1, ARRAY_ALIGN);
    uint32_t fresh_from = array == NULL ? block_count : 8;
    size_t births = hz5_is_checked ? hz5_births_bytes(block_count) : 0;
    if (array == NULL)
        array = arena_metadata(bytes + births, ARRAY_ALIGN);
    else if (births != 0)
        memset(array + bytes, 0, births);
    if (fresh_from == 8)
        for (uint32_t i = 0; i < 8; i++)
            hz5_block_rest(array + i, i < block_count ? HZ5_FREE : HZ5_NO_BLOCK);
    for (uint32_t i = fresh_from; array != NULL && i >= block_count && i < bytes; i++)
        hz5_block_rest(array + i, HZ5_NO_BLOCK);
    return array;
}

void hz5_array_give(unsigned size_class, struct hz5_block *array) {
    hz_lock(&arrays.lock);
    link_write(array, NULL);
    if (arrays.resting[size_class].count++ == 0)
        arrays.resting[size_class].first = array;
    else
        link_write(arrays.resting[size_class].last, array);
    arrays.resting[size_class].last = array;
    hz_unlock(&arrays.lock);
}
