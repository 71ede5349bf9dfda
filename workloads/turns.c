// SPDX-License-Identifier: Apache-2.0
// `pool-turns`, `sleeping-producer`: threads that work one at a time while the others sleep. Blocks that a sleeping
// thread has cached, or that others have freed for it, cannot be used by the thread that works. Layer: workloads.
//
// `pool-turns`: each thread in its turn allocates a working set and frees it (microsoft/mimalloc#351).
// `sleeping-producer`: an even thread allocates a working set and sleeps; the odd thread after it frees all of it, then
// allocates and frees as much itself (microsoft/mimalloc#333, mjansson/rpmalloc#334).
#include "core.h"
#include "registry.h"

// Whose turn it is, behind the memory of core.h. any: all threads read it; who has the turn writes.
struct turns {
    _Alignas(HANDOVER_LINE) _Atomic uint64_t next; // turns that have ended
};

static uint64_t core_bytes(const struct workload_params *params) {
    const struct core_shape shape = core_shape_alone(params);
    const uint64_t bytes = core_memory_bytes(params, &shape);
    return bytes > UINT64_MAX - HANDOVER_LINE ? UINT64_MAX
                                              : (bytes + HANDOVER_LINE - 1) / HANDOVER_LINE * HANDOVER_LINE;
}

static uint64_t memory_bytes(const struct workload_params *params) {
    const uint64_t bytes = core_bytes(params);
    return bytes > UINT64_MAX - sizeof(struct turns) ? UINT64_MAX : bytes + sizeof(struct turns);
}

static struct turns *turns_of(const struct workload_run *run) {
    return (struct turns *)((unsigned char *)run->memory + core_bytes(&run->params));
}

static void prepare(struct workload_run *run) {
    const struct core_shape shape = core_shape_alone(&run->params);
    core_prepare(run, &shape);
    atomic_store_explicit(&turns_of(run)->next, 0, memory_order_relaxed);
}

// Returns 0 when the run stops before it is turn number `turn`.
static int wait_for(struct workload_run *run, struct turns *turns, uint64_t turn) {
    uint32_t spins = 0;
    // ORDER: acquire pairs with the release in end_turn: the objects that the thread before has left in its slots.
    while (atomic_load_explicit(&turns->next, memory_order_acquire) != turn) {
        if (core_stopped(run))
            return 0;
        core_pause(run, &spins);
    }
    return 1;
}

static void end_turn(struct turns *turns, uint64_t turn) {
    // ORDER: release pairs with the acquire in wait_for.
    atomic_store_explicit(&turns->next, turn + 1, memory_order_release);
}

OBJECT_INLINE void allocate_all(struct workload_run *run, uint32_t thread, struct core_hot *hot,
                                enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    for (uint64_t i = 0; i < self->slot_count && !core_stopped(run); i++) {
        if (!core_draw(&env, &self->random, hot, &self->slots[i], i, 0, touch))
            core_fail(run, thread);
        hot->allocs++;
        core_publish_live(&run->counters[thread], hot);
    }
}

OBJECT_INLINE void free_own(struct workload_run *run, uint32_t thread, struct core_hot *hot,
                            enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    for (uint64_t i = 0; i < self->slot_count && !core_stopped(run); i++) {
        core_clear(&env, hot, &self->slots[i], touch);
        core_publish_live(&run->counters[thread], hot);
    }
}

OBJECT_INLINE void free_of_producer(struct workload_run *run, uint32_t thread, struct core_hot *hot,
                                    enum workload_touch touch) {
    struct core_thread *producer = core_thread_of(run, thread - 1);
    const struct core_env env = core_env_of(run, thread);
    for (uint64_t i = 0; i < producer->slot_count && !core_stopped(run); i++) {
        core_event(&core_thread_of(run, thread)->random, 0, i, 1);
        core_delete_by(env.free_remote, &env, hot, producer->slots[i], touch);
        producer->slots[i].block = NULL;
        hot->frees_foreign++;
        core_publish_live(&run->counters[thread], hot);
    }
}

OBJECT_INLINE void take_turns(struct workload_run *run, uint32_t thread, int in_pairs, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct turns *turns = turns_of(run);
    const int is_producer = in_pairs && thread % 2 == 0;
    struct core_hot hot = self->hot;
    for (uint32_t round = 0; round < run->params.rounds; round++) {
        const uint64_t turn = (uint64_t)round * run->params.threads + thread;
        if (!wait_for(run, turns, turn))
            break;
        if (in_pairs && !is_producer)
            free_of_producer(run, thread, &hot, touch);
        allocate_all(run, thread, &hot, touch);
        if (!is_producer)
            free_own(run, thread, &hot, touch);
        core_publish(run, thread, &hot);
        end_turn(turns, turn);
    }
    self->hot = hot;
}

static void pool_turns(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, take_turns, thread, 0);
}

static void sleeping_producer(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, take_turns, thread, 1);
}

static uint64_t remote_frees(const struct workload_params *params) {
    return params->threads / 2 * core_ops_by_rounds(params);
}

#define TURNS                                                                                                          \
    .defaults = {.sizes = SIZES_UNIFORM,                                                                               \
                 .touch = TOUCH_ENDS,                                                                                  \
                 .ops = REGISTRY_UNSET64,                                                                              \
                 .working_set = 50000,                                                                                 \
                 .min_bytes = 16,                                                                                      \
                 .max_bytes = 2048,                                                                                    \
                 .rounds = 4},                                                                                         \
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_WORKING_SET | WORKLOAD_USES_ROUNDS,                             \
    .derived_ops = core_ops_by_rounds, .derived_from = "--working-set and --rounds", .memory_bytes = memory_bytes,     \
    .prepare = prepare

const struct workload pool_turns_workload = {
    .name = "pool-turns",
    .summary = "threads of a pool work one at a time, each allocates and frees a working set: memory kept",
    .source = "microsoft/mimalloc#351: a pool of threads, each of which parses one file after the other",
    .min_threads = 1,
    .measured = pool_turns,
    TURNS,
};

const struct workload sleeping_producer_workload = {
    .name = "sleeping-producer",
    .summary = "a thread allocates and sleeps, another frees all of it and then allocates as much",
    .source = "microsoft/mimalloc#333, mjansson/rpmalloc#334: memory freed for a thread that sleeps",
    .min_threads = 2,
    .even_threads = 1,
    .remote_frees = remote_frees,
    .measured = sleeping_producer,
    TURNS,
};
