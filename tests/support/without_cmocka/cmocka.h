// SPDX-License-Identifier: Apache-2.0
// The part of cmocka's interface that the unit tests use, for builds that have no cmocka (Debian has none for Windows
// or beside a cross compiler for 64-bit Arm): a failed assertion says where and why and jumps out of its test. Layer:
// test support.
#ifndef TESTS_SUPPORT_WITHOUT_CMOCKA_H
#define TESTS_SUPPORT_WITHOUT_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*body)(void **state);
    int (*setup)(void **state); // NULL where there is none
};

static jmp_buf cmocka_failed;

__attribute__((format(printf, 3, 4), noreturn)) static inline void cmocka_fail(const char *file, int line,
                                                                               const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("%s:%d: ", file, line);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    longjmp(cmocka_failed, 1);
}

static inline void cmocka_equal(long long left, long long right, int wanted, const char *text, const char *file,
                                int line) {
    if ((left == right) != wanted)
        cmocka_fail(file, line, "%s: %lld and %lld", text, left, right);
}

static inline void cmocka_range(uint64_t value, uint64_t low, uint64_t high, const char *text, const char *file,
                                int line) {
    if (value < low || value > high)
        cmocka_fail(file, line, "%s: %llu is not in %llu..%llu", text, (unsigned long long)value,
                    (unsigned long long)low, (unsigned long long)high);
}

static inline void cmocka_strings(const char *left, const char *right, int wanted, const char *file, int line) {
    if ((strcmp(left, right) == 0) != wanted)
        cmocka_fail(file, line, "\"%s\" and \"%s\"", left, right);
}

#define cmocka_unit_test(function)                                                                                     \
    { #function, function, NULL }
#define cmocka_unit_test_setup(function, setup)                                                                        \
    { #function, function, setup }
#define fail_msg(...) cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(condition) cmocka_equal(!!(condition), 1, 1, #condition, __FILE__, __LINE__)
#define assert_false(condition) cmocka_equal(!!(condition), 0, 1, #condition, __FILE__, __LINE__)
#define assert_null(pointer) cmocka_equal((pointer) == NULL, 1, 1, #pointer " is NULL", __FILE__, __LINE__)
#define assert_non_null(pointer) cmocka_equal((pointer) != NULL, 1, 1, #pointer " is not NULL", __FILE__, __LINE__)
#define assert_int_equal(left, right)                                                                                  \
    cmocka_equal((long long)(left), (long long)(right), 1, #left " == " #right, __FILE__, __LINE__)
#define assert_int_not_equal(left, right)                                                                              \
    cmocka_equal((long long)(left), (long long)(right), 0, #left " != " #right, __FILE__, __LINE__)
#define assert_ptr_equal(left, right)                                                                                  \
    cmocka_equal((intptr_t)(left), (intptr_t)(right), 1, #left " == " #right, __FILE__, __LINE__)
#define assert_ptr_not_equal(left, right)                                                                              \
    cmocka_equal((intptr_t)(left), (intptr_t)(right), 0, #left " == " #right, __FILE__, __LINE__)
#define assert_in_range(value, low, high)                                                                              \
    cmocka_range((uint64_t)(value), (uint64_t)(low), (uint64_t)(high), #value, __FILE__, __LINE__)
#define assert_float_equal(left, right, tolerance)                                                                     \
    cmocka_equal((left) - (right) <= (tolerance) && (right) - (left) <= (tolerance), 1, 1, #left " == " #right,        \
                 __FILE__, __LINE__)
#define assert_string_equal(left, right) cmocka_strings(left, right, 1, __FILE__, __LINE__)
#define assert_string_not_equal(left, right) cmocka_strings(left, right, 0, __FILE__, __LINE__)
#define assert_memory_equal(left, right, bytes)                                                                        \
    cmocka_equal(memcmp(left, right, bytes) == 0, 1, 1, #left " == " #right, __FILE__, __LINE__)

static inline int cmocka_run(const char *group, const struct CMUnitTest *tests, size_t count, int (*setup)(void **),
                             int (*teardown)(void **)) {
    volatile int failed = 0;
    void *group_state = NULL;
    if (setup != NULL && (setjmp(cmocka_failed) != 0 || setup(&group_state) != 0)) {
        printf("%s: its set-up failed\n", group);
        return 1;
    }
    for (volatile size_t i = 0; i < count; i++) {
        void *state = group_state;
        if (setjmp(cmocka_failed) == 0 && (tests[i].setup == NULL || tests[i].setup(&state) == 0)) {
            tests[i].body(&state);
            printf("ok   %s\n", tests[i].name);
        } else {
            failed++;
            printf("FAIL %s\n", tests[i].name);
        }
    }
    if (teardown != NULL)
        teardown(&group_state);
    printf("%s: %zu cases, %d failed\n", group, count, failed);
    return failed;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                                                 \
    cmocka_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests_name(group, tests, setup, teardown)                                                     \
    cmocka_run(group, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

#endif
