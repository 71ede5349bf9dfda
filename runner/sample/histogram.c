// SPDX-License-Identifier: Apache-2.0
// Sums and percentiles. Layer: runner.
#include "histogram.h"

uint64_t histogram_low(uint32_t bucket) {
    if (bucket < HISTOGRAM_EXACT)
        return bucket;
    const uint32_t shift = (bucket - HISTOGRAM_EXACT) / HISTOGRAM_HALF + 1;
    return (uint64_t)((bucket - HISTOGRAM_EXACT) % HISTOGRAM_HALF + HISTOGRAM_HALF) << shift;
}

uint64_t histogram_high(uint32_t bucket) {
    const uint32_t shift = bucket < HISTOGRAM_EXACT ? 0 : (bucket - HISTOGRAM_EXACT) / HISTOGRAM_HALF + 1;
    return histogram_low(bucket) + (UINT64_C(1) << shift) - 1;
}

void histogram_add(struct histogram *sum, const struct histogram *part) {
    sum->count += part->count;
    sum->max = part->max > sum->max ? part->max : sum->max;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        sum->buckets[i] += part->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *histogram, uint32_t ppm) {
    if (histogram->count == 0)
        return UINT64_MAX;
    // Rounded up, without overflow for any count that a machine can reach.
    uint64_t rank = histogram->count / 1000000u * ppm + (histogram->count % 1000000u * ppm + 999999u) / 1000000u;
    rank = rank == 0 ? 1 : rank;
    uint64_t seen = 0;
    uint32_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS - 1 && (seen += histogram->buckets[bucket]) < rank)
        bucket++;
    const uint64_t high = histogram_high(bucket);
    return high < histogram->max ? high : histogram->max;
}
