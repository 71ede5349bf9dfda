// SPDX-License-Identifier: Apache-2.0
// The table a run ends with, on stdout, and the verdict that becomes its exit code. Layer: runner.
#ifndef HZBENCH_SUMMARY_H
#define HZBENCH_SUMMARY_H

#include "output.h"

struct summary_note {        // what the table says about the harness
    double null_overhead_ns; // negative: not measured
    const char *why;         // not measured
};

void summary_print(const struct plan *plan, const struct output *output, const struct summary_note *note);

// Exit code of all rows, those of earlier sessions included.
int summary_exit_code(const struct plan *plan, const struct output *output);

#endif
