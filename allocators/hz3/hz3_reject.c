// SPDX-License-Identifier: Apache-2.0
// Why a pointer leads to no block.
#include "hz3.h"

static enum allocator_reject classify(const void *pointer) {
    size_t unit = hz3_unit_of(pointer);
    if (!arena_has(unit))
        return ALLOCATOR_REJECT_FOREIGN;
    size_t first = arena_run_of(unit);
    if (first == SIZE_MAX)
        return unit < arena_high_water() ? ALLOCATOR_REJECT_STALE_RUN : ALLOCATOR_REJECT_UNMAPPED;
    uint32_t tag = atomic_load_explicit(hz3_lookup.tags + first, memory_order_relaxed);
    return tag == HZ3_TAG_NONE ? ALLOCATOR_REJECT_STALE_RUN : ALLOCATOR_REJECT_INTERIOR;
}

void hz3_reject(const void *pointer, enum reject_operation operation) {
    reject(pointer, operation, classify(pointer));
}
