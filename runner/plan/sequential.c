// SPDX-License-Identifier: Apache-2.0
// The ladder, the exact null distribution, the interval. Layer: runner.
#include "sequential.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_LOOK 8 // below, no exact interval reaches an error of 2.5 %

unsigned sequential_look(size_t count) {
    size_t at = FIRST_LOOK;
    for (unsigned look = 1; at <= SEQUENTIAL_MAX; look++, at = at * 3 / 2)
        if (at == count)
            return look;
    return 0;
}

double sequential_share(unsigned look) {
    return 1.0 / ((double)look * ((double)look + 1));
}

static int compare(const void *left, const void *right) {
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

// Chances of each sum of signed ranks of `count` differences that are as likely positive as negative; kept until it is
// asked for another count.
static const double *chances(size_t count) {
    static double chance[SEQUENTIAL_MAX * (SEQUENTIAL_MAX + 1) / 2 + 1];
    static size_t known;
    const size_t largest = count * (count + 1) / 2;
    if (count == known)
        return chance;
    memset(chance, 0, (largest + 1) * sizeof *chance);
    chance[0] = 1;
    size_t reached = 0;
    for (size_t rank = 1; rank <= count; rank++) { // each rank counts or does not, with even chances
        reached += rank;
        for (size_t sum = reached + 1; sum-- > 0;)
            chance[sum] = (chance[sum] + (sum >= rank ? chance[sum - rank] : 0)) / 2;
    }
    known = count;
    return chance;
}

// Largest k with P(W < k) <= tail, where W is the sum of signed ranks of `count` differences; 0: none.
static size_t critical(size_t count, double tail) {
    const size_t largest = count * (count + 1) / 2;
    const double *chance = chances(count);
    double below = 0;
    size_t k = 0;
    while (k < largest && below + chance[k] <= tail)
        below += chance[k++];
    return k;
}

// All pairwise means, each value with itself included; NULL without memory or values.
static double *walsh_averages(const double *differences, size_t count, size_t *used) {
    double *walsh = count > 0 && count <= SEQUENTIAL_MAX ? malloc(count * (count + 1) / 2 * sizeof *walsh) : NULL;
    *used = 0;
    for (size_t i = 0; walsh != NULL && i < count; i++)
        for (size_t j = i; j < count; j++)
            walsh[(*used)++] = (differences[i] + differences[j]) / 2;
    return walsh;
}

int sequential_interval(const double *differences, size_t count, double alpha, double *low, double *high) {
    size_t used;
    double *walsh = walsh_averages(differences, count, &used);
    if (walsh == NULL)
        return 0;
    const size_t k = critical(count, alpha / 2);
    if (k > 0) {
        qsort(walsh, used, sizeof *walsh, compare);
        *low = walsh[k - 1];
        *high = walsh[used - k];
    }
    free(walsh);
    return k > 0;
}

double sequential_middle(const double *differences, size_t count) {
    double low = 0, high = 0;
    return sequential_interval(differences, count, 1, &low, &high) ? (low + high) / 2 : 0;
}

double sequential_chance(const double *differences, size_t count) {
    size_t used, above = 0, below = 0;
    double *walsh = walsh_averages(differences, count, &used);
    double sum = 0;
    if (walsh == NULL)
        return 1;
    for (size_t i = 0; i < used; i++) {
        above += walsh[i] > 0;
        below += walsh[i] < 0;
    }
    free(walsh);
    const double *chance = chances(count);
    const size_t least = used - (above > below ? above : below); // what is 0 speaks for nobody
    for (size_t i = 0; i <= least; i++)
        sum += chance[i];
    return sum < 0.5 ? 2 * sum : 1;
}

enum sequential_verdict sequential_decide(double low, double high, double margin) {
    if (low >= -margin && high <= margin)
        return SEQUENTIAL_SAME;
    return low > 0 ? SEQUENTIAL_MORE : high < 0 ? SEQUENTIAL_LESS : SEQUENTIAL_OPEN;
}
