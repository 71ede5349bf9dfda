// SPDX-License-Identifier: Apache-2.0
// What mallinfo2() costs and tells with few and with many live blocks: the instructions it executes, stepped one by one
// by a tracer, and its account. Usage: gauge_steps LIBRARY; exit 1 when a hundred times the blocks take more than 1.3
// times the instructions, or an account is off by 40 % or does not fall when half is freed, by the thread that
// allocated or by another one. 77: the system does not let us trace. Layer: test, preload.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES 48
#define LARGE_BLOCKS 4
#define LARGE_BYTES 200000
#define FEW 4000
#define MANY 400000
#define MOST_STEPS 100000

static char **blocks;
static size_t block_count;
static pthread_barrier_t barrier;

static size_t told(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void fill(void) {
    for (size_t i = 0; i < block_count; i++)
        blocks[i] = malloc(BLOCK_BYTES);
}

static void *other_thread(void *argument) {
    (void)argument;
    fill();
    pthread_barrier_wait(&barrier); // filled
    pthread_barrier_wait(&barrier); // counted
    return NULL;
}

// The traced process: the instructions between the two signals are counted.
static int inner(size_t count, int by_other) {
    size_t before = told();
    block_count = count;
    blocks = malloc(count * sizeof *blocks);
    char *large[LARGE_BLOCKS];
    for (size_t i = 0; i < LARGE_BLOCKS; i++)
        large[i] = malloc(LARGE_BYTES);
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    if (by_other) {
        pthread_create(&thread, NULL, other_thread, NULL);
        pthread_barrier_wait(&barrier);
    } else {
        fill();
    }
    double live = (double)(count * (BLOCK_BYTES + sizeof *blocks) + LARGE_BLOCKS * LARGE_BYTES);
    double full = (double)(told() - before);
    for (size_t i = 0; i < count; i += 2)
        free(blocks[i]);
    raise(SIGUSR1);
    size_t half_told = told();
    raise(SIGUSR1);
    double fallen = full - (double)(half_told - before);
    double freed = (double)(count / 2 * BLOCK_BYTES);
    printf("%zu blocks%s: live %.0f, told %.0f, freed %.0f, fallen by %.0f\n", count,
           by_other ? " of another thread" : "", live, full, freed, fallen);
    if (by_other) {
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
    }
    for (size_t i = 0; i < LARGE_BLOCKS; i++)
        free(large[i]);
    int is_right = full > 0.6 * live && full < 1.4 * live;
    if (count == MANY) // few blocks are in caches of threads, which another thread does not see
        is_right = is_right && fallen > 0.6 * freed && fallen < 1.4 * freed;
    return !is_right;
}

// Instructions of one told() in a process of its own; -1 when its account is wrong.
static long steps(const char *self, const char *library, size_t count, int by_other) {
    char text[32];
    snprintf(text, sizeof text, "%zu", count);
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        setenv("LD_PRELOAD", library, 1);
        execl(self, self, "inner", text, by_other ? "other" : "own", (char *)NULL);
        _exit(3);
    }
    int status;
    long counted = 0;
    int signals = 0;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        if (counted == MOST_STEPS) { // a walk over the blocks: there is no need to see its end
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return MOST_STEPS;
        }
        int is_mark = WSTOPSIG(status) == SIGUSR1;
        signals += is_mark;
        counted += signals == 1;
        int passes_on = !is_mark && WSTOPSIG(status) != SIGTRAP;
        if (ptrace(signals == 1 ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, passes_on ? WSTOPSIG(status) : 0) != 0)
            break;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        exit(77);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && signals == 2 ? counted : -1;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "inner") == 0)
        return inner(strtoul(argv[2], NULL, 10), strcmp(argv[3], "other") == 0);
    if (argc != 2) {
        fprintf(stderr, "usage: gauge_steps LIBRARY\n");
        return 2;
    }
    int failed = 0;
    for (int by_other = 0; by_other <= 1; by_other++) {
        long few = steps("/proc/self/exe", argv[1], FEW, by_other);
        long many = steps("/proc/self/exe", argv[1], MANY, by_other);
        printf("instructions of mallinfo2: %ld with %d blocks, %ld with %d\n", few, FEW, many, MANY);
        fflush(stdout);
        failed += few <= 0 || many <= 0 || (double)many > 1.3 * (double)few;
    }
    return failed != 0;
}
