// SPDX-License-Identifier: Apache-2.0
// What the samples of a cell say about its allocators, in one sentence: the runner, hzrun bench and hzrun advise end
// with it; scripts/hzbench/verdict.py words it alike. A name stands in front only when the data separates it from each
// of the others: the exact 95 % interval of their ratio in the same rounds excludes 1, and so does the rank test at 5 %
// after control of false discoveries over all pairs of the cell. Layer: runner, results.
#ifndef HZBENCH_VERDICT_H
#define HZBENCH_VERDICT_H

#include "../plan/sequential.h"
#include "../text/buffer.h"

#include <stddef.h>

#define VERDICT_MOST_SIDES 64
#define VERDICT_MARGIN 0.02 // what nobody notices
#define VERDICT_HARNESS 0.5 // of the fastest allocator's time: where the harness takes more, ratios are bounds

enum verdict_column { VERDICT_TIME, VERDICT_MEMORY, VERDICT_COLUMNS }; // less is better in both

struct verdict_side {
    char name[256];
    double values[VERDICT_COLUMNS][SEQUENTIAL_MAX]; // by round: time of a unit of work, peak of memory; 0: none
};

struct verdict_ratio { // of one side to another, logarithms
    double middle, low, high;
    double chance; // of such a difference when there is none
    int is_known;  // rounds enough for an interval
    int is_bound;  // most of both times is the harness's: the true ratio lies farther from 1
    enum sequential_verdict decision;
};

struct verdict {
    const struct verdict_side *sides; // the baseline first
    size_t count, rounds;             // rounds: that the sides have at most
    struct verdict_ratio ratios[VERDICT_COLUMNS][VERDICT_MOST_SIDES][VERDICT_MOST_SIDES];
};

// `is_bound`: the cell is harness-bound, so its ratios of time are bounds and none is called the same.
void verdict_make(struct verdict *verdict, const struct verdict_side *sides, size_t count, int is_bound);

// Marks a ratio of time as a bound.
void verdict_bind(struct verdict_ratio *ratio, int is_bound);

// "hz5 is the fastest, 1.64 times as fast as mimalloc [1.21, 2.69], and needs 12 % less memory; hz3 and tcmalloc cannot
// be told apart." Nothing for a single side.
void verdict_sentence(const struct verdict *verdict, struct buffer *out);

// The same about one column alone: what needs least of it, or what cannot be told apart.
void verdict_column_sentence(const struct verdict *verdict, enum verdict_column column, struct buffer *out);

// "hz5 is 1.64 times as fast as mimalloc [1.21, 2.69]", or that they are the same or cannot be told apart. `ratio` is
// of the time of `name` to that of `other`.
void verdict_pair(const char *name, const char *other, const struct verdict_ratio *ratio, double margin,
                  struct buffer *out);

// Three significant digits without an exponent.
const char *verdict_number(double value, char out[24]);

// Copies of one item are told apart: hz5, hz5#2. `copy` counts from 0.
void verdict_name(const char *label, size_t copy, char *out, size_t out_bytes);

#endif
