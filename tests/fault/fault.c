// SPDX-License-Identifier: Apache-2.0
// What hz3, hz4 and hz5 do when the system refuses: the n-th call fails for every n (once, thrice, and all from there
// on), over six workloads; limits of address space and of writable memory (what strict overcommit charges) from 32 MiB
// up; hardly a mapping left; forks of a process whose threads churn; threads whose destructors allocate after the
// allocator's own has run; no call in a steady state; another page size. Usage: fault calls|steady|page FAULTY_LIBRARY
// | limit|data|maps|fork|births LIBRARY. Layer: test, exported table or preload.
#include "../support/library.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 600

static const struct allocator *heap;
static void (*fault_arm)(uint64_t first, uint64_t count);
static uint64_t (*fault_calls)(void);

static void die(const char *what, uint64_t value) {
    dprintf(STDERR_FILENO, "%s (%llu)\n", what, (unsigned long long)value);
    _exit(10);
}

// ---- blocks that know what they hold ------------------------------------------------------------------------------

struct block {
    size_t bytes;
    unsigned char *at;
};

static uint64_t failures; // allocations refused by this process

static void expect_enomem(void) {
    if (errno != ENOMEM)
        die("NULL without ENOMEM", (uint64_t)errno);
    failures++;
}

static void fill(struct block *block, void *at, size_t bytes) {
    block->at = at;
    block->bytes = at != NULL ? bytes : 0;
    size_t part = bytes < 256 ? bytes : 256;
    if (at != NULL) {
        memset(at, (int)bytes & 0xff, part);
        memset((unsigned char *)at + bytes - part, (int)bytes & 0xff, part);
    }
}

static void check(const struct block *block) {
    size_t part = block->bytes < 256 ? block->bytes : 256;
    for (size_t i = 0; i < part; i++)
        if (block->at[i] != (block->bytes & 0xff) || block->at[block->bytes - 1 - i] != (block->bytes & 0xff))
            die("a live block changed", block->bytes);
}

static void take(struct block *block, size_t bytes) {
    errno = 0;
    void *at = heap->alloc(bytes);
    if (at == NULL)
        expect_enomem();
    fill(block, at, bytes);
}

static void give(struct block *block) {
    if (block->at == NULL)
        return;
    check(block);
    errno = 1234;
    heap->free(block->at);
    if (errno != 1234)
        die("free changed errno", (uint64_t)errno);
    block->at = NULL;
}

// ---- the workloads ------------------------------------------------------------------------------------------------

static struct block blocks[BLOCKS];

static void work_small(uint64_t *random) {
    for (int i = 0; i < BLOCKS; i++)
        take(&blocks[i], 16 + test_random(random) % 2000);
    for (int round = 0; round < 2000; round++) {
        struct block *block = &blocks[test_random(random) % BLOCKS];
        give(block);
        take(block, 16 + test_random(random) % 8000);
    }
}

static void work_page(uint64_t *random) {
    for (int round = 0; round < 800; round++) {
        struct block *block = &blocks[test_random(random) % (BLOCKS / 4)];
        give(block);
        take(block, 8000 + test_random(random) % 57000);
    }
}

static void work_large(uint64_t *random) {
    for (int round = 0; round < 200; round++) {
        struct block *block = &blocks[test_random(random) % 40];
        give(block);
        take(block, 66000 + test_random(random) % 4000000);
        if (round % 50 == 49)
            heap->purge();
    }
}

static void work_realloc(uint64_t *random) {
    for (int round = 0; round < 700; round++) {
        struct block *block = &blocks[test_random(random) % 60];
        size_t bytes = 16 + test_random(random) % (round % 4 == 0 ? 900000 : 20000);
        if (block->at == NULL) {
            take(block, bytes);
            continue;
        }
        errno = 0;
        unsigned char first = block->at[0];
        unsigned char *moved = heap->realloc(block->at, bytes);
        if (moved == NULL) {
            expect_enomem();
            check(block); // failure leaves the block as it was
            continue;
        }
        if (moved[0] != first)
            die("realloc lost the contents", bytes);
        fill(block, moved, bytes);
    }
}

static void work_aligned(uint64_t *random) {
    for (int round = 0; round < 600; round++) {
        struct block *block = &blocks[test_random(random) % 80];
        give(block);
        size_t alignment = (size_t)32 << test_random(random) % 16;
        size_t bytes = 1 + test_random(random) % 30000;
        errno = 0;
        void *at = round % 2 ? heap->alloc_aligned(alignment, bytes) : heap->calloc(1, bytes);
        if (at == NULL)
            expect_enomem();
        else if (round % 2 && (uintptr_t)at % alignment != 0)
            die("misaligned", alignment);
        fill(block, at, bytes);
    }
}

static void *thread_work(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    struct block own[40] = {0};
    for (int round = 0; round < 600; round++) {
        struct block *block = &own[test_random(&random) % 40];
        give(block);
        errno = 0;
        size_t bytes = 16 + test_random(&random) % 9000;
        void *at = heap->alloc(bytes);
        if (at == NULL && errno != ENOMEM)
            die("NULL without ENOMEM in a thread", (uint64_t)errno);
        fill(block, at, bytes);
    }
    for (int i = 0; i < 40; i++)
        give(&own[i]);
    return NULL;
}

static void work_threads(uint64_t *random) {
    for (int round = 0; round < 4; round++) {
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], NULL, thread_work, (void *)(uintptr_t)test_random(random));
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        heap->purge();
    }
}

static void (*const works[])(uint64_t *random) = {work_small,   work_page,    work_large,
                                                  work_realloc, work_aligned, work_threads};
#define WORK_COUNT (sizeof works / sizeof *works)

// ---- the n-th call fails ------------------------------------------------------------------------------------------

// Exit status 0: the fault struck and was survived; 20: the workload makes fewer calls than that.
static void trial(const char *path, size_t work, uint64_t first, uint64_t count) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(60);
    // hz5: little is kept, so that memory goes back and comes again often.
    setenv("HZ5_OPTIONS", "profile=rss", 1);
    struct test_library library = test_library_open(path);
    heap = library.table;
    *(void **)(void *)&fault_arm = dlsym(library.handle, "os_fault_arm");
    *(void **)(void *)&fault_calls = dlsym(library.handle, "os_fault_calls");
    if (fault_arm == NULL || fault_calls == NULL)
        die("the library has no faults built in", 0);
    uint64_t random = 42 + work;
    fault_arm(first, count);
    works[work](&random);
    uint64_t calls = fault_calls();
    fault_arm(UINT64_MAX, 0);
    // The system gives again: everything works, nothing was damaged, nothing leaks.
    failures = 0;
    for (int i = 0; i < BLOCKS; i++)
        give(&blocks[i]);
    random = 42 + work;
    works[work](&random);
    if (failures != 0)
        die("still out of memory after the system has recovered", failures);
    for (int i = 0; i < BLOCKS; i++)
        give(&blocks[i]);
    int contradictions = heap->verify();
    if (contradictions != 0)
        die("verify", (uint64_t)contradictions);
    struct allocator_stats stats;
    heap->stats(&stats);
    if (stats.live_bytes != 0)
        die("live bytes at the end", stats.live_bytes);
    heap->purge();
    heap->stats(&stats);
    // What stays are heaps and messages, which are type-stable: their number depends on how the threads met.
    if (stats.committed_bytes > 4u << 20)
        die("committed bytes after the purge", stats.committed_bytes);
    if (test_library_rejects(heap) != 0)
        die("valid operations refused", test_library_rejects(heap));
    _exit(calls >= first ? 0 : 20);
}

static int wait_for(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_calls(const char *path, uint64_t most, uint64_t dense) {
    static const uint64_t counts[] = {1, 3, UINT64_MAX};
    unsigned trials = 0, failed = 0;
    for (size_t work = 0; work < WORK_COUNT; work++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            uint64_t step = 1;
            for (uint64_t first = 1; first <= most; first += step) {
                step = first < dense ? 1 : first / 8 + 1; // every call at first, then fewer
                fflush(stdout);
                pid_t pid = fork();
                if (pid == 0)
                    trial(path, work, first, counts[c]);
                int status = wait_for(pid);
                if (status == 20)
                    break;
                trials++;
                if (status != 0) {
                    failed++;
                    printf("FAIL: workload %zu, %s from call %llu: status %d\n", work,
                           counts[c] == 1 ? "one failure" : (counts[c] == 3 ? "three failures" : "all failures"),
                           (unsigned long long)first, status);
                }
            }
        }
    }
    printf("faults survived: %u of %u\n", trials - failed, trials);
    return failed != 0 || trials == 0;
}

// ---- address-space limits -----------------------------------------------------------------------------------------

// Runs preloaded. Takes until nothing is left, gives everything back, and can take again.
static int run_small(void) {
    static void *taken[200000];
    size_t count = 0;
    size_t bytes = 100000;
    while (count < 200000) {
        errno = 0;
        void *block = malloc(bytes);
        if (block == NULL) {
            if (errno != ENOMEM)
                die("NULL without ENOMEM", (uint64_t)errno);
            if (bytes < 64)
                break;
            bytes /= 2;
            continue;
        }
        *(size_t *)block = count;
        taken[count++] = block;
        if (count * bytes > 512u << 20)
            break; // plenty
    }
    if (count < 8)
        die("hardly any memory under the limit", count);
    for (size_t i = 0; i < count; i++) {
        if (*(size_t *)taken[i] != i)
            die("a live block changed", i);
        free(taken[i]);
    }
    void *again = malloc(1u << 20);
    if (again == NULL)
        die("no megabyte after everything was freed", count);
    free(again);
    pthread_t thread;
    heap = &(const struct allocator){.alloc = malloc, .free = free};
    if (pthread_create(&thread, NULL, thread_work, (void *)(uintptr_t)7) == 0) // a stack may not fit
        pthread_join(thread, NULL);
    return 0;
}

// Mappings left of the most a process may have: enough for a stack with its guard and for a heap that grows in a few
// pieces. An allocator that maps or protects piece by piece runs out.
#define MAPPINGS_LEFT 48
#define MAPPINGS_MAX (1u << 20)

static int run_crowded(void) {
    static void *mappings[MAPPINGS_MAX];
    unsigned made = 0;
    while (made < MAPPINGS_MAX) { // neighbours of unlike access do not merge into one
        mappings[made] = mmap(NULL, 4096, made % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mappings[made] == MAP_FAILED)
            break;
        made++;
    }
    if (made == MAPPINGS_MAX || made < 2 * MAPPINGS_LEFT) {
        printf("skipped: the system lets a process have %s mappings\n",
               made == MAPPINGS_MAX ? "a million" : "hardly any");
        return 77;
    }
    for (unsigned i = 0; i < MAPPINGS_LEFT; i++)
        munmap(mappings[--made], 4096);
    int result = run_small();
    printf("survived with %u mappings left of %u\n", MAPPINGS_LEFT, made + MAPPINGS_LEFT);
    return result;
}

static int run_limit(const char *path, unsigned steps, int resource) {
    unsigned trials = 0, failed = 0;
    double limit = 32.0 * (1 << 20);
    for (unsigned i = 0; i<steps; i++, limit *= steps> 32 ? 1.08 : 1.5) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit bound = {(rlim_t)limit, (rlim_t)limit}, no_core = {0, 0};
            setrlimit(RLIMIT_CORE, &no_core);
            setenv("LD_PRELOAD", path, 1);
            alarm(60);
            setrlimit(resource, &bound);
            execl("/proc/self/exe", "fault", "small", (char *)NULL);
            _exit(30);
        }
        int status = wait_for(pid);
        trials++;
        if (status != 0) {
            failed++;
            printf("FAIL: limit of %.0f MiB: status %d\n", limit / (1 << 20), status);
        }
    }
    printf("limits survived: %u of %u\n", trials - failed, trials);
    return failed != 0;
}

// ---- forks
// --------------------------------------------------------------------------------------------------------------------------------

static _Atomic int stop;
static _Atomic(void *) exchanged[64];

static void *churner(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = test_random(&random);
        char *block = malloc(16 + r % (r % 32 == 0 ? 300000 : 3000));
        if (block == NULL)
            die("no memory in a churning thread", 0);
        block[0] = 1;
        // ORDER: acq_rel: the block goes with its contents; partner: the same exchange in another thread.
        free(atomic_exchange_explicit(&exchanged[r >> 40 & 63], block, memory_order_acq_rel));
    }
    return NULL;
}

static void *child_thread(void *argument) {
    void *block = malloc(5000);
    free(argument);
    free(block);
    return NULL;
}

// In the child of a threaded parent: allocates, frees what the parent's threads left, starts a thread.
static void forked(uint64_t seed) {
    alarm(20);
    uint64_t random = seed;
    void *mine[64];
    for (int i = 0; i < 64; i++) {
        mine[i] = malloc(16 + test_random(&random) % 100000);
        if (mine[i] == NULL)
            die("no memory in the child", (uint64_t)i);
        memset(mine[i], 1, 16);
    }
    for (int i = 0; i < 64; i++) {
        free(mine[i]);
        // ORDER: acq_rel: as in churner().
        free(atomic_exchange_explicit(&exchanged[i], NULL, memory_order_acq_rel));
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, child_thread, malloc(100)) != 0)
        die("no thread in the child", 0);
    pthread_join(thread, NULL);
    _exit(0);
}

static void *forker(void *argument) {
    uint64_t count = (uint64_t)(uintptr_t)argument;
    for (uint64_t i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid == 0)
            forked(i);
        int status = pid > 0 ? wait_for(pid) : 31;
        if (status != 0)
            die(status == 128 + SIGALRM ? "a child hangs" : "a child died", (uint64_t)status);
    }
    return NULL;
}

static int run_forks(uint64_t forks) {
    pthread_t threads[8], forkers[4];
    for (unsigned i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, churner, (void *)(uintptr_t)(i + 1));
    forker((void *)(uintptr_t)(forks / 2)); // one thread forks, then four at once
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&forkers[i], NULL, forker, (void *)(uintptr_t)(forks / 8));
    for (unsigned i = 0; i < 4; i++)
        pthread_join(forkers[i], NULL);
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    for (unsigned i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    printf("forks survived: %llu, hangs 0, deaths 0\n", (unsigned long long)(forks / 2 + forks / 8 * 4));
    return 0;
}

// ---- births and deaths ------------------------------------------------------------------------------------------

// A thread's last acts: destructors of its keys, which run after the allocator's (its key is older) and again as often
// as they set their value again, and of its C++ thread_local objects, which run before. All of them allocate, free, and
// hand blocks to whoever comes later.
#define KEYS 3
#define HANDED 256

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso); // what C++ calls
extern __attribute__((visibility("hidden"))) void *__dso_handle;                          // and what it names itself by

static pthread_key_t keys[KEYS];
static _Atomic(size_t *) handed[HANDED];
static _Atomic uint64_t last_acts;

// A block says how long it is and repeats it at its end.
static size_t *make(size_t words) {
    size_t *block = malloc(words * sizeof *block);
    if (block == NULL)
        die("no memory", words);
    block[0] = words;
    block[words - 1] = words;
    return block;
}

static void unmake(size_t *block) {
    if (block != NULL && block[block[0] - 1] != block[0])
        die("a live block changed", block[0]);
    free(block);
}

// Puts a new block where another thread finds it, and frees the one that lay there, whoever made it.
static void act(uint64_t seed) {
    uint64_t random = seed;
    for (int i = 0; i < 4; i++) {
        size_t *mine = make(2 + test_random(&random) % (i == 3 ? 8000 : 200));
        // ORDER: acq_rel: the blocks' contents, both ways; partner: this exchange in other threads.
        size_t *other = atomic_exchange_explicit(&handed[test_random(&random) % HANDED], mine, memory_order_acq_rel);
        unmake(other);
    }
    atomic_fetch_add_explicit(&last_acts, 1, memory_order_relaxed);
}

static void key_destructor(void *value) {
    size_t *block = value;
    size_t rounds_left = block[1];
    uint64_t seed = (uint64_t)(uintptr_t)block;
    unmake(block);
    act(seed);
    if (rounds_left > 0) {
        size_t *again = make(64);
        again[1] = rounds_left - 1;
        for (int k = 0; k < KEYS; k++) {
            if (pthread_getspecific(keys[k]) == NULL) {
                pthread_setspecific(keys[k], again);
                return;
            }
        }
        unmake(again);
    }
}

static void object_destructor(void *object) {
    uint64_t seed = (uint64_t)(uintptr_t)object;
    unmake(object);
    act(seed);
}

static void *short_life(void *seed) {
    act((uint64_t)(uintptr_t)seed);
    for (size_t k = 0; k < KEYS; k++) {
        size_t *block = make(64);
        block[1] = k; // how often the destructor sets it again
        pthread_setspecific(keys[k], block);
    }
    __cxa_thread_atexit_impl(object_destructor, make(100), &__dso_handle);
    return NULL;
}

static uint64_t resident_bytes(void) {
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &total, &resident) != 2)
        die("no /proc/self/statm", 0);
    fclose(file);
    return (uint64_t)resident * 4096;
}

// All blocks are freed and what the allocator retains has gone: caches fill for thousands of births, and how full they
// are by then depends on how many threads lived at once. What is left is what the births have cost for good.
static uint64_t resident_without_blocks(void) {
    for (int i = 0; i < HANDED; i++)
        unmake(atomic_exchange_explicit(&handed[i], NULL, memory_order_relaxed));
    malloc_trim(0);
    return resident_bytes();
}

static int run_births(uint64_t births) {
    for (int k = 0; k < KEYS; k++)
        pthread_key_create(&keys[k], key_destructor);
    uint64_t at_quarter = 0;
    for (uint64_t born = 0; born < births;) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++, born++)
            if (pthread_create(&threads[i], NULL, short_life, (void *)(uintptr_t)(born * 77 + 1)) != 0)
                die("no thread", born);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        if (at_quarter == 0 && born >= births / 4)
            at_quarter = resident_without_blocks();
    }
    uint64_t end = resident_without_blocks();
    uint64_t acts = atomic_load_explicit(&last_acts, memory_order_relaxed);
    printf("threads born and dead: %llu, last acts: %llu, resident after a quarter %llu KiB, at the end %llu KiB\n",
           (unsigned long long)births, (unsigned long long)acts, (unsigned long long)at_quarter >> 10,
           (unsigned long long)end >> 10);
    if (acts < births * (2 + KEYS))
        die("destructors that did not run", acts);
    if (end > at_quarter + (1u << 20)) // a heap a thread would be several times that
        die("bytes grown in three quarters of the births", end - at_quarter);
    return 0;
}

// ---- steady state -------------------------------------------------------------------------------------------------

#define STEADY_BLOCKS 1000
#define STEADY_THREADS 2u

static _Atomic(void *) steady_slots[STEADY_THREADS * STEADY_BLOCKS];

struct steady {
    const char *name;
    size_t most_bytes;
    unsigned blocks;  // of each thread
    unsigned foreign; // of 100 replacements, how many take a slot of the other thread
};

static struct steady_share {
    const struct steady *load;
    unsigned self;
    uint64_t operations;
} steady_shares[STEADY_THREADS];

// Random replacement, sizes log-uniform from 16 bytes up. The generator goes on where the last call left it.
static void *steady_work(void *argument) {
    struct steady_share *share = argument;
    static _Thread_local uint64_t random;
    random = random != 0 ? random : share->self + 1;
    for (uint64_t i = 0; i < share->operations; i++) {
        uint64_t r = test_random(&random);
        unsigned doublings = 63u - (unsigned)__builtin_clzll(share->load->most_bytes / 16);
        size_t bytes = (size_t)16 << (r & 0xff) % doublings;
        bytes += (r >> 8 & 0xffff) % bytes;
        unsigned owner = (r >> 24) % 100 < share->load->foreign ? 1 - share->self : share->self;
        char *block = heap->alloc(bytes);
        if (block == NULL)
            die("no memory", bytes);
        block[0] = 1;
        // ORDER: acq_rel: the block goes with its contents; partner: the same exchange in the other thread.
        heap->free(atomic_exchange_explicit(&steady_slots[owner * STEADY_BLOCKS + (r >> 32) % share->load->blocks],
                                            block, memory_order_acq_rel));
    }
    return NULL;
}

// Two threads that never end while calls are counted: their birth and death may cost what they like.
static pthread_barrier_t steady_turn;
static uint64_t steady_warm, steady_counted;

static void *steady_main(void *argument) {
    struct steady_share *share = argument;
    share->operations = steady_warm;
    steady_work(share);
    pthread_barrier_wait(&steady_turn);
    pthread_barrier_wait(&steady_turn);
    share->operations = steady_counted;
    steady_work(share);
    pthread_barrier_wait(&steady_turn);
    pthread_barrier_wait(&steady_turn);
    for (unsigned i = 0; i < STEADY_BLOCKS; i++) {
        // ORDER: acq_rel: as above.
        heap->free(
            atomic_exchange_explicit(&steady_slots[share->self * STEADY_BLOCKS + i], NULL, memory_order_acq_rel));
    }
    return NULL;
}

static int run_steady(const char *path) {
    static const struct steady loads[] = {
        {"local 16..2048 B", 2048, 1000, 0},          {"local 16 B..64 KiB", 65536, 400, 0},
        {"local 16 B..1 MiB", 1u << 20, 100, 0},      {"half remote 16..2048 B", 2048, 1000, 50},
        {"half remote 16 B..64 KiB", 65536, 400, 50},
    };
    struct test_library library = test_library_open(path);
    heap = library.table;
    *(void **)(void *)&fault_calls = dlsym(library.handle, "os_fault_calls");
    if (fault_calls == NULL)
        die("the library does not count its system calls", 0);
    steady_warm = test_count("FAULT_STEADY_WARM", 400000);
    steady_counted = test_count("FAULT_STEADY_OPS", 400000);
    int failed = 0;
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
        pthread_t threads[STEADY_THREADS];
        pthread_barrier_init(&steady_turn, NULL, STEADY_THREADS + 1);
        for (unsigned t = 0; t < STEADY_THREADS; t++) {
            steady_shares[t] = (struct steady_share){.load = &loads[i], .self = t};
            if (pthread_create(&threads[t], NULL, steady_main, &steady_shares[t]) != 0)
                die("no thread", t);
        }
        pthread_barrier_wait(&steady_turn);
        uint64_t before = fault_calls();
        pthread_barrier_wait(&steady_turn);
        pthread_barrier_wait(&steady_turn);
        uint64_t calls = fault_calls() - before;
        pthread_barrier_wait(&steady_turn);
        for (unsigned t = 0; t < STEADY_THREADS; t++)
            pthread_join(threads[t], NULL);
        printf("%-26s system calls for memory in %llu operations: %llu\n", loads[i].name,
               (unsigned long long)(steady_counted * STEADY_THREADS), (unsigned long long)calls);
        // Not 0: the largest footprint is a random walk that may still find a new maximum, and memory ages by the
        // clock, which a busy machine lets run while we wait.
        failed |= calls > steady_counted * STEADY_THREADS / 10000;
    }
    return failed;
}

// ---- another page size --------------------------------------------------------------------------------------------

// In a child: the first allocation of a library on a system with pages of so many bytes. Returns its exit status.
static int allocate_with_pages(const char *path, uint64_t bytes, char *text, size_t room) {
    int ends[2];
    if (pipe(ends) != 0)
        die("no pipe", 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        struct test_library library = test_library_open(path);
        void (*fault_page)(uint64_t);
        *(void **)(void *)&fault_page = dlsym(library.handle, "os_fault_page");
        if (fault_page == NULL)
            die("the library has no page size built in", 0);
        fault_page(bytes);
        _exit(library.table->alloc(100) != NULL ? 0 : 11);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t more; (more = read(ends[0], text + used, room - 1 - used)) > 0;)
        used += (size_t)more;
    text[used] = '\0';
    close(ends[0]);
    return wait_for(pid);
}

static int run_page(const char *path) {
    char text[400];
    int status = allocate_with_pages(path, 4096, text, sizeof text);
    if (status != 0 || text[0] != '\0')
        die("refused pages of 4096 bytes", (uint64_t)status);
    static const uint64_t sizes[] = {16384, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char number[40];
        snprintf(number, sizeof number, "pages of %llu bytes", (unsigned long long)sizes[i]);
        status = allocate_with_pages(path, sizes[i], text, sizeof text);
        printf("%d: %s", status, text);
        const char *end = strchr(text, '\n');
        if (status != ALLOCATOR_EXIT_REFUSED || strstr(text, number) == NULL || end == NULL || end[1] != '\0')
            die("not refused by one line and exit code 3", sizes[i]);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "small") == 0)
        return run_small();
    if (argc < 3) {
        fprintf(stderr, "usage: fault calls|steady|page FAULTY_LIBRARY | limit|data|maps|fork|births LIBRARY\n");
        return 2;
    }
    const char *mode = argv[1];
    if (strcmp(mode, "limit") == 0)
        return run_limit(argv[2], (unsigned)test_count("FAULT_LIMIT_STEPS", 12), RLIMIT_AS);
    if (strcmp(mode, "data") == 0)
        return run_limit(argv[2], (unsigned)test_count("FAULT_LIMIT_STEPS", 12), RLIMIT_DATA);
    if (strcmp(mode, "fork") == 0 || strcmp(mode, "maps") == 0 || strcmp(mode, "births") == 0) {
        const char *preloaded = getenv("LD_PRELOAD");
        if (preloaded == NULL || strcmp(preloaded, argv[2]) != 0) {
            setenv("LD_PRELOAD", argv[2], 1);
            execv("/proc/self/exe", argv);
            return 3;
        }
        return mode[0] == 'm'   ? run_crowded()
               : mode[0] == 'b' ? run_births(test_count("FAULT_BIRTHS", 2000))
                                : run_forks(test_count("FAULT_FORKS", 120));
    }
    test_library_environment(argv);
    if (strcmp(mode, "steady") == 0)
        return run_steady(argv[2]);
    if (strcmp(mode, "page") == 0)
        return run_page(argv[2]);
    return run_calls(argv[2], test_count("FAULT_CALLS", 120), test_count("FAULT_DENSE", 8));
}
