// SPDX-License-Identifier: Apache-2.0
// Memory while an owner sleeps: one thread takes many blocks, hands them over and does nothing more; others free them
// and take new ones, of the same sizes or of larger ones, for a while. Live bytes never grow, so resident memory must
// not either. Usage: idle_owner SPEC same|shift [MIB] [THREADS] [SECONDS] [PERCENT]; exit 1 when the peak is above
// so much (100) of 1.25 times the live bytes + 4 MiB + 512 KiB a thread. Layer: test; takes its table from
// stress_backend.h.
#include "stress_backend.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS_MAX 64

struct slot {
    unsigned char *block;
    uint32_t bytes;
};

static const struct allocator *heap;
static struct slot *slots;
static size_t slot_count;
static unsigned worker_count = 3;
static int is_shift;
static uint64_t seconds = 5;
static _Atomic int phase; // 1: the blocks are there, 2: the workers are done
static _Atomic uint64_t corruptions, operations;

static uint64_t next_random(uint64_t *state) {
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void take(struct slot *slot, uint32_t bytes) {
    slot->block = heap->alloc(bytes);
    slot->bytes = bytes;
    if (slot->block == NULL) {
        fprintf(stderr, "idle_owner: out of memory\n");
        exit(4);
    }
    memset(slot->block, (int)(bytes & 0xff), bytes); // every byte resident, or the bound would be easy
}

static void give(struct slot *slot) {
    if (slot->block == NULL)
        return;
    unsigned char wanted = (unsigned char)slot->bytes;
    if (slot->block[0] != wanted || slot->block[slot->bytes - 1] != wanted)
        atomic_fetch_add_explicit(&corruptions, 1, memory_order_relaxed);
    heap->free(slot->block);
    slot->block = NULL;
}

static void *owner_main(void *argument) {
    uint64_t random = 1;
    (void)argument;
    for (size_t i = 0; i < slot_count; i++)
        take(&slots[i], 16 + (uint32_t)(next_random(&random) % (is_shift ? 985 : 2033)));
    // ORDER: release: the slots; partner: worker_main().
    atomic_store_explicit(&phase, 1, memory_order_release);
    // ORDER: acquire: only to wait; partner: the store in main().
    while (atomic_load_explicit(&phase, memory_order_acquire) != 2)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return NULL;
}

// Each worker has a range of its own. With `same`, sizes are 16..2048 throughout. With `shift`, the owner's
// are 16..1000, and in its first pass a worker makes every fourth of them a block of 1040..3024 and the others nothing:
// the bytes stay, and not one block of the old classes.
static void *worker_main(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    uint64_t random = 1000 + self;
    size_t from = slot_count / worker_count * self;
    size_t count = slot_count / worker_count;
    // ORDER: acquire: the slots; partner: owner_main().
    while (atomic_load_explicit(&phase, memory_order_acquire) == 0)
        sched_yield();
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    uint64_t done = 0;
    for (;;) {
        if (is_shift && done < count) {
            struct slot *slot = &slots[from + done];
            give(slot);
            if (done % 4 == 0)
                take(slot, 1040 + (uint32_t)(next_random(&random) % 1985));
        } else {
            struct slot *slot = &slots[from + next_random(&random) % count];
            if (is_shift && slot->block == NULL) {
                done++;
                continue;
            }
            give(slot);
            take(slot, is_shift ? 1040 + (uint32_t)(next_random(&random) % 1985)
                                : 16 + (uint32_t)(next_random(&random) % 2033));
        }
        if (++done % 4096 == 0) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (now.tv_sec - begin.tv_sec >= (time_t)seconds && done > 2 * count)
                break;
        }
    }
    atomic_fetch_add_explicit(&operations, done, memory_order_relaxed);
    return NULL;
}

static uint64_t status_bytes(const char *field) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    size_t length = strlen(field);
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, length) == 0)
            kib = strtoull(line + length, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib << 10;
}

int main(int argc, char **argv) {
    if (argc < 3 || (strcmp(argv[2], "same") != 0 && strcmp(argv[2], "shift") != 0)) {
        fprintf(stderr, "usage: idle_owner SPEC same|shift [MIB] [THREADS] [SECONDS] [PERCENT]\n");
        return 2;
    }
    is_shift = strcmp(argv[2], "shift") == 0;
    uint64_t live_mib = argc > 3 ? strtoull(argv[3], NULL, 10) : 64;
    worker_count = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : worker_count;
    seconds = argc > 5 ? strtoull(argv[5], NULL, 10) : seconds;
    uint64_t percent = argc > 6 ? strtoull(argv[6], NULL, 10) : 100;
    if (worker_count == 0 || worker_count > WORKERS_MAX)
        return 2;
    heap = stress_backend_open(argv[1], argv);
    slot_count = (size_t)(live_mib << 20) / (is_shift ? 508 : 1032) / worker_count * worker_count; // by mean size
    slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return 3;
    memset(slots, 0, slot_count * sizeof *slots);
    uint64_t before = status_bytes("VmRSS:");
    pthread_t owner, workers[WORKERS_MAX];
    if (pthread_create(&owner, NULL, owner_main, NULL) != 0)
        return 3;
    for (unsigned i = 0; i < worker_count; i++)
        if (pthread_create(&workers[i], NULL, worker_main, (void *)(uintptr_t)i) != 0)
            return 3;
    for (unsigned i = 0; i < worker_count; i++)
        pthread_join(workers[i], NULL);
    uint64_t peak = status_bytes("VmHWM:");
    uint64_t at_end = status_bytes("VmRSS:");
    uint64_t live = 0;
    for (size_t i = 0; i < slot_count; i++)
        live += slots[i].block != NULL ? slots[i].bytes : 0;
    // ORDER: release: lets the owner end; partner: owner_main().
    atomic_store_explicit(&phase, 2, memory_order_release);
    pthread_join(owner, NULL);
    for (size_t i = 0; i < slot_count; i++)
        give(&slots[i]);
    // The slots themselves are the test's; they are resident before the first block.
    uint64_t harness = slot_count * sizeof *slots;
    uint64_t limit = (live + live / 4 + (4u << 20) + (worker_count + 1) * (512u << 10)) * percent / 100 + harness;
    uint64_t bad = atomic_load_explicit(&corruptions, memory_order_relaxed);
    printf("operations: %llu, corruptions: %llu, live %llu KiB, rss start %llu KiB, end %llu KiB, peak %llu KiB, limit "
           "%llu KiB\n",
           (unsigned long long)atomic_load_explicit(&operations, memory_order_relaxed), (unsigned long long)bad,
           (unsigned long long)live >> 10, (unsigned long long)before >> 10, (unsigned long long)at_end >> 10,
           (unsigned long long)peak >> 10, (unsigned long long)limit >> 10);
    if (bad != 0)
        return 4;
    if (peak > limit) {
        printf("FAIL: the peak is above the limit\n");
        return 1;
    }
    return 0;
}
