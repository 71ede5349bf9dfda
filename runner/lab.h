// SPDX-License-Identifier: Apache-2.0
// A small experiment of the runner's own, for the self-test and the doctor: a command line whose rounds are run in
// memory, without files. Layer: runner.
#ifndef HZBENCH_LAB_H
#define HZBENCH_LAB_H

#include "plan/plan.h"
#include "sample/record.h"
#include "system/topology.h"

struct lab {
    struct options options;
    struct plan plan;
    struct record *rows; // [round * plan.cell_count + cell], cells in the order of --alloc
    uint32_t rounds;
    char why[1024];
};

// Runs `arguments` (without the program's name, ended by NULL) round by round, at most `limit_ns`; `rounds` is how many
// were finished. Returns EXIT_CODE_OK or the code of the line in lab->why. Always to be paired with lab_free.
int lab_run(struct lab *lab, const char *const *arguments, const struct topology *topology, const char *worker,
            uint64_t limit_ns);
void lab_free(struct lab *lab);

static inline const struct record *lab_row_of(const struct lab *lab, uint32_t round, uint32_t cell) {
    return &lab->rows[round * lab->plan.cell_count + cell];
}

#endif
