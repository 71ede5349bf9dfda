// SPDX-License-Identifier: Apache-2.0
// Seeded stress of any backend: every block is filled when it is taken and checked when it is given back, blocks travel
// along a topology, threads die and leave blocks behind, and in the end the memory must have gone back.
// Usage: stress SPEC [--ops N] [--threads T] [--seed S] [--topology NAME] [--max BYTES] [--rss MIB] [--churn N].
// Layer: test; takes its table from stress_backend.h.
#include "../support/random.h"
#include "patterned.h"
#include "stress_backend.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096u // the only base page our allocators run on
#define THREADS_MAX 256
#define OWN_SLOTS 512
#define SHARED_SLOTS 4096
#define HEADER_BYTES sizeof(struct patterned)

// How blocks reach the thread that frees them.
enum topology {
    TOPOLOGY_LOCAL, // the thread that took it
    TOPOLOGY_RING,  // thread t frees what t - 1 took
    TOPOLOGY_PAIRS, // even threads take, odd ones free
    TOPOLOGY_MESH,  // whoever finds it
    TOPOLOGY_FAN,   // thread 0 frees everything
    TOPOLOGY_COUNT
};
static const char *const topology_names[TOPOLOGY_COUNT] = {"local", "ring", "pairs", "mesh", "fan"};

static const struct allocator *heap;
static enum topology topology = TOPOLOGY_MESH;
static unsigned thread_count = 4;
static uint64_t ops_each = 100000;
static uint64_t seed = 1;
static size_t max_bytes = 32768;

static _Atomic(struct patterned *) shared[SHARED_SLOTS];
static _Atomic uint64_t corruptions;
static _Atomic uint64_t operations;
static _Atomic uint64_t refusals_of_memory;
static _Atomic unsigned running;

// Log-uniform with all its octaves, now and then something large.
static size_t pick_bytes(uint64_t *random) {
    uint64_t r = test_random(random);
    size_t bytes;
    if (r % 2048 == 0)
        bytes = (size_t)1 << (16 + (r >> 16) % 6);
    else
        bytes = ((size_t)1 << (4 + (r >> 16) % 12)) + (r >> 32) % 4096 % ((size_t)1 << (4 + (r >> 16) % 12));
    if (bytes > max_bytes && r % 2048 != 0)
        bytes = HEADER_BYTES + bytes % max_bytes;
    return bytes < HEADER_BYTES ? HEADER_BYTES : bytes;
}

static void count_corruption(int is_whole) {
    if (!is_whole)
        atomic_fetch_add_explicit(&corruptions, 1, memory_order_relaxed);
}

static struct patterned *take(uint64_t *random) {
    uint64_t r = test_random(random);
    size_t bytes = pick_bytes(random);
    void *block;
    size_t alignment = 0;
    if (r % 64 == 0) {
        alignment = (size_t)32 << (r >> 8) % 8;
        block = heap->alloc_aligned(alignment, bytes);
    } else if (r % 64 == 1) {
        block = heap->calloc(1, bytes);
        for (size_t i = 0; block != NULL && i < bytes; i += i < 4096 ? 1 : 997) {
            if (((unsigned char *)block)[i] != 0) {
                atomic_fetch_add_explicit(&corruptions, 1, memory_order_relaxed);
                break;
            }
        }
    } else {
        block = heap->alloc(bytes);
    }
    if (block == NULL) {
        atomic_fetch_add_explicit(&refusals_of_memory, 1, memory_order_relaxed);
        return NULL;
    }
    if (alignment != 0 && (uintptr_t)block % alignment != 0)
        atomic_fetch_add_explicit(&corruptions, 1, memory_order_relaxed);
    return patterned_write(block, bytes, (uint32_t)r);
}

static void give(struct patterned *header) {
    if (header == NULL)
        return;
    count_corruption(patterned_is_whole(header, SIZE_MAX));
    heap->free(header);
}

static struct patterned *resize(struct patterned *header, uint64_t *random) {
    size_t bytes = pick_bytes(random);
    uint32_t old_bytes = header->bytes;
    uint32_t key = header->key;
    struct patterned *moved = heap->realloc(header, bytes);
    if (moved == NULL) {
        atomic_fetch_add_explicit(&refusals_of_memory, 1, memory_order_relaxed);
        return header;
    }
    if (moved->bytes != old_bytes || moved->key != key)
        atomic_fetch_add_explicit(&corruptions, 1, memory_order_relaxed);
    else
        count_corruption(patterned_is_whole(moved, bytes));
    return patterned_write(moved, bytes, key + 1);
}

// The shared slots a thread puts blocks into, and those it takes them from.
static void lanes(unsigned self, size_t *put, size_t *get, size_t *width) {
    *put = *get = 0;
    *width = SHARED_SLOTS;
    if (topology != TOPOLOGY_RING && topology != TOPOLOGY_PAIRS)
        return;
    *width = SHARED_SLOTS / THREADS_MAX;
    *put = (topology == TOPOLOGY_PAIRS ? self | 1 : self) * *width;
    *get = (topology == TOPOLOGY_PAIRS ? self : (self + thread_count - 1) % thread_count) * *width;
}

static struct patterned *swap_shared(size_t slot, struct patterned *header) {
    // ORDER: acq_rel: the block's contents go with it; partner: the same exchange in another thread.
    return atomic_exchange_explicit(&shared[slot], header, memory_order_acq_rel);
}

static void run_ops(unsigned self, uint64_t count, uint64_t thread_seed, struct patterned **own) {
    uint64_t random = thread_seed;
    size_t put, get, width;
    lanes(self, &put, &get, &width);
    int only_frees = (topology == TOPOLOGY_PAIRS && self % 2 == 1) || (topology == TOPOLOGY_FAN && self == 0);
    for (uint64_t op = 0; op < count; op++) {
        uint64_t r = test_random(&random);
        size_t lane = (r >> 40) % width;
        if (only_frees) {
            give(swap_shared(get + lane, NULL));
            if (op % 64 == 0)
                sched_yield();
            continue;
        }
        size_t slot = (r >> 8) % OWN_SLOTS;
        switch (r % 8) {
        case 0:
            if (own[slot] != NULL)
                own[slot] = resize(own[slot], &random);
            break;
        case 1:
        case 2:
            if (topology == TOPOLOGY_LOCAL) {
                give(own[slot]);
                own[slot] = NULL;
            } else {
                give(swap_shared(put + lane, own[slot])); // what lay there is freed by this thread
                own[slot] = topology == TOPOLOGY_RING ? swap_shared(get + lane, NULL) : NULL;
            }
            break;
        default:
            give(own[slot]);
            own[slot] = take(&random);
            break;
        }
    }
    atomic_fetch_add_explicit(&operations, count, memory_order_relaxed);
}

static void *thread_main(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    struct patterned *own[OWN_SLOTS] = {0};
    run_ops(self, ops_each, seed * 1000003 + self, own);
    for (size_t i = 0; i < OWN_SLOTS; i++)
        give(own[i]);
    return NULL;
}

// A short life: takes blocks, leaves half of them in shared slots for whoever comes, and is gone.
static void *churn_main(void *argument) {
    uint64_t random = seed * 7919 + (uint64_t)(uintptr_t)argument;
    struct patterned *own[24];
    for (size_t i = 0; i < 24; i++)
        own[i] = take(&random);
    for (size_t i = 0; i < 24; i += 2)
        give(swap_shared(test_random(&random) % SHARED_SLOTS, own[i]));
    for (size_t i = 1; i < 24; i += 2)
        give(own[i]);
    atomic_fetch_add_explicit(&operations, 24, memory_order_relaxed);
    atomic_fetch_sub_explicit(&running, 1, memory_order_relaxed);
    return NULL;
}

static void churn(uint64_t births) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256u << 10);
    pthread_t batch[16];
    for (uint64_t born = 0; born < births; born += 16) {
        for (unsigned i = 0; i < 16; i++) {
            atomic_fetch_add_explicit(&running, 1, memory_order_relaxed);
            if (pthread_create(&batch[i], &attributes, churn_main, (void *)(uintptr_t)(born + i)) != 0) {
                perror("stress: pthread_create");
                exit(2);
            }
        }
        for (unsigned i = 0; i < 16; i++)
            pthread_join(batch[i], NULL);
    }
    pthread_attr_destroy(&attributes);
}

static uint64_t resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total = 0, resident = 0;
    int fields = file != NULL ? fscanf(file, "%lu %lu", &total, &resident) : 0;
    if (file != NULL)
        fclose(file);
    return fields == 2 ? (uint64_t)resident * PAGE_BYTES : 0;
}

static int usage(void) {
    fprintf(stderr, "usage: stress SPEC [--ops N] [--threads T] [--seed S] [--topology local|ring|pairs|mesh|fan] "
                    "[--max BYTES] [--rss MIB] [--churn N]\n");
    return 2;
}

int main(int argc, char **argv) {
    uint64_t ops = 400000, births = 0, rss_mib = 0;
    if (argc < 2)
        return usage();
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 >= argc)
            return usage();
        const char *value = argv[i + 1];
        uint64_t number = strtoull(value, NULL, 10);
        if (strcmp(argv[i], "--ops") == 0)
            ops = number;
        else if (strcmp(argv[i], "--threads") == 0)
            thread_count = (unsigned)number;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = number;
        else if (strcmp(argv[i], "--max") == 0)
            max_bytes = number;
        else if (strcmp(argv[i], "--rss") == 0)
            rss_mib = number;
        else if (strcmp(argv[i], "--churn") == 0)
            births = number;
        else if (strcmp(argv[i], "--topology") == 0)
            for (topology = 0; topology < TOPOLOGY_COUNT && strcmp(topology_names[topology], value) != 0; topology++)
                continue;
        else
            return usage();
    }
    if (thread_count == 0 || thread_count > THREADS_MAX || topology == TOPOLOGY_COUNT || max_bytes < 64 ||
        (topology == TOPOLOGY_PAIRS && thread_count % 2 != 0))
        return usage();
    heap = stress_backend_open(argv[1], argv);
    ops_each = ops / thread_count;

    give(take(&(uint64_t){seed})); // tables and heap of the main thread count as start
    uint64_t at_start = resident_bytes();
    if (births > 0)
        churn(births);
    pthread_t threads[THREADS_MAX];
    for (unsigned i = 0; i < thread_count && ops_each > 0; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)i) != 0) {
            perror("stress: pthread_create");
            return 2;
        }
    }
    for (unsigned i = 0; i < thread_count && ops_each > 0; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        give(swap_shared(i, NULL));
    uint64_t before_purge = resident_bytes();
    heap->purge();
    uint64_t after_purge = resident_bytes();

    int contradictions = heap->verify();
    struct allocator_stats stats = {0};
    heap->stats(&stats);
    uint64_t rejects = 0;
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        rejects += stats.rejects[reason] != ALLOCATOR_NOT_TOLD ? stats.rejects[reason] : 0;
    uint64_t bad = atomic_load_explicit(&corruptions, memory_order_relaxed);
    uint64_t refused = atomic_load_explicit(&refusals_of_memory, memory_order_relaxed);
    uint64_t growth = after_purge > at_start ? after_purge - at_start : 0;
    printf("ops: %llu, threads born: %llu, corruptions: %llu, out of memory: %llu, rejects: %llu, contradictions: %d, "
           "rss start %llu KiB, end %llu KiB, purged %llu KiB\n",
           (unsigned long long)atomic_load_explicit(&operations, memory_order_relaxed),
           (unsigned long long)(births + thread_count), (unsigned long long)bad, (unsigned long long)refused,
           (unsigned long long)rejects, contradictions, (unsigned long long)at_start >> 10,
           (unsigned long long)before_purge >> 10, (unsigned long long)after_purge >> 10);
    if (bad != 0 || refused != 0 || rejects != 0 || contradictions != 0)
        return 4;
    if (rss_mib != 0 && growth > rss_mib << 20) {
        printf("FAIL: %llu KiB stay resident after the purge, more than %llu MiB\n", (unsigned long long)growth >> 10,
               (unsigned long long)rss_mib);
        return 1;
    }
    return 0;
}
