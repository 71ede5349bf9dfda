// SPDX-License-Identifier: Apache-2.0
// Unit tests of os_elf.h: images cut short and damaged, each laid against an unmapped page, so that a single byte read
// beyond the image ends the test with a fault.
#include "../../allocators/loader/os_elf.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define GUARDED_BYTES ((size_t)1 << 20)
#define PAGE_BYTES ((size_t)4096)

static unsigned char *guarded_end; // the page behind it cannot be read

static int guard(void **state) {
    (void)state;
    unsigned char *base =
        mmap(NULL, GUARDED_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + GUARDED_BYTES, PAGE_BYTES, PROT_NONE) != 0)
        return -1;
    guarded_end = base + GUARDED_BYTES;
    return 0;
}

static unsigned char *against_the_guard(const unsigned char *image, size_t bytes) {
    return memcpy(guarded_end - bytes, image, bytes);
}

// A minimal image: header, one program header, one note before the wanted one.
struct image {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    unsigned char notes[64];
};

static struct image small_image(void) {
    static const unsigned char notes[64] = {
        4, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 'O', 'T', 'H', 0, 1,    2,    3,    0, // another note, its text padded
        4, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0, 0xde, 0xad, 0xbe, 0xef, 0x07,
    };
    struct image image = {0};
    memcpy(image.header.e_ident, ELFMAG, SELFMAG);
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_phoff = offsetof(struct image, segment);
    image.header.e_phentsize = sizeof image.segment;
    image.header.e_phnum = 1;
    image.segment.p_type = PT_NOTE;
    image.segment.p_offset = offsetof(struct image, notes);
    image.segment.p_filesz = 41; // the last note's padding is missing
    image.segment.p_align = 4;
    memcpy(image.notes, notes, sizeof notes);
    return image;
}

static int read_build_id(const struct image *image, size_t bytes, char *hex) {
    return os_elf_build_id(against_the_guard((const unsigned char *)image, bytes), bytes, hex);
}

static void finds_the_id_behind_another_note(void **state) {
    (void)state;
    char hex[OS_BUILD_ID_BYTES];
    struct image image = small_image();
    assert_int_equal(read_build_id(&image, sizeof image, hex), 1);
    assert_string_equal(hex, "deadbeef07");
}

static void refuses_every_truncation(void **state) {
    (void)state;
    char hex[OS_BUILD_ID_BYTES];
    struct image image = small_image();
    for (size_t bytes = 0; bytes < offsetof(struct image, notes) + 41; bytes++) {
        strcpy(hex, "stale");
        assert_int_equal(read_build_id(&image, bytes, hex), 0);
        assert_string_equal(hex, "");
    }
}

static void refuses_offsets_that_wrap(void **state) {
    (void)state;
    char hex[OS_BUILD_ID_BYTES];
    static const uint64_t values[] = {UINT64_MAX, UINT64_MAX - 63, (uint64_t)1 << 63, (uint64_t)1 << 32, 200};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct image image = small_image();
        image.header.e_phoff = values[i];
        assert_int_equal(read_build_id(&image, sizeof image, hex), 0);
        image = small_image();
        image.segment.p_offset = values[i];
        assert_int_equal(read_build_id(&image, sizeof image, hex), 0);
        image = small_image();
        image.segment.p_filesz = values[i];
        assert_int_equal(read_build_id(&image, sizeof image, hex), 0);
    }
    for (size_t offset = 0; offset < 8; offset += 4) { // name and text size of both notes
        for (size_t note = 0; note <= 20; note += 20) {
            struct image image = small_image();
            memset(image.notes + note + offset, 0xff, 4);
            assert_int_equal(read_build_id(&image, sizeof image, hex), 0);
        }
    }
}

static void long_ids_are_cut(void **state) {
    (void)state;
    char hex[OS_BUILD_ID_BYTES];
    unsigned char notes[16 + 32] = {4, 0, 0, 0, 32, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0};
    memset(notes + 16, 0xab, 32);
    assert_int_equal(os_elf_build_id_of_notes(against_the_guard(notes, sizeof notes), sizeof notes, 4, hex), 1);
    assert_int_equal(strlen(hex), OS_BUILD_ID_BYTES - 1);
}

// Random damage: any answer is right as long as nothing outside is read and the text is hex.
static void survives_random_damage(void **state) {
    (void)state;
    char hex[OS_BUILD_ID_BYTES];
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 200000; round++) {
        struct image image = small_image();
        unsigned char *bytes = (unsigned char *)&image;
        for (int flips = 0; flips < 1 + round % 4; flips++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[random % sizeof image] = (unsigned char)(random >> 32);
        }
        int found = read_build_id(&image, sizeof image, hex);
        assert_int_equal(strspn(hex, "0123456789abcdef"), strlen(hex));
        assert_int_equal(found, hex[0] != '\0');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_id_behind_another_note), cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_offsets_that_wrap),        cmocka_unit_test(long_ids_are_cut),
        cmocka_unit_test(survives_random_damage),
    };
    return cmocka_run_group_tests_name("os_elf", tests, guard, NULL);
}
