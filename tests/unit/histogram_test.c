// SPDX-License-Identifier: Apache-2.0
// The histogram against its definition: every value lies in its bucket, buckets have no gaps, percentiles are those of
// the sorted values up to the bucket's width, sums are those of one histogram. Layer: tests.
#include "../../runner/sample/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VALUES 20000

static uint64_t state = 7;

// Log-uniform over 36 bits, as times are.
static uint64_t value_next(void) {
    uint64_t value = state += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    value ^= value >> 31;
    return value >> 28 >> value % 36;
}

static int compare(const void *left, const void *right) {
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void buckets_have_no_gaps(void **unused) {
    (void)unused;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        assert_int_equal(histogram_bucket(histogram_low(i)), i);
        assert_int_equal(histogram_bucket(histogram_high(i)), i);
        assert_true(i == 0 || histogram_low(i) == histogram_high(i - 1) + 1);
        assert_true((histogram_high(i) - histogram_low(i)) * 128 <= histogram_low(i));
    }
    assert_int_equal(histogram_high(HISTOGRAM_BUCKETS - 1), (UINT64_C(1) << HISTOGRAM_BITS) - 1);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void percentiles_are_those_of_the_sorted_values(void **unused) {
    (void)unused;
    static const uint32_t parts[] = {0, 1, 10000, 500000, 900000, 990000, 999000, 999999, 1000000};
    static struct histogram histogram, first, second;
    static uint64_t values[VALUES];
    assert_true(histogram_percentile(&histogram, 500000) == UINT64_MAX);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = value_next();
        histogram_record(&histogram, values[i]);
        histogram_record(i % 3 == 0 ? &first : &second, values[i]);
    }
    qsort(values, VALUES, sizeof values[0], compare);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const uint64_t rank = ((uint64_t)VALUES * parts[i] + 999999) / 1000000;
        const uint64_t exact = values[rank == 0 ? 0 : rank - 1];
        const uint64_t high = histogram_high(histogram_bucket(exact));
        assert_int_equal(histogram_percentile(&histogram, parts[i]),
                         high < values[VALUES - 1] ? high : values[VALUES - 1]);
    }
    histogram_add(&first, &second);
    assert_memory_equal(&first, &histogram, sizeof first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_have_no_gaps),
        cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
