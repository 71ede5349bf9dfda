// SPDX-License-Identifier: Apache-2.0
// What scripts/instructions runs under callgrind: a fixed number of rounds of one pattern on one backend, nothing else
// that depends on the number of rounds. Each round is BURST allocations and their frees; by default LIFO in one thread
// (the thread's cache serves all of it), with --remote the frees are done by a second thread. In `holes` the number is
// one of free extents, all too short: a round is one large block more, and every second time an older one is freed.
#include "loader/loader.h"

#include <pthread.h>
#include <stdint.h>
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

#define HOLES_MAX 100000
#define HOLE_BYTES 100000
#define ROUNDS_MAX 10000

static int holes(struct pattern *pattern, void (*purge)(void)) {
    static void *small[2 * HOLES_MAX], *large[ROUNDS_MAX];
    if (pattern->bytes > HOLES_MAX || pattern->rounds > ROUNDS_MAX)
        return 0;
    for (size_t i = 0; i < 2 * pattern->bytes; i++)
        small[i] = pattern->alloc(HOLE_BYTES);
    for (size_t i = 0; i < 2 * pattern->bytes; i += 2)
        pattern->free(small[i]);
    if (purge != NULL)
        purge(); // what leaves by age would leave by the clock, in the middle of what is counted
    uint32_t random = 1;
    for (long round = 0; round < pattern->rounds; round++) {
        random = random * 1103515245u + 12345;
        large[round] = pattern->alloc(2 * HOLE_BYTES + (random >> 16) % HOLE_BYTES);
        if (large[round] == NULL)
            return 0;
        if (random >> 8 & 1) {
            size_t old = (random >> 9) % (size_t)(round + 1);
            pattern->free(large[old]);
            large[old] = NULL;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 5 ||
        (strcmp(argv[2], "local") != 0 && strcmp(argv[2], "remote") != 0 && strcmp(argv[2], "holes") != 0)) {
        fprintf(stderr, "usage: budget ALLOCATOR local|remote BYTES ROUNDS | budget ALLOCATOR holes HOLES ROUNDS\n");
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
    return (argv[2][0] == 'h' ? holes(&pattern, loaded.table.purge) : remote(&pattern)) ? 0 : 4;
}
