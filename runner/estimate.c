// SPDX-License-Identifier: Apache-2.0
// estimate.h
#include "estimate.h"

#include <stdlib.h>

int estimate_start(struct estimate *estimate, const struct plan *plan) {
    *estimate = (struct estimate){.plan = plan, .cells = calloc(plan->cell_count, sizeof *estimate->cells)};
    return estimate->cells != NULL;
}

void estimate_free(struct estimate *estimate) {
    free(estimate->cells);
    estimate->cells = NULL;
}

void estimate_learn(struct estimate *estimate, uint32_t cell, uint64_t ns) {
    estimate->cells[cell].spent_ns += ns;
    estimate->cells[cell].count++;
    estimate->spent_ns += (double)ns;
    estimate->guessed_ns += (double)plan_sample_ns(estimate->plan, &estimate->plan->cells[cell]);
}

uint64_t estimate_sample_ns(const struct estimate *estimate, uint32_t cell) {
    const struct estimate_cell *known = &estimate->cells[cell];
    const double guess_ns = (double)plan_sample_ns(estimate->plan, &estimate->plan->cells[cell]);
    if (known->count > 0)
        return known->spent_ns / known->count;
    return (uint64_t)(estimate->guessed_ns > 0 ? guess_ns * estimate->spent_ns / estimate->guessed_ns : guess_ns);
}

uint64_t estimate_left_ns(const struct estimate *estimate, const uint8_t *is_present, uint32_t from) {
    uint64_t left_ns = 0;
    for (uint32_t i = from; i < estimate->plan->sample_count; i++)
        if (!is_present[i])
            left_ns += estimate_sample_ns(estimate, estimate->plan->visits[i]);
    return left_ns;
}
