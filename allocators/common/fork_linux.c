// SPDX-License-Identifier: Apache-2.0
// fork.h, and the handlers of fork, registered when the library is loaded: which locks are held over a fork, and in
// what order.
//
//   the C library's list of streams -> the gate -> wait for heaps -> the allocator's locks, the arena's last
//
// The list of streams comes first because the C library takes it after our handler: fflush(NULL) holds it and waits for
// a stream whose owner may be inside malloc, waiting for a lock that the forking thread would hold by then.
//
// In a process of one thread nothing is locked, as in the C library: a signal handler that interrupts malloc, free or
// fork itself may fork, and nobody else could see a lock held.
#include "fork.h"

#include "heaps.h"
#include "lock.h"
#include "process.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define QUIET_SPINS 1000u
#define QUIET_SLEEPS 200u
#define QUIET_SLEEP_NS 100000

// glibc's, since 2.2.5 and 2.32; elsewhere absent.
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));
extern char __libc_single_threaded __attribute__((weak));

_Atomic uint32_t hz_fork_is_coming;

static hz_mutex gate; // held by a thread that forks

static HZ_THREAD_LOCAL int is_forking; // this thread holds the locks below

// Handlers of other libraries may allocate in the thread that forks.
HZ_COLD void hz_fork_wait(void) {
    while (!is_forking && hz_fork_is_near()) {
        hz_lock(&gate);
        hz_unlock(&gate);
    }
}

HZ_COLD void hz_fork_wait_idle(_Atomic uint32_t *is_busy) {
    hz_heap_leave(is_busy);
    hz_fork_wait();
    atomic_store_explicit(is_busy, 1, memory_order_relaxed);
}

// A sleep that is no cancellation point and that sandboxes allow, since locks need it.
static void sleep_shortly(void) {
    static const struct timespec time = {.tv_nsec = QUIET_SLEEP_NS};
    static const uint32_t word;
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0);
}

// Heaps that are being changed become whole in a moment, since nobody begins anew. One whose owner does not run for
// longer is not waited for: the child will see that it is not whole.
static void wait_for_heaps(void) {
    for (unsigned spins = 0; spins < QUIET_SPINS; spins++) {
        if (hz_heaps_are_whole())
            return;
        hz_pause();
    }
    for (unsigned sleeps = 0; sleeps < QUIET_SLEEPS && !hz_heaps_are_whole(); sleeps++)
        sleep_shortly();
}

int hz_fork_is_alone(void) {
    return !is_forking;
}

static void prepare(void) {
    if (&__libc_single_threaded != NULL && __libc_single_threaded)
        return;
    if (_IO_list_lock != NULL)
        _IO_list_lock();
    hz_lock(&gate);
    is_forking = 1;
    // ORDER: seq_cst: before the look whether this thread's heap is helped; partner: hz_heap_help().
    atomic_store_explicit(&hz_fork_is_coming, 1, memory_order_seq_cst);
    hz_heaps_end_help();
    wait_for_heaps();
    hz_fork_lock();
}

static void open_gate(void) {
    is_forking = 0;
    atomic_store_explicit(&hz_fork_is_coming, 0, memory_order_relaxed);
    hz_unlock(&gate);
}

static void in_parent(void) {
    if (!is_forking)
        return;
    hz_fork_unlock();
    open_gate();
    if (_IO_list_unlock != NULL)
        _IO_list_unlock();
}

static void in_child(void) {
    hz_fork_inherit();
    if (!is_forking)
        return;
    hz_lock_inherit(&gate);
    hz_heaps_survive_fork();
    hz_fork_unlock();
    open_gate();
    if (_IO_list_resetlock != NULL)
        _IO_list_resetlock();
}

// pthread_atfork may allocate, so it must not run inside an allocation.
__attribute__((constructor)) static void register_handlers(void) {
    pthread_atfork(prepare, in_parent, in_child);
}
