// SPDX-License-Identifier: Apache-2.0
// Locks of the allocators. Most are held for less time than a sleep and a wake-up take, so a waiter tries for a moment
// before it sleeps. One that sleeps lends its priority to the holder: without that, a real-time thread would wait for one
// that threads of a priority between the two keep from running. On Windows the scheduler raises starved threads itself.
#ifndef HZ_LOCK_H
#define HZ_LOCK_H

#include "compiler.h"

#include <pthread.h>

// Leaves the core to its sibling for a moment.
HZ_INLINE void hz_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Before the first use, or again while nobody holds it. A statically initialised mutex works as well, but without
// inheritance.
void hz_lock_init(pthread_mutex_t *lock);
void hz_lock(pthread_mutex_t *lock);
int hz_try_lock(pthread_mutex_t *lock); // 1 on success
void hz_unlock(pthread_mutex_t *lock);
// In the child of a fork, for a lock that nobody holds but, maybe, the forking thread: it held it under another id.
void hz_lock_inherit(pthread_mutex_t *lock);

#endif
