// SPDX-License-Identifier: Apache-2.0
// hzbench-forks: the program of app:prefork and app:generations, processes that begin with the heap of another one.
//
// A program of its own, and no workload of the worker: what is measured is the memory of a tree of processes, of which
// pages that are still shared count once (PSS), and a fork must be the C library's, whose handlers stop and restart the
// malloc that the whole process uses. Forking the worker would copy the harness's memory and its sampler's locks too,
// and would leave out what the loader and the C library do with a preloaded malloc.
//
// prefork OPS SEED FILE: the pattern of servers that load their data and then fork their workers (CWIST#25 reports
// twice the memory of glibc with another malloc). The parent fills a heap, eight workers are born, and each serves its
// share of OPS requests: it reads objects of the parent, allocates and frees some of its own, and now and then replaces
// one of the parent's, which it then alone has. All live until the last has served.
//
// generations OPS SEED FILE: each process replaces a share of the heap that it was born with, forks its successor and
// ends (google/tcmalloc#95: allocators over generations of forks). The first waits for the last.
//
// Events are a function of OPS and SEED; their hash goes into FILE, from where hzbench-app takes it into the row.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECTS 30000u // some 30 MiB, of 16 to 2048 bytes
#define LEAST_BYTES 16u
#define RANGE_BYTES 2033u
#define WORKERS 8u
#define READ 16u        // objects of the parent's that a request reads
#define OWN 20u         // objects of a request
#define REPLACE_EVERY 8 // requests
#define GENERATION 100u // requests of a generation
#define EXIT_USAGE 2
#define EXIT_WRONG 3

struct object {
    unsigned char *bytes;
    uint32_t size;
    unsigned char mark;
};

static struct object heap[OBJECTS];

struct events { // of one process
    uint64_t random, hash;
};

// What the processes tell each other; mapped before the first fork.
struct board {
    uint64_t hashes[WORKERS];
    uint64_t last_hash;
    uint32_t generations;
};

static struct board *board;

static uint64_t draw(struct events *events) {
    uint64_t value = events->random += UINT64_C(0x9e3779b97f4a7c15); // splitmix64
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static void note(struct events *events, uint64_t slot, uint64_t size) {
    events->hash = (events->hash ^ (slot << 32 | size)) * UINT64_C(0x9e3779b97f4a7c15);
    events->hash ^= events->hash >> 29;
}

_Noreturn static void fail(const char *what, int code) {
    fprintf(stderr, "hzbench-forks: %s\n", what);
    _exit(code);
}

static void make(struct events *events, struct object *object, uint64_t slot) {
    const uint64_t drawn = draw(events);
    object->size = LEAST_BYTES + (uint32_t)(drawn % RANGE_BYTES);
    object->mark = (unsigned char)(drawn >> 40);
    object->bytes = malloc(object->size);
    if (object->bytes == NULL)
        fail("an allocation returned NULL", EXIT_WRONG);
    object->bytes[0] = object->bytes[object->size - 1] = object->mark;
    note(events, slot, object->size);
}

static void check(const struct object *object) {
    if (object->bytes[0] != object->mark || object->bytes[object->size - 1] != object->mark)
        fail("a byte of an object is wrong", EXIT_WRONG);
}

static void drop(const struct object *object) {
    check(object);
    free(object->bytes);
}

static void fill(struct events *events) {
    for (uint32_t i = 0; i < OBJECTS; i++)
        make(events, &heap[i], i);
}

static void replace(struct events *events) {
    const uint64_t slot = draw(events) % OBJECTS;
    drop(&heap[slot]);
    make(events, &heap[slot], slot);
}

static void serve(struct events *events, uint64_t requests) {
    struct object own[OWN];
    for (uint64_t i = 0; i < requests; i++) {
        for (uint32_t k = 0; k < READ; k++)
            check(&heap[draw(events) % OBJECTS]);
        for (uint32_t k = 0; k < OWN; k++)
            make(events, &own[k], OBJECTS + k);
        for (uint32_t k = 0; k < OWN; k++)
            drop(&own[k]);
        if (i % REPLACE_EVERY == 0)
            replace(events);
    }
}

// The share of part `index` of `parts`.
static uint64_t share_of(uint64_t all, uint64_t index, uint64_t parts) {
    return all / parts + (index < all % parts);
}

static void wait_for_end(int fd) {
    char ignored;
    while (read(fd, &ignored, 1) > 0)
        continue;
}

static uint64_t prefork(struct events *events, uint64_t requests) {
    int served[2], over[2]; // each ends when nobody holds its other end any more
    uint64_t hash = events->hash;
    int status, is_well = 1;
    if (pipe(served) != 0 || pipe(over) != 0)
        fail("no pipe", EXIT_WRONG);
    for (uint32_t i = 0; i < WORKERS; i++) {
        const pid_t pid = fork();
        if (pid < 0)
            fail("cannot fork", EXIT_WRONG);
        if (pid == 0) {
            struct events own = {events->random + i + 1, events->hash};
            close(over[1]);
            close(served[0]);
            serve(&own, share_of(requests, i, WORKERS));
            board->hashes[i] = own.hash;
            close(served[1]);
            wait_for_end(over[0]);
            _exit(0);
        }
    }
    close(served[1]);
    wait_for_end(served[0]);
    close(over[1]);
    while (wait(&status) > 0)
        is_well &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!is_well)
        fail("a worker did not end well", EXIT_WRONG);
    for (uint32_t i = 0; i < WORKERS; i++)
        hash = (hash ^ board->hashes[i]) * UINT64_C(0x9e3779b97f4a7c15);
    return hash;
}

// One process of the chain; whoever leaves nothing to do is the last.
static void live(struct events *events, uint64_t requests) {
    for (;;) {
        const uint64_t part = requests < GENERATION ? requests : GENERATION;
        serve(events, part);
        for (uint32_t i = 0; i < OBJECTS / 50; i++)
            replace(events);
        requests -= part;
        board->last_hash = events->hash;
        board->generations++;
        if (requests == 0)
            return;
        const pid_t pid = fork();
        if (pid < 0)
            fail("cannot fork", EXIT_WRONG);
        if (pid != 0)
            _exit(0); // the successor has all, the end of the pipe too
    }
}

static uint64_t generations(struct events *events, uint64_t requests) {
    const uint64_t wanted = (requests + GENERATION - 1) / GENERATION;
    int alive[2];
    if (pipe(alive) != 0)
        fail("no pipe", EXIT_WRONG);
    const pid_t pid = fork();
    if (pid < 0)
        fail("cannot fork", EXIT_WRONG);
    if (pid == 0) {
        close(alive[0]);
        live(events, requests);
        _exit(0);
    }
    close(alive[1]);
    wait_for_end(alive[0]);
    if (board->generations != wanted)
        fail("the chain of processes broke", EXIT_WRONG);
    return board->last_hash;
}

int main(int argc, char **argv) {
    char *end = NULL;
    const uint64_t requests = argc == 5 ? strtoull(argv[2], &end, 10) : 0;
    const int is_prefork = argc == 5 && strcmp(argv[1], "prefork") == 0;
    if (argc != 5 || requests == 0 || *end != '\0' || (!is_prefork && strcmp(argv[1], "generations") != 0)) {
        fprintf(stderr, "usage: hzbench-forks prefork|generations OPS SEED FILE (started by app:prefork)\n");
        return EXIT_USAGE;
    }
    struct events events = {strtoull(argv[3], NULL, 10), 0};
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        fail("no shared page", EXIT_WRONG);
    fill(&events);
    const uint64_t hash = is_prefork ? prefork(&events, requests) : generations(&events, requests);
    for (uint32_t i = 0; i < OBJECTS; i++)
        drop(&heap[i]);
    FILE *file = fopen(argv[4], "w");
    if (file == NULL || fprintf(file, "%016" PRIx64 "\n", hash) < 0 || fclose(file) != 0)
        fail("cannot write the hash", EXIT_WRONG);
    return 0;
}
