// SPDX-License-Identifier: Apache-2.0
// Size classes: every request fits its class and no smaller one, alignment is kept, waste is bounded.
#include "../../allocators/common/sizeclass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int set_up(void **state) {
    (void)state;
    assert_int_equal(sizeclass_of(1), 0); // unfilled tables lead to class 0
    sizeclass_init();
    sizeclass_init(); // idempotent
    return 0;
}

static void every_request_fits_the_smallest_class(void **state) {
    (void)state;
    for (size_t bytes = 0; bytes <= SIZECLASS_MAX_BYTES; bytes++) {
        unsigned class = sizeclass_of(bytes);
        assert_true(class < SIZECLASS_FIRST_ALIGNED);
        assert_true(sizeclass_bytes[class] >= bytes);
        if (class > 0 && bytes > 0)
            assert_true(sizeclass_bytes[class - 1] < hz_align_up(bytes, SIZECLASS_GRANULE));
    }
}

static void classes_ascend_in_granules(void **state) {
    (void)state;
    for (unsigned class = 0; class < SIZECLASS_COUNT; class ++) {
        assert_int_equal(sizeclass_bytes[class] % SIZECLASS_GRANULE, 0);
        if (class > 0 && class != SIZECLASS_FIRST_ALIGNED)
            assert_true(sizeclass_bytes[class] > sizeclass_bytes[class - 1]);
    }
    assert_true(sizeclass_bytes[SIZECLASS_FIRST_ALIGNED - 1] >= SIZECLASS_MAX_BYTES);
}

static void waste_is_bounded(void **state) {
    (void)state;
    for (size_t bytes = 128; bytes <= SIZECLASS_MAX_BYTES; bytes++) {
        size_t block = sizeclass_bytes[sizeclass_of(bytes)];
        assert_true(block - bytes <= bytes / 8 + 64);
    }
}

static void aligned_classes_keep_every_block_aligned(void **state) {
    (void)state;
    for (size_t alignment = 32; alignment <= 2 * SIZECLASS_MAX_BYTES; alignment *= 2) {
        for (size_t bytes = 1; bytes <= SIZECLASS_MAX_BYTES + 1; bytes += bytes < 300 ? 1 : 37) {
            unsigned class = sizeclass_of_aligned(bytes, alignment);
            if (bytes > SIZECLASS_MAX_BYTES || alignment > SIZECLASS_MAX_BYTES) {
                assert_int_equal(class, SIZECLASS_COUNT);
                continue;
            }
            assert_true(class < SIZECLASS_COUNT);
            assert_true(sizeclass_bytes[class] >= bytes);
            assert_int_equal(sizeclass_bytes[class] % alignment, 0);
            for (unsigned other = 0; other < SIZECLASS_COUNT; other++)
                if (sizeclass_bytes[other] >= bytes && sizeclass_bytes[other] % alignment == 0)
                    assert_true(sizeclass_bytes[other] + 64 >= sizeclass_bytes[class]); // but for the colour
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_fits_the_smallest_class),
        cmocka_unit_test(classes_ascend_in_granules),
        cmocka_unit_test(waste_is_bounded),
        cmocka_unit_test(aligned_classes_keep_every_block_aligned),
    };
    return cmocka_run_group_tests_name("common/sizeclass", tests, set_up, NULL);
}
