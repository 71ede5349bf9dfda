// SPDX-License-Identifier: Apache-2.0
// The latency probe: wraps malloc and free of a table and times one call in N, at random distances, so that no pattern
// of the workload falls into step with it. What an empty probe costs is measured, and contained in what it shows.
// Owns one histogram a thread and call. Layer: runner.
#ifndef HZBENCH_PROBE_H
#define HZBENCH_PROBE_H

#include "shared.h"

// Puts the probe in front of run->allocator and run->free_remote. Returns 0 without memory.
int probe_install(struct workload_run *run, uint32_t every);

// Calls of this thread count from here to the end; a generation records into its parent's histograms.
void probe_begin(uint32_t thread);
void probe_end(void);

// Sums the threads' histograms into the shared memory.
void probe_collect(struct sample_shared *shared, uint32_t threads);

#endif
