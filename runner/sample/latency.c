// SPDX-License-Identifier: Apache-2.0
// Clock, wrappers and sums of the latency timer. Layer: runner.
#include "latency.h"

#include "../system/os.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define CALIBRATION_NS UINT64_C(5000000)
#define EMPTY_TIMINGS 2001

struct latency_thread {
    _Alignas(128) uint64_t random; // splitmix64 state; owner: the thread
    uint32_t left[CALL_COUNT];     // calls until the next that is timed
    struct histogram calls[CALL_COUNT];
};

static struct allocator under_test;
static struct latency_thread *timers;
static uint32_t mean_distance;
static double ns_per_tick;
static _Thread_local struct latency_thread *self; // NULL outside the measured part

#if defined(__x86_64__)
// Fenced on both sides: nothing of the call before or after may move into the interval.
static inline uint64_t ticks(void) {
    unsigned processor;
    _mm_lfence();
    const uint64_t now = __rdtscp(&processor);
    _mm_lfence();
    return now;
}
#else
static inline uint64_t ticks(void) {
    return os_now_ns();
}
#endif

static void calibrate(void) {
    const uint64_t begin_ns = os_now_ns();
    const uint64_t begin_ticks = ticks();
    uint64_t end_ns;
    do {
        end_ns = os_now_ns();
    } while (end_ns - begin_ns < CALIBRATION_NS);
    ns_per_tick = (double)(end_ns - begin_ns) / (double)(ticks() - begin_ticks);
}

static uint64_t ns_since(uint64_t begin_ticks) {
    const int64_t passed = (int64_t)(ticks() - begin_ticks); // counters of two CPUs may differ
    return passed > 0 ? (uint64_t)((double)passed * ns_per_tick + 0.5) : 0;
}

static uint32_t next_distance(struct latency_thread *timer) {
    uint64_t value = timer->random += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    // Uniform from 1 to 2N - 1, so N on average.
    return 1 + (uint32_t)((value >> 32) * (2 * (uint64_t)mean_distance - 1) >> 32);
}

static int is_timed(struct latency_thread *timer, enum timed_call call) {
    if (timer == NULL || --timer->left[call] != 0)
        return 0;
    timer->left[call] = next_distance(timer);
    return 1;
}

static void *latency_alloc(size_t bytes) {
    struct latency_thread *timer = self;
    if (!is_timed(timer, CALL_MALLOC))
        return under_test.alloc(bytes);
    const uint64_t begin = ticks();
    void *block = under_test.alloc(bytes);
    histogram_record(&timer->calls[CALL_MALLOC], ns_since(begin));
    return block;
}

static void free_as(enum timed_call call, void *block) {
    struct latency_thread *timer = self;
    if (!is_timed(timer, call)) {
        under_test.free(block);
        return;
    }
    const uint64_t begin = ticks();
    under_test.free(block);
    histogram_record(&timer->calls[call], ns_since(begin));
}

static void latency_free(void *block) {
    free_as(CALL_FREE_LOCAL, block);
}

static void latency_free_remote(void *block) {
    free_as(CALL_FREE_REMOTE, block);
}

uint64_t latency_bytes(uint32_t threads, uint32_t every) {
    return every == 0 ? 0 : threads * sizeof *timers;
}

int latency_install(struct workload_run *run, uint32_t every) {
    timers = os_memory_map(latency_bytes(run->params.threads, every));
    if (timers == NULL)
        return 0;
    mean_distance = every;
    calibrate();
    for (uint32_t i = 0; i < run->params.threads; i++) {
        timers[i].random = run->params.seed + i;
        for (int call = 0; call < CALL_COUNT; call++)
            timers[i].left[call] = next_distance(&timers[i]);
    }
    under_test = run->allocator;
    run->allocator.alloc = latency_alloc;
    run->allocator.free = latency_free;
    run->free_remote = latency_free_remote;
    return 1;
}

void latency_begin(uint32_t thread) {
    self = timers != NULL ? &timers[thread] : NULL;
}

void latency_end(void) {
    self = NULL;
}

static int compare_ns(const void *left, const void *right) {
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static uint64_t empty_timing_ns(void) {
    static uint64_t passed[EMPTY_TIMINGS];
    for (int i = 0; i < EMPTY_TIMINGS; i++) {
        const uint64_t begin = ticks();
        passed[i] = ns_since(begin);
    }
    qsort(passed, EMPTY_TIMINGS, sizeof passed[0], compare_ns);
    return passed[EMPTY_TIMINGS / 2];
}

void latency_collect(struct sample_shared *shared, uint32_t threads) {
    if (timers == NULL)
        return;
    shared->result.measured.latency_timer_ns = empty_timing_ns();
    for (int call = 0; call < CALL_COUNT; call++) {
        struct histogram *sum = &shared->latency[call];
        for (uint32_t i = 0; i < threads; i++)
            histogram_add(sum, &timers[i].calls[call]);
        shared->result.measured.latency[call] = (struct latency){.count = sum->count,
                                                                 .p50_ns = histogram_percentile(sum, 500000),
                                                                 .p90_ns = histogram_percentile(sum, 900000),
                                                                 .p99_ns = histogram_percentile(sum, 990000),
                                                                 .p999_ns = histogram_percentile(sum, 999000),
                                                                 .max_ns = sum->count != 0 ? sum->max : NOT_MEASURED};
    }
}
