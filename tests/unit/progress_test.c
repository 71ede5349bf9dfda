// SPDX-License-Identifier: Apache-2.0
// The time left, learnt from samples, and the line a minute that tells it without a terminal; on a clock of our own.
// Layer: tests.
#include "../../runner/estimate.h"
#include "../../runner/progress.h"
#include "../../runner/system/os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static uint64_t now_ns = 5 * SECOND;

uint64_t os_now_ns(void) {
    return now_ns;
}

// The plan's guess, of which the estimate must get rid: a second for each thread.
uint64_t plan_sample_ns(const struct plan *plan, const struct plan_cell *cell) {
    (void)plan;
    return cell->params.threads * SECOND;
}

static void the_time_left_is_learnt_from_finished_samples(void **unused) {
    (void)unused;
    struct plan_cell cells[] = {{.params = {.threads = 1}}, {.params = {.threads = 2}}};
    uint32_t visits[] = {0, 1, 1, 0, 0, 1};
    uint8_t is_present[6] = {0};
    const struct plan plan = {.cells = cells, .cell_count = 2, .sample_count = 6, .visits = visits};
    struct estimate estimate;
    assert_true(estimate_start(&estimate, &plan));
    assert_int_equal(estimate_left_ns(&estimate, is_present, 0), 9 * SECOND); // as guessed
    is_present[0] = 1;
    estimate_learn(&estimate, 0, 5 * SECOND); // five times the guess: so will the other cell be
    assert_int_equal(estimate_left_ns(&estimate, is_present, 1), (2 * 5 + 3 * 10) * SECOND);
    is_present[1] = 1;
    estimate_learn(&estimate, 1, 2 * SECOND); // or not
    assert_int_equal(estimate_left_ns(&estimate, is_present, 2), (2 * 5 + 2 * 2) * SECOND);
    is_present[2] = 1;
    estimate_learn(&estimate, 1, 4 * SECOND);
    is_present[5] = 1; // by an earlier session
    assert_int_equal(estimate_left_ns(&estimate, is_present, 3), 2 * 5 * SECOND);
    estimate_free(&estimate);
}

// What progress_show writes to stderr at `second`.
static void shown(uint64_t second, const struct progress_state *state, char *out, size_t out_bytes) {
    FILE *file = tmpfile();
    const int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    now_ns = second * SECOND;
    dup2(fileno(file), STDERR_FILENO);
    progress_show(state);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    out[fread(out, 1, out_bytes - 1, file)] = '\0';
    fclose(file);
}

static void without_a_terminal_there_is_a_line_a_minute(void **unused) {
    (void)unused;
    char text[512];
    struct progress_state state = {.done = 34, .all = 245, .left_ns = 130 * SECOND, .what = "hz5 local"};
    FILE *file = tmpfile();
    const int kept = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO); // no terminal, wherever the test runs
    progress_init(0);
    dup2(kept, STDERR_FILENO);
    close(kept);
    fclose(file);
    shown(64, &state, text, sizeof text);
    assert_string_equal(text, "");
    shown(65, &state, text, sizeof text);
    assert_string_equal(text, "runner: 34/245  2m 10s left  hz5 local\n");
    shown(124, &state, text, sizeof text);
    assert_string_equal(text, "");
    state.all = 0; // --rounds-until
    shown(125, &state, text, sizeof text);
    assert_string_equal(text, "runner: 34  at most 2m 10s left  hz5 local\n");
    progress_init(1);
    shown(1000, &state, text, sizeof text);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_left_is_learnt_from_finished_samples),
        cmocka_unit_test(without_a_terminal_there_is_a_line_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
