// SPDX-License-Identifier: Apache-2.0
// What a run ends with, on stdout: a sentence and a table for each cell; and the verdict that becomes its exit code.
// Layer: runner.
#ifndef HZBENCH_SUMMARY_H
#define HZBENCH_SUMMARY_H

#include "output.h"
#include "verdict.h"

struct summary_note {        // what the rows do not say
    double null_overhead_ns; // negative: not measured
    const char *why;         // not measured
    // Of --rounds-until, by cell: its time to that of its group's first, as it was decided; NULL: a fixed number of
    // rounds.
    const struct verdict_ratio *decided;
    int is_finished; // nothing that was asked for is missing
};

// The cell that the others of its group are compared with: the first that does any work; `cell` itself when it is that
// or does none.
uint32_t summary_base_of(const struct plan *plan, uint32_t cell);

// What the allocator of a cell is called: its label, copies of one item numbered.
void summary_name_of(const struct plan *plan, uint32_t cell, char *out, size_t out_bytes);

void summary_print(const struct plan *plan, const struct output *output, const struct summary_note *note);

// Exit code of all rows, those of earlier sessions included.
int summary_exit_code(const struct plan *plan, const struct output *output);

#endif
