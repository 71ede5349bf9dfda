// SPDX-License-Identifier: Apache-2.0
// Deterministic damage to a profile: every cut, every bit, lines taken out, given twice and exchanged, numbers at their
// ends, and too many rows. What must be noticed is; nothing crashes. Usage: profile_mutate PROFILE. Layer: test.
#include "profile_fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (8u << 20)
#define HEAD_LINES 9u // keys and the line of column names

static char original[BYTES_MAX], copy[BYTES_MAX];
static size_t count;
static unsigned noticed, accepted, failed;

static int read_copy(size_t bytes) {
    const int is_read = profile_fuzz_read((const uint8_t *)copy, bytes);
    accepted += (unsigned)is_read;
    noticed += !is_read;
    return is_read;
}

static void expect(int wanted, size_t bytes, const char *what, size_t number) {
    if (read_copy(bytes) != wanted) {
        printf("%s: %s %zu\n", wanted ? "refused" : "not noticed", what, number);
        failed++;
    }
}

static const char *line_at(unsigned number) {
    const char *at = original;
    while (number-- > 0 && at != NULL) {
        at = memchr(at, '\n', (size_t)(original + count - at));
        at = at != NULL ? at + 1 : NULL;
    }
    return at < original + count ? at : NULL;
}

static size_t length_of(const char *line) {
    return (size_t)((const char *)memchr(line, '\n', (size_t)(original + count - line)) - line) + 1;
}

static void cut_everywhere(void) {
    memcpy(copy, original, count);
    for (size_t bytes = 0; bytes < count; bytes++)
        expect(0, bytes, "cut", bytes);
}

static void flip_bits(void) {
    for (size_t bit = 0; bit < count * 8; bit++) {
        memcpy(copy, original, count);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        read_copy(count);
    }
}

static void move_lines(void) {
    for (unsigned number = 0; line_at(number) != NULL; number++) {
        const char *line = line_at(number);
        const size_t before = (size_t)(line - original), length = length_of(line), behind = count - before - length;
        memcpy(copy, original, before);
        memcpy(copy + before, line + length, behind);
        expect(0, count - length, "without line", number);
        memcpy(copy + before, line, length);
        memcpy(copy + before + length, line, length + behind);
        expect(0, count + length, "twice line", number);
        if (behind > 0) {
            const size_t next = length_of(line + length);
            memcpy(copy + before, line + length, next);
            memcpy(copy + before + next, line, length);
            memcpy(copy + before + next + length, line + length + next, behind - next);
            expect(0, count, "exchanged line", number);
        }
    }
}

// Each number of each line becomes each of these. Only a peak, a share, a thread count or a bin's end may take another.
static void replace_numbers(void) {
    static const char *const values[] = {"",
                                         "0",
                                         "-1",
                                         "1",
                                         "9007199254740991",
                                         "9007199254740992",
                                         "18446744073709551617",
                                         "1.5",
                                         "1e3",
                                         " 1",
                                         "0x1",
                                         "01",
                                         "\xff",
                                         "1\t",
                                         "nan"};
    for (size_t i = 0; i < count; i++) {
        size_t digits = 0;
        while (i + digits < count && original[i + digits] >= '0' && original[i + digits] <= '9')
            digits++;
        if (digits == 0 || (i > 0 && original[i - 1] >= '0' && original[i - 1] <= '9'))
            continue;
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            const size_t length = strlen(values[v]);
            memcpy(copy, original, i);
            memcpy(copy + i, values[v], length);
            memcpy(copy + i + length, original + i + digits, count - i - digits);
            const int is_number =
                strspn(values[v], "0123456789") == length && strcmp(values[v], "01") != 0 && v != 0 && v != 5 && v != 6;
            if (is_number)
                read_copy(count - digits + length);
            else
                expect(0, count - digits + length, values[v], i);
        }
    }
}

// Rows enough, or one too many: 0..0, 1..1, ... of one object each.
static void fill_up(unsigned rows, int wanted) {
    size_t at = (size_t)sprintf(copy,
                                "# hzbench-profile 1\n# threads 1\n# objects %u\n# peak_live_objects 1\n"
                                "# peak_live_bytes 1\n# calloc_ppm 0\n# aligned_ppm 0\n# realloc_ppm 0\n%.*s",
                                rows, (int)length_of(line_at(HEAD_LINES - 1)), line_at(HEAD_LINES - 1));
    for (unsigned i = 0; i < rows; i++)
        at += (size_t)sprintf(copy + at, "%u,%u,1,1,0,1,%u\n", i, i, i);
    expect(wanted, at, "rows", rows);
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: profile_mutate PROFILE\n");
        return 2;
    }
    count = fread(original, 1, sizeof original / 2, file);
    fclose(file);
    memcpy(copy, original, count);
    if (count == sizeof original / 2 || line_at(HEAD_LINES) == NULL || !read_copy(count)) {
        printf("%s: too large, or no good profile to begin with\n", argv[1]);
        return 1;
    }
    cut_everywhere();
    flip_bits();
    move_lines();
    replace_numbers();
    fill_up(100000, 1);
    fill_up(100001, 0);
    printf("profile damage: %u changes noticed, %u accepted, %u failures\n", noticed, accepted, failed);
    return failed != 0;
}
