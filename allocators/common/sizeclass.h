// SPDX-License-Identifier: Apache-2.0
// Size classes, shared by hz3, hz4 and hz5 so that rounding is the same in every comparison.
//
// 16-byte steps to 1 KiB, then eight steps a doubling to 64 KiB. Classes from 2 KiB up are 64 bytes larger than their
// nominal size (colour): blocks at multiples of 4096 would all compete for one L1 set. Behind them stand uncoloured
// powers of two that only requests with a large alignment use.
#ifndef HZ_SIZECLASS_H
#define HZ_SIZECLASS_H

#include "compiler.h"

#define SIZECLASS_GRANULE 16u
#define SIZECLASS_FINE_COUNT 64u    // 16, 32, ... 1024
#define SIZECLASS_STEPPED_COUNT 48u // 1152 ... 65536 (+ 64)
#define SIZECLASS_ALIGNED_COUNT 6u  // 2048, 4096, ... 65536
#define SIZECLASS_MAX_BYTES 65536u  // largest request served from a class
#define SIZECLASS_FIRST_ALIGNED (SIZECLASS_FINE_COUNT + SIZECLASS_STEPPED_COUNT)
#define SIZECLASS_COUNT (SIZECLASS_FIRST_ALIGNED + SIZECLASS_ALIGNED_COUNT)

// What the table below holds for class 0. A library may choose it (hz3 does) so that an entry is the index of a list.
#ifndef SIZECLASS_FIRST_SLOT
#define SIZECLASS_FIRST_SLOT 0u
#endif

extern uint8_t sizeclass_of_granules[SIZECLASS_MAX_BYTES / SIZECLASS_GRANULE + 1]; // all zero until sizeclass_init()
extern uint32_t sizeclass_bytes[SIZECLASS_COUNT];

// Idempotent; the caller orders it before the first use of the tables.
void sizeclass_init(void);

// Slot of a request of `bytes` <= SIZECLASS_MAX_BYTES. Before sizeclass_init() it answers 0 for everything, which leads
// into the slow path because every list is empty then.
HZ_INLINE unsigned sizeclass_slot_of(size_t bytes) {
    return sizeclass_of_granules[((uint32_t)bytes + SIZECLASS_GRANULE - 1) / SIZECLASS_GRANULE];
}

HZ_INLINE unsigned sizeclass_of(size_t bytes) {
    return sizeclass_slot_of(bytes) - SIZECLASS_FIRST_SLOT;
}

// Smallest class (but for a colour of 64 bytes) whose blocks hold `bytes` and all start at a multiple of `alignment` in
// a run that starts at one; SIZECLASS_COUNT when no class does.
unsigned sizeclass_of_aligned(size_t bytes, size_t alignment);

#endif
