// SPDX-License-Identifier: Apache-2.0
// The latency timer: wraps malloc and free of a table and times one call in N, at random distances, so that no pattern
// of the workload falls into step with it. What an empty timing costs is measured, and contained in what it shows.
// Owns one histogram a thread and call. Layer: runner.
#ifndef HZBENCH_LATENCY_H
#define HZBENCH_LATENCY_H

#include "shared.h"

// What the histograms need; nothing is timed when `every` is 0.
uint64_t latency_bytes(uint32_t threads, uint32_t every);

// Puts the timer in front of run->allocator and run->free_remote. Returns 0 without memory.
int latency_install(struct workload_run *run, uint32_t every);

// Calls of this thread count from here to the end; a generation records into its parent's histograms.
void latency_begin(uint32_t thread);
void latency_end(void);

// Sums the threads' histograms into the shared memory.
void latency_collect(struct sample_shared *shared, uint32_t threads);

#endif
