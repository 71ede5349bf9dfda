// SPDX-License-Identifier: Apache-2.0
// What is left of a run, from how long its samples have taken so far. Layer: runner.
#ifndef HZBENCH_ESTIMATE_H
#define HZBENCH_ESTIMATE_H

#include "plan/plan.h"

struct estimate_cell {
    uint64_t spent_ns;
    uint32_t count;
};

struct estimate {
    const struct plan *plan;
    struct estimate_cell *cells;
    double spent_ns, guessed_ns; // of all finished samples: what they took, and what the plan had said
};

int estimate_start(struct estimate *estimate, const struct plan *plan); // 0: no memory
void estimate_free(struct estimate *estimate);

// A sample of `cell` took this long, all in all.
void estimate_learn(struct estimate *estimate, uint32_t cell, uint64_t ns);

// One sample of `cell`: the mean of its finished ones; before the first the plan's guess, corrected by how far off it
// was for the other cells.
uint64_t estimate_sample_ns(const struct estimate *estimate, uint32_t cell);

// All samples from `from` on that are not present.
uint64_t estimate_left_ns(const struct estimate *estimate, const uint8_t *is_present, uint32_t from);

#endif
