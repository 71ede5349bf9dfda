// SPDX-License-Identifier: Apache-2.0
// lock.h
#include "lock.h"

#include <threads.h>

#define SPINS 200u // some microseconds
// A lock with inheritance goes to the thread that has slept longest, whether that runs or not, and all others queue up
// meanwhile. So threads sleep late: first they let others run a few times.
#define YIELDS 4u

static int spin(hz_mutex *lock) {
    for (unsigned spins = 0; spins < SPINS; spins++) {
        if (hz_try_lock(lock))
            return 1;
        hz_pause();
    }
    return 0;
}

void hz_lock(hz_mutex *lock) {
    if (spin(lock))
        return;
    for (unsigned yields = 0; yields < YIELDS; yields++) {
        thrd_yield();
        if (spin(lock))
            return;
    }
    hz_lock_sleep(lock);
}
