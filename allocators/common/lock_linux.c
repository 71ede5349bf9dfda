// SPDX-License-Identifier: Apache-2.0
// What lock.h takes from Linux: futexes that hand the priority of a waiter on to the holder. Not mutexes of the C
// library: these compare the holder's id with the thread's own when they are let go, and in the child of a fork that a
// signal handler made, in the middle of locking, the thread goes on with an id that is no longer its own.
#include "lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

static HZ_THREAD_LOCAL uint32_t thread_id; // 0: not asked yet

static HZ_COLD uint32_t ask_id(void) {
    return thread_id = (uint32_t)syscall(SYS_gettid);
}

int hz_try_lock(hz_mutex *lock) {
    uint32_t expected = 0;
    uint32_t id = HZ_LIKELY(thread_id != 0) ? thread_id : ask_id();
    // ORDER: acquire: what the last holder did; partner: hz_unlock().
    return atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
           atomic_compare_exchange_strong_explicit(&lock->word, &expected, id, memory_order_acquire,
                                                   memory_order_relaxed);
}

// The kernel gives the lock, or says why not: interrupted, a holder that is just ending, no such futexes here.
void hz_lock_sleep(hz_mutex *lock) {
    int saved = errno;
    while (!hz_try_lock(lock)) {
        if (syscall(SYS_futex, &lock->word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0) {
            // ORDER: acquire: as above; the kernel has changed the word.
            (void)atomic_load_explicit(&lock->word, memory_order_acquire);
            break;
        }
        if (errno != EINTR && errno != EAGAIN)
            thrd_yield();
    }
    errno = saved;
}

void hz_unlock(hz_mutex *lock) {
    uint32_t held = atomic_load_explicit(&lock->word, memory_order_relaxed);
    while ((held & FUTEX_WAITERS) == 0) {
        // ORDER: release: what was done while holding; partner: the next holder.
        if (atomic_compare_exchange_weak_explicit(&lock->word, &held, 0, memory_order_release, memory_order_relaxed))
            return;
    }
    int saved = errno;
    // ORDER: release: as above; the kernel passes the lock on.
    atomic_fetch_or_explicit(&lock->word, FUTEX_WAITERS, memory_order_release);
    syscall(SYS_futex, &lock->word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    errno = saved;
}

void hz_lock_forget(hz_mutex *lock) {
    atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

void hz_lock_inherit(hz_mutex *lock) {
    uint32_t id = ask_id();
    if (atomic_load_explicit(&lock->word, memory_order_relaxed) != 0)
        atomic_store_explicit(&lock->word, id, memory_order_relaxed);
}
