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

// Largest k with P(W < k) <= tail, where W is the sum of signed ranks of `count` differences; 0: none.
static size_t critical(size_t count, double tail, double *chance) {
    const size_t largest = count * (count + 1) / 2;
    memset(chance, 0, (largest + 1) * sizeof *chance);
    chance[0] = 1;
    size_t reached = 0;
    for (size_t rank = 1; rank <= count; rank++) { // each rank counts or does not, with even chances
        reached += rank;
        for (size_t sum = reached + 1; sum-- > 0;)
            chance[sum] = (chance[sum] + (sum >= rank ? chance[sum - rank] : 0)) / 2;
    }
    double below = 0;
    size_t k = 0;
    while (k < largest && below + chance[k] <= tail)
        below += chance[k++];
    return k;
}

int sequential_interval(const double *differences, size_t count, double alpha, double *low, double *high) {
    const size_t pairs = count * (count + 1) / 2;
    double *walsh = malloc((pairs + 1) * sizeof *walsh);
    if (walsh == NULL || count == 0) {
        free(walsh);
        return 0;
    }
    const size_t k = critical(count, alpha / 2, walsh); // the memory serves twice
    if (k > 0) {
        size_t used = 0;
        for (size_t i = 0; i < count; i++)
            for (size_t j = i; j < count; j++)
                walsh[used++] = (differences[i] + differences[j]) / 2;
        qsort(walsh, used, sizeof *walsh, compare);
        *low = walsh[k - 1];
        *high = walsh[used - k];
    }
    free(walsh);
    return k > 0;
}

enum sequential_verdict sequential_decide(double low, double high, double margin) {
    if (low >= -margin && high <= margin)
        return SEQUENTIAL_SAME;
    return low > 0 ? SEQUENTIAL_MORE : high < 0 ? SEQUENTIAL_LESS : SEQUENTIAL_OPEN;
}
