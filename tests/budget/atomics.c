// SPDX-License-Identifier: Apache-2.0
// Locked instructions per remote free, counted in a copy of hz4 that is built with tests/support/count_atomics.h.
// Producers allocate and hand every block to one thread that only frees: one producer is a pipeline, several are a
// fan-in. Usage: atomics PRODUCERS BYTES [BOUND]; exit 1 when the freeing thread executes more than BOUND a block.
// Layer: test, linked with the allocator.
#include "../../allocators/allocator.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PRODUCERS_MAX 8
#define RING_BLOCKS 1024u // a power of two
#define BLOCKS 400000u    // of each producer
#define WARM_BLOCKS 50000u

extern const struct allocator hzbench_allocator;

_Thread_local uint64_t count_atomics;

// One writer, one reader; both indices only grow.
struct ring {
    _Alignas(64) _Atomic uint64_t written;
    _Alignas(64) _Atomic uint64_t read;
    _Alignas(64) void *blocks[RING_BLOCKS];
    uint64_t producer_atomics;
};

static struct ring rings[PRODUCERS_MAX];
static size_t block_bytes;

static void *produce(void *argument) {
    struct ring *ring = argument;
    for (uint64_t i = 0; i < BLOCKS; i++) {
        // ORDER: acquire: the slot is free again; partner: the release in consume().
        while (i - atomic_load_explicit(&ring->read, memory_order_acquire) == RING_BLOCKS)
            sched_yield();
        if (i == WARM_BLOCKS)
            count_atomics = 0;
        char *block = hzbench_allocator.alloc(block_bytes);
        if (block == NULL)
            exit(4);
        block[0] = 1;
        ring->blocks[i % RING_BLOCKS] = block;
        // ORDER: release: the block; partner: the acquire in consume().
        atomic_store_explicit(&ring->written, i + 1, memory_order_release);
    }
    ring->producer_atomics = count_atomics;
    return NULL;
}

// Frees what all producers sent; returns the locked instructions of the frees behind the warm-up, and their number.
static uint64_t consume(unsigned producers, uint64_t *frees) {
    uint64_t atomics = 0, left = (uint64_t)BLOCKS * producers;
    for (unsigned turn = 0; left > 0; turn++) {
        struct ring *ring = &rings[turn % producers];
        uint64_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
        // ORDER: acquire: the blocks; partner: the release in produce().
        uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
        if (read == written)
            sched_yield();
        for (; read < written; read++, left--) {
            uint64_t before = count_atomics;
            hzbench_allocator.free(ring->blocks[read % RING_BLOCKS]);
            if (read >= WARM_BLOCKS) {
                atomics += count_atomics - before;
                ++*frees;
            }
        }
        // ORDER: release: the slots have been read; partner: the acquire in produce().
        atomic_store_explicit(&ring->read, read, memory_order_release);
    }
    return atomics;
}

int main(int argc, char **argv) {
    unsigned producers = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    block_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    double bound = argc > 3 ? strtod(argv[3], NULL) : 0.05;
    if (producers == 0 || producers > PRODUCERS_MAX || block_bytes == 0) {
        fprintf(stderr, "usage: atomics PRODUCERS BYTES [BOUND]\n");
        return 2;
    }
    pthread_t threads[PRODUCERS_MAX];
    for (unsigned i = 0; i < producers; i++)
        if (pthread_create(&threads[i], NULL, produce, &rings[i]) != 0)
            return 3;
    uint64_t frees = 0, sent = 0;
    uint64_t atomics = consume(producers, &frees);
    for (unsigned i = 0; i < producers; i++) {
        pthread_join(threads[i], NULL);
        sent += rings[i].producer_atomics;
    }
    double each = (double)atomics / (double)frees;
    printf("%u producers, %zu B: locked instructions per remote free %.4f (bound %.2f), per malloc %.4f\n", producers,
           block_bytes, each, bound, (double)sent / (double)frees);
    // Nothing counted at all would mean that the counting is broken.
    return atomics == 0 || each > bound;
}
