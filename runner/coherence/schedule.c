// SPDX-License-Identifier: Apache-2.0
// schedule.h
#include "schedule.h"

#include "machine.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

// A turn that makes no progress for this long is held up by the emulator itself, which wants all threads to stop.
#define STUCK_SECONDS 8
#define STUCK_PAUSES 20000 // of machine_pause(): about as long
#define NOBODY SCHEDULE_MAX_THREADS
#define PS_PER_INSTRUCTION 500u

enum thread_state { ABSENT, READY, WAITING, SLEEPING };

struct thread {
    enum thread_state state;
    int64_t host_id, call; // WAITING: what it waits in
    uint64_t word;         // WAITING, SLEEPING: the futex; 0: none
    uint64_t place;        // in the order of those that wait
    int is_chosen;         // has been woken
    uint64_t wakes_at_ps;  // SLEEPING
    sem_t turn;            // posted when it is this thread's turn; a token left over costs one more look
    uint64_t instructions;
};

// Under `lock`, but for `left`, which belongs to the thread whose turn it is, and `current` and `suspended`, which any
// thread reads. Nobody is woken while `lock` is held, so that who wakes up need not sleep again.
static struct {
    pthread_mutex_t lock;
    struct thread threads[SCHEDULE_MAX_THREADS];
    _Atomic unsigned current; // whose turn it is, or NOBODY
    unsigned ready;           // threads in state READY, the current one included
    unsigned sleeping;        // in state SLEEPING
    unsigned present, most_present;
    _Atomic int suspended;
    unsigned settling;  // thread that may not have reached its wait yet, or NOBODY
    uint64_t ends_word; // of a thread that is ending: not 0 yet, or somebody waits on it; 0: none
    uint64_t elapsed_ps;
    int64_t left;    // instructions of this turn, ...
    int64_t counted; // ... up to which its time has been added to elapsed_ps
    uint32_t quantum;
    uint64_t random;
    uint64_t turns;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .current = NOBODY, .settling = NOBODY};

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

static uint64_t turn_ps(void) {
    return (uint64_t)(state.counted - state.left) * PS_PER_INSTRUCTION / (state.ready > 0 ? state.ready : 1);
}

// Called by the thread whose turn it is, or when it is nobody's.
static void add_time(void) {
    state.elapsed_ps += turn_ps();
    state.counted = state.left;
}

// Returns `thread`, to be woken without the lock.
static unsigned give_turn(unsigned thread) {
    state.left = state.counted = (int64_t)(state.quantum / 2) + draw(state.quantum + 1);
    state.turns++;
    set_current(thread);
    return thread;
}

static void unlock_and_wake(unsigned thread) {
    pthread_mutex_unlock(&state.lock);
    if (thread != NOBODY)
        sem_post(&state.threads[thread].turn);
}

static void set_state(unsigned thread, enum thread_state to) {
    enum thread_state from = state.threads[thread].state;
    state.ready += (to == READY) - (from == READY);
    state.sleeping += (to == SLEEPING) - (from == SLEEPING);
    state.present += (to != ABSENT) - (from != ABSENT);
    if (state.present > state.most_present)
        state.most_present = state.present;
    state.threads[thread].state = to;
}

// Those whose time has come can run. Where nobody else can, time passes until the first one's has.
static void end_sleeps(void) {
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        if (state.threads[i].state == SLEEPING && state.threads[i].wakes_at_ps < first)
            first = state.threads[i].wakes_at_ps;
    if (first == UINT64_MAX)
        return;
    if (state.ready == 0 && state.elapsed_ps < first)
        state.elapsed_ps = first;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        if (state.threads[i].state == SLEEPING && state.threads[i].wakes_at_ps <= state.elapsed_ps)
            set_state(i, READY);
}

// Passes the turn to the next thread behind `thread` that can run, which may be `thread` itself. Returns whom to wake,
// or NOBODY.
static unsigned pass_turn(unsigned thread) {
    if (state.sleeping > 0)
        end_sleeps();
    for (unsigned i = 1; i <= SCHEDULE_MAX_THREADS; i++) {
        unsigned next = (thread + i) % SCHEDULE_MAX_THREADS;
        if (state.threads[next].state == READY)
            return give_turn(next);
    }
    set_current(NOBODY);
    return NOBODY;
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

// Threads on `word` that are in the host's wait; those that are to be woken alone, if so asked.
static unsigned waiters(uint64_t word, int is_chosen) {
    unsigned count = 0;
    pthread_mutex_lock(&state.lock);
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++) {
        const struct thread *thread = &state.threads[i];
        count += thread->state == WAITING && thread->word == word && (thread->is_chosen || !is_chosen);
    }
    pthread_mutex_unlock(&state.lock);
    return count;
}

// Of those that wait on `word`, the one that has waited longest.
static unsigned first_waiter(uint64_t word) {
    unsigned first = NOBODY;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++) {
        const struct thread *thread = &state.threads[i];
        int waits = (thread->state == WAITING || thread->state == SLEEPING) && thread->word == word;
        if (waits && !thread->is_chosen && (first == NOBODY || thread->place < state.threads[first].place))
            first = i;
    }
    return first;
}

void schedule_wake(uint64_t word, uint64_t count) {
    pthread_mutex_lock(&state.lock);
    for (; count > 0; count--) {
        unsigned first = first_waiter(word);
        if (first == NOBODY)
            break;
        state.threads[first].is_chosen = 1;
        if (state.threads[first].state == SLEEPING)
            set_state(first, READY);
    }
    pthread_mutex_unlock(&state.lock);
}

void schedule_woken(uint64_t word) {
    for (unsigned i = 0; i < STUCK_PAUSES && waiters(word, 1) > 0; i++)
        machine_pause();
}

static int has_settled(void) {
    if (state.ends_word != 0 &&
        (*(volatile uint32_t *)(uintptr_t)state.ends_word != 0 || waiters(state.ends_word, 0) != 0))
        return 0;
    state.ends_word = 0;
    if (state.settling == NOBODY)
        return 1;
    pthread_mutex_lock(&state.lock);
    struct thread *thread = &state.threads[state.settling];
    int is_back = thread->state != WAITING;
    pthread_mutex_unlock(&state.lock);
    return is_back || machine_thread_waits(thread->host_id, thread->call, thread->word);
}

// The thread whose turn it is lets the one before it reach its wait, or its end, on the host.
static void settle(void) {
    if (state.settling == NOBODY && state.ends_word == 0)
        return;
    for (unsigned i = 0; i < STUCK_PAUSES && !has_settled(); i++)
        machine_pause();
    state.ends_word = 0;
    state.settling = NOBODY;
}

static void await_turn(unsigned thread) {
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
    if (current() == thread)
        settle();
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
        settle();
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
        if (current() == thread || current() == NOBODY) {
            add_time();
            next = pass_turn(thread);
        }
    }
    unlock_and_wake(next == thread ? NOBODY : next);
    if (is_turn_based)
        await_turn(thread);
    return current() == thread && !is_suspended();
}

static void leave(unsigned thread, enum thread_state to, uint64_t ends_word) {
    pthread_mutex_lock(&state.lock);
    int passes = current() == thread && !is_suspended();
    if (passes) {
        add_time();
        state.settling = to == WAITING ? thread : NOBODY;
        state.ends_word = ends_word;
    }
    set_state(thread, to);
    unlock_and_wake(passes ? pass_turn(thread) : NOBODY);
}

void schedule_yield(unsigned thread) {
    if (current() == thread && !is_suspended())
        state.left = 0; // its next block is no longer in this turn
}

void schedule_wait(unsigned thread, int64_t number, uint64_t word) {
    state.threads[thread].host_id = machine_thread_id();
    state.threads[thread].call = number;
    state.threads[thread].word = word;
    state.threads[thread].is_chosen = 0;
    state.threads[thread].place = state.turns;
    leave(thread, WAITING, 0);
}

void schedule_continue(unsigned thread) {
    pthread_mutex_lock(&state.lock);
    set_state(thread, READY);
    if (current() == NOBODY && !is_suspended())
        give_turn(thread);
    pthread_mutex_unlock(&state.lock);
    await_turn(thread);
}

void schedule_sleep_until(unsigned thread, uint64_t ns) {
    pthread_mutex_lock(&state.lock);
    state.threads[thread].wakes_at_ps = ns * 1000;
    set_state(thread, state.threads[thread].is_chosen ? READY : SLEEPING);
    pthread_mutex_unlock(&state.lock);
    if (current() == NOBODY && !is_suspended()) {
        settle(); // before time passes for want of a thread that can run
        pthread_mutex_lock(&state.lock);
        unsigned next = current() == NOBODY ? pass_turn(thread) : NOBODY;
        unlock_and_wake(next == thread ? NOBODY : next);
    }
    await_turn(thread);
}

void schedule_gone(unsigned thread, uint64_t word) {
    leave(thread, ABSENT, word);
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

uint64_t schedule_time_ns(void) {
    return (state.elapsed_ps + turn_ps()) / 1000;
}

uint64_t schedule_thread_time_ns(unsigned thread) {
    return state.threads[thread].instructions * PS_PER_INSTRUCTION / 1000;
}

uint64_t schedule_work_ns(void) {
    uint64_t ns = 0;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        ns += schedule_thread_time_ns(i);
    return ns;
}

uint64_t schedule_turns(void) {
    return state.turns;
}

unsigned schedule_thread_count(void) {
    return state.most_present;
}
