// SPDX-License-Identifier: Apache-2.0
// The plan of a run: its cells, and the order in which rounds of samples visit them. A pure function of the command
// line, so the same command finds its place again in a half-finished file. Layer: runner.
#ifndef HZBENCH_PLAN_H
#define HZBENCH_PLAN_H

#include "options.h"

#define PLAN_HASH_BYTES 65 // hex of a SHA-256 and its end

struct plan_cell {
    size_t allocator; // index in options->allocators
    const struct workload *workload;
    struct workload_params params; // complete but for the seed
    uint32_t group;                // cells that differ in the allocator only: equal event streams
};

struct plan {
    const struct options *options;
    struct plan_cell *cells;
    uint32_t cell_count;
    uint32_t group_count;
    uint32_t sample_count; // cells times runs
    uint32_t *visits;      // cell of each sample; round r is the r-th stretch of cell_count samples
    char hash[PLAN_HASH_BYTES];
};

// `notice` gets one line a combination that is left out because its thread count does not fit the workload.
// Returns EXIT_CODE_OK or the exit code of the line in `why`.
int plan_build(struct plan *plan, const struct options *options, void (*notice)(const char *line), char *why,
               size_t why_bytes);
void plan_free(struct plan *plan);

// Seed of every workload in a round: all allocators of the round get the same events, another round gets others.
uint64_t plan_round_seed(uint64_t run_seed, uint32_t round);

// What one sample will take at least, for --plan, ETA and the time limit. A guess: no machine is asked.
uint64_t plan_work_ns(const struct workload_params *params);
uint64_t plan_sample_ns(const struct plan *plan, const struct plan_cell *cell);
uint64_t plan_timeout_ns(const struct plan *plan, const struct plan_cell *cell);

// "hz5 remote threads=2 topology=ring remote=90% sizes=16..2048"; without the allocator when `cell` stands for a group.
void plan_cell_text(const struct plan *plan, const struct plan_cell *cell, int with_allocator, char *out,
                    size_t out_bytes);

// The lines that the hash is taken of.
char *plan_canonical_text(const struct plan *plan);

#endif
