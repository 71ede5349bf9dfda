// SPDX-License-Identifier: Apache-2.0
// The contract of allocator.h, held against every backend: contract [--preload | --expect CHECK] SPEC.
// With --expect the run succeeds if and only if that check fails: so the checks themselves are tested (faulty.c).
// One process tests one backend. What a foreign backend is known to do otherwise stands in deviations.c with its
// reason; it is checked like everything else and reported when it is no longer true. Owns its bookkeeping in static
// memory: nothing of it lies in the heap under test.
#include "contract.h"

#include "../../allocators/loader/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_SKIPPED 77
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define FAILURES_SHOWN 40
#define ODD_ERRNO 1234 // no call sets it

static struct allocator a; // the table under test, complete
static const char *backend_name;
static int is_storing; // live blocks are distinct memory
static int is_preloaded;
static const char *expected_id; // of the check that has to fail, or NULL
static uint64_t expected_count;
static uint64_t check_count, failure_count, deviation_count;
static uint32_t deviations_seen[CONTRACT_DEVIATIONS_MAX];

// --- checks ---

static int concerns(const struct contract_deviation *deviation) {
    return strcmp(deviation->backend, backend_name) == 0 && (is_preloaded || !deviation->only_preloaded);
}

static void check_failed(const char *id, const char *detail, uint64_t x, uint64_t y) {
    for (size_t i = 0; i < contract_deviation_count; i++) {
        const struct contract_deviation *deviation = &contract_deviations[i];
        if (concerns(deviation) && strcmp(deviation->id, id) == 0) {
            deviations_seen[i]++;
            deviation_count++;
            return;
        }
    }
    failure_count++;
    expected_count += expected_id != NULL && strcmp(expected_id, id) == 0;
    if (failure_count <= FAILURES_SHOWN)
        printf("FAIL %s: %s (%" PRIu64 ", %" PRIu64 ")\n", id, detail, x, y);
}

// `id` is what deviations are listed under; x and y are printed with a failure.
static void check(int holds, const char *id, const char *detail, uint64_t x, uint64_t y) {
    check_count++;
    if (!holds)
        check_failed(id, detail, x, y);
}

#define CHECK(holds, id, x, y) check((holds) != 0, id, #holds, (uint64_t)(x), (uint64_t)(y))

// --- patterns ---

static uint64_t random_state = 0x2545f4914f6cdd1d;

static uint64_t random64(void) { // splitmix64
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static int is_filled(const unsigned char *block, int byte, size_t bytes) {
    return bytes == 0 || (block[0] == (unsigned char)byte && memcmp(block, block + 1, bytes - 1) == 0);
}

static int is_aligned(const void *block, size_t alignment) {
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

// Every size whose neighbours may fall into different classes: all small ones, then 2^k and the steps of a quarter.
static size_t edge_sizes[2048];
static size_t edge_count;

static void edge_sizes_fill(void) {
    for (size_t n = 0; n <= 1100; n++)
        edge_sizes[edge_count++] = n;
    for (size_t power = 2 * KIB; power <= GIB; power *= 2) {
        for (size_t quarter = 4; quarter < 8; quarter++) {
            size_t size = power / 4 * quarter;
            if (quarter > 4 && power >= 64 * MIB)
                continue; // above, only the powers: each costs page tables
            edge_sizes[edge_count++] = size - 1;
            edge_sizes[edge_count++] = size;
            edge_sizes[edge_count++] = size + 1;
        }
    }
}

// --- what alloc promises ---

static void test_alloc_sizes(void) {
    for (size_t i = 0; i < edge_count; i++) {
        size_t size = edge_sizes[i];
        errno = ODD_ERRNO;
        unsigned char *block = a.alloc(size);
        if (block == NULL) {
            // A refusal has to be an honest one; it is only expected of null.
            CHECK(errno == ENOMEM, "alloc.errno", size, errno);
            check(0, size >= 64 * MIB ? "alloc.large" : "alloc.size", "a block", size, 0);
            continue;
        }
        CHECK(is_aligned(block, size < 16 ? 8 : 16), "alloc.alignment", size, (uintptr_t)block);
        size_t usable = a.usable_size(block);
        CHECK(usable == 0 || usable >= size, "usable.at-least", size, usable);
        size_t writable = usable > size ? usable : size;
        if (writable <= 4 * MIB) {
            memset(block, 0xa5, writable);
            CHECK(is_filled(block, 0xa5, writable), "usable.writable", size, usable);
        } else {
            block[0] = 1;
            block[writable - 1] = 2;
            CHECK(block[0] == 1 && block[writable - 1] == 2, "usable.writable", size, usable);
        }
        CHECK(a.usable_size(block) == usable, "usable.stable", size, usable);
        errno = ODD_ERRNO;
        a.free(block);
        CHECK(errno == ODD_ERRNO, "free.errno", size, errno);
    }
}

static void test_alloc_zero(void) {
    void *blocks[64];
    for (size_t i = 0; i < 64; i++) {
        blocks[i] = a.alloc(0);
        CHECK(blocks[i] != NULL, "zero.block", i, 0);
        for (size_t j = 0; is_storing && j < i; j++)
            CHECK(blocks[i] != blocks[j], "zero.distinct", i, j);
    }
    for (size_t i = 0; i < 64; i++)
        a.free(blocks[i]);
    void *block = a.calloc(0, 16);
    CHECK(block != NULL, "zero.calloc", 0, 16);
    a.free(block);
    block = a.calloc(16, 0);
    CHECK(block != NULL, "zero.calloc", 16, 0);
    a.free(block);
    block = a.realloc(NULL, 0);
    CHECK(block != NULL, "zero.realloc-null", 0, 0);
    a.free(block);
}

static void test_free_null(void) {
    errno = ODD_ERRNO;
    a.free(NULL);
    CHECK(errno == ODD_ERRNO, "free.null", errno, 0);
    CHECK(a.usable_size(NULL) == 0, "usable.null", 0, 0);
}

static void check_refused(void *block, const char *id, const char *errno_id, uint64_t x, uint64_t y) {
    CHECK(block == NULL, id, x, y);
    if (block == NULL)
        CHECK(errno == ENOMEM, errno_id, x, errno);
    else
        a.free(block);
}

static void test_alloc_impossible(void) {
    static const size_t sizes[] = {PTRDIFF_MAX,   (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096,
                                   SIZE_MAX - 64, SIZE_MAX - 15,           SIZE_MAX - 1,
                                   SIZE_MAX,      (size_t)1 << 62,         (size_t)1 << 56};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        errno = 0;
        check_refused(a.alloc(size), "impossible.alloc", "impossible.alloc-errno", size, 0);
        errno = 0;
        check_refused(a.calloc(1, size), "impossible.calloc", "impossible.calloc-errno", 1, size);
        errno = 0;
        check_refused(a.alloc_aligned(4096, size), "impossible.aligned", "impossible.aligned-errno", size, 4096);
        errno = 0;
        check_refused(a.alloc_aligned(16, size), "impossible.aligned", "impossible.aligned-errno", size, 16);
        unsigned char *block = a.alloc(100);
        memset(block, 0x77, 100);
        errno = 0;
        void *moved = a.realloc(block, size);
        CHECK(moved == NULL, "impossible.realloc", size, 0);
        if (moved == NULL) {
            CHECK(errno == ENOMEM, "impossible.realloc-errno", size, errno);
            CHECK(is_filled(block, 0x77, 100), "impossible.realloc-keeps", size, 0);
        }
        a.free(moved != NULL ? moved : block);
    }
}

// --- aligned ---

static void test_aligned(void) {
    static const size_t sizes[] = {0,    1,    7,    8,    15,    16,    17,    24,    31,    33,     48,      63,
                                   65,   100,  127,  129,  200,   255,   257,   511,   513,   1000,   1023,    1025,
                                   3000, 4095, 4096, 4097, 10000, 32767, 32769, 65535, 65537, 100001, 1048575, 1048577};
    if ((a.capabilities & ALLOCATOR_ALIGNED) == 0) {
        errno = 0;
        check_refused(a.alloc_aligned(64, 64), "aligned.absent", "aligned.absent-errno", 64, 64);
        return;
    }
    for (size_t alignment = 1; alignment <= 2 * MIB; alignment *= 2) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t size = sizes[i];
            unsigned char *pair[2]; // the second block comes from where the first has left off
            for (int k = 0; k < 2; k++) {
                pair[k] = a.alloc_aligned(alignment, size);
                CHECK(pair[k] != NULL, size > 0 ? "aligned.block" : "aligned.block-of-0", alignment, size);
                if (pair[k] == NULL)
                    continue;
                CHECK(is_aligned(pair[k], alignment), size > 0 ? "aligned.alignment" : "aligned.alignment-of-0",
                      alignment, size);
                size_t usable = a.usable_size(pair[k]);
                CHECK(usable == 0 || usable >= size, "aligned.usable", size, usable);
                size_t writable = usable > size ? usable : size;
                memset(pair[k], 0x30 + k, writable <= 4 * MIB ? writable : size);
            }
            if (is_storing && pair[0] != NULL)
                CHECK(is_filled(pair[0], 0x30, size), "aligned.overlap", alignment, size);
            // realloc of an aligned block keeps its contents; the alignment may be lost.
            if (pair[0] != NULL) {
                unsigned char *moved = a.realloc(pair[0], size + 100);
                CHECK(moved != NULL, "aligned.realloc", alignment, size);
                if (moved != NULL && is_storing)
                    CHECK(is_filled(moved, 0x30, size), "aligned.realloc-contents", alignment, size);
                pair[0] = moved != NULL ? moved : pair[0];
            }
            a.free(pair[0]);
            a.free(pair[1]);
        }
    }
}

// --- calloc ---

static void test_calloc(void) {
    static const size_t overflows[][2] = {{SIZE_MAX, 2},
                                          {SIZE_MAX / 2, 3},
                                          {SIZE_MAX, SIZE_MAX},
                                          {(size_t)1 << 33, (size_t)1 << 33},
                                          {((size_t)1 << 32) + 1, ((size_t)1 << 32)},
                                          {(SIZE_MAX >> 4) + 2, 16}};
    for (size_t i = 0; i < sizeof overflows / sizeof overflows[0]; i++) {
        errno = 0;
        check_refused(a.calloc(overflows[i][0], overflows[i][1]), "calloc.overflow", "calloc.overflow-errno",
                      overflows[i][0], overflows[i][1]);
    }
    if (!is_storing)
        return; // contents are undefined
    for (size_t i = 0; i < edge_count && edge_sizes[i] <= MIB + 1; i++) {
        size_t size = edge_sizes[i];
        unsigned char *dirty[4];
        for (size_t k = 0; k < 4; k++) {
            dirty[k] = a.alloc(size);
            memset(dirty[k], 0xff, size);
        }
        for (size_t k = 0; k < 4; k++)
            a.free(dirty[k]);
        for (size_t k = 0; k < 4; k++) {
            size_t count = k % 2 == 0 ? 1 : size;
            dirty[k] = a.calloc(count, size > 0 ? size / count : 0);
            CHECK(dirty[k] != NULL && is_filled(dirty[k], 0, size), "calloc.zeroed", size, k);
        }
        for (size_t k = 0; k < 4; k++) {
            memset(dirty[k], 0xff, size);
            a.free(dirty[k]);
        }
    }
}

// --- realloc ---

static void test_realloc(void) {
    unsigned char *block = a.realloc(NULL, 100);
    CHECK(block != NULL, "realloc.null", 100, 0);
    memset(block, 1, 100);
    unsigned char *gone = a.realloc(block, 0);
    CHECK(gone == NULL, "realloc.zero-frees", 0, 0);
    a.free(gone);
    if (!is_storing)
        return;
    // Every edge from and to every eighth one: up, down and in place.
    for (size_t i = 0; i < edge_count && edge_sizes[i] <= MIB / 2; i += 7) {
        for (size_t j = i % 8; j < edge_count && edge_sizes[j] <= MIB / 2; j += edge_sizes[i] > 64 * KIB ? 97 : 41) {
            size_t from = edge_sizes[i];
            size_t to = edge_sizes[j];
            if (to == 0)
                continue;
            size_t kept = from < to ? from : to;
            block = a.alloc(from);
            memset(block, (int)(i & 0xff), from);
            errno = ODD_ERRNO;
            unsigned char *moved = a.realloc(block, to);
            CHECK(moved != NULL, "realloc.block", from, to);
            if (moved == NULL) {
                a.free(block);
                continue;
            }
            CHECK(is_filled(moved, (int)(i & 0xff), kept), "realloc.contents", from, to);
            CHECK(is_aligned(moved, to < 16 ? 8 : 16), "realloc.alignment", from, to);
            size_t usable = a.usable_size(moved);
            CHECK(usable == 0 || usable >= to, "realloc.usable", to, usable);
            memset(moved, 0x5a, usable > to ? usable : to);
            a.free(moved);
        }
    }
    // A block that grows step by step through all classes, beside neighbours that would notice.
    size_t size = 1;
    unsigned char *growing = a.alloc(size);
    growing[0] = 0x11;
    while (size < 32 * MIB) {
        size_t next = size + size / 3 + 1;
        unsigned char *neighbour = a.alloc(size);
        memset(neighbour, 0xee, size);
        growing = a.realloc(growing, next);
        CHECK(growing != NULL && is_filled(growing, 0x11, size), "realloc.growing", size, next);
        memset(growing, 0x11, next);
        CHECK(is_filled(neighbour, 0xee, size), "realloc.neighbour", size, next);
        a.free(neighbour);
        size = next;
    }
    while (size > 1) {
        size_t next = size / 2;
        growing = a.realloc(growing, next);
        CHECK(growing != NULL && is_filled(growing, 0x11, next), "realloc.shrinking", size, next);
        size = next;
    }
    a.free(growing);
}

// --- live blocks are distinct ---

#define LIVE_MAX 4096

struct interval {
    uintptr_t begin, end;
    size_t bytes; // filled: none in a block of size 0 whose usable size is 0, though it takes a place
    unsigned char fill;
};

static struct interval live[LIVE_MAX]; // sorted by begin
static size_t live_count;

static size_t live_position(uintptr_t begin) { // index of the first interval that does not begin below
    size_t low = 0;
    size_t high = live_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (live[middle].begin < begin)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void live_insert(void *block, size_t bytes, unsigned char fill) {
    uintptr_t begin = (uintptr_t)block;
    uintptr_t end = begin + (bytes > 0 ? bytes : 1);
    size_t at = live_position(begin);
    CHECK(at == live_count || live[at].begin >= end, "overlap.above", begin, bytes);
    CHECK(at == 0 || live[at - 1].end <= begin, "overlap.below", begin, bytes);
    memmove(&live[at + 1], &live[at], (live_count - at) * sizeof live[0]);
    live[at] = (struct interval){begin, end, bytes, fill};
    live_count++;
}

static struct interval live_remove(size_t at) {
    struct interval removed = live[at];
    live_count--;
    memmove(&live[at], &live[at + 1], (live_count - at) * sizeof live[0]);
    return removed;
}

static size_t random_size(void) { // log-uniform, 0 to 128 KiB
    size_t limit = (size_t)1 << (random64() % 18);
    return random64() % (limit + 1);
}

static void test_no_overlap(void) {
    if (!is_storing)
        return;
    for (size_t step = 0; step < 100000; step++) {
        size_t target = step < 75000 ? LIVE_MAX - 1 : LIVE_MAX / 16;
        int grow = live_count < target && (live_count == 0 || random64() % 4 != 0);
        if (grow) {
            size_t size = random_size();
            size_t alignment = (size_t)1 << (random64() % 13);
            unsigned char *block = NULL;
            switch (random64() % 4) {
            case 0:
                block = a.calloc(1, size);
                CHECK(block != NULL && is_filled(block, 0, size), "overlap.calloc", size, step);
                break;
            case 1:
                size += size == 0; // test_aligned has blocks of 0 bytes
                block = (a.capabilities & ALLOCATOR_ALIGNED) != 0 ? a.alloc_aligned(alignment, size) : a.alloc(size);
                break;
            default:
                block = a.alloc(size);
                break;
            }
            CHECK(block != NULL, "overlap.block", size, step);
            if (block != NULL) {
                size_t usable = a.usable_size(block);
                size_t bytes = usable > size ? usable : size;
                unsigned char fill = (unsigned char)random64();
                memset(block, fill, bytes);
                live_insert(block, bytes, fill);
            }
        } else {
            struct interval gone = live_remove(random64() % live_count);
            void *block = (void *)gone.begin;
            CHECK(is_filled(block, gone.fill, gone.bytes), "overlap.contents", gone.begin, gone.bytes);
            a.free(block);
        }
    }
    while (live_count > 0) {
        struct interval gone = live_remove(live_count - 1);
        CHECK(is_filled((void *)gone.begin, gone.fill, gone.bytes), "overlap.contents", gone.begin, gone.bytes);
        a.free((void *)gone.begin);
    }
}

// --- threads ---

#define HANDED_OVER 2000

struct batch {
    unsigned char *blocks[HANDED_OVER];
    size_t sizes[HANDED_OVER];
    unsigned char fill;
};

static struct batch batches[4];

static void run_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0) {
        printf("contract: no thread can be created - free some resources and run again\n");
        exit(1);
    }
    pthread_join(thread, NULL);
}

static void batch_fill(struct batch *batch, unsigned char fill) {
    batch->fill = fill;
    for (size_t i = 0; i < HANDED_OVER; i++) {
        batch->sizes[i] = i < 64 ? i * 40 : (i * 193) % 3000;
        if (i % 97 == 0)
            batch->sizes[i] = 50000 + i * 31;
        batch->blocks[i] = a.alloc(batch->sizes[i]);
        if (batch->blocks[i] != NULL)
            memset(batch->blocks[i], fill, batch->sizes[i]);
    }
}

// Checks nothing itself: counters belong to the main thread.
static void *thread_fill(void *argument) {
    struct batch *batch = argument;
    batch_fill(batch, batch->fill);
    return NULL; // exits with every block live
}

static void *thread_fill_fini(void *argument) {
    struct batch *batch = argument;
    batch_fill(batch, batch->fill);
    a.thread_fini();
    void *block = a.alloc(100); // the caches are gone, the allocator is not
    a.free(block);
    a.thread_fini();
    return block != NULL ? NULL : batch;
}

static void *thread_free(void *argument) {
    struct batch *batch = argument;
    uintptr_t changed_errno = 0;
    for (size_t i = 0; i < HANDED_OVER; i++) {
        errno = ODD_ERRNO;
        a.free(batch->blocks[i]);
        changed_errno += errno != ODD_ERRNO;
    }
    return (void *)changed_errno;
}

static void batch_check(const struct batch *batch, const char *id) {
    for (size_t i = 0; i < HANDED_OVER; i++) {
        CHECK(batch->blocks[i] != NULL, "threads.block", batch->sizes[i], i);
        if (is_storing && batch->blocks[i] != NULL)
            CHECK(is_filled(batch->blocks[i], batch->fill, batch->sizes[i]), id, batch->sizes[i], i);
    }
}

static void test_threads(void) {
    pthread_t thread;
    void *changed_errno;
    // Freed by another thread, often enough that the blocks come round.
    for (int round = 0; round < 20; round++) {
        batch_fill(&batches[0], (unsigned char)(0x40 + round));
        batch_check(&batches[0], "threads.contents");
        if (pthread_create(&thread, NULL, thread_free, &batches[0]) == 0) {
            pthread_join(thread, &changed_errno);
            CHECK((uintptr_t)changed_errno == 0, "threads.free-errno", (uintptr_t)changed_errno, round);
        }
    }
    // The owner has gone, its blocks have not.
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 4; i++) {
            batches[i].fill = (unsigned char)(0x80 + 4 * (size_t)round + i);
            run_thread(i == 3 ? thread_fill_fini : thread_fill, &batches[i]);
        }
        for (size_t i = 0; i < 4; i++)
            batch_check(&batches[i], "threads.orphans");
        for (size_t i = 0; i < 2; i++)
            thread_free(&batches[i]);
        run_thread(thread_free, &batches[2]);
        run_thread(thread_free, &batches[3]);
    }
}

struct churn {
    uint64_t seed;
    uint64_t corruptions;
};

static void *_Atomic exchange[256]; // blocks on their way from one thread to another; the first word tells the size

// Each block carries its size and a fill byte derived from it; whoever takes it out of the exchange checks and frees
// it.
static void *thread_churn(void *argument) {
    struct churn *churn = argument;
    uint64_t state = churn->seed;
    for (int step = 0; step < 60000; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t size = 16 + ((state >> 33) % 2000) * ((state >> 60) == 0 ? 40 : 1);
        unsigned char *block = a.alloc(size);
        if (block == NULL) {
            churn->corruptions++;
            continue;
        }
        memcpy(block, &size, sizeof size);
        memset(block + sizeof size, (int)(size & 0xff), size - sizeof size);
        // ORDER: acq_rel, partner the same exchange in another thread: publishes the block's contents to its taker.
        unsigned char *taken = atomic_exchange_explicit(&exchange[(state >> 40) % 256], block, memory_order_acq_rel);
        if (taken != NULL) {
            size_t taken_size;
            memcpy(&taken_size, taken, sizeof taken_size);
            if (taken_size < 16 || taken_size > 16 + 80000 ||
                !is_filled(taken + sizeof taken_size, (int)(taken_size & 0xff), taken_size - sizeof taken_size))
                churn->corruptions++;
            a.free(taken);
        }
    }
    return NULL;
}

static void test_exchange(void) {
    if (!is_storing)
        return;
    struct churn churns[4];
    pthread_t threads[4];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            churns[i] = (struct churn){.seed = random64()};
            if (pthread_create(&threads[i], NULL, thread_churn, &churns[i]) != 0) {
                printf("contract: no thread can be created - free some resources and run again\n");
                exit(1);
            }
        }
        for (size_t i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            CHECK(churns[i].corruptions == 0, "exchange.contents", churns[i].corruptions, i);
        }
    }
    for (size_t i = 0; i < 256; i++)
        a.free(atomic_exchange_explicit(&exchange[i], NULL, memory_order_relaxed)); // the threads have been joined
}

// --- capabilities and deeds ---

static char static_memory[64];
static void *handed_block;

static void *thread_alloc_one(void *argument) {
    (void)argument;
    handed_block = a.alloc(200);
    return NULL;
}

static void *thread_free_one(void *argument) {
    a.free(argument);
    return NULL;
}

static void test_owns(void) {
    char stack_memory[64];
    unsigned char *block = a.alloc(200);
    run_thread(thread_alloc_one, NULL);
    if ((a.capabilities & ALLOCATOR_OWNS_EXACT) == 0) {
        CHECK(a.owns(block) != 0, "owns.not-denied", 0, 0); // "cannot tell" or yes
        a.free(block);
        a.free(handed_block);
        return;
    }
    static const size_t sizes[] = {64, 100, 200, 1000, 5000, 40000, 300000, 3000000, 40000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *one = a.alloc(sizes[i]);
        CHECK(a.owns(one) == 1, "owns.live", sizes[i], 0);
        for (size_t offset = 1; offset < sizes[i]; offset += offset < 64 ? 1 : sizes[i] / 7)
            CHECK(a.owns(one + offset) == 0, "owns.interior", sizes[i], offset);
        a.free(one);
        CHECK(a.owns(one) == 0, "owns.freed", sizes[i], 0);
    }
    CHECK(a.owns(handed_block) == 1, "owns.other-thread", 0, 0);
    CHECK(a.owns(NULL) == 0, "owns.null", 0, 0);
    CHECK(a.owns(stack_memory) == 0, "owns.stack", 0, 0);
    CHECK(a.owns(static_memory) == 0, "owns.static", 0, 0);
    for (int bit = 3; bit < 64; bit++)
        CHECK(a.owns((void *)((uintptr_t)block ^ (uintptr_t)1 << bit)) >= 0, "owns.wild", bit, 0); // and no crash
    run_thread(thread_free_one, block);
    CHECK(a.owns(block) == 0, "owns.freed-elsewhere", 0, 0);
    a.free(handed_block);
}

static uint64_t rejects_total(struct allocator_stats *stats) {
    uint64_t total = 0;
    a.stats(stats);
    for (size_t i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
        total += stats->rejects[i];
    return total;
}

enum misuse { MISUSE_FREE, MISUSE_REALLOC, MISUSE_USABLE_SIZE, MISUSE_COUNT };

// Misuses `bad` and demands: refused, counted exactly once, under one of the `reasons` (a bit each).
static void misuse(void *bad, enum misuse how, uint32_t reasons, const char *id, size_t size) {
    struct allocator_stats before;
    struct allocator_stats after;
    uint64_t total = rejects_total(&before);
    switch (how) {
    case MISUSE_FREE:
        a.free(bad);
        break;
    case MISUSE_REALLOC:
        CHECK(a.realloc(bad, 300) == NULL, id, size, how);
        break;
    default:
        CHECK(a.usable_size(bad) == 0, id, size, how);
        break;
    }
    CHECK(rejects_total(&after) == total + 1, id, size, how);
    uint64_t counted = 0;
    for (size_t i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
        counted += (reasons >> i & 1) != 0 ? after.rejects[i] - before.rejects[i] : 0;
    CHECK(counted == 1, id, size, how);
}

#define REASON(name) (1u << ALLOCATOR_REJECT_##name)

static void test_fail_closed(void) {
    if ((a.capabilities & ALLOCATOR_FAIL_CLOSED) == 0)
        return;
    _Alignas(16) char stack_memory[64];
    _Alignas(16) static char own_memory[64];
    static const size_t sizes[] = {48, 64, 200, 1000, 5000, 40000, 300000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        unsigned char *block = a.alloc(size);
        memset(block, 0x3c, size);
        for (enum misuse how = 0; how < MISUSE_COUNT; how++) {
            misuse(stack_memory, how, REASON(FOREIGN), "closed.stack", size);
            misuse(own_memory, how, REASON(FOREIGN), "closed.static", size);
            misuse(block + 1, how, REASON(MISALIGNED), "closed.misaligned", size);
            misuse(block + 16, how, REASON(INTERIOR), "closed.interior", size);
            misuse(block + 32, how, REASON(INTERIOR), "closed.interior", size);
        }
        // Refused means: still live, contents untouched.
        CHECK(is_filled(block, 0x3c, size), "closed.kept", size, 0);
        CHECK(a.usable_size(block) >= size, "closed.kept", size, 1);
        a.free(block);
        // A block large enough to be alone in its run may have taken the run with it.
        uint32_t stale = size > 30000 ? REASON(STALE_RUN) : 0;
        for (enum misuse how = 0; how < MISUSE_COUNT; how++)
            misuse(block, how, REASON(DOUBLE_FREE) | stale, "closed.double-free", size);
        block = a.alloc(size);
        run_thread(thread_free_one, block);
        // Whether the owner has collected it since is up to the backend.
        for (enum misuse how = 0; how < MISUSE_COUNT; how++) {
            misuse(block, how, REASON(DOUBLE_FREE) | REASON(DOUBLE_FREE_REMOTE) | stale, "closed.double-free-remote",
                   size);
        }
    }
    // Pointers no program ever had; counted whatever the reason, never a crash.
    struct allocator_stats stats;
    for (int bit = 4; bit < 64; bit++) {
        uint64_t total = rejects_total(&stats);
        a.free((void *)((uintptr_t)1 << bit));
        CHECK(rejects_total(&stats) == total + 1, "closed.wild", bit, 0);
    }
    // And the heap still works.
    unsigned char *block = a.alloc(100);
    uint64_t total = rejects_total(&stats);
    CHECK(block != NULL, "closed.works", 0, 0);
    a.free(block);
    CHECK(rejects_total(&stats) == total, "closed.works", 1, 0);
}

#define DEED_BLOCKS ((size_t)65536)
#define DEED_BYTES ((size_t)1024)

static unsigned char *deed_blocks[DEED_BLOCKS];

static void deed_fill(void) {
    for (size_t i = 0; i < DEED_BLOCKS; i++) {
        deed_blocks[i] = a.alloc(DEED_BYTES);
        if (deed_blocks[i] != NULL)
            memset(deed_blocks[i], 1, DEED_BYTES);
    }
}

static void deed_free(void) {
    for (size_t i = 0; i < DEED_BLOCKS; i++)
        a.free(deed_blocks[i]);
}

static void test_purge(void) {
    const size_t total = DEED_BLOCKS * DEED_BYTES;
    uint64_t base = contract_rss_bytes();
    CHECK(base > 0, "rss.readable", base, 0);
    deed_fill();
    uint64_t full = contract_rss_bytes();
    if (is_storing)
        CHECK(full >= base + total / 2, "purge.grown", base, full);
    deed_free();
    a.purge();
    uint64_t purged = contract_rss_bytes();
    if ((a.capabilities & ALLOCATOR_PURGE) != 0)
        CHECK(purged <= base + total / 4, "purge.lowers-rss", base / KIB, purged / KIB);
    // Still an allocator afterwards, and what was purged reads as the program wrote it.
    deed_fill();
    for (size_t i = 0; is_storing && i < DEED_BLOCKS; i += 101)
        CHECK(is_filled(deed_blocks[i], 1, DEED_BYTES), "purge.usable", i, 0);
    deed_free();
}

static int is_told(uint64_t value) {
    return value != ALLOCATOR_NOT_TOLD;
}

static void test_stats(void) {
    struct allocator_stats before;
    struct allocator_stats full;
    struct allocator_stats after;
    const uint64_t total = DEED_BLOCKS * DEED_BYTES;
    const uint64_t slack = 4 * MIB; // thread caches and rounding
    if ((a.capabilities & ALLOCATOR_STATS) == 0) {
        memset(&full, 0xff, sizeof full);
        a.stats(&full);
        CHECK(full.live_bytes == 0 && full.reserved_bytes == 0, "stats.fallback", full.live_bytes, 0);
        return;
    }
    a.stats(&before);
    deed_fill();
    a.stats(&full);
    deed_free();
    a.stats(&after);
    CHECK(is_told(full.live_bytes) && is_told(full.committed_bytes), "stats.told", full.live_bytes,
          full.committed_bytes);
    uint64_t grown = full.live_bytes - before.live_bytes;
    CHECK(grown >= total - total / 64 && grown <= total + total / 4 + slack, "stats.live", before.live_bytes,
          full.live_bytes);
    CHECK(after.live_bytes <= before.live_bytes + slack, "stats.live-freed", before.live_bytes, after.live_bytes);
    CHECK(full.committed_bytes >= full.live_bytes, "stats.committed", full.committed_bytes, full.live_bytes);
    CHECK(!is_told(full.reserved_bytes) || full.reserved_bytes >= full.committed_bytes, "stats.reserved",
          full.reserved_bytes, full.committed_bytes);
    CHECK(!is_told(full.metadata_bytes) || (full.metadata_bytes > 0 && full.metadata_bytes < total), "stats.metadata",
          full.metadata_bytes, 0);
}

static void test_clean(void) {
    struct allocator_stats stats;
    CHECK(a.verify() == 0, "verify", a.verify(), 0);
    // Everything up to here was valid, so a backend that counts refusals must have counted none.
    if ((a.capabilities & ALLOCATOR_FAIL_CLOSED) != 0)
        CHECK(rejects_total(&stats) == 0, "closed.none-false", rejects_total(&stats), 0);
}

// --- the program ---

static void report_deviations(void) {
    for (size_t i = 0; i < contract_deviation_count; i++) {
        const struct contract_deviation *deviation = &contract_deviations[i];
        if (!concerns(deviation))
            continue;
        if (deviations_seen[i] > 0) {
            printf("known deviation %s, %u times: %s\n", deviation->id, deviations_seen[i], deviation->reason);
        } else if (strncmp(a.version(), deviation->version, strlen(deviation->version)) == 0) {
            failure_count++;
            printf("FAIL %s: the known deviation of version %s has vanished - take it out of deviations.c\n",
                   deviation->id, deviation->version);
        } else {
            printf("note: %s is listed for version %s and not seen in %s\n", deviation->id, deviation->version,
                   a.version());
        }
    }
}

int main(int argc, char **argv) {
    is_preloaded = argc == 3 && strcmp(argv[1], "--preload") == 0;
    expected_id = argc == 4 && strcmp(argv[1], "--expect") == 0 ? argv[2] : NULL;
    if (argc != 2 && !is_preloaded && expected_id == NULL) {
        fprintf(stderr, "contract: one allocator is needed - contract [--preload | --expect CHECK] SPEC\n");
        return 2;
    }
    static char why[512];
    static struct allocator_spec spec;
    static struct loaded_allocator loaded;
    enum allocator_load_mode mode = is_preloaded ? ALLOCATOR_LOAD_PRELOAD : ALLOCATOR_LOAD_DLOPEN;
    enum allocator_load_result result = allocator_spec_parse(argv[argc - 1], &spec, why, sizeof why);
    if (result == ALLOCATOR_LOADED && spec.backend != NULL && spec.backend->missing_reason != NULL) {
        printf("contract: %s: %s\n", spec.name, spec.backend->missing_reason);
        return EXIT_SKIPPED;
    }
    if (result == ALLOCATOR_LOADED && spec.backend != NULL && spec.backend->debian_package != NULL) {
        static char path[512];
        if (allocator_find(&spec, path, sizeof path, why, sizeof why) != ALLOCATOR_LOADED) {
            printf("contract: %s\n", why);
            return EXIT_SKIPPED;
        }
    }
    if (result == ALLOCATOR_LOADED)
        result = allocator_load(&spec, mode, &loaded, why, sizeof why);
    if (result != ALLOCATOR_LOADED) {
        fprintf(stderr, "contract: %s\n", why);
        return result == ALLOCATOR_UNKNOWN ? 2 : 3;
    }
    a = loaded.table;
    backend_name = spec.name;
    is_storing = (a.capabilities & ALLOCATOR_STORES) != 0;
    edge_sizes_fill();

    test_purge(); // first: later tests leave memory behind that a purge cannot be blamed for
    test_stats();
    test_alloc_sizes();
    test_alloc_zero();
    test_free_null();
    test_alloc_impossible();
    test_aligned();
    test_calloc();
    test_realloc();
    test_no_overlap();
    test_threads();
    test_exchange();
    test_clean();
    test_owns();
    test_fail_closed();
    CHECK(a.verify() == 0, "verify", a.verify(), 1);
    report_deviations();
    printf("contract: %s %s (%s, build id %s): %" PRIu64 " checks, %" PRIu64 " failed, %" PRIu64
           " in known deviations\n",
           argv[argc - 1], loaded.provenance.version, loaded.provenance.path,
           loaded.provenance.build_id[0] != '\0' ? loaded.provenance.build_id : "none", check_count, failure_count,
           deviation_count);
    if (expected_id != NULL) {
        printf("contract: expected to fail: %s, seen %" PRIu64 " times\n", expected_id, expected_count);
        return expected_count > 0 ? 0 : 1;
    }
    return failure_count == 0 ? 0 : 1;
}
