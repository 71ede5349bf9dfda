// SPDX-License-Identifier: Apache-2.0
// The arena's free extents, found by length and address, and its free dirty units, found by address. Every operation
// takes the same number of steps however many extents there are: sets are bit trees with 64 or 512 children a node, one
// set for each length or quarter of a doubling of lengths. Layer: common.
//
// SYNCHRONIZATION: the caller's lock.
#ifndef HZ_EXTENTS_H
#define HZ_EXTENTS_H

#include <stddef.h>
#include <stdint.h>

#define EXTENTS_NONE SIZE_MAX

// Two zeroed areas, for at most `units`: the upper levels, whole from the start, and the lowest, which must be writable
// up to extents_low_bytes(n) before extents_grow(n).
size_t extents_top_bytes(size_t units);
size_t extents_low_bytes(size_t units);
void extents_init(void *top, void *low, size_t units);

void extents_grow(size_t units);              // those up to `units` exist from now on, the new ones are free
void extents_free(size_t from, size_t units); // joins its neighbours
void extents_take(size_t from, size_t units); // all of it is free
size_t extents_length_at(size_t from);        // of the free extent that starts there; 0: none does
size_t extents_last_length(void);             // of the free extent at the end; 0: the last unit is taken
// Where in an extent `units` fit of which (base + index) is a multiple of `align_units`, the extent being the shortest
// of those looked at: at most `looks` that may be too short, then the first that cannot be. EXTENTS_NONE: none.
size_t extents_find(size_t units, size_t base, size_t align_units, size_t looks);

// Free units that may be resident. A unit that is taken must be removed.
void extents_dirty_add(size_t from, size_t to);
void extents_dirty_remove(size_t from, size_t to);
size_t extents_dirty_next(size_t from); // first one at or above; EXTENTS_NONE: none
size_t extents_dirty_last(size_t from); // last one at or below

#endif
