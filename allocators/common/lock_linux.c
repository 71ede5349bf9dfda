// SPDX-License-Identifier: Apache-2.0
// What lock.h takes from Linux: mutexes that hand the priority of a waiter on to the holder.
#include "lock.h"

void hz_lock_init(pthread_mutex_t *lock) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    // A kernel without such futexes refuses.
    if (pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) != 0 ||
        pthread_mutex_init(lock, &attributes) != 0)
        pthread_mutex_init(lock, NULL);
    pthread_mutexattr_destroy(&attributes);
}
