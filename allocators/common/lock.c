// SPDX-License-Identifier: Apache-2.0
// lock.h
#include "lock.h"

#include <threads.h>

#define SPINS 200u // some microseconds
// A lock with inheritance goes to the thread that has slept longest, whether that runs or not, and all others queue up
// meanwhile. So threads sleep late: first they let others run a few times.
#define YIELDS 4u

int hz_try_lock(pthread_mutex_t *lock) {
    return pthread_mutex_trylock(lock) == 0;
}

static int spin(pthread_mutex_t *lock) {
    for (unsigned spins = 0; spins < SPINS; spins++) {
        if (hz_try_lock(lock))
            return 1;
        hz_pause();
    }
    return 0;
}

void hz_lock(pthread_mutex_t *lock) {
    if (spin(lock))
        return;
    for (unsigned yields = 0; yields < YIELDS; yields++) {
        thrd_yield();
        if (spin(lock))
            return;
    }
    pthread_mutex_lock(lock);
}

void hz_unlock(pthread_mutex_t *lock) {
    pthread_mutex_unlock(lock);
}

void hz_lock_inherit(pthread_mutex_t *lock) {
    int is_held = !hz_try_lock(lock);
    hz_lock_init(lock);
    if (is_held)
        hz_lock(lock);
}
