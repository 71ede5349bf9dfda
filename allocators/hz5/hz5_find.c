// SPDX-License-Identifier: Apache-2.0
// From a pointer to the block that starts there, with proof. Free has this inlined, for the runs of small blocks.
#include "hz5.h"

int hz5_find_small(const void *pointer, struct hz5_desc *desc, struct hz5_block **state) {
    uint64_t reciprocal = hz5_reciprocal_read(&desc->reciprocal);
    uint64_t offset = (uintptr_t)pointer - atomic_load_explicit(&desc->base, memory_order_relaxed);
    struct hz5_position position = hz5_position_of(offset, reciprocal);
    if (position.remainder >= reciprocal)
        return 0;
    *state = hz5_states_of(desc) + position.index;
    return 1;
}

int hz5_find_large(const void *pointer, struct hz5_desc *desc, struct hz5_block **state) {
    uint64_t owner_generation = hz5_owner_generation_read(&desc->owner_generation);
    if (hz5_owner_of(owner_generation) != HZ5_OWNER_LARGE || (uintptr_t)pointer % ARENA_UNIT_BYTES != 0 ||
        atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_EMPTY)
        return 0;
    *state = &desc->large_state;
    return 1;
}

struct hz5_desc *hz5_find_live(const void *pointer, struct hz5_block **state) {
    size_t unit = hz5_unit_of_pointer(pointer);
    if (!arena_has_fast(unit))
        return NULL;
    struct hz5_desc *desc = hz5_desc_at(unit);
    if (!hz5_find_small(pointer, desc, state) && !hz5_find_large(pointer, desc, state))
        return NULL;
    if (!hz5_block_is_live(*state))
        return NULL;
    return desc;
}
