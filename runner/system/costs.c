// SPDX-License-Identifier: Apache-2.0
// Memory is touched through os_memory_map(); two pinned threads pass a number to and fro. Layer: runner.
#include "costs.h"

#include "os.h"

#include <pthread.h>
#include <stdatomic.h>

#define TOUCHED_PAGES 512u // more than an L1 or L2 holds, and done before a turn on a shared CPU ends
#define TOUCHED_TIMES 20
#define TOUCHED_BYTES (TOUCHED_PAGES * 4096u)
#define ROUND_TRIPS 200u // timed together
#define ROUNDS 50
#define SPINS 2000                  // then the other thread may need this CPU
#define LIMIT_NS UINT64_C(50000000) // on a machine where neither gets its CPU for long

// Two threads pass a number to and fro; its line is alone.
struct exchange {
    _Alignas(128) _Atomic uint32_t turns;
    _Alignas(128) _Atomic int is_over;
    uint64_t end_ns;
};

struct player {
    struct exchange *exchange;
    int32_t cpu;     // negative: not pinned
    uint32_t parity; // it moves when `turns` has the same
    uint64_t least_ns;
};

// Returns 0 when the time is over.
static int await(struct exchange *exchange, uint32_t turns) {
    int spins = 0;
    // ORDER: relaxed: nothing but the number is passed.
    while (atomic_load_explicit(&exchange->turns, memory_order_relaxed) != turns) {
        if (++spins < SPINS)
            continue;
        spins = 0;
        if (os_now_ns() > exchange->end_ns)
            atomic_store_explicit(&exchange->is_over, 1, memory_order_relaxed);
        if (atomic_load_explicit(&exchange->is_over, memory_order_relaxed))
            return 0;
        os_yield();
    }
    return 1;
}

static void *play(void *argument) {
    struct player *player = argument;
    struct exchange *exchange = player->exchange;
    uint32_t turns = player->parity;
    uint64_t begin_ns = 0;
    if (player->cpu >= 0)
        os_pin_thread(player->cpu);
    for (uint32_t i = 0; i <= ROUNDS * ROUND_TRIPS; i++) {
        if (!await(exchange, turns))
            break;
        if (i % ROUND_TRIPS == 0) {
            const uint64_t now_ns = os_now_ns();
            if (i != 0 && now_ns - begin_ns < player->least_ns)
                player->least_ns = now_ns - begin_ns;
            begin_ns = now_ns;
        }
        atomic_store_explicit(&exchange->turns, turns + 1, memory_order_relaxed);
        turns += 2;
    }
    return NULL;
}

static double first_touch_ns(void) {
    uint64_t least_ns = UINT64_MAX;
    for (int time = 0; time < TOUCHED_TIMES; time++) {
        const uint64_t begin_ns = os_now_ns();
        void *memory = os_memory_map(TOUCHED_BYTES);
        const uint64_t ns = os_now_ns() - begin_ns;
        if (memory == NULL)
            return -1;
        os_memory_unmap(memory, TOUCHED_BYTES);
        least_ns = ns < least_ns ? ns : least_ns;
    }
    return (double)least_ns / TOUCHED_PAGES;
}

// Two hardware threads of different cores; 0 when there are none.
static int find_two_cores(const struct topology *topology, int32_t *cpus) {
    const struct topology_place *first = &topology->places[0];
    for (unsigned i = 1; i < topology->pus; i++) {
        const struct topology_place *place = &topology->places[i];
        if (place->package != first->package || place->core_in_package != first->core_in_package) {
            cpus[0] = first->cpu;
            cpus[1] = place->cpu;
            return 1;
        }
    }
    return 0;
}

static double line_transfer_ns(const struct topology *topology) {
    int32_t cpus[2];
    if (topology->pus < 2 || !find_two_cores(topology, cpus))
        return -1;
    struct exchange exchange = {.end_ns = os_now_ns() + LIMIT_NS};
    struct player waiting = {&exchange, cpus[1], 1, UINT64_MAX};
    struct player first = {&exchange, cpus[0], 0, UINT64_MAX};
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, play, &waiting) != 0)
        return -1;
    if (pthread_create(&threads[1], NULL, play, &first) == 0) {
        pthread_join(threads[1], NULL);
    } else {
        first.cpu = -1; // this thread keeps the CPUs that it was given
        play(&first);
    }
    pthread_join(threads[0], NULL);
    return first.least_ns == UINT64_MAX ? -1 : (double)first.least_ns / (2 * ROUND_TRIPS);
}

void costs_measure(const struct topology *topology, struct costs *out) {
    out->first_touch_ns = first_touch_ns();
    out->line_transfer_ns = line_transfer_ns(topology);
}
