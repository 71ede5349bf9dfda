// SPDX-License-Identifier: Apache-2.0
// What a preloaded allocator owes to programs that fork, and to threads that begin when all keys are taken. Each case
// runs in a fresh process. Usage: forks [NAME]; preloaded, with bad frees counted. Layer: test.
#include "../support/cases.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 600
#define NO_KEYS "no keys before the library"
#define OPENED_LATE "HZ_TEST_OPENED_LATE"

static void expect_sound(void) {
    struct allocator_stats stats;
    test_table()->stats(&stats);
    for (int i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
        EXPECT(stats.rejects[i] == 0);
    EXPECT(test_table()->verify() == 0);
}

static void start(pthread_t *thread, void *(*body)(void *), uintptr_t argument) {
    EXPECT(pthread_create(thread, NULL, body, (void *)argument) == 0);
}

static void expect_good_end(pid_t pid) {
    int status = 0;
    EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// Small and large, through all that a thread caches.
static void use_heap(unsigned seed) {
    for (size_t bytes = 1 + seed % 16; bytes < 1500000; bytes += bytes / 3 + 1) {
        unsigned char *block = malloc(bytes);
        EXPECT(block != NULL);
        block[0] = block[bytes - 1] = 1;
        block = realloc(block, bytes + bytes / 2);
        EXPECT(block != NULL && block[0] == 1);
        free(block);
    }
}

// ---- memory of the parent's other threads -------------------------------------------------------------------------

#define BLOCKS 40000
#define BLOCK_BYTES 600
#define BUILDERS 4
#define GENERATIONS 6

static void *blocks[BLOCKS];
static pthread_barrier_t are_built;

static void *build_and_stay(void *first) {
    for (size_t i = (uintptr_t)first; i < BLOCKS; i += BUILDERS)
        EXPECT((blocks[i] = malloc(BLOCK_BYTES)) != NULL && memset(blocks[i], 1, BLOCK_BYTES) != NULL);
    pthread_barrier_wait(&are_built);
    for (;;)
        pause();
}

static void build(void) {
    pthread_t threads[BUILDERS];
    pthread_barrier_init(&are_built, NULL, BUILDERS + 1);
    for (uintptr_t i = 0; i < BUILDERS; i++)
        start(&threads[i], build_and_stay, i);
    pthread_barrier_wait(&are_built);
}

static void free_blocks(void) {
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

// Each generation has four threads that build 23 MiB; its child frees all and does the same.
static void generations(void) {
    build();
    long first = test_resident_kib();
    for (int generation = 1; generation < GENERATIONS; generation++) {
        pid_t pid = fork();
        if (pid != 0) {
            expect_good_end(pid);
            _exit(0);
        }
        free_blocks();
        build();
    }
    EXPECT(test_resident_kib() < first + first / 4);
    free_blocks();
    expect_sound();
}

// A worker whose data its parent's threads have built replaces each block by one of its own.
static void replaced_blocks(void) {
    build();
    long first = test_resident_kib();
    pid_t pid = fork();
    if (pid != 0) {
        expect_good_end(pid);
        _exit(0);
    }
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            free(blocks[i]);
            EXPECT((blocks[i] = malloc(BLOCK_BYTES)) != NULL && memset(blocks[i], 2, BLOCK_BYTES) != NULL);
        }
    }
    EXPECT(test_resident_kib() < first + first / 4);
    free_blocks();
    test_table()->purge();
    EXPECT(test_resident_kib() < first / 2);
    expect_sound();
}

// ---- heaps that are in use at the fork ----------------------------------------------------------------------------

#define ANCHORS 3000
#define WORKERS 4
#define FORKS 25
#define BURST 2000

static struct {
    unsigned char *block;
    size_t bytes;
} anchors[WORKERS][ANCHORS];
static _Atomic uint32_t is_over;
static _Atomic uint32_t are_anchored;
static void *_Atomic handed_over[64]; // from thread to thread

static size_t anchor_bytes(size_t i) {
    return 16 + i * 7919 % (i % 64 == 0 ? 200000 : 1500);
}

// Through the runs and back: most of the time is spent where lists change.
static void burst(unsigned random) {
    void *many[BURST];
    for (size_t i = 0; i < BURST; i++)
        EXPECT((many[i] = malloc(1 + (random + i / 500 * 200) % 1000)) != NULL);
    for (size_t i = 0; i < BURST; i++)
        free(many[i]);
}

static void *work(void *argument) {
    uintptr_t worker = (uintptr_t)argument;
    unsigned random = (unsigned)worker + 1;
    for (size_t i = 0; i < ANCHORS; i++) {
        anchors[worker][i].bytes = anchor_bytes(i);
        anchors[worker][i].block = malloc(anchors[worker][i].bytes);
        EXPECT(anchors[worker][i].block != NULL);
        memset(anchors[worker][i].block, (int)(worker + i), anchors[worker][i].bytes);
    }
    // ORDER: release: the anchors; partner: the acquire load in in_the_middle().
    atomic_fetch_add_explicit(&are_anchored, 1, memory_order_release);
    void *mine[512] = {0};
    while (atomic_load_explicit(&is_over, memory_order_relaxed) == 0) {
        random = random * 1664525u + 1013904223u;
        void **slot = &mine[random >> 8 & 511];
        if (random >> 16 & 1)
            burst(random >> 8);
        free(*slot);
        *slot = malloc(1 + (random >> 20) % (random % 50 == 0 ? 300000 : 700));
        // ORDER: acq_rel: the block was written by the thread that gave it; partner: this exchange in another thread.
        if (random % 4 == 0)
            *slot = atomic_exchange_explicit(&handed_over[random >> 16 & 63], *slot, memory_order_acq_rel);
    }
    for (size_t i = 0; i < COUNT(mine); i++)
        free(mine[i]);
    return NULL;
}

// Uses up what the heaps of all threads have free, and finds every block that was live at the fork unharmed.
static void expect_whole_heaps(void) {
    static unsigned char *own[6000];
    expect_sound();
    for (size_t i = 0; i < COUNT(own); i++) {
        size_t bytes = anchor_bytes(i);
        own[i] = malloc(bytes);
        EXPECT(own[i] != NULL);
        memset(own[i], (int)(i % 251), bytes);
        if (i % 500 == 0) // while what has been taken over is still in the lists
            expect_sound();
    }
    for (size_t worker = 0; worker < WORKERS; worker++) {
        for (size_t i = 0; i < ANCHORS; i++) {
            unsigned char *block = anchors[worker][i].block;
            size_t bytes = anchors[worker][i].bytes;
            EXPECT(block[0] == (unsigned char)(worker + i) && memcmp(block, block + 1, bytes - 1) == 0);
            free(block);
        }
    }
    for (size_t i = 0; i < COUNT(own); i++) {
        EXPECT(own[i][0] == i % 251 && memcmp(own[i], own[i] + 1, anchor_bytes(i) - 1) == 0);
        free(own[i]);
    }
    use_heap(0);
    test_table()->purge();
    expect_sound();
}

static void in_the_middle(void) {
    pthread_t threads[WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++)
        start(&threads[i], work, i);
    // ORDER: acquire: as in work().
    while (atomic_load_explicit(&are_anchored, memory_order_acquire) != WORKERS)
        usleep(1000);
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(SECONDS / 2);
            pthread_t thread;
            expect_whole_heaps();
            atomic_store_explicit(&is_over, 1, memory_order_relaxed);
            start(&thread, work, WORKERS - 1);
            pthread_join(thread, NULL);
            expect_sound();
            _exit(0);
        }
        expect_good_end(pid);
    }
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    expect_sound();
}

// ---- streams ------------------------------------------------------------------------------------------------------

static void *flush_all(void *argument) {
    while (atomic_load_explicit(&is_over, memory_order_relaxed) == 0)
        fflush(NULL);
    return argument;
}

// A stream allocates its buffer, and getline its line, while the stream is locked.
static void *read_lines(void *argument) {
    while (atomic_load_explicit(&is_over, memory_order_relaxed) == 0) {
        FILE *file = fopen("/proc/self/status", "r");
        char *line = NULL;
        size_t bytes = 0;
        EXPECT(file != NULL);
        while (getline(&line, &bytes, file) > 0) {
        }
        free(line);
        fclose(file);
    }
    return argument;
}

static void *use_memory(void *argument) {
    for (unsigned i = 1; atomic_load_explicit(&is_over, memory_order_relaxed) == 0; i++)
        free(malloc(64 + i * 7919u % 300000));
    return argument;
}

static void beside_streams(void) {
    static void *(*const bodies[])(void *) = {flush_all, flush_all, read_lines, read_lines, read_lines, use_memory};
    pthread_t threads[COUNT(bodies)];
    for (size_t i = 0; i < COUNT(bodies); i++)
        start(&threads[i], bodies[i], i);
    for (int round = 0; round < 200; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            // The list of streams must be free in the child, whose threads use it, too.
            alarm(SECONDS / 2);
            fclose(fopen("/proc/self/status", "r"));
            atomic_store_explicit(&is_over, 1, memory_order_relaxed);
            pthread_t thread;
            start(&thread, flush_all, 0);
            pthread_join(thread, NULL);
            fflush(NULL);
            _exit(0);
        }
        expect_good_end(pid);
    }
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    for (size_t i = 0; i < COUNT(bodies); i++)
        pthread_join(threads[i], NULL);
}

// ---- signals ------------------------------------------------------------------------------------------------------

static volatile sig_atomic_t forks_in_handler;
static volatile sig_atomic_t is_child;

// Every other child goes on where the signal came.
static void fork_in_handler(int signal) {
    (void)signal;
    if (is_child)
        return;
    pid_t pid = fork();
    if (pid == 0 && forks_in_handler % 2 == 0)
        _exit(0);
    is_child = pid == 0;
    if (pid > 0)
        expect_good_end(pid);
    forks_in_handler++;
}

static void interrupted(int is_forking) {
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    signal(SIGVTALRM, SIG_DFL);
    struct itimerval watchdog = {.it_value.tv_sec = SECONDS / 4};
    EXPECT(setitimer(ITIMER_VIRTUAL, &watchdog, NULL) == 0);
    void *mine[64] = {0};
    for (unsigned i = 0; forks_in_handler < 300; i++) {
        struct itimerval soon = {.it_value.tv_usec = 1 + i % 300};
        EXPECT(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        for (unsigned step = 0; step < 20; step++) {
            void **slot = &mine[(i + step) % 64];
            free(*slot);
            *slot = malloc(1 + (i * 37 + step * 7919) % (step % 4 == 0 ? 3000000 : 9000));
        }
        pid_t pid = is_forking ? fork() : -1;
        int status = 0;
        pid_t ended = pid > 0 ? waitpid(pid, &status, 0) : pid;
        if (is_child) // interrupted anywhere above, the wait included
            use_heap(i);
        if (is_child || pid == 0)
            _exit(0);
        EXPECT(ended == pid && status == 0);
    }
    struct itimerval never = {0};
    setitimer(ITIMER_REAL, &never, NULL);
    expect_sound();
}

static void malloc_interrupted(void) {
    interrupted(0);
}

static void fork_interrupted(void) {
    interrupted(1);
}

// ---- keys ---------------------------------------------------------------------------------------------------------

static unsigned take_all_keys(void) {
    unsigned taken = 0;
    for (pthread_key_t key; pthread_key_create(&key, NULL) == 0;)
        taken++;
    return taken;
}

static void *(*alloc)(size_t bytes) = malloc;
static void (*release)(void *block) = free;

static void *fill_and_leave(void *argument) {
    void *mine[2000];
    for (size_t i = 0; i < COUNT(mine); i++)
        EXPECT((mine[i] = alloc(16 + i % 500)) != NULL && memset(mine[i], 1, 16) != NULL);
    for (size_t i = 0; i < COUNT(mine); i++)
        release(mine[i]);
    return argument;
}

static void expect_heaps_go_on(void) {
    long before = 0;
    for (unsigned i = 0; i < 420; i++) {
        pthread_t thread;
        start(&thread, fill_and_leave, i);
        pthread_join(thread, NULL);
        if (i == 20)
            before = test_resident_kib();
    }
    EXPECT(test_resident_kib() < before + 4096); // a heap that is left behind costs 50 KiB and more
}

static void keys_taken_in_main(void) {
    EXPECT(take_all_keys() != 0);
    expect_heaps_go_on();
    use_heap(1);
    expect_sound();
}

// Preloaded, the library is initialised before all else. Here the program opens it when it has taken all keys.
static void keys_taken_early(void) {
    const char *path = getenv(OPENED_LATE);
    if (path == NULL) {
        Dl_info info;
        EXPECT(dladdr((const void *)test_table(), &info) != 0);
        setenv(OPENED_LATE, info.dli_fname, 1);
        unsetenv("LD_PRELOAD");
        setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384", 1);
        execl("/proc/self/exe", "forks", NO_KEYS, (char *)NULL);
        _exit(2);
    }
    EXPECT(take_all_keys() != 0);
    void *library = dlopen(path, RTLD_NOW);
    const struct allocator *opened = library != NULL ? dlsym(library, ALLOCATOR_TABLE_SYMBOL) : NULL;
    if (opened == NULL)
        dprintf(STDERR_FILENO, "  %s\n", dlerror());
    EXPECT(opened != NULL);
    alloc = opened->alloc;
    release = opened->free;
    expect_heaps_go_on();
    EXPECT(opened->verify() == 0);
}

// ---- the table ----------------------------------------------------------------------------------------------------

static const struct test_case cases[] = {
    {"generations of threaded servers", generations},
    {"blocks of the parent's threads are replaced", replaced_blocks},
    {"heaps in use at the fork", in_the_middle},
    {"beside streams", beside_streams},
    {"in a handler that interrupts malloc", malloc_interrupted},
    {"in a handler that interrupts fork", fork_interrupted},
    {"no keys after the start", keys_taken_in_main},
    {NO_KEYS, keys_taken_early},
};

int main(int argc, char **argv) {
    if (argc == 2 && test_case_named(cases, COUNT(cases), argv[1], SECONDS))
        return 0;
    unsigned kept = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int is_kept = test_case_fresh(&cases[i]) == 0;
        kept += (unsigned)is_kept;
        if (!is_kept)
            printf("BROKEN: %s\n", cases[i].name);
    }
    printf("cases kept: %u of %zu\n", kept, COUNT(cases));
    return kept != COUNT(cases) || argc != 1;
}
