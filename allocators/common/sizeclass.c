// SPDX-License-Identifier: Apache-2.0
// sizeclass.h
#include "sizeclass.h"

uint8_t sizeclass_of_granules[SIZECLASS_MAX_BYTES / SIZECLASS_GRANULE + 1];
uint32_t sizeclass_bytes[SIZECLASS_COUNT];

#define COLOUR_BYTES 64u
#define COLOUR_FROM_BYTES 2048u

void sizeclass_init(void) {
    unsigned class = 0;
    for (; class < SIZECLASS_FINE_COUNT; class ++)
        sizeclass_bytes[class] = (class + 1) * SIZECLASS_GRANULE;
    for (uint32_t low = 1024; low < SIZECLASS_MAX_BYTES; low *= 2) {
        for (uint32_t step = 1; step <= 8; step++) {
            uint32_t nominal = low + low / 8 * step;
            sizeclass_bytes[class ++] = nominal + (nominal >= COLOUR_FROM_BYTES ? COLOUR_BYTES : 0);
        }
    }
    for (uint32_t bytes = 2048; bytes <= SIZECLASS_MAX_BYTES; bytes *= 2)
        sizeclass_bytes[class ++] = bytes;
    unsigned fit = 0;
    for (uint32_t granules = 0; granules <= SIZECLASS_MAX_BYTES / SIZECLASS_GRANULE; granules++) {
        while (sizeclass_bytes[fit] < granules * SIZECLASS_GRANULE)
            fit++;
        sizeclass_of_granules[granules] = (uint8_t)(SIZECLASS_FIRST_SLOT + fit);
    }
}

unsigned sizeclass_of_aligned(size_t bytes, size_t alignment) {
    if (bytes > SIZECLASS_MAX_BYTES || alignment > SIZECLASS_MAX_BYTES)
        return SIZECLASS_COUNT;
    size_t multiple = hz_align_up(bytes != 0 ? bytes : 1, alignment);
    unsigned fit = multiple <= SIZECLASS_MAX_BYTES ? sizeclass_of(multiple) : SIZECLASS_COUNT;
    if (alignment > COLOUR_BYTES && multiple >= COLOUR_FROM_BYTES && fit < SIZECLASS_FIRST_ALIGNED)
        fit = SIZECLASS_FIRST_ALIGNED; // no coloured class will do
    while (fit < SIZECLASS_COUNT && (sizeclass_bytes[fit] < bytes || (sizeclass_bytes[fit] & (alignment - 1)) != 0))
        fit++;
    return fit;
}
