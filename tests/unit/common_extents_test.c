// SPDX-License-Identifier: Apache-2.0
// The index of free extents against a plain array of units: what it finds is free and long enough, it finds something
// whenever there is something, and lengths and dirty units agree.
#include "../../allocators/common/extents.h"
#include "../support/library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNITS ((size_t)300000) // more than one word of the level above chunks
#define BASE ((size_t)77)

static unsigned char is_taken[UNITS], is_dirty[UNITS];
static size_t grown;

static int set_up(void **state) {
    (void)state;
    void *top = calloc(1, extents_top_bytes(UNITS));
    void *low = calloc(1, extents_low_bytes(UNITS));
    assert_non_null(top);
    assert_non_null(low);
    extents_init(top, low, UNITS);
    return 0;
}

static size_t length_at(size_t from) {
    size_t end = from;
    while (end < grown && !is_taken[end])
        end++;
    return end - from;
}

static int is_start(size_t unit) {
    return !is_taken[unit] && (unit == 0 || is_taken[unit - 1]);
}

static void mark(size_t from, size_t units, unsigned char taken) {
    for (size_t i = from; i < from + units; i++) {
        assert_int_not_equal(is_taken[i], taken);
        is_taken[i] = taken;
    }
}

static void grow(size_t units) {
    grown = units;
    extents_grow(units);
}

static void assert_same(void) {
    for (size_t i = 0; i < grown; i++)
        assert_int_equal(extents_length_at(i), is_start(i) ? length_at(i) : 0);
    size_t last = 0;
    while (last < grown && !is_taken[grown - 1 - last])
        last++;
    assert_int_equal(extents_last_length(), last);
    size_t seen = 0;
    for (size_t at = extents_dirty_next(0); at != EXTENTS_NONE; at = extents_dirty_next(at + 1)) {
        for (; seen < at; seen++)
            assert_int_equal(is_dirty[seen], 0);
        assert_int_equal(is_dirty[seen++], 1);
        assert_int_equal(extents_dirty_last(at), at);
    }
    for (; seen < grown; seen++)
        assert_int_equal(is_dirty[seen], 0);
}

static int fits_anywhere(size_t units, size_t align_units) {
    size_t run = 0;
    for (size_t i = grown; i-- > 0;) {
        run = is_taken[i] ? 0 : run + 1;
        if (run >= units && (BASE + i) % align_units == 0)
            return 1;
    }
    return 0;
}

static void set_dirty(size_t from, size_t units, int dirty) {
    memset(is_dirty + from, dirty, units);
    if (dirty)
        extents_dirty_add(from, from + units);
    else
        extents_dirty_remove(from, from + units);
}

static void agrees_with_an_array(void **state) {
    (void)state;
    uint64_t random = 7;
    grow(3000);
    for (size_t i = 0; i < 40000; i++) {
        uint64_t r = test_random(&random);
        size_t units = (r >> 8) % 4 ? 1 + (r >> 16) % 40 : 1 + (r >> 16) % 2000;
        size_t align_units = (r >> 32) % 4 ? 1 : (size_t)1 << (r >> 36) % 8;
        size_t at = extents_find(units, BASE, align_units, i % 2 ? 8 : SIZE_MAX);
        if (at == EXTENTS_NONE) {
            if (i % 2 == 0)
                assert_int_equal(fits_anywhere(units, align_units), 0);
            if (grown < UNITS)
                grow(grown + 1 + (r >> 40) % 3000 < UNITS ? grown + 1 + (r >> 40) % 3000 : UNITS);
        } else {
            assert_int_equal((BASE + at) % align_units, 0);
            assert_true(length_at(at) >= units);
            extents_take(at, units);
            set_dirty(at, units, 0);
            mark(at, units, 1);
        }
        size_t from = (r >> 20) % grown; // frees some of what is taken there
        size_t end = from;
        while (end < grown && is_taken[end] && end - from < 1 + (r >> 44) % 300)
            end++;
        if (end > from) {
            mark(from, end - from, 0);
            extents_free(from, end - from);
            if (r % 2)
                set_dirty(from, end - from, 1);
        }
        if (i % 4000 == 0)
            assert_same();
    }
    grow(UNITS);
    assert_same();
}

static void takes_the_exact_length_first(void **state) {
    (void)state;
    grow(UNITS);
    for (size_t i = 0; i < grown; i++) { // everything is taken
        if (is_start(i)) {
            size_t units = length_at(i);
            extents_take(i, units);
            mark(i, units, 1);
        }
    }
    assert_int_equal(extents_find(1, BASE, 1, 8), EXTENTS_NONE);
    const size_t lengths[][2] = {{200000, 3}, {100, 10}, {210000, 5}, {290000, 3}, {500, 200}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        mark(lengths[i][0], lengths[i][1], 0);
        extents_free(lengths[i][0], lengths[i][1]);
    }
    assert_int_equal(extents_find(3, BASE, 1, 8), 200000); // the lower of two
    assert_int_equal(extents_find(5, BASE, 1, 8), 210000);
    assert_int_equal(extents_find(4, BASE, 1, 8), 210000); // the shortest that is long enough
    assert_int_equal(extents_find(6, BASE, 1, 8), 100);
    assert_int_equal(extents_find(11, BASE, 1, 8), 500);
    assert_int_equal(extents_find(200, BASE, 1, 8), 500);
    assert_int_equal(extents_find(201, BASE, 1, 8), EXTENTS_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(takes_the_exact_length_first),
    };
    return cmocka_run_group_tests_name("common/extents", tests, set_up, NULL);
}
