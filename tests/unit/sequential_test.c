// SPDX-License-Identifier: Apache-2.0
// The sequential decisions by simulation: how often equal things are called different although one looks again and
// again, and whether a real difference is found. Seeded, so the counts are the same each time. Layer: tests.
#include "../../runner/plan/sequential.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define TRIALS 2000
#define ROUNDS 135 // seven looks and more

static uint64_t state = 1;

static double uniform(void) {
    uint64_t value = state += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return ((double)(value >> 11) + 0.5) / 9007199254740992.0;
}

// Symmetric with long tails: every tenth round is disturbed ten times as much.
static double noise(double scale) {
    const double normal = sqrt(-2 * log(uniform())) * cos(2 * acos(-1) * uniform());
    return normal * scale * (uniform() < 0.1 ? 10 : 1);
}

struct outcome {
    int less, same, more, open;
    double rounds; // mean until the decision
};

static struct outcome simulate(double effect, double scale, double margin) {
    struct outcome outcome = {0};
    for (int trial = 0; trial < TRIALS; trial++) {
        double differences[ROUNDS];
        enum sequential_verdict verdict = SEQUENTIAL_OPEN;
        size_t count = 0;
        while (count < ROUNDS && verdict == SEQUENTIAL_OPEN) {
            differences[count] = effect + noise(scale);
            const unsigned look = sequential_look(++count);
            double low;
            double high;
            if (look != 0 && sequential_interval(differences, count, 0.05 * sequential_share(look), &low, &high))
                verdict = sequential_decide(low, high, margin);
        }
        outcome.rounds += (double)count / TRIALS;
        outcome.less += verdict == SEQUENTIAL_LESS;
        outcome.same += verdict == SEQUENTIAL_SAME;
        outcome.more += verdict == SEQUENTIAL_MORE;
        outcome.open += verdict == SEQUENTIAL_OPEN;
    }
    printf("effect %+.3f noise %.3f: less %d same %d more %d open %d of %d, %.1f rounds on average\n", effect, scale,
           outcome.less, outcome.same, outcome.more, outcome.open, TRIALS, outcome.rounds);
    return outcome;
}

static void equals_are_rarely_called_different(void **unused) {
    (void)unused;
    // The margin is far below the noise, so nothing ends the peeking early.
    const struct outcome quiet = simulate(0, 0.02, 0.0001);
    assert_true(quiet.less + quiet.more <= TRIALS * 5 / 100);
    assert_true(quiet.less + quiet.more > 0); // the error is spent, not avoided
    const struct outcome usual = simulate(0, 0.02, 0.05);
    assert_true(usual.less + usual.more <= TRIALS * 5 / 100);
    assert_true(usual.same > TRIALS * 9 / 10);
}

static void differences_are_found_with_their_sign(void **unused) {
    (void)unused;
    const struct outcome slower = simulate(-0.1, 0.03, 0.05);
    assert_true(slower.less > TRIALS * 95 / 100);
    assert_true(slower.more == 0 && slower.same <= TRIALS * 5 / 100);
    const struct outcome faster = simulate(0.2, 0.03, 0.05);
    assert_true(faster.more > TRIALS * 95 / 100);
    assert_true(faster.rounds < slower.rounds);
}

static void shares_sum_to_one_at_most(void **unused) {
    (void)unused;
    double sum = 0;
    unsigned looks = 0;
    for (size_t count = 0; count <= SEQUENTIAL_MAX; count++) {
        const unsigned look = sequential_look(count);
        assert_true(look == 0 || look == looks + 1);
        looks += look != 0;
        sum += look != 0 ? sequential_share(look) : 0;
    }
    assert_true(looks >= 8 && sum < 1);
}

static void the_interval_is_that_of_the_tables(void **unused) {
    (void)unused;
    // n = 8: P(W <= 3) = 0.0195 and P(W <= 4) = 0.0273 (Wilcoxon's tables), so at 5 % the fourth average from each end.
    const double differences[] = {1, 2, 3, 4, 5, 6, 7, 8};
    double low;
    double high;
    assert_true(sequential_interval(differences, 8, 0.05, &low, &high));
    // Averages in order: 1, 1.5, 2, 2, ...; 7, 7, 7.5, 8.
    assert_true(low == 2 && high == 7);
    assert_false(sequential_interval(differences, 4, 0.05, &low, &high)); // 2/16 is more than 5 %
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_are_rarely_called_different),
        cmocka_unit_test(differences_are_found_with_their_sign),
        cmocka_unit_test(shares_sum_to_one_at_most),
        cmocka_unit_test(the_interval_is_that_of_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
