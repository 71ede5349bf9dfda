// SPDX-License-Identifier: Apache-2.0
// Pairs of cells, their log-ratios, and the looks. Layer: runner.
#include "rounds.h"

#include "plan/sequential.h"
#include "progress.h"
#include "results/summary.h"
#include "system/os.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALPHA 0.05

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
    double differences[SEQUENTIAL_MAX];
    struct verdict_ratio *ratio = &rounds->ratios[cell];
    for (uint32_t round = 0; round < finished; round++) {
        double ours = throughput(rounds, round, cell), theirs = throughput(rounds, round, base);
        if (!(ours > 0 && theirs > 0))
            return 1;
        differences[round] = log(theirs / ours); // of times
    }
    ratio->middle = sequential_middle(differences, finished);
    ratio->is_known = sequential_interval(differences, finished, alpha, &ratio->low, &ratio->high);
    ratio->decision = ratio->is_known ? sequential_decide(ratio->low, ratio->high,
                                                          log1p(rounds->plan->options->rounds_until_ppm / 1e6))
                                      : SEQUENTIAL_OPEN;
    return ratio->decision != SEQUENTIAL_OPEN;
}

static void look(struct rounds *rounds, uint32_t finished, unsigned number) {
    rounds->decided = 0;
    for (uint32_t cell = 0; cell < rounds->plan->cell_count; cell++) {
        uint32_t base = summary_base_of(rounds->plan, cell);
        if (base != cell)
            rounds->decided += (uint32_t)is_decided(rounds, cell, base, finished,
                                                    ALPHA * sequential_share(number) / (double)rounds->pairs);
    }
}

int rounds_start(struct rounds *rounds, const struct plan *plan, const struct output *output) {
    *rounds = (struct rounds){.plan = plan, .output = output, .begin_ns = os_now_ns()};
    rounds->is_active = plan->options->rounds_until_ppm > 0;
    for (uint32_t cell = 0; cell < plan->cell_count; cell++)
        rounds->pairs += summary_base_of(plan, cell) != cell;
    rounds->ratios = rounds->is_active ? calloc(plan->cell_count, sizeof *rounds->ratios) : NULL;
    return !rounds->is_active || rounds->ratios != NULL;
}

void rounds_free(struct rounds *rounds) {
    free(rounds->ratios);
    rounds->ratios = NULL;
}

uint64_t rounds_budget_left_ns(const struct rounds *rounds) {
    const uint64_t spent_ns = os_now_ns() - rounds->begin_ns, budget_ns = rounds->plan->options->budget_ns;
    return !rounds->is_active ? UINT64_MAX : budget_ns > spent_ns ? budget_ns - spent_ns : 0;
}

int rounds_are_enough(struct rounds *rounds, uint32_t finished) {
    if (!rounds->is_active)
        return 0;
    unsigned number = sequential_look(finished);
    rounds->count = finished;
    if (number != 0)
        look(rounds, finished, number);
    rounds->is_out_of_budget = rounds_budget_left_ns(rounds) == 0;
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
