// SPDX-License-Identifier: Apache-2.0
// Recycled memory reads zero, whatever was in it; what was in use stays resident, what was not does not become so.
#include "../../allocators/common/zero.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE 4096u
#define PAGES 256u

static unsigned char *fresh_pages(void) {
    void *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    madvise(pages, PAGES * PAGE, MADV_NOHUGEPAGE); // residency is counted in small pages
    return pages;
}

static size_t resident_pages(void *pages) {
    unsigned char is_resident[PAGES];
    assert_int_equal(mincore(pages, PAGES * PAGE, is_resident), 0);
    size_t count = 0;
    for (size_t i = 0; i < PAGES; i++)
        count += is_resident[i] & 1;
    return count;
}

static void assert_zero(const unsigned char *from, const unsigned char *to) {
    for (; from < to; from++)
        assert_int_equal(*from, 0);
}

static void pages_in_use_are_written(void **state) {
    (void)state;
    unsigned char *pages = fresh_pages();
    memset(pages, 7, PAGES * PAGE);
    zero_recycled(pages, PAGES * PAGE);
    assert_int_equal(resident_pages(pages), PAGES);
    assert_zero(pages, pages + PAGES * PAGE);
    munmap(pages, PAGES * PAGE);
}

static void pages_hardly_used_stay_away(void **state) {
    (void)state;
    unsigned char *pages = fresh_pages();
    pages[0] = pages[100 * PAGE + 5] = pages[PAGES * PAGE - 1] = 7;
    zero_recycled(pages, PAGES * PAGE);
    assert_in_range(resident_pages(pages), 0, 2);
    assert_zero(pages, pages + PAGES * PAGE);
    munmap(pages, PAGES * PAGE);
}

static void neighbours_on_the_same_page_keep_their_bytes(void **state) {
    (void)state;
    for (int dense = 0; dense <= 1; dense++) {
        for (size_t bytes = 1; bytes < (PAGES - 1) * PAGE; bytes = bytes * 3 + 1) {
            unsigned char *pages = fresh_pages();
            unsigned char *block = pages + 960;
            if (dense)
                memset(pages, 7, PAGES * PAGE);
            block[-1] = block[0] = block[bytes - 1] = block[bytes] = 7;
            zero_recycled(block, bytes);
            assert_int_equal(block[-1], 7);
            assert_int_equal(block[bytes], 7);
            assert_zero(block, block + bytes);
            munmap(pages, PAGES * PAGE);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_in_use_are_written),
        cmocka_unit_test(pages_hardly_used_stay_away),
        cmocka_unit_test(neighbours_on_the_same_page_keep_their_bytes),
    };
    return cmocka_run_group_tests_name("common/zero", tests, NULL, NULL);
}
