// SPDX-License-Identifier: Apache-2.0
// hzrun advise: which allocator for this program. Layer: runner.
#ifndef HZBENCH_HZRUN_ADVISE_H
#define HZBENCH_HZRUN_ADVISE_H

#include <stddef.h>
#include <stdint.h>

// argv[0] is "advise". Returns the exit code.
int hzrun_advise(int argc, char **argv);

// ---- hzrun_advice.c: from rows to sentences
// --------------------------------------------------------------------------

// What is known beside the rows.
struct advice_facts {
    uint64_t calls;       // of malloc and its family in one run; 0: not known
    double allocator_cpu; // seconds that the C library's malloc and free took; negative: not known
};

// Median CPU seconds of the rows of an allocator that are ok; negative: none, or the file cannot be read.
double advice_cpu(const char *file, const char *allocator);

// Reads the rows of `hzrun bench` and prints at most twelve lines. 0: one line in `why`.
int advice_print(const char *file, const struct advice_facts *facts, char *why, size_t why_bytes);

#endif
