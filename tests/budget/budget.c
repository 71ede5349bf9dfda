// SPDX-License-Identifier: Apache-2.0
// What scripts/instructions runs under callgrind: a fixed number of rounds of one pattern on one backend, nothing else that
// depends on the number of rounds. Each round is BURST allocations and their frees; by default LIFO in one thread (the
// thread's cache serves all of it), with --remote the frees are done by a second thread.
#include "loader/loader.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST 4 // the smallest magazine of hz5
#define REMOTE_BURST 4096

struct pattern {
    void *(*alloc)(size_t);
    void (*free)(void *);
    size_t bytes;
    long rounds;
    pthread_barrier_t turn; // hands `blocks` to the other thread and back
    void *blocks[REMOTE_BURST];
};

static void local(struct pattern *pattern) {
    for (long round = 0; round < pattern->rounds; round++) {
        for (int i = 0; i < BURST; i++)
            pattern->blocks[i] = pattern->alloc(pattern->bytes);
        for (int i = BURST - 1; i >= 0; i--)
            pattern->free(pattern->blocks[i]);
    }
}

static void *freeing_thread(void *argument) {
    struct pattern *pattern = argument;
    for (long round = 0; round < pattern->rounds; round++) {
        pthread_barrier_wait(&pattern->turn);
        for (int i = 0; i < REMOTE_BURST; i++)
            pattern->free(pattern->blocks[i]);
        pthread_barrier_wait(&pattern->turn);
    }
    return NULL;
}

static int remote(struct pattern *pattern) {
    pthread_t thread;
    pthread_barrier_init(&pattern->turn, NULL, 2);
    if (pthread_create(&thread, NULL, freeing_thread, pattern) != 0)
        return 0;
    for (long round = 0; round < pattern->rounds; round++) {
        for (int i = 0; i < REMOTE_BURST; i++)
            pattern->blocks[i] = pattern->alloc(pattern->bytes);
        pthread_barrier_wait(&pattern->turn);
        pthread_barrier_wait(&pattern->turn);
    }
    return pthread_join(thread, NULL) == 0;
}

int main(int argc, char **argv) {
    if (argc != 5 || (strcmp(argv[2], "local") != 0 && strcmp(argv[2], "remote") != 0)) {
        fprintf(stderr, "usage: budget ALLOCATOR local|remote BYTES ROUNDS\n");
        return 2;
    }
    static struct allocator_spec spec;
    static struct loaded_allocator loaded;
    static struct pattern pattern;
    char why[512];
    if (allocator_spec_parse(argv[1], &spec, why, sizeof why) != ALLOCATOR_LOADED ||
        allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why) != ALLOCATOR_LOADED) {
        fprintf(stderr, "budget: %s\n", why);
        return 3;
    }
    pattern.alloc = loaded.table.alloc;
    pattern.free = loaded.table.free;
    pattern.bytes = strtoul(argv[3], NULL, 10);
    pattern.rounds = strtol(argv[4], NULL, 10);
    if (argv[2][0] == 'l') {
        local(&pattern);
        return 0;
    }
    return remote(&pattern) ? 0 : 4;
}
