// SPDX-License-Identifier: Apache-2.0
// Sequential decisions on paired differences that hold although one looks again and again: at a fixed ladder of sizes
// an exact interval is made, each look spends its part of the error, and the parts add up to no more than the whole.
// Assumes that rounds are independent and their differences symmetric about one value. Layer: runner.
#ifndef HZBENCH_SEQUENTIAL_H
#define HZBENCH_SEQUENTIAL_H

#include <stddef.h>

#define SEQUENTIAL_MAX 400 // differences; later ones are not looked at

// Number of the look (1, 2, ...) that is due at `count` differences, 0 for none. The ladder: 8, 12, 18, 27, 40, ...
unsigned sequential_look(size_t count);

// Share of the error that a look may spend: 1 / (k (k + 1)), which sums to 1.
double sequential_share(unsigned look);

// The interval of the Walsh averages (Hodges-Lehmann) with an error of at most `alpha` in total, both sides, by the
// exact distribution of Wilcoxon's signed ranks. Returns 0 when `count` is too small for any, or above SEQUENTIAL_MAX.
int sequential_interval(const double *differences, size_t count, double alpha, double *low, double *high);

double sequential_middle(const double *differences, size_t count); // Hodges-Lehmann; 0 without differences

// How likely signed ranks as one-sided as these are, or more, when the truth is 0: exact, two-sided.
double sequential_chance(const double *differences, size_t count);

enum sequential_verdict { SEQUENTIAL_OPEN, SEQUENTIAL_LESS, SEQUENTIAL_SAME, SEQUENTIAL_MORE };

// LESS or MORE: the interval excludes 0. SAME: it lies within -margin..margin.
enum sequential_verdict sequential_decide(double low, double high, double margin);

#endif
