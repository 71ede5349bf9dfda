// SPDX-License-Identifier: Apache-2.0
// A thread forks while others free its blocks, and so may hold its heap for it at that moment. They are not there in
// the child, which must allocate all the same. Run with the library preloaded. Usage: fork_helped [FORKS]; exit 1 when
// a child hangs (until PATIENCE_MS) or fails. Layer: test, preload.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 20000u
#define OF_CHILD 5000u
#define FREERS 2
#define PATIENCE_MS 20000

static void *_Atomic slots[SLOTS];
static _Atomic int is_over;

static void *free_all(void *argument) {
    while (!atomic_load_explicit(&is_over, memory_order_relaxed))
        for (unsigned i = 0; i < SLOTS; i++)
            // ORDER: acquire: the block; partner: fill().
            free(atomic_exchange_explicit(&slots[i], NULL, memory_order_acquire));
    return argument;
}

static void fill(void) {
    for (unsigned i = 0; i < SLOTS; i++) {
        if (atomic_load_explicit(&slots[i], memory_order_relaxed) != NULL)
            continue;
        void *block = malloc(16 + i * 37 % 1000);
        if (block == NULL)
            exit(3);
        memset(block, 1, 16);
        // ORDER: release: the block; partner: free_all().
        atomic_store_explicit(&slots[i], block, memory_order_release);
    }
}

static _Noreturn void child(void) {
    static void *blocks[OF_CHILD];
    for (unsigned i = 0; i < OF_CHILD; i++) {
        blocks[i] = malloc(16 + i * 13 % 3000);
        if (blocks[i] == NULL)
            _exit(3);
        memset(blocks[i], 2, 16);
    }
    for (unsigned i = 0; i < OF_CHILD; i++)
        free(blocks[i]);
    _exit(0);
}

static int ends_well(pid_t process) {
    int status = 0;
    for (int waited = 0; waited < PATIENCE_MS; waited++) {
        if (waitpid(process, &status, WNOHANG) == process)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        usleep(1000);
    }
    kill(process, SIGKILL);
    waitpid(process, &status, 0);
    return 0;
}

int main(int argc, char **argv) {
    int forks = argc > 1 ? atoi(argv[1]) : 200;
    int failed = 0;
    pthread_t threads[FREERS];
    for (int i = 0; i < FREERS; i++)
        if (pthread_create(&threads[i], NULL, free_all, NULL) != 0)
            return 3;
    for (int i = 0; i < forks && !failed; i++) {
        fill();
        pid_t process = fork();
        if (process == 0)
            child();
        failed = process < 0 || !ends_well(process);
    }
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    for (int i = 0; i < FREERS; i++)
        pthread_join(threads[i], NULL);
    printf("forks: %d, a child that failed: %d\n", forks, failed);
    return failed;
}
