// SPDX-License-Identifier: Apache-2.0
// A bump allocator in one static arena that turns bad at its 1500th allocation, in the way FAULT names: after the
// warm-up of `local` (1000 objects), so in the measured part. Built by the runner's tests, one library a fault.
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARENA_BYTES (256u << 20)
#define GOOD_ALLOCATIONS 1500u

static _Alignas(4096) unsigned char arena[ARENA_BYTES];
static _Atomic size_t arena_used;
static _Atomic unsigned allocation_count;
static void *_Atomic last_block;

static void *fault_none(void *block) {
    return block;
}

static void *fault_hang(void *block) {
    for (;;)
        pause();
    return block;
}

static void *fault_abort(void *block) {
    static const char text[] = "fake: the heap is broken\n";
    (void)!write(2, text, sizeof text - 1);
    abort();
    return block;
}

static void *fault_segv(void *block) {
    raise(SIGSEGV);
    return block;
}

static void *fault_overlap(void *block) {
    (void)block;
    return atomic_load_explicit(&last_block, memory_order_relaxed); // the one before, which is still live
}

static void *fault_exhausted(void *block) {
    (void)block;
    errno = ENOMEM;
    return NULL;
}

static void *fault_exit(void *block) {
    _exit(7);
    return block;
}

// Tells of the first block larger than the 64 bytes that the test's workload asks for at most.
static void *fault_tell_large(void *block) {
    static const char text[] = "fake: a block of more than 64 bytes\n";
    static _Atomic int is_told;
    size_t bytes;
    memcpy(&bytes, (unsigned char *)block - 16, sizeof bytes);
    if (bytes > 64 && !atomic_exchange_explicit(&is_told, 1, memory_order_relaxed))
        (void)!write(2, text, sizeof text - 1);
    return block;
}

// All of them are built into every library; one is used.
void *(*const fake_faults[])(void *) = {fault_none,    fault_hang,      fault_abort, fault_segv,
                                        fault_overlap, fault_exhausted, fault_exit,  fault_tell_large};

static void *bump(size_t bytes) {
    size_t rounded = (bytes + 31) & ~(size_t)15; // room for the size in front
    size_t at = atomic_fetch_add_explicit(&arena_used, rounded, memory_order_relaxed);
    if (at + rounded > ARENA_BYTES)
        return NULL;
    memcpy(arena + at, &bytes, sizeof bytes);
    return arena + at + 16;
}

void *malloc(size_t bytes) {
    void *block = bump(bytes);
    unsigned number = atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed);
    if (block && number >= GOOD_ALLOCATIONS)
        return FAULT(block);
    atomic_store_explicit(&last_block, block, memory_order_relaxed);
    return block;
}

void free(void *block) {
    (void)block;
}

void *realloc(void *block, size_t bytes) {
    void *fresh = malloc(bytes);
    size_t old_bytes = 0;
    if (block && fresh) {
        memcpy(&old_bytes, (unsigned char *)block - 16, sizeof old_bytes);
        memcpy(fresh, block, old_bytes < bytes ? old_bytes : bytes);
    }
    return fresh;
}
