// SPDX-License-Identifier: Apache-2.0
// Programs whose travelling lines are known beforehand, for the coherence instrument. Usage: proof PATTERN ROUNDS
// THREADS.
//   ping-pong  two threads write one word in turns: the line moves twice a round
//   one-to-all one thread writes a line, the others read it: a move for each reader and round
//   false      each thread writes a word of its own, all in one line
//   padded     each thread writes a line of its own: nothing moves
//   clock      the time that ROUNDS instructions and a sleep of 50 ms take, printed in ns
//   ticket     a ticket lock, two threads: the tickets' line and the turn's line move once an acquisition each
// The lines are named: a report of `word`, `words`, `tickets` or `turn` is about the pattern, whatever the threads'
// start costs.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE 64
#define MAX_THREADS 64

struct padded_word {
    _Alignas(LINE) _Atomic long value;
};

_Alignas(LINE) struct padded_word word;
_Alignas(LINE) struct padded_word seen; // readers of `word` that are through, of all rounds
_Alignas(LINE) _Atomic long words[LINE / sizeof(long)];
_Alignas(LINE) struct padded_word own[MAX_THREADS];

_Alignas(LINE) struct padded_word tickets;
_Alignas(LINE) struct padded_word turn;

static long rounds;
static long threads;

static void *ping_pong(void *argument) {
    long me = (long)argument;
    for (long i = 0; i < rounds; i++) {
        while (atomic_load_explicit(&word.value, memory_order_relaxed) != 2 * i + me)
            ;
        atomic_store_explicit(&word.value, 2 * i + me + 1, memory_order_relaxed);
    }
    return NULL;
}

static void *one_to_all(void *argument) {
    long me = (long)argument;
    for (long i = 1; i <= rounds; i++) {
        if (me == 0) {
            atomic_store_explicit(&word.value, i, memory_order_relaxed);
            while (atomic_load_explicit(&seen.value, memory_order_relaxed) != i * (threads - 1))
                ;
        } else {
            while (atomic_load_explicit(&word.value, memory_order_relaxed) != i)
                ;
            atomic_fetch_add_explicit(&seen.value, 1, memory_order_relaxed);
        }
    }
    return NULL;
}

static void *false_sharing(void *argument) {
    long me = (long)argument;
    for (long i = 0; i < rounds; i++)
        atomic_store_explicit(&words[me], i, memory_order_relaxed);
    return NULL;
}

static void *padded(void *argument) {
    long me = (long)argument;
    for (long i = 0; i < rounds; i++)
        atomic_store_explicit(&own[me].value, i, memory_order_relaxed);
    return NULL;
}

static void *ticket(void *argument) {
    for (long i = 0; i < rounds; i++) {
        long mine = atomic_fetch_add_explicit(&tickets.value, 1, memory_order_relaxed);
        while (atomic_load_explicit(&turn.value, memory_order_relaxed) != mine)
            ;
        atomic_store_explicit(&turn.value, mine + 1, memory_order_relaxed);
    }
    return argument;
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// Others wait for a lock that each thread holds while it sleeps.
static void *clocked(void *argument) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    long long start = now_ns();
    for (long i = 0; i < rounds; i++)
        atomic_store_explicit(&own[(long)argument].value, i, memory_order_relaxed);
    pthread_mutex_lock(&lock);
    struct timespec sleep = {0, 50000000};
    nanosleep(&sleep, NULL);
    pthread_mutex_unlock(&lock);
    printf("%lld\n", now_ns() - start);
    return NULL;
}

static const struct {
    const char *name;
    void *(*run)(void *);
} patterns[] = {
    {"ping-pong", ping_pong}, {"one-to-all", one_to_all}, {"false", false_sharing},
    {"padded", padded},       {"ticket", ticket},         {"clock", clocked},
};

int main(int argc, char **argv) {
    void *(*run)(void *) = NULL;
    for (size_t i = 0; argc == 4 && i < sizeof patterns / sizeof *patterns; i++)
        if (strcmp(argv[1], patterns[i].name) == 0)
            run = patterns[i].run;
    rounds = argc == 4 ? atol(argv[2]) : 0;
    threads = argc == 4 ? atol(argv[3]) : 0;
    if (run == NULL || rounds < 1 || threads < 1 || threads > (run == false_sharing ? LINE / 8 : MAX_THREADS)) {
        fputs("usage: proof ping-pong|one-to-all|false|padded|ticket|clock ROUNDS THREADS\n", stderr);
        return 2;
    }
    pthread_t started[MAX_THREADS];
    for (long i = 0; i < threads; i++)
        if (pthread_create(&started[i], NULL, run, (void *)i) != 0)
            return 3;
    for (long i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
    return 0;
}
