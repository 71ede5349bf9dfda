// SPDX-License-Identifier: Apache-2.0
// check.h
#include "check.h"

#include "os_mem.h"

#include <string.h>

static void append(struct check_line *line, const char *text, size_t bytes) {
    size_t room = sizeof line->text - 1 - line->bytes; // one byte stays for the newline
    if (bytes > room)
        bytes = room;
    memcpy(line->text + line->bytes, text, bytes);
    line->bytes += bytes;
}

void check_line_text(struct check_line *line, const char *text) {
    append(line, text, strlen(text));
}

static void append_number(struct check_line *line, uint64_t value, unsigned radix) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[value % radix];
        value /= radix;
    } while (value != 0);
    append(line, digits + at, sizeof digits - at);
}

void check_line_hex(struct check_line *line, uint64_t value) {
    append(line, "0x", 2);
    append_number(line, value, 16);
}

void check_line_number(struct check_line *line, uint64_t value) {
    append_number(line, value, 10);
}

void check_line_write(struct check_line *line) {
    line->text[line->bytes++] = '\n';
    os_write_error(line->text, line->bytes);
}

void check_failed(const char *what, const char *file, int line_number) {
    struct check_line line = {0};
    check_line_text(&line, "hzbench: the heap contradicts itself: ");
    check_line_text(&line, what);
    check_line_text(&line, " (");
    check_line_text(&line, file);
    check_line_text(&line, ":");
    check_line_number(&line, (uint64_t)line_number);
    check_line_text(&line, "); please report it");
    check_line_write(&line);
    os_abort();
}
