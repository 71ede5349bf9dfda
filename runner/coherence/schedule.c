// SPDX-License-Identifier: Apache-2.0
// schedule.h
#include "schedule.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

// A turn that makes no progress for this long is held up by the emulator itself, which wants all threads to stop.
#define STUCK_SECONDS 2
#define NOBODY SCHEDULE_MAX_THREADS

enum thread_state { ABSENT, READY, WAITING };

struct thread {
    enum thread_state state;
    pthread_cond_t turn;
    uint64_t instructions;
};

// Under `lock`, but for `left`, which belongs to the thread whose turn it is.
static struct {
    pthread_mutex_t lock;
    struct thread threads[SCHEDULE_MAX_THREADS];
    unsigned current; // whose turn it is, or NOBODY
    unsigned ready;   // threads in state READY, the current one included
    unsigned present, most_present;
    int suspended;
    int64_t left; // instructions of this turn
    uint32_t quantum;
    uint64_t random;
    uint64_t turns;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .current = NOBODY};

void schedule_begin(uint32_t quantum, uint64_t seed) {
    state.quantum = quantum;
    state.random = seed * 0x9e3779b97f4a7c15u + 1;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        pthread_cond_init(&state.threads[i].turn, NULL);
}

// xorshift64*: the lengths of turns need no better one.
static uint32_t draw(uint32_t bound) {
    state.random ^= state.random >> 12;
    state.random ^= state.random << 25;
    state.random ^= state.random >> 27;
    return (uint32_t)((state.random * 0x2545f4914f6cdd1du) >> 33) % bound;
}

static void give_turn(unsigned thread) {
    state.current = thread;
    state.left = (int64_t)(state.quantum / 2) + draw(state.quantum + 1);
    state.turns++;
    pthread_cond_signal(&state.threads[thread].turn);
}

// Passes the turn to the next thread behind `thread` that can run, which may be `thread` itself.
static void pass_turn(unsigned thread) {
    state.current = NOBODY;
    for (unsigned i = 1; i <= SCHEDULE_MAX_THREADS; i++) {
        unsigned next = (thread + i) % SCHEDULE_MAX_THREADS;
        if (state.threads[next].state == READY) {
            give_turn(next);
            return;
        }
    }
}

static void set_state(unsigned thread, enum thread_state to) {
    enum thread_state from = state.threads[thread].state;
    state.ready += (to == READY) - (from == READY);
    state.present += (to != ABSENT) - (from != ABSENT);
    if (state.present > state.most_present)
        state.most_present = state.present;
    state.threads[thread].state = to;
}

static void await_turn(unsigned thread) {
    uint64_t seen = state.turns;
    int64_t left = state.left;
    while (state.current != thread && !state.suspended) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += STUCK_SECONDS;
        int timed_out = pthread_cond_timedwait(&state.threads[thread].turn, &state.lock, &until) != 0;
        if (timed_out && state.turns == seen && state.left == left)
            return; // let the emulator have its stop; this thread waits again at its next block
        seen = state.turns;
        left = state.left;
    }
}

void schedule_born(unsigned thread) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, READY);
    if (state.current == NOBODY && !state.suspended)
        give_turn(thread);
    pthread_mutex_unlock(&state.lock);
}

int schedule_run(unsigned thread, uint32_t instructions) {
    state.threads[thread].instructions += instructions; // its own
    if (state.current == thread && !state.suspended) {
        state.left -= instructions;
        if (state.left >= 0 || state.ready == 1)
            return 1;
    }
    pthread_mutex_lock(&state.lock);
    if (!state.suspended) {
        if (state.threads[thread].state != READY)
            set_state(thread, READY);
        if (state.current == thread || state.current == NOBODY)
            pass_turn(thread);
        await_turn(thread);
    }
    int counts = state.current == thread && !state.suspended;
    pthread_mutex_unlock(&state.lock);
    return counts;
}

static void leave(unsigned thread, enum thread_state to) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, to);
    if (state.current == thread && !state.suspended)
        pass_turn(thread);
    pthread_mutex_unlock(&state.lock);
}

void schedule_wait(unsigned thread) {
    leave(thread, WAITING);
}

void schedule_continue(unsigned thread) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, READY);
    if (state.current == NOBODY && !state.suspended)
        give_turn(thread);
    if (!state.suspended)
        await_turn(thread);
    pthread_mutex_unlock(&state.lock);
}

void schedule_gone(unsigned thread) {
    leave(thread, ABSENT);
}

void schedule_suspend(void) {
    pthread_mutex_lock(&state.lock);
    state.suspended = 1;
    state.current = NOBODY;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        pthread_cond_signal(&state.threads[i].turn);
    pthread_mutex_unlock(&state.lock);
}

void schedule_resume(void) {
    pthread_mutex_lock(&state.lock);
    state.suspended = 0;
    pthread_mutex_unlock(&state.lock);
}

void schedule_after_fork(unsigned thread) {
    pthread_mutex_init(&state.lock, NULL);
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++) {
        pthread_cond_init(&state.threads[i].turn, NULL);
        if (i != thread && state.threads[i].state != ABSENT)
            set_state(i, ABSENT);
    }
    state.suspended = 0;
    state.current = NOBODY;
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
