// SPDX-License-Identifier: Apache-2.0
// Threads that free one block at the same time, free against realloc, owners that exit or hand over while others free
// into them. Exactly one free a block is accepted, every other is counted, and no block is handed out twice. Usage:
// hz5_race LIBRARY MODE [ROUNDS], MODE = k2 | k3 | k4 | realloc | exit | handover | queues. Layer: test, exported table
// only.
#include "../support/library.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define RACERS_MAX 4
#define SIZE_COUNT 4
#define TAKEN 16 // blocks taken after each round: nothing may come twice

static const size_t sizes[SIZE_COUNT] = {16, 1000, 40000, 200u << 10};

static const struct allocator *heap;
static unsigned racers;
static uint64_t rounds;

// A barrier that yields: on two processors with four threads spinning alone would wait for time slices.
static struct {
    _Atomic unsigned arrived;
    _Atomic unsigned phase;
} gate;

static void gate_wait(unsigned count) {
    unsigned phase = atomic_load_explicit(&gate.phase, memory_order_relaxed);
    // ORDER: acq_rel: what each thread did before the gate is visible to all behind it; partner: the loads of phase
    // below.
    if (atomic_fetch_add_explicit(&gate.arrived, 1, memory_order_acq_rel) + 1 == count) {
        atomic_store_explicit(&gate.arrived, 0, memory_order_relaxed);
        // ORDER: release: the reset above, and all that the acquire part of the addition has seen.
        atomic_store_explicit(&gate.phase, phase + 1, memory_order_release);
        return;
    }
    // ORDER: acquire: partner: the release store above.
    for (unsigned spins = 0; atomic_load_explicit(&gate.phase, memory_order_acquire) == phase; spins++)
        if (spins > 200)
            sched_yield();
}

static void fail(const char *what, uint64_t round, uint64_t got, uint64_t wanted) {
    printf("FAIL round %llu: %s: %llu, not %llu\n", (unsigned long long)round, what, (unsigned long long)got,
           (unsigned long long)wanted);
    exit(1);
}

// ---- k threads free one pointer
// ----------------------------------------------------------------------------------------------

static void *victim;
static size_t victim_bytes;
static int mode_realloc;

// Thread 0 owns the block and frees in even rounds; in odd rounds it only watches and thread k frees instead, so that
// all frees are foreign. Either way k threads free.
static int takes_part(unsigned self, uint64_t round) {
    return self == 0 ? round % 2 == 0 : self != racers || round % 2 != 0;
}

// Whoever comes last through the gate would always be the first to free: a random pause of up to a microsecond lays the
// frees over each other.
static void pause_at_random(uint64_t *random) {
    uint64_t turns = test_random(random) % 1024;
    for (uint64_t i = 0; i < turns; i++)
        // ORDER: none between threads: a fence for the compiler alone, so that the loop stays.
        atomic_signal_fence(memory_order_seq_cst);
}

static void *racer(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    uint64_t random = self;
    for (uint64_t round = 0; round < rounds; round++) {
        gate_wait(racers + 1);
        pause_at_random(&random);
        if (takes_part(self, round)) {
            if (mode_realloc && self == 1) {
                void *moved = heap->realloc(victim, victim_bytes * 3);
                if (moved != NULL)
                    heap->free(moved);
            } else {
                heap->free(victim);
            }
        }
        gate_wait(racers + 1);
        gate_wait(racers + 1);
    }
    return NULL;
}

// Racer 0, the owner: prepares each round and settles its account. A thread of its own, as in any program.
static void *owner_racer(void *argument) {
    (void)argument;
    uint64_t rejected = test_library_rejects(heap);
    uint64_t random = 1000;
    void *taken[TAKEN];
    for (uint64_t round = 0; round < rounds; round++) {
        victim_bytes = sizes[round % SIZE_COUNT];
        victim = heap->alloc(victim_bytes);
        if (victim == NULL)
            fail("no memory", round, 0, 1);
        gate_wait(racers + 1);
        pause_at_random(&random);
        if (takes_part(0, round))
            heap->free(victim);
        gate_wait(racers + 1);
        uint64_t now = test_library_rejects(heap);
        // A realloc counts as a free of the old block and one of the new: whoever comes second is refused, once.
        if (now - rejected != racers - 1)
            fail("frees refused", round, now - rejected, racers - 1);
        rejected = now;
        for (unsigned i = 0; i < TAKEN; i++) {
            taken[i] = heap->alloc(victim_bytes);
            for (unsigned j = 0; j < i; j++)
                if (taken[i] == taken[j])
                    fail("one block handed out twice", round, i, j);
        }
        for (unsigned i = 0; i < TAKEN; i++)
            heap->free(taken[i]);
        gate_wait(racers + 1);
    }
    return NULL;
}

static void race_frees(unsigned k) {
    racers = k;
    pthread_t threads[RACERS_MAX + 1];
    struct allocator_stats stats;
    heap->stats(&stats);
    uint64_t live = stats.live_bytes;
    pthread_create(&threads[0], NULL, owner_racer, NULL);
    for (unsigned i = 1; i <= k; i++)
        pthread_create(&threads[i], NULL, racer, (void *)(uintptr_t)i);
    for (unsigned i = 0; i <= k; i++)
        pthread_join(threads[i], NULL);
    heap->purge(); // what waits to be collected is an estimate in the account
    heap->stats(&stats);
    if (stats.live_bytes != live)
        fail("live bytes", rounds, stats.live_bytes, live);
}

// ---- owners that go
// ----------------------------------------------------------------------------------------------------------

#define BATCH 96

static void *batch[2][BATCH];
static _Atomic unsigned batch_ready; // parity bits of what was published
static int mode_handover;

// Allocates a batch, publishes it and exits at once: its blocks are freed by the others while it goes.
static void *short_lived(void *argument) {
    uint64_t round = (uint64_t)(uintptr_t)argument;
    void **blocks = batch[round % 2];
    for (unsigned i = 0; i < BATCH; i++) {
        size_t bytes = sizes[(round + i / 32) % 3];
        blocks[i] = heap->alloc(bytes);
        if (blocks[i] == NULL)
            fail("no memory", round, 0, 1);
        *(uint64_t *)blocks[i] = round << 32 | i;
    }
    // ORDER: release: the batch; partner: the acquire load in freer().
    atomic_store_explicit(&batch_ready, (unsigned)round + 1, memory_order_release);
    if (mode_handover) {
        // Takes over what dead owners left while others still free into it.
        void *mine[64];
        for (unsigned i = 0; i < 64; i++)
            mine[i] = heap->alloc(sizes[i % 3]);
        for (unsigned i = 0; i < 64; i++)
            heap->free(mine[i]);
    }
    return NULL;
}

// Freer f frees every second block of the batch, while the thread that allocated it is on its way out.
static void *freer(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    for (uint64_t round = 0; round < rounds; round++) {
        // ORDER: acquire: partner: the release store in short_lived().
        while (atomic_load_explicit(&batch_ready, memory_order_acquire) != (unsigned)round + 1)
            sched_yield();
        void **blocks = batch[round % 2];
        for (unsigned i = 0; i < BATCH; i++) {
            if (i % 2 == self) {
                if (*(uint64_t *)blocks[i] != (round << 32 | i))
                    fail("a live block changed", round, *(uint64_t *)blocks[i], round << 32 | i);
                heap->free(blocks[i]);
            }
        }
        gate_wait(3);
        gate_wait(3);
    }
    return NULL;
}

static void race_owners(void) {
    pthread_t freers[2];
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&freers[i], NULL, freer, (void *)(uintptr_t)i);
    void *kept = heap->alloc(64);
    struct allocator_stats stats;
    heap->stats(&stats);
    uint64_t live = stats.live_bytes;
    for (uint64_t round = 0; round < rounds; round++) {
        pthread_t thread;
        pthread_create(&thread, NULL, short_lived, (void *)(uintptr_t)round);
        gate_wait(3); // all freed
        pthread_join(thread, NULL);
        if (round % 16 == 0) {
            heap->stats(&stats);
            if (stats.live_bytes != live)
                fail("live bytes", round, stats.live_bytes, live);
            if (test_library_rejects(heap) != 0)
                fail("valid frees refused", round, test_library_rejects(heap), 0);
            int contradictions = heap->verify();
            if (contradictions != 0)
                fail("verify", round, (uint64_t)contradictions, 0);
        }
        gate_wait(3);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(freers[i], NULL);
    heap->free(kept);
    heap->purge();
    heap->stats(&stats);
    if (stats.committed_bytes > 4u << 20)
        fail("committed bytes after the purge", rounds, stats.committed_bytes, 4u << 20);
}

// ---- every size class has a queue of its own: what others free is found in each
// ----------------------------------------------------------------------------------------------

#define QUEUE_SIZES 40
#define QUEUE_BYTES (256u << 10) // a size: several runs, and more than a run has regions

static void *queue_blocks[QUEUE_SIZES][QUEUE_BYTES / 16];
static unsigned queue_blocks_of[QUEUE_SIZES];

static void *free_queued(void *parity) {
    for (unsigned i = 0; i < QUEUE_SIZES; i++) {
        for (unsigned k = 0; k < queue_blocks_of[i]; k++)
            if (k % 2 == (uintptr_t)parity)
                heap->free(queue_blocks[i][k]);
    }
    return NULL;
}

static size_t queue_size(unsigned i) {
    return 16 + (size_t)i * i * 40; // 16 B to 61 KiB
}

static void *allocate_queued(void *ignored) {
    for (unsigned i = 0; i < QUEUE_SIZES; i++) {
        queue_blocks_of[i] = (unsigned)(QUEUE_BYTES / queue_size(i));
        for (unsigned k = 0; k < queue_blocks_of[i]; k++)
            queue_blocks[i][k] = heap->alloc(queue_size(i));
    }
    return ignored;
}

static uint64_t committed(void) {
    struct allocator_stats stats;
    heap->stats(&stats);
    return stats.committed_bytes;
}

// In turn: the owner lives and takes the very blocks that came back (no new memory), then gives all back; the owner is
// dead.
static void race_queues(void) {
    pthread_t freers[2];
    for (uint64_t round = 0; round < rounds; round++) {
        int owner_lives = round % 2 == 0;
        if (owner_lives) {
            allocate_queued(NULL);
        } else {
            pthread_t owner;
            pthread_create(&owner, NULL, allocate_queued, NULL);
            pthread_join(owner, NULL);
        }
        uint64_t full = committed();
        for (uintptr_t i = 0; i < 2; i++)
            pthread_create(&freers[i], NULL, free_queued, (void *)i);
        for (unsigned i = 0; i < 2; i++)
            pthread_join(freers[i], NULL);
        if (owner_lives) {
            allocate_queued(NULL);
            if (committed() > full + full / 16)
                fail("bytes committed where blocks had come back", round, committed(), full);
            for (uintptr_t i = 0; i < 2; i++)
                free_queued((void *)i);
        } else if (committed() > full / 4 * 3) {
            fail("bytes committed after all blocks of a dead owner came back", round, committed(), full / 4 * 3);
        }
        heap->purge();
        if (committed() > 2u << 20)
            fail("bytes committed after the purge", round, committed(), 2u << 20);
        if (heap->verify() != 0 || test_library_rejects(heap) != 0)
            fail("contradictions or refused frees", round, 1, 0);
    }
}

int main(int argc, char **argv) {
    test_library_environment(argv);
    if (argc < 3) {
        fprintf(stderr, "usage: hz5_race LIBRARY k2|k3|k4|realloc|exit|handover|queues [ROUNDS]\n");
        return 2;
    }
    const char *mode = argv[2];
    // Little is retained where the bytes committed tell what came back.
    setenv("HZ5_OPTIONS", mode[0] == 'q' ? "reject=count,retain=1MiB" : "reject=count", 1);
    heap = test_library_open(argv[1]).table;
    int has_threads_to_start = mode[0] == 'e' || mode[0] == 'h';
    rounds =
        argc > 3 ? strtoull(argv[3], NULL, 10) : test_count("HZ5_RACE_ROUNDS", has_threads_to_start ? 5000 : 10000);
    if (mode[0] == 'k' && mode[1] >= '2' && mode[1] <= '4') {
        race_frees((unsigned)(mode[1] - '0'));
    } else if (strcmp(mode, "realloc") == 0) {
        mode_realloc = 1;
        race_frees(2);
    } else if (strcmp(mode, "exit") == 0 || strcmp(mode, "handover") == 0) {
        mode_handover = mode[0] == 'h';
        race_owners();
    } else if (strcmp(mode, "queues") == 0) {
        rounds = rounds < 10 ? rounds : 10 + rounds / 10000;
        race_queues();
    } else {
        fprintf(stderr, "hz5_race: no mode '%s': use k2, k3, k4, realloc, exit, handover or queues\n", mode);
        return 2;
    }
    if (heap->verify() != 0)
        fail("verify at the end", rounds, 1, 0);
    struct allocator_stats stats;
    heap->stats(&stats);
    printf("races: %llu, mode %s, refused: double_free %llu, double_free_remote %llu, stale_run %llu\n",
           (unsigned long long)rounds, mode, (unsigned long long)stats.rejects[ALLOCATOR_REJECT_DOUBLE_FREE],
           (unsigned long long)stats.rejects[ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE],
           (unsigned long long)stats.rejects[ALLOCATOR_REJECT_STALE_RUN]);
    return 0;
}
