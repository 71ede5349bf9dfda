// SPDX-License-Identifier: Apache-2.0
// lock.h
#include "lock.h"

#include <threads.h>

#define PAUSES 200u    // some microseconds
#define MOST_PAUSES 8u // between two tries
// A lock with inheritance goes to the thread that has slept longest, whether that runs or not, and all others queue up
// meanwhile. So threads sleep late: first they let others run a few times.
#define YIELDS 4u

// Each try reads the lock's line, which each holder takes away from all who wait: with 32 threads, tries without a
// pause between moved more lines than all else. So a waiter pauses twice as long after each, up to a bound that is
// short against what locks are held for.
static int spin(hz_mutex *lock) {
    unsigned wait = 1;
    for (unsigned pauses = 0; pauses < PAUSES; pauses += wait) {
        if (hz_try_lock(lock))
            return 1;
        for (unsigned i = 0; i < wait; i++)
            hz_pause();
        wait = wait < MOST_PAUSES ? wait * 2 : wait;
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
