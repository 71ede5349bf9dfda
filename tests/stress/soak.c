// SPDX-License-Identifier: Apache-2.0
// Everything at once, for as long as one likes, over the malloc this process runs on: threads that hand blocks around,
// births and deaths of threads, forks in the middle of it, and in the children memory that the system refuses. Every
// block is verified when it is given back. Usage: soak [--minutes N | --rounds N] [--seed N]. Layer: test; under hzrun.
#include "../support/random.h"
#include "patterned.h"

#include "../../allocators/allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 6
#define OPS_A_ROUND 60000 // of each worker
#define OWN_SLOTS 700
#define SHARED_SLOTS 1024
#define FORKS_A_ROUND 6
#define BIRTHS_A_ROUND 60
#define CHILD_SECONDS 120
#define FAULT_MOST_BYTES ((size_t)4 << 30) // mostly untouched
#define OS_PAGE 4096
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// In memory that the children share: what they see counts.
struct counts {
    _Atomic uint64_t operations, corruptions, refusals, births, children_lost;
};

static _Atomic(struct patterned *) shared[SHARED_SLOTS];
static struct counts *counts;
static volatile sig_atomic_t ticks;

// Log-uniform up to 64 KiB; one in 500 up to 8 MiB.
static size_t pick_bytes(uint64_t *random) {
    uint64_t r = test_random(random);
    unsigned octave = r % 500 == 0 ? 17 + (r >> 10) % 6 : 4 + (r >> 10) % 12;
    size_t low = (size_t)1 << octave;
    return low + (r >> 20) % low;
}

static void check(const struct patterned *block, size_t upto) {
    if (!patterned_is_whole(block, upto))
        atomic_fetch_add_explicit(&counts->corruptions, 1, memory_order_relaxed);
}

static struct patterned *take(uint64_t *random) {
    uint64_t r = test_random(random);
    size_t bytes = pick_bytes(random);
    void *block = NULL;
    switch (r % 16) {
    case 0:
        block = calloc(1, bytes);
        for (size_t i = 0; block != NULL && i < bytes; i += i < 2048 ? 1 : 1021)
            if (((unsigned char *)block)[i] != 0) {
                atomic_fetch_add_explicit(&counts->corruptions, 1, memory_order_relaxed);
                break;
            }
        break;
    case 1:
        if (posix_memalign(&block, (size_t)16 << (r >> 8) % 9, bytes) != 0)
            block = NULL;
        break;
    case 2:
        block = aligned_alloc((size_t)32 << (r >> 8) % 4, bytes);
        break;
    default:
        block = malloc(bytes);
    }
    if (block == NULL)
        return NULL;
    patterned_write(block, bytes, (uint32_t)(r >> 32));
    return block;
}

static void give(struct patterned *block) {
    if (block == NULL)
        return;
    check(block, block->bytes);
    free(block);
}

static struct patterned *resize(struct patterned *block, uint64_t *random) {
    size_t bytes = pick_bytes(random);
    size_t before = block->bytes;
    struct patterned *moved = realloc(block, bytes);
    if (moved == NULL)
        return block;
    check(moved, before < bytes ? before : bytes);
    patterned_write(moved, bytes, (uint32_t)test_random(random));
    return moved;
}

static struct patterned *exchange(size_t slot, struct patterned *block) {
    // ORDER: acq_rel: the block goes with its contents; partner: the same exchange in another thread.
    return atomic_exchange_explicit(&shared[slot % SHARED_SLOTS], block, memory_order_acq_rel);
}

static void *work(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    struct patterned **own = calloc(OWN_SLOTS, sizeof *own);
    for (size_t i = 0; own != NULL && i < OPS_A_ROUND; i++) {
        uint64_t r = test_random(&random);
        struct patterned **slot = &own[(r >> 8) % OWN_SLOTS];
        if (r % 8 == 0 && *slot != NULL) {
            *slot = resize(*slot, &random);
        } else if (r % 8 <= 2) {
            give(exchange((size_t)(r >> 24), take(&random)));
        } else {
            give(*slot);
            *slot = take(&random);
        }
        if (r % 40000 == 0)
            malloc_trim(0);
    }
    for (size_t i = 0; own != NULL && i < OWN_SLOTS; i++)
        give(own[i]);
    free(own);
    atomic_fetch_add_explicit(&counts->operations, OPS_A_ROUND, memory_order_relaxed);
    return NULL;
}

// A short life that leaves blocks behind for others.
static void *be_born(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    for (int i = 0; i < 60; i++)
        give(exchange((size_t)test_random(&random), take(&random)));
    atomic_fetch_add_explicit(&counts->operations, 60, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->births, 1, memory_order_relaxed);
    return NULL;
}

// The system refuses every further page of data (0 would be read as no limit, for Valgrind's sake): NULL and ENOMEM,
// nothing else, and all of it works again after free.
static void meet_refusals(uint64_t *random) {
    struct rlimit none = {OS_PAGE, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
    static struct patterned *taken[4000];
    size_t bytes = 0, refused = 0;
    setrlimit(RLIMIT_DATA, &none);
    for (size_t i = 0; i < COUNT(taken) && bytes < FAULT_MOST_BYTES; i++) {
        errno = 0;
        size_t large = (size_t)1 << (20 + test_random(random) % 4); // what is there already does not last
        taken[i] = i % 2 == 0 ? malloc(large) : take(random);
        if (i % 2 == 0 && taken[i] != NULL)
            patterned_write(taken[i], large, (uint32_t)large);
        if (taken[i] != NULL)
            bytes += taken[i]->bytes;
        else if (errno != ENOMEM && errno != 0) // posix_memalign keeps errno
            _exit(21);
        else
            refused++;
        if (refused > 200)
            break;
    }
    atomic_fetch_add_explicit(&counts->refusals, refused, memory_order_relaxed);
    setrlimit(RLIMIT_DATA, &all);
    for (size_t i = 0; i < COUNT(taken); i++)
        give(taken[i]);
    void *again = malloc(4u << 20);
    if (again == NULL)
        _exit(22);
    free(again);
}

static void be_child(uint64_t seed) {
    uint64_t random = seed;
    struct itimerval off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &off, NULL);
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS);
    // A bad free would end the child; contents that other threads were writing at the fork are theirs, not checked.
    for (size_t i = 0; i < SHARED_SLOTS; i += 3)
        free(exchange(i, NULL));
    for (int i = 0; i < 2000; i++)
        give(take(&random));
    atomic_fetch_add_explicit(&counts->operations, 2000, memory_order_relaxed);
    pthread_t thread;
    if (pthread_create(&thread, NULL, be_born, (void *)(uintptr_t)(seed | 1)) != 0)
        _exit(23);
    pthread_join(thread, NULL);
    meet_refusals(&random);
    _exit(atomic_load_explicit(&counts->corruptions, memory_order_relaxed) != 0 ? 24 : 0);
}

static void fork_child(uint64_t seed) {
    pid_t pid = fork();
    if (pid == 0)
        be_child(seed);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0 || status != 0) {
        fprintf(stderr, "soak: a child was lost: status 0x%x\n", (unsigned)status);
        atomic_fetch_add_explicit(&counts->children_lost, 1, memory_order_relaxed);
    }
}

static void spawn_program(void) {
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    pid_t pid;
    int status = 0;
    if (posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) != 0)
        return;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0)
        atomic_fetch_add_explicit(&counts->children_lost, 1, memory_order_relaxed);
}

static void on_tick(int number) {
    (void)number;
    ticks++;
}

static void run_round(uint64_t *random) {
    pthread_t workers[WORKERS], born;
    for (size_t i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, (void *)(uintptr_t)test_random(random));
    for (int i = 0; i < BIRTHS_A_ROUND; i++) {
        if (pthread_create(&born, NULL, be_born, (void *)(uintptr_t)test_random(random)) == 0)
            pthread_join(born, NULL);
        if (i % (BIRTHS_A_ROUND / FORKS_A_ROUND) == 0)
            fork_child(test_random(random));
    }
    spawn_program();
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        give(exchange(i, NULL));
    malloc_trim(0);
}

static unsigned long resident_kib(void) {
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &pages, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return resident * 4;
}

// Contradictions and refusals by the allocator's own account; 0 where it keeps none.
static uint64_t complaints(void) {
    const struct allocator *table = dlsym(RTLD_DEFAULT, ALLOCATOR_TABLE_SYMBOL);
    if (table == NULL)
        return 0;
    struct allocator_stats stats = {0};
    uint64_t sum = table->verify != NULL ? (uint64_t)table->verify() : 0;
    table->stats(&stats);
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        sum += stats.rejects[reason];
    return sum;
}

static double seconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

int main(int argc, char **argv) {
    double minutes = 0;
    uint64_t rounds = 3, seed = 1, done = 0;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--minutes") == 0)
            minutes = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else
            rounds = 0;
    if (rounds == 0 || argc % 2 == 0) {
        fprintf(stderr, "usage: soak [--minutes N | --rounds N] [--seed N]\n");
        return 2;
    }
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counts == MAP_FAILED)
        return 3;
    // Signals all the while: system calls of the allocator are interrupted, its errno is not the handler's.
    struct sigaction action = {.sa_handler = on_tick};
    struct itimerval every = {{0, 20000}, {0, 20000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    unsigned long first_kib = 0, last_kib = 0;
    uint64_t bad = 0;
    while (bad == 0 && (minutes > 0 ? seconds_since(&start) < minutes * 60 : done < rounds)) {
        run_round(&seed);
        done++;
        last_kib = resident_kib();
        if (done == 3)
            first_kib = last_kib; // the first rounds warm up
        bad = complaints() + atomic_load_explicit(&counts->corruptions, memory_order_relaxed) +
              atomic_load_explicit(&counts->children_lost, memory_order_relaxed);
    }
    printf("rounds %llu, seconds %.0f, operations %llu, forks %llu, threads %llu, signals %ld, refusals %llu, "
           "corruptions %llu, children lost %llu, complaints %llu, RSS after round 3 and last %lu and %lu KiB\n",
           (unsigned long long)done, seconds_since(&start),
           (unsigned long long)atomic_load_explicit(&counts->operations, memory_order_relaxed),
           (unsigned long long)(done * FORKS_A_ROUND),
           (unsigned long long)(atomic_load_explicit(&counts->births, memory_order_relaxed) + done * WORKERS),
           (long)ticks, (unsigned long long)atomic_load_explicit(&counts->refusals, memory_order_relaxed),
           (unsigned long long)atomic_load_explicit(&counts->corruptions, memory_order_relaxed),
           (unsigned long long)atomic_load_explicit(&counts->children_lost, memory_order_relaxed),
           (unsigned long long)complaints(), first_kib, last_kib);
    return bad != 0;
}
