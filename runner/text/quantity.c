// SPDX-License-Identifier: Apache-2.0
// quantity.h
#include "quantity.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_SIZE 64

// Digits and nothing else, without overflow; `*end` is behind them.
static int read_digits(const char *text, uint64_t *out, const char **end) {
    uint64_t value = 0;
    if (!isdigit((unsigned char)*text))
        return 0;
    for (; isdigit((unsigned char)*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return 0;
        value = value * 10 + digit;
    }
    *out = value;
    *end = text;
    return 1;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit count_units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1},           {"B", 1},          {"KiB", 1u << 10},
                                         {"MiB", 1u << 20}, {"GiB", 1u << 30}, {NULL, 0}};
static const struct unit time_units[] = {{"ns", 1},          {"us", 1000},          {"ms", 1000000},
                                         {"s", 1000000000u}, {"min", 60000000000u}, {"h", UINT64_C(3600000000000)},
                                         {NULL, 0}};

// A whole number with one of `units`; 0 needs no unit.
static int read_quantity(const char *text, const struct unit *units, uint64_t *out) {
    const char *end;
    uint64_t value;
    if (!read_digits(text, &value, &end))
        return 0;
    for (const struct unit *unit = units; unit->name != NULL; unit++)
        if (strcmp(end, unit->name) == 0) {
            if (value > UINT64_MAX / 2 / unit->factor)
                return 0;
            *out = value * unit->factor;
            return 1;
        }
    *out = 0;
    return value == 0 && *end == '\0';
}

int quantity_count(const char *text, uint64_t *out) {
    return read_quantity(text, count_units, out);
}

int quantity_time(const char *text, uint64_t *out_ns) {
    return read_quantity(text, time_units, out_ns);
}

int quantity_sizes(const char *text, uint64_t *least, uint64_t *most) {
    char first[LONGEST_SIZE];
    const char *dots = strstr(text, "..");
    size_t length = dots != NULL ? (size_t)(dots - text) : strlen(text);
    if (length >= sizeof first)
        return 0;
    memcpy(first, text, length);
    first[length] = '\0';
    return read_quantity(first, size_units, least) && read_quantity(dots != NULL ? dots + 2 : first, size_units, most);
}

int quantity_share(const char *text, uint32_t *ppm) {
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '-')
        return 0;
    double percent = strtod(text, &end);
    if (end == text || strcmp(end, "%") != 0)
        return 0;
    if (!(percent >= 0 && percent <= 100))
        return -1;
    *ppm = (uint32_t)(percent * 10000 + 0.5);
    return 1;
}

size_t quantity_numbers(const char *text, uint32_t *out, size_t capacity) {
    size_t count = 0;
    for (;;) {
        uint64_t first, last;
        if (!read_digits(text, &first, &text))
            return 0;
        last = first;
        if (*text == '-' && !read_digits(text + 1, &last, &text))
            return 0;
        if (last < first || last > UINT32_MAX || last - first >= capacity - count)
            return 0;
        for (uint64_t value = first; value <= last; value++)
            out[count++] = (uint32_t)value;
        if (*text == '\0')
            return count;
        if (*text++ != ',' || count == capacity)
            return 0;
    }
}

int quantity_name(const char *text, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return (int)i;
    return -1;
}

char *quantity_next_item(char **list) {
    char *start = *list;
    int depth = 0;
    if (start == NULL)
        return NULL;
    for (char *at = start;; at++) {
        depth += *at == '{';
        depth -= *at == '}';
        if (*at == '\0' || (*at == ',' && depth <= 0)) {
            *list = *at ? at + 1 : NULL;
            *at = '\0';
            return start;
        }
    }
}
