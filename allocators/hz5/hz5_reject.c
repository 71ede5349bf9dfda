// SPDX-License-Identifier: Apache-2.0
// Why a pointer is not the start of a live block.
#include "hz5.h"

// Where a unit belongs to a large run but is not its first, the descriptor is empty: the arena knows the run.
static int is_inside_run(size_t unit) {
    size_t first = arena_run_of(unit);
    return first != SIZE_MAX && first != unit;
}

enum allocator_reject hz5_classify(const void *pointer) {
    size_t unit = hz5_unit_of_pointer(pointer);
    if (!arena_has(unit))
        return ALLOCATOR_REJECT_FOREIGN;
    struct hz5_desc *desc = hz5_desc_at(unit);
    uint64_t owner_generation = hz5_owner_generation_read(&desc->owner_generation);
    if (hz5_owner_of(owner_generation) == HZ5_OWNER_NONE) {
        if (is_inside_run(unit))
            return ALLOCATOR_REJECT_INTERIOR;
        return hz5_generation_of(owner_generation) != 0 || unit < arena_high_water() ? ALLOCATOR_REJECT_STALE_RUN
                                                                                     : ALLOCATOR_REJECT_UNMAPPED;
    }
    if ((uintptr_t)pointer % SIZECLASS_GRANULE != 0)
        return ALLOCATOR_REJECT_MISALIGNED;
    struct hz5_block *state;
    _Atomic uint8_t *birth;
    if (!hz5_find_small(pointer, desc, &state) && !hz5_find_large(pointer, desc, &state) &&
        !hz5_find_empty(pointer, desc, &state, &birth))
        return ALLOCATOR_REJECT_INTERIOR;
    switch (hz5_block_peek(state)) {
    case HZ5_FREE:
    case HZ5_CACHED:
    case HZ5_MOVING:
    case HZ5_LIVE: // somebody else's free came between the refusal and this look
        return ALLOCATOR_REJECT_DOUBLE_FREE;
    case HZ5_REMOTE:
        return ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE;
    case HZ5_NO_BLOCK:
        return ALLOCATOR_REJECT_INTERIOR;
    default:
        return ALLOCATOR_REJECT_CORRUPT;
    }
}
