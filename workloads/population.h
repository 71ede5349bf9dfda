// SPDX-License-Identifier: Apache-2.0
// A population of objects in balance: bins of sizes and lifetimes, each with its share of the allocations, become a
// stream of allocations and frees in which objects of each bin live as long, and are as many, as the bin says. What
// `fleet` and `profile` run. The stream is drawn before the clock starts; the timed loop only reads it.
//
// Time is counted in allocations of a thread. A bin with share s and mean lifetime L has s * L live objects (Little
// 1961). A run starts with a population drawn from that balance, each object with the rest of its life, so that the
// first measured event is as good as the last. Layer: workloads.
#ifndef HZBENCH_POPULATION_H
#define HZBENCH_POPULATION_H

#include "core.h"

#define POPULATION_FREE 0u                // in population_event.bytes: freed by the thread itself
#define POPULATION_FREE_REMOTE UINT32_MAX // handed to the next thread

enum population_life {
    POPULATION_EXPONENTIAL, // of mean `life`: memoryless, as objects of which only the mean is known
    POPULATION_UNIFORM      // between life_min and life_max: one bin of a histogram
};

struct population_bin {
    double share; // of the allocations; any scale
    double life;  // mean, in allocations of the thread
    double life_min, life_max;
    uint32_t min_bytes, max_bytes; // sizes are uniform between them, both inclusive
    uint32_t remote_ppm;           // share of these objects that another thread frees
    enum population_life kind;
};

struct population_event {
    uint32_t slot;
    uint32_t bytes; // above 0: allocate so many
};

struct population_thread {
    struct population_event *events; // const after prepare
    uint64_t event_count;
    uint32_t *initial; // bytes of the first objects, in slots 0, 1, ..
    uint64_t initial_count;
};

// Harness memory for populations of about params->working_set live objects a thread, of at most `max_bins` bins.
// UINT64_MAX: does not fit.
uint64_t population_memory_bytes(const struct workload_params *params, uint32_t max_bins);

// The place for the caller's bins in run->memory; to be filled before population_prepare. `max_bins` as above.
struct population_bin *population_bins(struct workload_run *run, uint32_t max_bins);

// Stretches all lives so that params->working_set objects a thread are alive in balance.
void population_scale(struct workload_run *run, uint32_t bin_count);

// Draws all threads' streams. `exact_remote`: of all frees exactly params->remote_ppm are remote; which, the bins say,
// and chance where they say too few or too many.
void population_prepare(struct workload_run *run, uint32_t bin_count, int exact_remote);

const struct population_thread *population_thread_of(const struct workload_run *run, uint32_t thread);

void population_warm_up(struct workload_run *run, uint32_t thread);
void population_measured(struct workload_run *run, uint32_t thread);

#endif
