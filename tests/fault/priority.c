// SPDX-License-Identifier: Apache-2.0
// Whom a real-time thread waits for in malloc. Three threads on one processor: `low` of normal priority stops inside
// the allocator, with the allocator's locks; `middle` and `high` are real-time threads, and `middle` never sleeps.
// `high` allocates. If it needs what `low` holds, `low` must run with the priority of `high` and let go, so that
// `middle` gets no turn at all until `high` has its blocks; and `high` may not wait by yielding, since nobody below it
// runs then. Counted are turns of `middle` and yields, not time. Usage: priority arena|heap FAULTY_LIBRARY; 77 where
// the system grants no real-time priority. Layer: test, exported table.
#include "../support/library.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>

#define LARGE_BYTES ((size_t)16 << 20)
#define LARGE_BLOCKS 64u
#define SMALL_BYTES 1024u
#define SMALL_BLOCKS 65536u
#define BLOCKS_OF_HIGH 2000u
#define YIELDS_ALLOWED 64u // a bounded number, a few a lock

static const struct allocator *heap;
static void (*fault_visit)(void (*visitor)(void));
static uint64_t (*fault_yields)(void);

static int is_heap_test;
static void *blocks[SMALL_BLOCKS]; // allocated by high, freed by low in the heap test
static sem_t blocks_ready, middle_may_run;
static _Atomic int is_low_inside, is_high_there, is_over;
static _Atomic uint64_t turns_of_middle;
static _Thread_local int is_low;

static void fail(const char *what, uint64_t count) {
    printf("FAIL: %s (%llu)\n", what, (unsigned long long)count);
    fflush(stdout);
    _exit(1);
}

// Low stays here until high is about to allocate; from then on it only needs a processor.
static void visitor(void) {
    if (!is_low || atomic_load_explicit(&is_low_inside, memory_order_relaxed))
        return;
    // ORDER: release, acquire: nothing but these flags; partners: in high_main().
    atomic_store_explicit(&is_low_inside, 1, memory_order_release);
    while (!atomic_load_explicit(&is_high_there, memory_order_acquire))
        sched_yield();
}

static void *low_main(void *argument) {
    (void)argument;
    is_low = 1;
    sem_wait(&blocks_ready);
    for (size_t i = 0; is_heap_test && i < SMALL_BLOCKS; i++)
        heap->free(blocks[i]);
    for (size_t i = 0; !is_heap_test && i < LARGE_BLOCKS; i++)
        blocks[i] = heap->alloc(LARGE_BYTES);
    if (!atomic_load_explicit(&is_low_inside, memory_order_relaxed))
        fail("low has made no system call", 0);
    return NULL;
}

static void set_priority(int priority) {
    struct sched_param parameter = {.sched_priority = priority};
    if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameter) != 0) {
        printf("skipped: no real-time priority for this process (root has it, or ulimit -r)\n");
        fflush(stdout);
        _exit(77);
    }
}

static void *middle_main(void *argument) {
    (void)argument;
    set_priority(10);
    sem_wait(&middle_may_run);
    while (!atomic_load_explicit(&is_over, memory_order_relaxed))
        atomic_fetch_add_explicit(&turns_of_middle, 1, memory_order_relaxed);
    return NULL;
}

static void *high_main(void *argument) {
    (void)argument;
    for (size_t i = 0; is_heap_test && i < SMALL_BLOCKS; i++) {
        blocks[i] = heap->alloc(SMALL_BYTES);
        if (blocks[i] == NULL)
            fail("no memory", i);
        memset(blocks[i], 1, SMALL_BYTES);
    }
    set_priority(20);
    sem_post(&blocks_ready);
    // ORDER: acquire, release: nothing but these flags; partner: visitor().
    while (!atomic_load_explicit(&is_low_inside, memory_order_acquire))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    uint64_t yields_before = fault_yields();
    sem_post(&middle_may_run); // it cannot run while this thread does
    atomic_store_explicit(&is_high_there, 1, memory_order_release);
    static void *taken[BLOCKS_OF_HIGH];
    unsigned count = is_heap_test ? BLOCKS_OF_HIGH : 1;
    for (unsigned i = 0; i < count; i++)
        taken[i] = heap->alloc(is_heap_test ? SMALL_BYTES : LARGE_BYTES);
    uint64_t turns = atomic_load_explicit(&turns_of_middle, memory_order_relaxed);
    uint64_t yields = fault_yields() - yields_before;
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    printf("blocks %u, turns of middle meanwhile %llu, yields %llu\n", count, (unsigned long long)turns,
           (unsigned long long)yields);
    if (turns != 0)
        fail("a thread below high kept it waiting", turns);
    if (yields > YIELDS_ALLOWED)
        fail("high waits by yielding", yields);
    for (unsigned i = 0; i < count; i++)
        heap->free(taken[i]);
    return NULL;
}

// All threads of this process on the first processor that it may use.
static void use_one_processor(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        exit(3);
    int first = 0;
    while (!CPU_ISSET(first, &set))
        first++;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        exit(3);
}

int main(int argc, char **argv) {
    if (argc != 3 || (strcmp(argv[1], "arena") != 0 && strcmp(argv[1], "heap") != 0)) {
        fprintf(stderr, "usage: priority arena|heap FAULTY_LIBRARY\n");
        return 2;
    }
    is_heap_test = strcmp(argv[1], "heap") == 0;
    test_library_environment(argv);
    struct test_library library = test_library_open(argv[2]);
    heap = library.table;
    *(void **)(void *)&fault_visit = dlsym(library.handle, "os_fault_visit");
    *(void **)(void *)&fault_yields = dlsym(library.handle, "os_fault_yields");
    if (fault_visit == NULL || fault_yields == NULL)
        return 3;
    use_one_processor();
    sem_init(&blocks_ready, 0, 0);
    sem_init(&middle_may_run, 0, 0);
    heap->free(heap->alloc(SMALL_BYTES)); // a preloaded library is set up before there is a second thread
    fault_visit(visitor);
    pthread_t threads[3];
    void *(*const mains[])(void *) = {low_main, middle_main, high_main};
    for (int i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, mains[i], NULL) != 0)
            return 3;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
