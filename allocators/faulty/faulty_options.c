// SPDX-License-Identifier: Apache-2.0
// "slow=20ns,leak=64" into faulty_options. Layer: a backend's own.
#include "faulty.h"

#include <string.h>

enum unit { UNIT_TIME, UNIT_PERCENT, UNIT_COUNT, UNIT_NONE };

struct item {
    const char *name;
    enum unit unit;
    size_t offset;       // in struct faulty_options
    size_t every_offset; // of what follows '/', 0: nothing may
    size_t flag_offset;  // of what says that the item was there, 0: nothing does
};

#define MEMBER(name) offsetof(struct faulty_options, name)

static const struct item items[] = {
    {"slow", UNIT_TIME, MEMBER(slow_ps), 0, MEMBER(is_slow)},
    {"slow-remote", UNIT_TIME, MEMBER(slow_remote_ps), 0, MEMBER(is_slow_remote)},
    {"waste", UNIT_PERCENT, MEMBER(waste_percent), 0, 0},
    {"leak", UNIT_COUNT, MEMBER(leak_bytes), 0, 0},
    {"spike", UNIT_TIME, MEMBER(spike_ps), MEMBER(spike_every), 0},
    {"corrupt", UNIT_COUNT, MEMBER(corrupt_every), 0, 0},
    {"overlap", UNIT_COUNT, MEMBER(overlap_every), 0, 0},
    {"instructions", UNIT_COUNT, MEMBER(more_instructions), 0, 0},
    {"false-sharing", UNIT_NONE, 0, 0, MEMBER(is_false_sharing)},
    {"fallback", UNIT_NONE, 0, 0, MEMBER(is_fallback)},
};

static const struct {
    const char *name;
    enum unit unit;
    uint64_t factor;
} units[] = {
    {"ps", UNIT_TIME, 1},          {"ns", UNIT_TIME, 1000}, {"us", UNIT_TIME, 1000000},
    {"ms", UNIT_TIME, 1000000000}, {"%", UNIT_PERCENT, 1},  {"", UNIT_COUNT, 1},
};

#define LARGEST UINT64_C(1000000000000) // a second, a terabyte: more is a slip

static int read_number(const char **at, uint64_t *out) {
    const char *text = *at;
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9' && value <= LARGEST; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    const int is_number = text != *at && value <= LARGEST;
    *at = text;
    *out = value;
    return is_number;
}

static int is_word(const char *text, size_t length, const char *word) {
    return strlen(word) == length && memcmp(text, word, length) == 0;
}

// `text` stands behind '='; `end` behind the item.
static int read_value(const struct item *item, const char *text, const char *end, struct faulty_options *out) {
    uint64_t value = 0;
    uint64_t every = 0;
    if (!read_number(&text, &value))
        return 0;
    const char *slash = item->every_offset != 0 ? memchr(text, '/', (size_t)(end - text)) : end;
    if (slash == NULL)
        return 0;
    size_t u = 0;
    const size_t unit_count = sizeof units / sizeof units[0];
    while (u < unit_count && !(units[u].unit == item->unit && is_word(text, (size_t)(slash - text), units[u].name)))
        u++;
    if (u == unit_count || value * units[u].factor > LARGEST)
        return 0;
    if (item->every_offset != 0) {
        text = slash + 1;
        if (!read_number(&text, &every) || text != end || every == 0)
            return 0;
        memcpy((char *)out + item->every_offset, &every, sizeof every);
    }
    value *= units[u].factor;
    memcpy((char *)out + item->offset, &value, sizeof value);
    return 1;
}

static int read_item(const char *text, const char *end, struct faulty_options *out) {
    const char *equal = memchr(text, '=', (size_t)(end - text));
    const size_t length = (size_t)((equal != NULL ? equal : end) - text);
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        if (!is_word(text, length, items[i].name))
            continue;
        if (items[i].flag_offset != 0)
            memcpy((char *)out + items[i].flag_offset, &(int){1}, sizeof(int));
        if (items[i].unit == UNIT_NONE)
            return equal == NULL;
        return equal != NULL && read_value(&items[i], equal + 1, end, out);
    }
    return 0;
}

int faulty_options_parse(const char *text, struct faulty_options *out, const char **wrong, size_t *wrong_length) {
    memset(out, 0, sizeof *out);
    while (*text != '\0') {
        const char *end = text + strcspn(text, ",");
        *wrong = text;
        *wrong_length = (size_t)(end - text);
        if (!read_item(text, end, out) || (out->more_instructions != 0 && out->more_instructions != 3))
            return 0;
        text = *end == ',' ? end + 1 : end;
    }
    return 1;
}
