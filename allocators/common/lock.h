// SPDX-License-Identifier: Apache-2.0
// Locks of the allocators. Most are held for less time than a sleep and a wake-up take, so a waiter tries for a moment
// before it sleeps. One that sleeps lends its priority to the holder: without that, a real-time thread would wait for
// one that threads of a priority between the two keep from running. On Windows the scheduler raises starved threads
// itself.
#ifndef HZ_LOCK_H
#define HZ_LOCK_H

#include "compiler.h"

#include <stdatomic.h>
#include <stdint.h>

// Zeros: free. On Linux the word is the holder's thread id, as the kernel wants it for a lock that inherits; on Windows
// the whole is a slim lock.
typedef union {
    _Atomic uint32_t word;
    void *system;
} hz_mutex;

// Leaves the core to its sibling for a moment.
HZ_INLINE void hz_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void hz_lock(hz_mutex *lock);
int hz_try_lock(hz_mutex *lock); // 1 on success
void hz_unlock(hz_mutex *lock);
// In the child of a fork, for a lock that nobody holds but, maybe, the forking thread: it held it under another id.
void hz_lock_inherit(hz_mutex *lock);
// There as well: a lock whose holder, another thread, is not there and had changed nothing.
void hz_lock_forget(hz_mutex *lock);

void hz_lock_sleep(hz_mutex *lock); // of hz_lock() alone: what is left when trying has not helped

#endif
