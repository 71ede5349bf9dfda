// SPDX-License-Identifier: Apache-2.0
// A library whose constructor runs before the program's and, unless the allocator takes care, before the allocator's:
// it allocates there, registers fork handlers that allocate, and frees in its destructor. Layer: test.
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static void *kept[64];

static void use_heap(void) {
    for (size_t bytes = 1; bytes < 3000000; bytes += bytes / 2 + 1) {
        void *volatile block = calloc(1, bytes);
        if (block == NULL && errno != ENOMEM) // some tests leave little memory
            abort();
        free(block);
    }
}

__attribute__((constructor)) static void begin(void) {
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        kept[i] = malloc(i * i * 40);
    pthread_atfork(use_heap, use_heap, use_heap);
}

__attribute__((destructor)) static void end(void) {
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        free(kept[i]);
    use_heap();
}
