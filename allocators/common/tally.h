// SPDX-License-Identifier: Apache-2.0
// Counters that one thread at a time changes and any thread reads for statistics: no locked instruction, and a reader
// sees a value that was right at some time. Who hands the counter to another thread orders that itself.
#ifndef HZ_TALLY_H
#define HZ_TALLY_H

#include "compiler.h"

#include <stdatomic.h>

typedef _Atomic uint64_t hz_tally;

HZ_INLINE uint64_t hz_tally_get(const hz_tally *tally) {
    return atomic_load_explicit(tally, memory_order_relaxed);
}

// Modulo 2^64: `more` may stand for less.
HZ_INLINE void hz_tally_add(hz_tally *tally, uint64_t more) {
    atomic_store_explicit(tally, atomic_load_explicit(tally, memory_order_relaxed) + more, memory_order_relaxed);
}

HZ_INLINE void hz_tally_set(hz_tally *tally, uint64_t value) {
    atomic_store_explicit(tally, value, memory_order_relaxed);
}

#endif
