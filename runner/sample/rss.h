// SPDX-License-Identifier: Apache-2.0
// The RSS sampler: one thread of the worker that writes {time, resident set, live bytes, phase} to the shared memory at
// a steady interval. When the series is full every second point goes and the interval doubles, so any run fits. Layer:
// runner.
#ifndef HZBENCH_RSS_H
#define HZBENCH_RSS_H

#include "shared.h"

#include <pthread.h>

struct rss_sampler {
    struct sample_shared *shared; // const: series and live bytes
    int rss_fd;                   // const
    uint64_t started_ns;          // const: zero of the series' clock
    uint64_t interval_ns;         // sampler only after rss_start; doubles
    pthread_t thread;
    pthread_mutex_t mutex; // guards is_stopping
    pthread_cond_t wake;
    int is_stopping;
};

// Starts the thread on the given stack. Returns 0 or an errno value.
int rss_start(struct rss_sampler *sampler, struct sample_shared *shared, int rss_fd, uint64_t started_ns, void *stack,
              uint64_t stack_bytes);

// Calls read_at, which waits until then and returns the resident set, at each instant that memory is read after the
// join (settle.h), and keeps what it returns.
void rss_settle(struct sample_shared *shared, uint64_t (*read_at)(void *context, uint64_t until_ns), void *context);

// Takes a last point, ends the thread and waits for it.
void rss_stop(struct rss_sampler *sampler);

// What was live at an instant during the call, as the threads have published it, or less: no snapshot of all threads
// can be had, so allocations are added up before frees. Exact while the threads wait.
int64_t rss_live_bytes(const struct sample_shared *shared);

// Appends a point, halving the series first when it is full. For one writer at a time; returns 1 when it was halved.
int rss_append(struct sample_shared *shared, const struct rss_point *point);

#endif
