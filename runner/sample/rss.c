// SPDX-License-Identifier: Apache-2.0
// rss.h: reading statm costs about 7 us, so an interval of 1 ms costs under 1 % of one CPU. Layer: runner.
#include "rss.h"

#include "../system/os.h"

#include <stdatomic.h>

#define LIVE_SUMS 3 // where another thread gets the CPU within a sum, the next one is right again

static int64_t live_at_least(const struct sample_shared *shared) {
    const uint32_t threads = shared->request.params.threads;
    uint64_t live = 0;
    for (uint32_t i = 0; i < threads; i++) {
        // ORDER: acquire keeps the loads of the second loop behind those of the first; it pairs with no store.
        live += atomic_load_explicit(&shared->counters[i].allocated_bytes, memory_order_acquire);
    }
    for (uint32_t i = 0; i < threads; i++) {
        live -= atomic_load_explicit(&shared->counters[i].freed_bytes, memory_order_relaxed) +
                atomic_load_explicit(&shared->counters[i].drained_bytes, memory_order_relaxed);
    }
    return (int64_t)live;
}

int64_t rss_live_bytes(const struct sample_shared *shared) {
    int64_t most = live_at_least(shared);
    for (int i = 1; i < LIVE_SUMS; i++) {
        const int64_t live = live_at_least(shared);
        most = live > most ? live : most;
    }
    return most;
}

int rss_append(struct sample_shared *shared, const struct rss_point *point) {
    uint32_t count = atomic_load_explicit(&shared->rss_points, memory_order_relaxed);
    const int is_full = count == SHARED_MAX_RSS_POINTS;
    if (is_full) {
        count = SHARED_MAX_RSS_POINTS / 2;
        for (uint32_t i = 1; i < count; i++)
            shared->rss[i] = shared->rss[2 * i];
    }
    shared->rss[count] = *point;
    // ORDER: release publishes the points to the runner, which loads the number with acquire.
    atomic_store_explicit(&shared->rss_points, count + 1, memory_order_release);
    return is_full;
}

static void take_point(struct rss_sampler *sampler) {
    const struct rss_point point = {
        .t_ns = os_now_ns() - sampler->started_ns,
        .rss_bytes = os_rss_bytes(sampler->rss_fd),
        .live_bytes = rss_live_bytes(sampler->shared),
        .phase = atomic_load_explicit(&sampler->shared->phase, memory_order_relaxed),
    };
    if (rss_append(sampler->shared, &point))
        sampler->interval_ns *= 2;
}

static void *sample(void *argument) {
    struct rss_sampler *sampler = argument;
    uint64_t next_ns = os_now_ns();
    pthread_mutex_lock(&sampler->mutex);
    while (!sampler->is_stopping) {
        take_point(sampler);
        next_ns += sampler->interval_ns;
        const uint64_t now_ns = os_now_ns();
        if (next_ns < now_ns)
            next_ns = now_ns; // late: points are lost, not crowded
        while (!sampler->is_stopping && !os_condition_wait_until(&sampler->wake, &sampler->mutex, next_ns)) {
        }
    }
    take_point(sampler);
    pthread_mutex_unlock(&sampler->mutex);
    return NULL;
}

int rss_start(struct rss_sampler *sampler, struct sample_shared *shared, int rss_fd, uint64_t started_ns, void *stack,
              uint64_t stack_bytes) {
    sampler->shared = shared;
    sampler->rss_fd = rss_fd;
    sampler->started_ns = started_ns;
    sampler->interval_ns = shared->request.rss_interval_ns;
    sampler->is_stopping = 0;
    pthread_mutex_init(&sampler->mutex, NULL);
    os_condition_init(&sampler->wake);
    return os_thread_start(&sampler->thread, stack, stack_bytes, sample, sampler);
}

void rss_stop(struct rss_sampler *sampler) {
    pthread_mutex_lock(&sampler->mutex);
    sampler->is_stopping = 1;
    pthread_cond_signal(&sampler->wake);
    pthread_mutex_unlock(&sampler->mutex);
    pthread_join(sampler->thread, NULL);
    pthread_cond_destroy(&sampler->wake);
    pthread_mutex_destroy(&sampler->mutex);
}

// The first instant after `from_ns` at which memory is read; 0: there is none.
static uint64_t next_reading_ns(const uint64_t *times_ns, uint64_t from_ns) {
    const uint64_t end_ns = settle_end_ns(times_ns);
    uint64_t next_ns = end_ns > from_ns ? end_ns : 0;
    const uint64_t fixed[] = {SETTLE_SHORT_NS, SETTLE_LONG_NS};
    for (int i = 0; i < 2; i++)
        next_ns = fixed[i] > from_ns && fixed[i] < next_ns ? fixed[i] : next_ns;
    for (int i = 0; i < SETTLE_MOST; i++)
        next_ns = times_ns[i] > from_ns && times_ns[i] < next_ns ? times_ns[i] : next_ns;
    return next_ns;
}

void rss_settle(struct sample_shared *shared, uint64_t (*read_at)(void *context, uint64_t until_ns), void *context) {
    struct measurement *measured = &shared->result.measured;
    const uint64_t *times_ns = shared->request.settle_ns;
    const uint64_t begin_ns = os_now_ns();
    for (uint64_t at_ns = next_reading_ns(times_ns, 0); at_ns != 0; at_ns = next_reading_ns(times_ns, at_ns)) {
        const uint64_t bytes = read_at(context, begin_ns + at_ns);
        if (at_ns == SETTLE_SHORT_NS)
            measured->rss_100ms = bytes;
        if (at_ns == SETTLE_LONG_NS)
            measured->rss_1s = bytes;
        for (int i = 0; i < SETTLE_MOST; i++)
            if (times_ns[i] == at_ns)
                measured->rss_settled[i] = bytes;
    }
}
