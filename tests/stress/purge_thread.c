// SPDX-License-Identifier: Apache-2.0
// A process that sleeps behind a burst, with the library preloaded: what stays resident. Usage: purge_thread MIB
// [without|fork|dlclose LIBRARY|signals]; exit 1 when more than MIB stay for PATIENCE_MS. `without`: for a
// library that has no purge thread; exit 1 when no more than MIB stay. `fork`: the child of a fork does the
// same, by calls, since it has no purge thread, and the parent afterwards. `dlclose`: LIBRARY, which is not preloaded,
// is loaded, used through its table, and closed, before the process sleeps. `signals`: the purge thread blocks all.
// Waits for memory: how fast the machine is does not matter. Layer: test, preload.
#include "../../allocators/allocator.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS 60u
#define BYTES ((size_t)1 << 20)
#define PATIENCE_MS 20000
#define LOOK_US 100000
#define LONGER_US 2000000 // than a purge thread waits

static char *blocks[BLOCKS];

// By system calls alone: a stream would take a block, and the call would let the arena look at the time.
static long resident_mib(void) {
    char text[64] = "";
    int file = open("/proc/self/statm", O_RDONLY);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0 || close(file) != 0)
        exit(3);
    return strtol(strchr(text, ' '), NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

// Freed and taken in turns, so that what is given back too early is retained from then on.
static void burst(void *(*take)(size_t), void (*give)(void *)) {
    for (int round = 0; round < 4; round++) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            blocks[i] = take(BYTES);
            if (blocks[i] == NULL)
                exit(3);
            memset(blocks[i], 1, BYTES);
        }
        for (unsigned i = 0; i < BLOCKS; i++)
            give(blocks[i]);
    }
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int falls_below(long bound, const char *who) {
    long before = resident_mib();
    long start = now_ms();
    long left = before;
    while (left > bound && now_ms() - start < PATIENCE_MS) {
        usleep(LOOK_US);
        left = resident_mib();
    }
    printf("%s: %ld MiB behind the burst, %ld asleep, bound %ld\n", who, before, left, bound);
    return left <= bound;
}

// Nothing leaves while the process sleeps; the next call finds the arena quiet.
static int without(long bound) {
    burst(malloc, free);
    usleep(LONGER_US);
    long asleep = resident_mib();
    free(malloc(3 * BYTES));
    long left = resident_mib();
    printf("without purge thread: %ld MiB asleep, %ld by one call, bound %ld\n", asleep, left, bound);
    return asleep > bound && left <= bound;
}

static int of_child(long bound) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        exit(!without(bound));
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int by_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct allocator *allocator = library != NULL ? dlsym(library, "hzbench_allocator") : NULL;
    if (allocator == NULL) {
        fprintf(stderr, "purge_thread: %s\n", dlerror());
        return 0;
    }
    burst(allocator->alloc, allocator->free);
    return dlclose(library) == 0;
}

// All signals but the two that no thread can block.
static int blocks_all(const char *task) {
    char path[64];
    char line[256];
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "SigBlk:", 7) == 0)
            blocked = strtoull(line + 7, NULL, 16);
    if (file != NULL)
        fclose(file);
    unsigned long long not_blocked = ~blocked;
    for (int i = 0; i < 64; i++)
        if ((not_blocked >> i & 1) != 0 && i + 1 != 9 && i + 1 != 19 && i + 1 != 32 && i + 1 != 33)
            return 0;
    return 1;
}

static int is_one_thread_with_all_blocked(void) {
    DIR *tasks = opendir("/proc/self/task");
    int others = 0;
    int blocking = 0;
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.' || strtol(task->d_name, NULL, 10) == getpid())
            continue;
        others++;
        blocking += blocks_all(task->d_name);
    }
    if (tasks != NULL)
        closedir(tasks);
    printf("%d other threads, %d block all signals\n", others, blocking);
    return others == 1 && blocking == 1;
}

int main(int argc, char **argv) {
    const char *how = argc > 2 ? argv[2] : "";
    int is_closed = strcmp(how, "dlclose") == 0;
    if (argc < 2 || argc != 2 + (*how != '\0') + is_closed) {
        fprintf(stderr, "usage: purge_thread MIB [without|fork|dlclose LIBRARY|signals]\n");
        return 2;
    }
    long bound = strtol(argv[1], NULL, 10);
    if (strcmp(how, "signals") == 0)
        return !is_one_thread_with_all_blocked();
    if (strcmp(how, "without") == 0)
        return !without(bound);
    if (is_closed ? !by_library(argv[3]) : strcmp(how, "fork") == 0 && !of_child(bound))
        return 1;
    if (!is_closed)
        burst(malloc, free);
    return !falls_below(bound, "process");
}
