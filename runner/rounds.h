// SPDX-License-Identifier: Apache-2.0
// --rounds-until: after which round a run knows enough. Every allocator is compared with the first of --alloc in each
// group of cells, round by round; the error of 5 % holds for all pairs and looks together (sequential.h). Layer:
// runner.
#ifndef HZBENCH_ROUNDS_H
#define HZBENCH_ROUNDS_H

#include "plan/plan.h"
#include "results/output.h"
#include "results/verdict.h"

struct rounds {
    const struct plan *plan;
    const struct output *output;
    struct verdict_ratio *ratios; // by cell, as the last look found them; NULL without --rounds-until
    uint64_t begin_ns;
    uint32_t pairs, decided, count; // count: rounds at the last look or end
    int is_active, is_out_of_budget;
};

// Returns 0 without memory.
int rounds_start(struct rounds *rounds, const struct plan *plan, const struct output *output);
void rounds_free(struct rounds *rounds);

// Asked before each round: 1 when all pairs are decided or the budget is spent. Always 0 without --rounds-until.
int rounds_are_enough(struct rounds *rounds, uint32_t finished);

uint64_t rounds_budget_left_ns(const struct rounds *rounds); // UINT64_MAX without --rounds-until

// Tells what came of it. Returns EXIT_CODE_INCONCLUSIVE when a pair is left undecided.
int rounds_report(const struct rounds *rounds);

#endif
