// SPDX-License-Identifier: Apache-2.0
// The sentence of a cell: what it says of rounds whose truth is known, and that it names nobody whom they do not
// separate. Layer: tests.
#include "../../runner/results/verdict.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t state = 1;

static double uniform(void) {
    uint64_t value = state += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return ((double)(value >> 11) + 0.5) / 9007199254740992.0;
}

struct truth {
    const char *name;
    double time, memory;
};

static struct verdict_side sides[VERDICT_MOST_SIDES];
static struct verdict verdict;

static int is_bound; // of the next cell

static void measure(const struct truth *truths, size_t count, size_t rounds, double noise) {
    memset(sides, 0, sizeof sides);
    for (size_t round = 0; round < rounds; round++) {
        const double shared = exp(0.3 * (uniform() - 0.5)); // of all samples of a round
        for (size_t i = 0; i < count; i++) {
            snprintf(sides[i].name, sizeof sides[i].name, "%s", truths[i].name);
            sides[i].values[VERDICT_TIME][round] = truths[i].time * shared * exp(noise * (uniform() - 0.5));
            sides[i].values[VERDICT_MEMORY][round] = truths[i].memory * exp(0.001 * (uniform() - 0.5));
        }
    }
    verdict_make(&verdict, sides, count, is_bound);
}

static void expect(const char *wanted) {
    struct buffer text = {0};
    size_t bytes;
    verdict_sentence(&verdict, &text);
    char *whole = buffer_take(&text, &bytes);
    char *to = whole;
    int inside = 0;
    for (const char *from = whole; *from != '\0'; from++) { // intervals are other tests' affair
        inside = *from == '[' ? 1 : inside;
        if (!inside)
            *to++ = *from;
        inside = *from == ']' ? 0 : inside;
    }
    *to = '\0';
    assert_string_equal(whole, wanted);
    free(whole);
}

static void one_winner_is_named_beside_the_baseline(void **unused) {
    (void)unused;
    const struct truth truths[] = {
        {"mimalloc", 1, 100}, {"hz5", 1 / 1.64, 88}, {"hz3", 0.8, 95}, {"tcmalloc", 0.8, 120}};
    measure(truths, 4, 20, 0.002);
    expect("hz5 is the fastest, 1.64 times as fast as mimalloc , and needs 12 % less memory; hz3 and tcmalloc cannot "
           "be told "
           "apart.");
    measure(truths, 2, 20, 0.002);
    expect("hz5 is 1.64 times as fast as mimalloc  and needs 12 % less memory.");
}

static void a_baseline_that_wins_stands_before_the_next(void **unused) {
    (void)unused;
    const struct truth truths[] = {{"hz5", 1, 100}, {"hz3", 1.25, 250}, {"system", 2, 90}};
    measure(truths, 3, 20, 0.002);
    expect("hz5 is the fastest, 1.25 times as fast as hz3 , and needs 60 % less memory; system needs the least memory, "
           "10 %  "
           "less than hz5.");
}

static void equals_share_the_front_or_the_whole_cell(void **unused) {
    (void)unused;
    const struct truth leaders[] = {{"system", 1, 50}, {"hz3", 0.5, 50}, {"hz5", 0.5, 50}};
    measure(leaders, 3, 20, 0.1);
    struct buffer text = {0};
    size_t bytes;
    verdict_sentence(&verdict, &text);
    char *whole = buffer_take(&text, &bytes);
    assert_non_null(strstr(whole, "hz3 and hz5 are the fastest and cannot be told apart, hz"));
    assert_non_null(strstr(whole, " times as fast as system ["));
    free(whole);
    const struct truth same[] = {{"system", 1, 50}, {"hz3", 1, 50}, {"hz5", 1, 45}};
    measure(same, 3, 20, 0.001);
    expect(
        "no difference you could notice in time (all within 2 %); hz5 needs the least memory, 10 %  less than system.");
    measure(same, 2, 20, 0.5);
    text = (struct buffer){0};
    verdict_sentence(&verdict, &text);
    whole = buffer_take(&text, &bytes);
    assert_non_null(strstr(whole, " cannot be told apart: hz3 "));
    free(whole);
}

static void where_the_harness_takes_most_ratios_are_bounds_and_nothing_is_the_same(void **unused) {
    (void)unused;
    const struct truth winner[] = {
        {"mimalloc", 1, 100}, {"hz5", 1 / 1.64, 88}, {"hz3", 0.8, 95}, {"tcmalloc", 0.8, 120}};
    const struct truth same[] = {{"system", 1, 50}, {"hz3", 1, 50}, {"hz5", 1, 45}};
    is_bound = 1;
    measure(winner, 4, 20, 0.002);
    expect("hz5 is the fastest, at least 1.64 times as fast as mimalloc , and needs 12 % less memory; hz3 and tcmalloc "
           "cannot be told apart (harness-bound).");
    measure(same, 3, 20, 0.001);
    expect("system, hz3 and hz5 cannot be told apart (harness-bound); hz5 needs the least memory, 10 %  less than "
           "system.");
    struct verdict_ratio pair = verdict.ratios[VERDICT_TIME][1][0];
    struct buffer text = {0};
    size_t bytes;
    verdict_pair("hz3", "system", &pair, 0.05, &text);
    pair.low = 0.3, pair.middle = 0.4, pair.high = 0.5, pair.decision = SEQUENTIAL_MORE;
    verdict_pair(", hz3", "system", &pair, 0.05, &text);
    char *whole = buffer_take(&text, &bytes);
    assert_non_null(strstr(whole, "hz3 and system cannot be told apart (harness-bound): "));
    assert_non_null(strstr(whole, ", hz3 is at most 0.670 times as fast as system ["));
    free(whole);
    is_bound = 0;
}

static void few_rounds_decide_nothing(void **unused) {
    (void)unused;
    const struct truth truths[] = {{"system", 1, 50}, {"hz3", 0.1, 50}};
    measure(truths, 2, 5, 0.001);
    expect("5 rounds decide nothing about 2 allocators - take more, such as --runs=8.");
    assert_true(isinf(verdict.ratios[VERDICT_TIME][1][0].high));
    measure(truths, 2, 6, 0.001);
    assert_int_equal(verdict.ratios[VERDICT_TIME][1][0].decision, SEQUENTIAL_LESS);
    measure(truths, 1, 6, 0.001);
    struct buffer text = {0};
    verdict_sentence(&verdict, &text); // nobody to compare with
    assert_int_equal(text.used, 0);
}

// Five allocators that are equal: at 5 % a winner is named once in twenty cells.
static void noise_names_nobody(void **unused) {
    (void)unused;
    const struct truth truths[] = {{"a", 1, 50}, {"b", 1, 50}, {"c", 1, 50}, {"d", 1, 50}, {"e", 1, 50}};
    int named = 0;
    for (int cell = 0; cell < 400; cell++) {
        measure(truths, 5, 12, 0.2);
        for (size_t one = 0; one < 5; one++)
            for (size_t other = 0; other < one; other++)
                if (verdict.ratios[VERDICT_TIME][one][other].decision != SEQUENTIAL_OPEN) {
                    named++;
                    one = other = 5;
                }
    }
    printf("a difference between equals in %d of 400 cells\n", named);
    assert_true(named <= 30); // 20 expected; more than 30 once in a hundred
}

static void chances_are_those_of_the_tables(void **unused) {
    (void)unused;
    const double all[] = {1, 2, 3, 4, 5, 6}, one_back[] = {-1, 2, 3, 4, 5, 6}, none[] = {0, 0, 0};
    assert_float_equal(sequential_chance(all, 6), 2.0 / 64, 1e-12);
    assert_float_equal(sequential_chance(one_back, 6), 4.0 / 64, 1e-12);
    assert_float_equal(sequential_chance(none, 3), 1, 1e-12);
    assert_float_equal(sequential_middle(all, 6), 3.5, 1e-12);
}

static void numbers_have_three_digits(void **unused) {
    (void)unused;
    char text[24];
    assert_string_equal(verdict_number(0.0065432, text), "0.00654");
    assert_string_equal(verdict_number(9.999, text), "10.0");
    assert_string_equal(verdict_number(99.96, text), "100");
    assert_string_equal(verdict_number(1234.5, text), "1230");
    assert_string_equal(verdict_number(27391, text), "27400");
    assert_string_equal(verdict_number(999.6, text), "1000");
    assert_string_equal(verdict_number(0, text), "0");
    assert_string_equal(verdict_number(INFINITY, text), "inf");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_winner_is_named_beside_the_baseline),
        cmocka_unit_test(a_baseline_that_wins_stands_before_the_next),
        cmocka_unit_test(equals_share_the_front_or_the_whole_cell),
        cmocka_unit_test(where_the_harness_takes_most_ratios_are_bounds_and_nothing_is_the_same),
        cmocka_unit_test(few_rounds_decide_nothing),
        cmocka_unit_test(noise_names_nobody),
        cmocka_unit_test(chances_are_those_of_the_tables),
        cmocka_unit_test(numbers_have_three_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
