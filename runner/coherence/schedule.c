// SPDX-License-Identifier: Apache-2.0
// schedule.h
#include "schedule.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

// A turn that makes no progress for this long is held up by the emulator itself, which wants all threads to stop.
#define STUCK_SECONDS 2
#define NOBODY SCHEDULE_MAX_THREADS

enum thread_state { ABSENT, READY, WAITING };

struct thread {
    enum thread_state state;
    sem_t turn; // posted when it is this thread's turn; a token left over costs one more look
    uint64_t instructions;
};

// Under `lock`, but for `left`, which belongs to the thread whose turn it is, and `current` and `suspended`, which any
// thread reads. Nobody is woken while `lock` is held, so that who wakes up need not sleep again.
static struct {
    pthread_mutex_t lock;
    struct thread threads[SCHEDULE_MAX_THREADS];
    _Atomic unsigned current; // whose turn it is, or NOBODY
    unsigned ready;           // threads in state READY, the current one included
    unsigned present, most_present;
    _Atomic int suspended;
    int64_t left; // instructions of this turn
    uint32_t quantum;
    uint64_t random;
    uint64_t turns;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .current = NOBODY};

void schedule_begin(uint32_t quantum, uint64_t seed) {
    state.quantum = quantum;
    state.random = seed * 0x9e3779b97f4a7c15u + 1;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        sem_init(&state.threads[i].turn, 0, 0);
}

// xorshift64*: the lengths of turns need no better one.
static uint32_t draw(uint32_t bound) {
    state.random ^= state.random >> 12;
    state.random ^= state.random << 25;
    state.random ^= state.random >> 27;
    return (uint32_t)((state.random * 0x2545f4914f6cdd1du) >> 33) % bound;
}

static unsigned current(void) {
    // ORDER: acquire pairs with the release in set_current: `left` of this turn, and what the thread before has
    // counted.
    return atomic_load_explicit(&state.current, memory_order_acquire);
}

static void set_current(unsigned thread) {
    // ORDER: release publishes this thread's counts and `left` to the next one (current).
    atomic_store_explicit(&state.current, thread, memory_order_release);
}

static int is_suspended(void) {
    return atomic_load_explicit(&state.suspended, memory_order_relaxed);
}

// Returns `thread`, to be woken without the lock.
static unsigned give_turn(unsigned thread) {
    state.left = (int64_t)(state.quantum / 2) + draw(state.quantum + 1);
    state.turns++;
    set_current(thread);
    return thread;
}

// Passes the turn to the next thread behind `thread` that can run, which may be `thread` itself. Returns whom to wake,
// or NOBODY.
static unsigned pass_turn(unsigned thread) {
    for (unsigned i = 1; i <= SCHEDULE_MAX_THREADS; i++) {
        unsigned next = (thread + i) % SCHEDULE_MAX_THREADS;
        if (state.threads[next].state == READY)
            return give_turn(next);
    }
    set_current(NOBODY);
    return NOBODY;
}

static void unlock_and_wake(unsigned thread) {
    pthread_mutex_unlock(&state.lock);
    if (thread != NOBODY)
        sem_post(&state.threads[thread].turn);
}

static void set_state(unsigned thread, enum thread_state to) {
    enum thread_state from = state.threads[thread].state;
    state.ready += (to == READY) - (from == READY);
    state.present += (to != ABSENT) - (from != ABSENT);
    if (state.present > state.most_present)
        state.most_present = state.present;
    state.threads[thread].state = to;
}

// What changes while turns make progress.
struct progress {
    uint64_t turns;
    int64_t left;
};

static struct progress progress(void) {
    pthread_mutex_lock(&state.lock);
    struct progress now = {state.turns, state.left};
    pthread_mutex_unlock(&state.lock);
    return now;
}

static void await_turn(unsigned thread) {
    if (current() == thread || is_suspended())
        return;
    struct progress seen = {0, 0};
    while (current() != thread && !is_suspended()) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += STUCK_SECONDS;
        if (sem_timedwait(&state.threads[thread].turn, &until) == 0)
            continue;
        struct progress now = progress();
        if (now.turns == seen.turns && now.left == seen.left)
            return; // let the emulator have its stop; this thread waits again at its next block
        seen = now;
    }
}

void schedule_born(unsigned thread) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, READY);
    unsigned next = current() == NOBODY && !is_suspended() ? give_turn(thread) : NOBODY;
    unlock_and_wake(next);
}

int schedule_run(unsigned thread, uint32_t instructions) {
    state.threads[thread].instructions += instructions; // its own
    if (current() == thread && !is_suspended()) {
        state.left -= instructions;
        if (state.left >= 0 || state.ready == 1)
            return 1;
    }
    pthread_mutex_lock(&state.lock);
    unsigned next = NOBODY;
    int is_turn_based = !is_suspended();
    if (is_turn_based) {
        if (state.threads[thread].state != READY)
            set_state(thread, READY);
        if (current() == thread || current() == NOBODY)
            next = pass_turn(thread);
    }
    unlock_and_wake(next == thread ? NOBODY : next);
    if (is_turn_based)
        await_turn(thread);
    return current() == thread && !is_suspended();
}

static void leave(unsigned thread, enum thread_state to) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, to);
    unlock_and_wake(current() == thread && !is_suspended() ? pass_turn(thread) : NOBODY);
}

void schedule_yield(unsigned thread) {
    if (current() == thread && !is_suspended())
        state.left = 0; // its next block is no longer in this turn
}

void schedule_wait(unsigned thread) {
    leave(thread, WAITING);
}

void schedule_continue(unsigned thread) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, READY);
    if (current() == NOBODY && !is_suspended())
        give_turn(thread);
    pthread_mutex_unlock(&state.lock);
    await_turn(thread);
}

void schedule_gone(unsigned thread) {
    leave(thread, ABSENT);
}

void schedule_suspend(void) {
    pthread_mutex_lock(&state.lock);
    atomic_store_explicit(&state.suspended, 1, memory_order_relaxed);
    set_current(NOBODY);
    pthread_mutex_unlock(&state.lock);
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        sem_post(&state.threads[i].turn);
}

void schedule_resume(void) {
    pthread_mutex_lock(&state.lock);
    atomic_store_explicit(&state.suspended, 0, memory_order_relaxed);
    pthread_mutex_unlock(&state.lock);
}

void schedule_after_fork(unsigned thread) {
    pthread_mutex_init(&state.lock, NULL);
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++) {
        sem_init(&state.threads[i].turn, 0, 0);
        if (i != thread && state.threads[i].state != ABSENT)
            set_state(i, ABSENT);
    }
    atomic_store_explicit(&state.suspended, 0, memory_order_relaxed);
    set_current(NOBODY);
}

uint64_t schedule_instructions(unsigned thread) {
    return state.threads[thread].instructions;
}

uint64_t schedule_turns(void) {
    return state.turns;
}

unsigned schedule_thread_count(void) {
    return state.most_present;
}
