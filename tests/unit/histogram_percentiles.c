// SPDX-License-Identifier: Apache-2.0
// Values on standard input, one a line; their percentiles on standard output: for the comparison with another
// implementation of the same histogram (compare_hdr.py). Layer: tests.
#include "../../runner/sample/histogram.h"

#include <inttypes.h>
#include <stdio.h>

int main(void) {
    static const uint32_t parts[] = {10000, 250000, 500000, 900000, 990000, 999000, 999900};
    static struct histogram histogram;
    uint64_t value;
    while (scanf("%" SCNu64, &value) == 1)
        histogram_record(&histogram, value);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        printf("%" PRIu64 "\n", histogram_percentile(&histogram, parts[i]));
    return 0;
}
