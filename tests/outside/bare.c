// SPDX-License-Identifier: Apache-2.0
// The outside check of the runner: a straight loop for each topology without drawing ahead, hashes or verification,
// over the malloc that is preloaded. What the runner says of the order of allocators must be seen here, too.
//   bare local OPS           one thread replaces random objects of 1000 slots
//   bare remote OPS          two threads do, and give 9 of 10 old objects to the other through a ring
// Prints nanoseconds an operation and thread. Layer: tests.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOTS 1000u
#define LEAST_BYTES 16u
#define MOST_BYTES 2048u
#define RING 1024u
#define BATCH 8u
#define LOOK 256u
#define THREADS 2u

struct ring {
    _Alignas(128) _Atomic uint64_t head; // the producer's
    _Alignas(128) _Atomic uint64_t tail; // the consumer's
    _Alignas(128) unsigned char *objects[RING];
};

struct worker {
    _Alignas(128) struct ring *out, *in;
    uint64_t random, ops, written, known_tail;
    _Atomic int *finished;
    unsigned char *slots[SLOTS];
};

static uint64_t next(struct worker *self) {
    self->random ^= self->random << 13;
    self->random ^= self->random >> 7;
    self->random ^= self->random << 17;
    return self->random;
}

static unsigned char *make(uint64_t draw) {
    const size_t bytes = LEAST_BYTES + (size_t)((draw & 0xffffffff) * (MOST_BYTES - LEAST_BYTES + 1) >> 32);
    unsigned char *block = malloc(bytes);
    if (block == NULL)
        abort();
    block[0] = block[bytes - 1] = (unsigned char)draw;
    return block;
}

static void drain(struct worker *self) {
    struct ring *in = self->in;
    uint64_t tail = atomic_load_explicit(&in->tail, memory_order_relaxed);
    // ORDER: acquire pairs with the release in give(): the entries below the head are written.
    const uint64_t head = atomic_load_explicit(&in->head, memory_order_acquire);
    for (; tail != head; tail++)
        free(in->objects[tail % RING]);
    // ORDER: release: the entries are read before the producer may write them again.
    atomic_store_explicit(&in->tail, tail, memory_order_release);
}

static void publish(struct worker *self) {
    // ORDER: release: what the other reads below the head is written.
    atomic_store_explicit(&self->out->head, self->written, memory_order_release);
}

static void give(struct worker *self, unsigned char *block) {
    while (self->written - self->known_tail == RING) {
        publish(self);
        // ORDER: acquire pairs with the release in drain().
        self->known_tail = atomic_load_explicit(&self->out->tail, memory_order_acquire);
        drain(self);
        if (self->written - self->known_tail == RING)
            sched_yield();
    }
    self->out->objects[self->written++ % RING] = block;
    if (self->written % BATCH == 0)
        publish(self);
}

static void *work(void *argument) {
    struct worker *self = argument;
    for (uint64_t i = 0; i < self->ops; i++) {
        const uint64_t draw = next(self);
        unsigned char **slot = &self->slots[(draw >> 32) * SLOTS >> 32];
        if (self->out != NULL && (draw & 1023) < 922)
            give(self, *slot);
        else
            free(*slot);
        *slot = make(draw * UINT64_C(0x9e3779b97f4a7c15));
        if (self->out != NULL && i % LOOK == 0)
            drain(self);
    }
    if (self->out == NULL)
        return NULL;
    publish(self);
    atomic_fetch_add_explicit(self->finished, 1, memory_order_acq_rel); // ORDER: both heads are final behind it
    while (atomic_load_explicit(self->finished, memory_order_acquire) != (int)THREADS) { // ORDER: as above
        drain(self);
        sched_yield();
    }
    drain(self);
    return NULL;
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int count, char **arguments) {
    static struct worker workers[THREADS];
    static struct ring rings[THREADS];
    static _Atomic int finished;
    const uint64_t ops = count == 3 ? strtoull(arguments[2], NULL, 10) : 0;
    const int is_remote = count == 3 && strcmp(arguments[1], "remote") == 0;
    if (ops == 0 || (!is_remote && strcmp(arguments[1], "local") != 0)) {
        fprintf(stderr, "usage: bare local|remote OPS\n");
        return 2;
    }
    const unsigned threads = is_remote ? THREADS : 1;
    for (unsigned t = 0; t < threads; t++) {
        struct worker *worker = &workers[t];
        worker->random = 88172645463325252u + t;
        worker->ops = ops;
        worker->finished = &finished;
        worker->out = is_remote ? &rings[t] : NULL;
        worker->in = is_remote ? &rings[1 - t] : NULL;
        for (unsigned i = 0; i < SLOTS; i++)
            worker->slots[i] = make(next(worker));
    }
    const double begin_ns = now_ns();
    pthread_t other;
    if (is_remote && pthread_create(&other, NULL, work, &workers[1]) != 0)
        return 1;
    work(&workers[0]);
    if (is_remote)
        pthread_join(other, NULL);
    printf("%.2f\n", (now_ns() - begin_ns) / (double)ops);
    for (unsigned t = 0; t < threads; t++)
        for (unsigned i = 0; i < SLOTS; i++)
            free(workers[t].slots[i]);
    return 0;
}
