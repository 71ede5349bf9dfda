// SPDX-License-Identifier: Apache-2.0
// Taking a lock that is mostly held for less time than a sleep and a wake-up take.
#ifndef HZ_LOCK_H
#define HZ_LOCK_H

#include "compiler.h"

#include <pthread.h>

#define HZ_LOCK_SPINS 200u // some microseconds

// Leaves the core to its sibling for a moment.
HZ_INLINE void hz_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

HZ_INLINE void hz_lock(pthread_mutex_t *lock) {
    for (unsigned spins = 0; spins < HZ_LOCK_SPINS; spins++) {
        if (pthread_mutex_trylock(lock) == 0)
            return;
        hz_pause();
    }
    pthread_mutex_lock(lock);
}

#endif
