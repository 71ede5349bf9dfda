// SPDX-License-Identifier: Apache-2.0
// A histogram of times: exact below 256 ns, above that 128 buckets for each doubling (at most 0.8 % wide). Histograms
// of threads, samples and runs add up without loss. The buckets are those of an HDR histogram with two digits.
// Layer: runner.
#ifndef HZBENCH_HISTOGRAM_H
#define HZBENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_EXACT 256u // values below have a bucket each
#define HISTOGRAM_HALF 128u  // buckets a doubling
#define HISTOGRAM_BITS 40u   // values end at 2^40 ns, 18 minutes; larger ones count as that
#define HISTOGRAM_BUCKETS (HISTOGRAM_EXACT + HISTOGRAM_HALF * (HISTOGRAM_BITS - 8u))

struct histogram { // all zero: empty
    uint64_t count;
    uint64_t max; // exact
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_bucket(uint64_t value) {
    if (value < HISTOGRAM_EXACT)
        return (uint32_t)value;
    if (value >> HISTOGRAM_BITS != 0)
        return HISTOGRAM_BUCKETS - 1;
    const uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - 7u; // leaves 8 significant bits
    return HISTOGRAM_EXACT + (shift - 1) * HISTOGRAM_HALF + (uint32_t)(value >> shift) - HISTOGRAM_HALF;
}

static inline void histogram_record(struct histogram *histogram, uint64_t value) {
    histogram->count++;
    histogram->max = value > histogram->max ? value : histogram->max;
    histogram->buckets[histogram_bucket(value)]++;
}

uint64_t histogram_low(uint32_t bucket); // smallest and largest value of a bucket
uint64_t histogram_high(uint32_t bucket);
void histogram_add(struct histogram *sum, const struct histogram *part);

// Largest value of the bucket in which the value of that rank lies, and never more than the maximum; parts a million,
// 999000 for p99.9. UINT64_MAX when empty.
uint64_t histogram_percentile(const struct histogram *histogram, uint32_t ppm);

#endif
