// SPDX-License-Identifier: Apache-2.0
// Pairs of cells, their log-ratios, and the looks. Layer: runner.
#include "rounds.h"

#include "plan/sequential.h"
#include "progress.h"
#include "system/os.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ALPHA 0.05

// Cell of the first allocator in the group of `cell`; the cell itself when it is that or has nothing to be compared
// with: null does no work.
static uint32_t base_of(const struct plan *plan, uint32_t cell) {
    uint32_t base = cell;
    while (base > 0 && plan->cells[base - 1].group == plan->cells[cell].group)
        base--;
    const char *name = plan->options->allocators[plan->cells[cell].allocator].name;
    return strcmp(name, "null") == 0 ? cell : base;
}

static double throughput(const struct rounds *rounds, uint32_t round, uint32_t cell) {
    const struct plan *plan = rounds->plan;
    for (uint32_t sample = round * plan->cell_count; sample < (round + 1) * plan->cell_count; sample++) {
        const struct record *row = &rounds->output->records[sample];
        if (plan->visits[sample] == cell && rounds->output->is_present[sample] && record_is_ok(row))
            return record_throughput(row);
    }
    return -1;
}

// A failed sample decides nothing and will not get better: its pair counts as decided, its row says why.
static int is_decided(const struct rounds *rounds, uint32_t cell, uint32_t base, uint32_t finished, double alpha) {
    double differences[SEQUENTIAL_MAX], low, high;
    for (uint32_t round = 0; round < finished; round++) {
        double ours = throughput(rounds, round, cell), theirs = throughput(rounds, round, base);
        if (!(ours > 0 && theirs > 0))
            return 1;
        differences[round] = log(ours / theirs);
    }
    return sequential_interval(differences, finished, alpha, &low, &high) &&
           sequential_decide(low, high, log1p(rounds->plan->options->rounds_until_ppm / 1e6)) != SEQUENTIAL_OPEN;
}

static void look(struct rounds *rounds, uint32_t finished, unsigned number) {
    rounds->decided = 0;
    for (uint32_t cell = 0; cell < rounds->plan->cell_count; cell++) {
        uint32_t base = base_of(rounds->plan, cell);
        if (base != cell)
            rounds->decided += (uint32_t)is_decided(rounds, cell, base, finished,
                                                    ALPHA * sequential_share(number) / (double)rounds->pairs);
    }
}

void rounds_start(struct rounds *rounds, const struct plan *plan, const struct output *output) {
    *rounds = (struct rounds){.plan = plan, .output = output, .begin_ns = os_now_ns()};
    rounds->is_active = plan->options->rounds_until_ppm > 0;
    for (uint32_t cell = 0; cell < plan->cell_count; cell++)
        rounds->pairs += base_of(plan, cell) != cell;
}

int rounds_are_enough(struct rounds *rounds, uint32_t finished) {
    if (!rounds->is_active)
        return 0;
    unsigned number = sequential_look(finished);
    rounds->count = finished;
    if (number != 0)
        look(rounds, finished, number);
    rounds->is_out_of_budget = os_now_ns() - rounds->begin_ns >= rounds->plan->options->budget_ns;
    return rounds->decided == rounds->pairs || rounds->is_out_of_budget;
}

int rounds_report(const struct rounds *rounds) {
    if (!rounds->is_active)
        return EXIT_CODE_OK;
    progress_notice("%" PRIu32 " of %" PRIu32 " pairs decided after %" PRIu32 " rounds%s", rounds->decided,
                    rounds->pairs, rounds->count,
                    rounds->decided == rounds->pairs ? ""
                    : rounds->is_out_of_budget       ? ": the budget is spent - the same command goes on"
                                                     : "");
    return rounds->decided == rounds->pairs ? EXIT_CODE_OK : EXIT_CODE_INCONCLUSIVE;
}
