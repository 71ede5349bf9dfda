// SPDX-License-Identifier: Apache-2.0
// Builds the table of sizes.h. Layer: workloads.
#include "sizes.h"

#include <math.h>

void sizes_init(struct sizes *sizes, uint32_t distribution, uint64_t min_bytes, uint64_t max_bytes) {
    sizes->min_bytes = min_bytes;
    sizes->span = max_bytes - min_bytes + 1;
    sizes->log_uniform = distribution == SIZES_LOG_UNIFORM;

    // step = (end / min) ^ (1 / 256). Eight square roots: sqrt is exact to the last bit everywhere, pow is not.
    const double end = (double)max_bytes + 1.0;
    double step = end / (double)min_bytes;
    for (int i = 0; i < 8; i++)
        step = sqrt(step);
    double edge = (double)min_bytes;
    for (int i = 0; i < SIZES_SEGMENTS; i++) {
        const double capped = edge < (double)max_bytes ? edge : (double)max_bytes;
        sizes->start[i] = (uint32_t)capped;
        edge *= step;
    }
    sizes->start[SIZES_SEGMENTS] = (uint32_t)(max_bytes + 1);
}

uint64_t sizes_mean(const struct sizes *sizes) {
    if (!sizes->log_uniform)
        return sizes->min_bytes + (sizes->span - 1) / 2;
    uint64_t sum = 0;
    for (int i = 0; i < SIZES_SEGMENTS; i++) {
        const uint32_t low = sizes->start[i];
        const uint32_t high = sizes->start[i + 1] > low ? sizes->start[i + 1] - 1 : low;
        sum += low + (high - low) / 2;
    }
    return sum / SIZES_SEGMENTS;
}
