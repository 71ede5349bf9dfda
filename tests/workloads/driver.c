// SPDX-License-Identifier: Apache-2.0
// driver.h: threads, barriers and the in-test allocators. Layer: tests.
#include "driver.h"

#include "age.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NULL_BUFFER_BYTES (9u << 20) // larger than any object of a workload's defaults

struct driver_thread {
    struct workload_run *run;
    pthread_barrier_t *barrier;
    uint32_t index;
    pthread_t thread;
};

struct driver_birth {
    struct workload_run *run;
    uint32_t thread, generation;
    void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation);
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void yield(void) {
    sched_yield();
}

static void *birth_main(void *argument) {
    const struct driver_birth *birth = argument;
    birth->body(birth->run, birth->thread, birth->generation);
    return NULL;
}

static int generation(struct workload_run *run, uint32_t thread, uint32_t number,
                      void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation)) {
    struct driver_birth birth = {run, thread, number, body};
    pthread_t child;
    if (pthread_create(&child, NULL, birth_main, &birth) != 0)
        return 0;
    pthread_join(child, NULL);
    return 1;
}

static const struct workload_host host = {now_ns, yield, generation};

static void *thread_main(void *argument) {
    struct driver_thread *self = argument;
    workload_age(self->run, self->index);
    pthread_barrier_wait(self->barrier); // the main thread reads what is live
    pthread_barrier_wait(self->barrier);
    workload_warm_up(self->run, self->index);
    pthread_barrier_wait(self->barrier); // the main thread sets the deadline
    pthread_barrier_wait(self->barrier);
    workload_measured(self->run, self->index);
    pthread_barrier_wait(self->barrier); // the main thread sums the counters
    pthread_barrier_wait(self->barrier);
    workload_tear_down(self->run, self->index);
    return NULL;
}

struct workload_params driver_unset(uint32_t threads) {
    struct workload_params params;
    workload_params_unset(&params);
    params.seed = 1;
    params.threads = threads;
    return params;
}

const char *driver_input(const struct workload *workload) {
    static const char *const inputs[][2] = {{"fleet", "mix"}, {"app", "redis"}, {"program", "true"}};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        if (strcmp(inputs[i][0], workload->name) == 0)
            return inputs[i][1];
    const char *profile = getenv("HZBENCH_TEST_PROFILE");
    return profile != NULL && strcmp(workload->name, "profile") == 0 ? profile : "";
}

int driver_runs(const struct workload *workload) {
    return workload != NULL && !workload->is_program &&
           (!(workload->used_params & WORKLOAD_USES_INPUT) || driver_input(workload)[0] != '\0');
}

static int64_t live_bytes(const struct workload_run *run) {
    int64_t live = 0;
    for (uint32_t i = 0; i < run->params.threads; i++) {
        live += (int64_t)(atomic_load_explicit(&run->counters[i].allocated_bytes, memory_order_relaxed) -
                          atomic_load_explicit(&run->counters[i].freed_bytes, memory_order_relaxed) -
                          atomic_load_explicit(&run->counters[i].drained_bytes, memory_order_relaxed));
    }
    return live;
}

static uint64_t value(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void sum_up(const struct workload_run *run, struct driver_outcome *outcome) {
    memset(outcome, 0, sizeof *outcome);
    for (uint32_t i = 0; i < run->params.threads; i++) {
        const struct workload_counters *counters = &run->counters[i];
        outcome->hash = outcome->hash * 31 + value(&counters->stream_hash);
        outcome->allocs += value(&counters->allocs);
        outcome->frees_local += value(&counters->frees_local);
        outcome->frees_remote += value(&counters->frees_remote);
        outcome->waits += value(&counters->waits);
    }
    outcome->live_work = live_bytes(run);
}

struct driver_outcome driver_run(const char *name, struct workload_params params, const struct allocator *table) {
    struct workload_run run = {.workload = workload_find(name), .allocator = *table, .host = &host};
    char why[512] = "";
    assert_non_null(run.workload);
    if (!workload_params_complete(run.workload, &params, why, sizeof why))
        fail_msg("%s", why);
    const uint64_t memory_bytes = workload_memory_bytes(run.workload, &params);
    const uint32_t threads = params.threads;
    run.params = params;
    run.payload_mask = table->capabilities & ALLOCATOR_STORES ? 0xff : 0;
    run.memory = aligned_alloc(4096, (memory_bytes + 4095) / 4096 * 4096);
    run.counters = aligned_alloc(128, threads * sizeof *run.counters);
    struct driver_thread *all = calloc(threads, sizeof *all);
    assert_non_null(run.memory);
    assert_non_null(run.counters);
    assert_non_null(all);
    memset(run.memory, 0, memory_bytes);
    memset(run.counters, 0, threads * sizeof *run.counters);
    workload_prepare(&run);

    struct driver_outcome outcome;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (uint32_t i = 0; i < threads; i++) {
        all[i] = (struct driver_thread){.run = &run, .barrier = &barrier, .index = i};
        assert_int_equal(pthread_create(&all[i].thread, NULL, thread_main, &all[i]), 0);
    }
    pthread_barrier_wait(&barrier);
    const int64_t live_aged = live_bytes(&run);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    run.deadline_ns = now_ns() + params.duration_ns;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    sum_up(&run, &outcome);
    outcome.live_aged = live_aged;
    outcome.age_hash = params.age != AGE_NONE ? age_hash(&run) : 0;
    pthread_barrier_wait(&barrier);
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(all[i].thread, NULL);
        outcome.corruptions += value(&run.counters[i].corruptions);
        outcome.failures += value(&run.counters[i].failures);
    }
    outcome.live_end = live_bytes(&run);
    pthread_barrier_destroy(&barrier);
    free(all);
    free(run.counters);
    free(run.memory);
    return outcome;
}

// libc

static void *system_aligned(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}

struct allocator driver_system(void) {
    return (struct allocator){.name = "system",
                              .capabilities = ALLOCATOR_STORES | ALLOCATOR_ALIGNED,
                              .alloc = malloc,
                              .free = free,
                              .alloc_aligned = system_aligned,
                              .calloc = calloc,
                              .realloc = realloc};
}

// null: one buffer for all, whose contents nobody looks at

static _Alignas(4096) unsigned char null_buffer[NULL_BUFFER_BYTES];

static void *null_alloc(size_t bytes) {
    return bytes <= sizeof null_buffer ? null_buffer : NULL;
}

static void *null_aligned(size_t alignment, size_t bytes) {
    (void)alignment;
    return null_alloc(bytes);
}

static void *null_calloc(size_t count, size_t bytes) {
    return null_alloc(count * bytes);
}

static void *null_realloc(void *block, size_t bytes) {
    (void)block;
    return null_alloc(bytes);
}

static void null_free(void *block) {
    (void)block;
}

struct allocator driver_null(void) {
    return (struct allocator){.name = "null",
                              .capabilities = ALLOCATOR_ALIGNED,
                              .alloc = null_alloc,
                              .free = null_free,
                              .alloc_aligned = null_aligned,
                              .calloc = null_calloc,
                              .realloc = null_realloc};
}

// counting

static _Atomic int64_t balance;

static void *counted(void *block) {
    if (block != NULL)
        atomic_fetch_add_explicit(&balance, 1, memory_order_relaxed);
    return block;
}

static void *counting_alloc(size_t bytes) {
    return counted(malloc(bytes));
}

static void *counting_aligned(size_t alignment, size_t bytes) {
    return counted(memalign(alignment, bytes));
}

static void *counting_calloc(size_t count, size_t bytes) {
    return counted(calloc(count, bytes));
}

static void counting_free(void *block) {
    if (block != NULL)
        atomic_fetch_sub_explicit(&balance, 1, memory_order_relaxed);
    free(block);
}

struct allocator driver_counting(void) {
    struct allocator table = driver_system();
    table.alloc = counting_alloc;
    table.alloc_aligned = counting_aligned;
    table.calloc = counting_calloc;
    table.free = counting_free;
    return table;
}

int64_t driver_balance(void) {
    return atomic_load_explicit(&balance, memory_order_relaxed);
}

void driver_balance_reset(void) {
    atomic_store_explicit(&balance, 0, memory_order_relaxed);
}
