// SPDX-License-Identifier: Apache-2.0
// When memory is read again after the threads have ended: at these two instants, as far as --settle goes, and at those
// that it names. Layer: runner, plan.
#ifndef HZBENCH_SETTLE_H
#define HZBENCH_SETTLE_H

#include <stdint.h>

#define SETTLE_SHORT_NS UINT64_C(100000000) // rss_100ms
#define SETTLE_LONG_NS UINT64_C(1000000000) // rss_1s
#define SETTLE_MOST 8                       // of --settle

// The last instant of a list that ends with a 0 or is full; 0: nothing is read.
static inline uint64_t settle_end_ns(const uint64_t *times_ns) {
    uint64_t end_ns = 0;
    for (int i = 0; i < SETTLE_MOST; i++)
        end_ns = times_ns[i] > end_ns ? times_ns[i] : end_ns;
    return end_ns;
}

#endif
