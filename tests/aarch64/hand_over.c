// SPDX-License-Identifier: Apache-2.0
// Four threads that exchange blocks through 64 places: who takes a block out verifies its bytes and frees it, mostly as
// another thread than the one that allocated it. Uses only what a cross compiler has.
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, PLACES = 64, BLOCKS = 20000 };

static void *_Atomic places[PLACES];

static void take(unsigned char *block) {
    if (block == NULL)
        return;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    for (size_t at = sizeof bytes; at < bytes; at++) {
        if (block[at] != (unsigned char)bytes) {
            printf("byte %zu of %zu is wrong\n", at, bytes);
            exit(1);
        }
    }
    free(block);
}

static void *exchange(void *argument) {
    uint32_t state = (uint32_t)(uintptr_t)argument;
    for (int i = 0; i < BLOCKS; i++) {
        state = state * 1664525u + 1013904223u;
        const size_t bytes = 16 + (state >> 8) % 3000;
        unsigned char *block = malloc(bytes);
        if (block == NULL)
            abort();
        memset(block, (int)(unsigned char)bytes, bytes);
        memcpy(block, &bytes, sizeof bytes);
        // ORDER: acq_rel: the bytes are written before the block is seen, and read after it was taken.
        take(atomic_exchange_explicit(&places[(state >> 4) % PLACES], block, memory_order_acq_rel));
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, exchange, (void *)(i + 1)) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PLACES; i++)
        take(atomic_load_explicit(&places[i], memory_order_relaxed));
    printf("%d blocks handed over\n", THREADS * BLOCKS);
    return 0;
}
