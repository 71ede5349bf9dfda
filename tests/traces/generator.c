// SPDX-License-Identifier: Apache-2.0
// A program whose allocations are known: threads allocate by all functions of the family, hand every other object to
// the next thread, which frees it, and count what they do. Prints the counts that a trace of it must show. Usage:
// generator THREADS ROUNDS [kill]. With `kill` it dies by SIGKILL when the work is done. Layer: test.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 16
#define BOX 64 // objects under way between two threads

enum { MALLOC, CALLOC, ALIGNED, REALLOC_NULL, REALLOC, FREE, USABLE, KINDS };
static const char *const names[KINDS] = {"malloc",  "calloc", "aligned",    "realloc_null",
                                         "realloc", "free",   "usable_size"};

static struct box {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *objects[BOX];
    int count, is_closed;
} boxes[THREADS_MAX];

static struct thread {
    pthread_t id;
    int index;
    uint64_t counts[KINDS], bytes, remote;
    uint64_t random;
} threads[THREADS_MAX];

static int thread_count, rounds;

static uint64_t draw(struct thread *self) {
    self->random = self->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return self->random >> 33;
}

static void *make(struct thread *self, uint64_t kind, size_t bytes) {
    void *block = NULL;
    self->bytes += bytes;
    switch (kind % 4) {
    case 0:
        block = malloc(bytes);
        self->counts[MALLOC]++;
        break;
    case 1:
        block = calloc(1, bytes);
        self->counts[CALLOC]++;
        break;
    case 2:
        block = aligned_alloc(64, bytes);
        self->counts[ALIGNED]++;
        break;
    default:
        block = realloc(NULL, bytes);
        self->counts[REALLOC_NULL]++;
    }
    memset(block, 1, bytes);
    return block;
}

static void give(struct box *box, void *object) {
    pthread_mutex_lock(&box->lock);
    while (box->count == BOX)
        pthread_cond_wait(&box->changed, &box->lock);
    box->objects[box->count++] = object;
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->lock);
}

// Frees what is in the own box; at the end waits until it is closed.
static void take(struct thread *self, int is_last) {
    struct box *box = &boxes[self->index];
    pthread_mutex_lock(&box->lock);
    for (;;) {
        while (box->count != 0) {
            free(box->objects[--box->count]);
            self->counts[FREE]++;
            self->remote++;
            pthread_cond_broadcast(&box->changed);
        }
        if (!is_last || box->is_closed)
            break;
        pthread_cond_wait(&box->changed, &box->lock);
    }
    pthread_mutex_unlock(&box->lock);
}

static void *work(void *argument) {
    struct thread *self = argument;
    struct box *next = &boxes[(self->index + 1) % thread_count];
    for (int i = 0; i < rounds; i++) {
        size_t bytes = 16 + 16 * (draw(self) % 40);
        void *object = make(self, draw(self), bytes);
        if (i % 5 == 0) {
            bytes = bytes * 3 + 1;
            object = realloc(object, bytes);
            self->bytes += bytes;
            self->counts[REALLOC]++;
        }
        if (i % 7 == 0)
            self->counts[USABLE] += malloc_usable_size(object) >= bytes;
        if (thread_count > 1 && i % 2 == 0) {
            // Whole boxes in a ring would wait for one another: the own one is emptied first.
            take(self, 0);
            give(next, object);
        } else {
            free(object);
            self->counts[FREE]++;
        }
    }
    pthread_mutex_lock(&next->lock);
    next->is_closed = 1;
    pthread_cond_broadcast(&next->changed);
    pthread_mutex_unlock(&next->lock);
    if (thread_count > 1)
        take(self, 1);
    return NULL;
}

int main(int argc, char **argv) {
    thread_count = argc > 1 ? atoi(argv[1]) : 1;
    rounds = argc > 2 ? atoi(argv[2]) : 1000;
    if (thread_count < 1 || thread_count > THREADS_MAX || rounds < 1) {
        fprintf(stderr, "usage: generator THREADS ROUNDS [kill]\n");
        return 2;
    }
    static char buffer[4096]; // stdio takes none of the heap
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    for (int i = 0; i < thread_count; i++) {
        pthread_mutex_init(&boxes[i].lock, NULL);
        pthread_cond_init(&boxes[i].changed, NULL);
        threads[i].index = i;
        threads[i].random = (uint64_t)i + 1;
    }
    for (int i = 1; i < thread_count; i++)
        pthread_create(&threads[i].id, NULL, work, &threads[i]);
    work(&threads[0]);
    for (int i = 1; i < thread_count; i++)
        pthread_join(threads[i].id, NULL);
    uint64_t bytes = 0, remote = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        uint64_t sum = 0;
        for (int i = 0; i < thread_count; i++)
            sum += threads[i].counts[kind];
        printf("%s %llu\n", names[kind], (unsigned long long)sum);
    }
    for (int i = 0; i < thread_count; i++) {
        bytes += threads[i].bytes;
        remote += threads[i].remote;
    }
    printf("bytes %llu\nremote_frees %llu\n", (unsigned long long)bytes, (unsigned long long)remote);
    fflush(stdout);
    if (argc > 3)
        raise(SIGKILL);
    return 0;
}
