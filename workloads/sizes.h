// SPDX-License-Identifier: Apache-2.0
// Size distributions: uniform and log-uniform over [min, max], from one 64-bit random number without division.
// Log-uniform uses 256 geometric segments and is linear inside each (error of the density below 3 % for ranges up to
// 2^16:1). The table is made with IEEE square roots and products only, so it is equal on every platform.
#ifndef HZBENCH_SIZES_H
#define HZBENCH_SIZES_H

#include "rng.h"
#include "workload.h"

#define SIZES_SEGMENTS 256

struct sizes {
    uint64_t min_bytes;
    uint64_t span;                      // number of different sizes, for uniform
    uint32_t log_uniform;               // 1: use the table
    uint32_t start[SIZES_SEGMENTS + 1]; // start[i]..start[i+1]-1 is segment i; start[256] = max + 1
};

// Needs 1 <= min_bytes <= max_bytes < 2^31.
void sizes_init(struct sizes *sizes, uint32_t distribution, uint64_t min_bytes, uint64_t max_bytes);

// Of what sizes_pick returns, rounded down.
uint64_t sizes_mean(const struct sizes *sizes);

static inline uint32_t sizes_pick(const struct sizes *sizes, uint64_t random) {
    if (sizes->log_uniform) {
        const uint32_t *start = &sizes->start[random >> 56];
        return start[0] + (uint32_t)rng_bounded(random << 8, start[1] - start[0]);
    }
    return (uint32_t)(sizes->min_bytes + rng_bounded(random, sizes->span));
}

#endif
