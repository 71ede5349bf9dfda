// SPDX-License-Identifier: Apache-2.0
// What lock.h takes from Windows: slim locks, which need no more than zeros.
#include "lock.h"

#include <windows.h>

_Static_assert(sizeof(hz_mutex) == sizeof(SRWLOCK), "hz_mutex is an SRWLOCK");

int hz_try_lock(hz_mutex *lock) {
    return TryAcquireSRWLockExclusive((SRWLOCK *)(void *)lock) != 0;
}

void hz_lock_sleep(hz_mutex *lock) {
    AcquireSRWLockExclusive((SRWLOCK *)(void *)lock);
}

void hz_unlock(hz_mutex *lock) {
    ReleaseSRWLockExclusive((SRWLOCK *)(void *)lock);
}

void hz_lock_inherit(hz_mutex *lock) {
    (void)lock; // nothing forks
}

void hz_lock_forget(hz_mutex *lock) {
    (void)lock; // as above
}
