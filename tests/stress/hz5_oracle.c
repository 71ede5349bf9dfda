// SPDX-License-Identifier: Apache-2.0
// Valid work of many threads with misuse of every kind mixed in, one in a thousand, under policy count: an oracle that
// knows each misuse's reason must agree with every counter exactly, and no valid operation may be refused.
// Usage: hz5_oracle LIBRARY oracle|random [COUNT]. Layer: test, exported table only.
#include "../support/library.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define THREADS 8
#define OWN_SLOTS 256
#define SHARED_SLOTS 1024
#define OPS_A_TURN 512 // valid operations between two looks at the gate

static struct test_library library;
static const struct allocator *heap;
static uint64_t ops_each;

// Readers do valid work and misuse whose outcome nobody else can change; a writer, alone in the heap, does the misuse
// whose outcome an allocation elsewhere could change (the freed block might be handed out again before its second
// free).
static pthread_rwlock_t world = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

struct block {
    uint64_t key;
    uint64_t bytes;
};

static _Atomic(struct block *) shared[SHARED_SLOTS];
static char static_bytes[64] __attribute__((aligned(16)));

enum kind {
    KIND_STACK,
    KIND_STATIC,
    KIND_WILD,
    KIND_UNMAPPED,
    KIND_INTERIOR,
    KIND_MISALIGNED,
    KIND_DOUBLE_OWN,
    KIND_DOUBLE_REMOTE,
    KIND_STALE_RUN,
    KIND_SIZE,
    KIND_TAIL,
    KIND_COUNT
};

struct worker {
    pthread_t thread;
    uint64_t seed;
    uint64_t expected[ALLOCATOR_REJECT_COUNT];
    uint64_t either_gone; // large double frees: stale_run or double_free, whichever the cache of large runs makes of it
    uint64_t invalid[KIND_COUNT];
    uint64_t valid;
};

static void fail(const char *what, uint64_t got, uint64_t wanted) {
    printf("FAIL: %s: %llu, not %llu\n", what, (unsigned long long)got, (unsigned long long)wanted);
    exit(1);
}

static size_t pick_bytes(uint64_t *random) {
    uint64_t r = test_random(random);
    if (r % 512 == 0)
        return (size_t)66000 + (r >> 20) % 400000;
    size_t octave = (size_t)1 << (5 + (r >> 10) % 10);
    return octave + (r >> 20) % octave;
}

static struct block *take(uint64_t *random) {
    size_t bytes = pick_bytes(random);
    struct block *block = heap->alloc(bytes);
    if (block == NULL)
        fail("no memory", 0, bytes);
    block->bytes = bytes;
    block->key = test_random(random);
    *(uint64_t *)(void *)((char *)block + (bytes - 8) / 8 * 8) = bytes < 32 ? block->key : ~block->key;
    return block;
}

static void check(const struct block *block) {
    uint64_t mark = *(const uint64_t *)(const void *)((const char *)block + (block->bytes - 8) / 8 * 8);
    if (mark != (block->bytes < 32 ? block->key : ~block->key))
        fail("a live block changed", mark, ~block->key);
}

static void give(struct block *block) {
    if (block == NULL)
        return;
    check(block);
    heap->free(block);
}

static void valid_op(uint64_t *random, struct block **own) {
    uint64_t r = test_random(random);
    struct block **slot = &own[(r >> 8) % OWN_SLOTS];
    switch (r % 8) {
    case 0:
        if (*slot != NULL) {
            check(*slot);
            uint64_t key = (*slot)->key;
            size_t bytes = pick_bytes(random);
            struct block *moved = heap->realloc(*slot, bytes);
            if (moved == NULL || moved->key != key)
                fail("realloc lost the contents", moved != NULL ? moved->key : 0, key);
            moved->bytes = bytes;
            *(uint64_t *)(void *)((char *)moved + (bytes - 8) / 8 * 8) = bytes < 32 ? key : ~key;
            *slot = moved;
        }
        break;
    case 1:
        if (*slot != NULL && heap->usable_size(*slot) < (*slot)->bytes)
            fail("usable size", heap->usable_size(*slot), (*slot)->bytes);
        break;
    case 2:
    case 3:
        // ORDER: acq_rel: the block's contents; partner: the same exchange elsewhere.
        give(atomic_exchange_explicit(&shared[(r >> 20) % SHARED_SLOTS], *slot, memory_order_acq_rel));
        *slot = NULL;
        break;
    default:
        give(*slot);
        *slot = take(random);
        break;
    }
}

// Applies one of free, free_sized, realloc, usable_size to a pointer that none of them may accept.
static void misuse(void *pointer, uint64_t r) {
    void *result = NULL;
    switch (r % 4) {
    case 0:
        heap->free(pointer);
        break;
    case 1:
        library.free_sized(pointer, 32);
        break;
    case 2:
        result = heap->realloc(pointer, 100);
        break;
    case 3:
        result = (void *)heap->usable_size(pointer);
        break;
    }
    if (result != NULL)
        fail("a misuse had a result", (uintptr_t)result, 0);
}

static void *free_it(void *block) {
    heap->free(block);
    return NULL;
}

// Misuse with the world stopped.
static void misuse_alone(struct worker *worker, enum kind kind, uint64_t *random) {
    uint64_t r = test_random(random);
    pthread_rwlock_wrlock(&world);
    if (kind == KIND_STALE_RUN) {
        void *block = heap->alloc(66000 + (r >> 8) % 400000);
        heap->free(block);
        misuse(block, r);
        worker->either_gone++;
    } else {
        // A fresh thread's free is foreign to whoever owns the run, and it owns none.
        void *block = heap->alloc(32 + (r >> 8) % 8000);
        pthread_t thread;
        pthread_create(&thread, NULL, free_it, block);
        pthread_join(thread, NULL);
        misuse(block, r);
        worker->expected[ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE]++;
    }
    pthread_rwlock_unlock(&world);
}

static void misuse_op(struct worker *worker, enum kind kind, uint64_t *random, uint64_t arena_bytes) {
    uint64_t r = test_random(random);
    char local[64];
    char *volatile hidden = (char *)(((uintptr_t)local + 15) & ~(uintptr_t)15);
    size_t bytes = 64 + (r >> 8) % 6000;
    char *block = NULL;
    switch (kind) {
    case KIND_STACK:
        misuse(hidden, r);
        worker->expected[ALLOCATOR_REJECT_FOREIGN]++;
        return;
    case KIND_STATIC:
        misuse(static_bytes, r);
        worker->expected[ALLOCATOR_REJECT_FOREIGN]++;
        return;
    case KIND_WILD:
        misuse((void *)(uintptr_t)(test_random(random) | (uint64_t)1 << 63), r);
        worker->expected[ALLOCATOR_REJECT_FOREIGN]++;
        return;
    case KIND_DOUBLE_OWN:
        // Nobody else hands out what lies in this thread's magazine, and this thread is busy here.
        block = heap->alloc(bytes);
        heap->free(block);
        misuse(block, r);
        worker->expected[ALLOCATOR_REJECT_DOUBLE_FREE]++;
        return;
    case KIND_DOUBLE_REMOTE:
    case KIND_STALE_RUN:
    case KIND_COUNT:
        return; // misuse_alone()
    case KIND_UNMAPPED:
    case KIND_INTERIOR:
    case KIND_MISALIGNED:
    case KIND_SIZE:
    case KIND_TAIL:
        break;
    }
    if (kind == KIND_TAIL)
        bytes = 3500; // class 3584 + 64: 17 blocks leave a tail of 3,520 bytes
    block = heap->alloc(bytes);
    switch (kind) {
    case KIND_UNMAPPED:
        misuse(block + arena_bytes / 2, r);
        worker->expected[ALLOCATOR_REJECT_UNMAPPED]++;
        break;
    case KIND_INTERIOR:
        misuse(block + 16 + (r >> 32) % (bytes / 16 - 1) * 16, r);
        worker->expected[ALLOCATOR_REJECT_INTERIOR]++;
        break;
    case KIND_MISALIGNED:
        misuse(block + 1 + (r >> 32) % 15, r);
        worker->expected[ALLOCATOR_REJECT_MISALIGNED]++;
        break;
    case KIND_SIZE:
        library.free_sized(block, heap->usable_size(block) + 1 + (r >> 32) % 100);
        worker->expected[ALLOCATOR_REJECT_SIZE_MISMATCH]++;
        break;
    case KIND_TAIL: {
        size_t block_bytes = heap->usable_size(block);
        misuse((char *)((uintptr_t)block & ~(uintptr_t)0xffff) + 65536 / block_bytes * block_bytes, r);
        worker->expected[ALLOCATOR_REJECT_INTERIOR]++;
        break;
    }
    case KIND_STACK:
    case KIND_STATIC:
    case KIND_WILD:
    case KIND_DOUBLE_OWN:
    case KIND_DOUBLE_REMOTE:
    case KIND_STALE_RUN:
    case KIND_COUNT:
        break;
    }
    heap->free(block);
}

static void *work(void *argument) {
    struct worker *worker = argument;
    uint64_t random = worker->seed;
    struct block *own[OWN_SLOTS] = {0};
    heap->free(heap->alloc(1)); // before the first allocation nothing is reserved
    struct allocator_stats stats;
    heap->stats(&stats);
    while (worker->valid < ops_each) {
        enum kind alone = KIND_COUNT;
        pthread_rwlock_rdlock(&world);
        for (unsigned i = 0; i < OPS_A_TURN; i++) {
            uint64_t r = test_random(&random);
            if (r % 1000 != 0) {
                valid_op(&random, own);
                worker->valid++;
                continue;
            }
            enum kind kind = (enum kind)((r >> 20) % KIND_COUNT);
            worker->invalid[kind]++;
            if (kind == KIND_DOUBLE_REMOTE || kind == KIND_STALE_RUN) {
                alone = kind;
                break;
            }
            misuse_op(worker, kind, &random, stats.reserved_bytes);
        }
        pthread_rwlock_unlock(&world);
        if (alone != KIND_COUNT)
            misuse_alone(worker, alone, &random);
    }
    for (size_t i = 0; i < OWN_SLOTS; i++)
        give(own[i]);
    return NULL;
}

static int run_oracle(uint64_t ops) {
    static struct worker workers[THREADS];
    ops_each = ops / THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].seed = 0x5eed + i;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    uint64_t expected[ALLOCATOR_REJECT_COUNT] = {0};
    uint64_t gone = 0, valid = 0, invalid = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
            expected[reason] += workers[i].expected[reason];
        for (int kind = 0; kind < KIND_COUNT; kind++)
            invalid += workers[i].invalid[kind];
        gone += workers[i].either_gone;
        valid += workers[i].valid;
    }
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        // ORDER: acquire: the block's contents; partner: the exchange in valid_op().
        give(atomic_exchange_explicit(&shared[i], NULL, memory_order_acquire));
    struct allocator_stats stats;
    heap->verify(); // the audit: what it finds is counted
    heap->stats(&stats);
    // Who frees a block of a thread that is stopped may drain that thread's queue, and then the second free of the
    // block finds it drained: a double free, not one of a block that waits.
    uint64_t waiting = stats.rejects[ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE];
    uint64_t remote = expected[ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE];
    if (waiting > remote || waiting < remote / 2)
        fail("double_free_remote", waiting, remote);
    expected[ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE] = waiting;
    uint64_t doubles = expected[ALLOCATOR_REJECT_DOUBLE_FREE] + remote - waiting;
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++) {
        uint64_t got = stats.rejects[reason];
        if (reason == ALLOCATOR_REJECT_DOUBLE_FREE) {
            if (got < doubles || got > doubles + gone)
                fail("double_free", got, doubles);
            gone -= got - doubles;
        } else if (reason == ALLOCATOR_REJECT_STALE_RUN) {
            if (got != gone)
                fail("stale_run", got, gone);
        } else if (got != expected[reason]) {
            printf("reason %d: ", reason);
            fail("counter", got, expected[reason]);
        }
    }
    int contradictions = heap->verify();
    if (contradictions != 0)
        fail("verify", (uint64_t)contradictions, 0);
    if (stats.live_bytes != 0)
        fail("live bytes at the end", stats.live_bytes, 0);
    printf("valid operations: %llu, invalid: %llu, missed: 0, false: 0\n", (unsigned long long)valid,
           (unsigned long long)invalid);
    return 0;
}

// ---- random values and bit flips
// ---------------------------------------------------------------------------------------------

#define LIVE_BLOCKS 512

static int is_live_start(struct block *const *live, const void *pointer) {
    for (size_t i = 0; i < LIVE_BLOCKS; i++)
        if (live[i] == pointer)
            return 1;
    return 0;
}

static int run_random(uint64_t count) {
    static struct block *live[LIVE_BLOCKS];
    uint64_t random = 0xb17f11b5;
    for (size_t i = 0; i < LIVE_BLOCKS; i++)
        live[i] = take(&random);
    uint64_t rejected = 0, skipped = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t r = test_random(&random);
        uintptr_t value = (uintptr_t)live[(r >> 8) % LIVE_BLOCKS];
        switch (r % 4) {
        case 0:
            value = test_random(&random);
            break;
        case 1:
            value ^= (uintptr_t)1 << ((r >> 20) % 64);
            break;
        case 2:
            value ^= (uintptr_t)1 << ((r >> 20) % 30) | (uintptr_t)1 << ((r >> 32) % 30);
            break;
        case 3:
            value += (r >> 20) % (1u << 24) - (1u << 23);
            break;
        }
        void *pointer = (void *)value;
        // What hits another live block exactly is no misuse; neither is NULL.
        if (pointer == NULL || is_live_start(live, pointer)) {
            skipped++;
            continue;
        }
        if (heap->owns(pointer) != 0)
            fail("owns() takes a value that is no block", value, 0);
        misuse(pointer, r >> 50);
        rejected++;
        if (i % 1024 == 0 && test_library_rejects(heap) != rejected)
            fail("rejects", test_library_rejects(heap), rejected);
    }
    if (test_library_rejects(heap) != rejected)
        fail("rejects", test_library_rejects(heap), rejected);
    for (size_t i = 0; i < LIVE_BLOCKS; i++)
        give(live[i]);
    if (heap->verify() != 0 || test_library_rejects(heap) != rejected)
        fail("the heap after the random pointers", test_library_rejects(heap), rejected);
    printf("random pointers: %llu refused, %llu skipped as valid\n", (unsigned long long)rejected,
           (unsigned long long)skipped);
    return 0;
}

int main(int argc, char **argv) {
    test_library_environment(argv);
    if (argc < 3 || (strcmp(argv[2], "oracle") != 0 && strcmp(argv[2], "random") != 0)) {
        fprintf(stderr, "usage: hz5_oracle LIBRARY oracle|random [COUNT]\n");
        return 2;
    }
    setenv("HZ5_OPTIONS", "reject=count", 1);
    library = test_library_open(argv[1]);
    heap = library.table;
    if (strcmp(argv[2], "oracle") == 0)
        return run_oracle(argc > 3 ? strtoull(argv[3], NULL, 10) : test_count("HZ5_ORACLE_OPS", 4000000));
    return run_random(argc > 3 ? strtoull(argv[3], NULL, 10) : test_count("HZ5_RANDOM_POINTERS", 2000000));
}
