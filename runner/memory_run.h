// SPDX-License-Identifier: Apache-2.0
// A small experiment of the runner's own, for the self-test and the doctor: a command line whose rounds are run in
// memory, without files. Layer: runner.
#ifndef HZBENCH_MEMORY_RUN_H
#define HZBENCH_MEMORY_RUN_H

#include "plan/plan.h"
#include "sample/record.h"
#include "system/topology.h"

struct memory_run {
    struct options options;
    struct plan plan;
    struct record *rows; // [round * plan.cell_count + cell], cells in the order of --alloc
    uint32_t rounds;
    char why[1024];
};

// Runs `arguments` (without the program's name, ended by NULL) round by round, at most `limit_ns`; `rounds` is how many
// were finished. Returns EXIT_CODE_OK or the code of the line in run->why. Always to be paired with memory_run_free.
int memory_run_perform(struct memory_run *run, const char *const *arguments, const struct topology *topology,
                       const char *worker, uint64_t limit_ns);
void memory_run_free(struct memory_run *run);

static inline const struct record *memory_run_record(const struct memory_run *run, uint32_t round, uint32_t cell) {
    return &run->rows[round * run->plan.cell_count + cell];
}

#endif
