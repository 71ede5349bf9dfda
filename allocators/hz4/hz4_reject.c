// SPDX-License-Identifier: Apache-2.0
// Why a pointer is not the start of a block.
#include "hz4.h"

enum allocator_reject hz4_classify(const void *pointer) {
    size_t granule = hz4_granule_of(pointer);
    if (!arena_is_below(granule, &hz4_granule_count))
        return ALLOCATOR_REJECT_FOREIGN;
    if (atomic_load_explicit(&hz4_tag_at(granule)->index, memory_order_relaxed) != 0)
        return ALLOCATOR_REJECT_INTERIOR;
    switch (hz4_way_read(&hz4_tag_at(granule)->route)) {
    case HZ4_ROUTE_LARGE:
        return ALLOCATOR_REJECT_INTERIOR;
    case HZ4_ROUTE_LARGE_FREE:
        return ALLOCATOR_REJECT_DOUBLE_FREE;
    default: {
        size_t unit = granule / HZ4_UNIT_GRANULES;
        size_t first = arena_run_of(unit);
        return first != SIZE_MAX && first != unit ? ALLOCATOR_REJECT_INTERIOR
               : unit < arena_high_water()        ? ALLOCATOR_REJECT_STALE_RUN
                                                  : ALLOCATOR_REJECT_UNMAPPED;
    }
    }
}
