// SPDX-License-Identifier: Apache-2.0
// options.h
#include "options.h"

#include "check.h"
#include "hzn.h"
#include "os_mem.h"
#include "purge.h"
#include "reject.h"

#include <stdlib.h>
#include <string.h>

#define MOST_DECAY_MS 1000000u

static struct arena_limits *arena_settings;

int options_bytes(const char *text, uint64_t most, uint64_t *out) {
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    char *end;
    if (*text < '0' || *text > '9')
        return 0;
    unsigned long long value = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        *out = (uint64_t)value << units[i].shift;
        return value <= most >> units[i].shift;
    }
    return 0;
}

static int set_reject(const char *value) {
    return reject_set_policy(value);
}

// An explicit value disables adaptation, and no share of the memory in use is added to it.
static int set_retain(const char *value) {
    uint64_t bytes;
    if (!options_bytes(value, UINT64_MAX, &bytes))
        return 0;
    arena_settings->retain_bytes = bytes;
    arena_settings->retain_percent = 0;
    arena_settings->adaptive = 0;
    return 1;
}

static int set_decay(const char *value) {
    uint64_t ms;
    if (!options_bytes(value, MOST_DECAY_MS, &ms))
        return 0;
    arena_settings->decay_ms = (uint32_t)ms;
    return 1;
}

static const struct option common[] = {
    {"reject", "abort|report|count", set_reject, NULL},
    {"retain", "BYTES", set_retain, NULL},
    {"decay", "MS", set_decay, NULL},
    {"purge_thread", hz_purge_thread_values, hz_purge_thread_set, NULL},
    {NULL, NULL, NULL, NULL},
};

static const struct option *find(const struct option *options, const char *key, size_t bytes) {
    while (options->key != NULL && (strncmp(options->key, key, bytes) != 0 || options->key[bytes] != '\0'))
        options++;
    return options->key != NULL ? options : NULL;
}

static void name_all(struct check_line *line, const struct option *options) {
    for (; options->key != NULL; options++) {
        check_line_text(line, " ");
        check_line_text(line, options->key);
        check_line_text(line, "=");
        check_line_text(line, options->values);
    }
}

static _Noreturn HZ_COLD void refuse(const char *variable, const char *item, const struct option *own) {
    struct check_line line = {0};
    check_line_text(&line, hzbench_allocator.name);
    check_line_text(&line, ": ");
    check_line_text(&line, variable);
    check_line_text(&line, ": '");
    check_line_text(&line, item);
    check_line_text(&line, "' is no setting - write, separated by commas,");
    name_all(&line, own);
    name_all(&line, common);
    check_line_write(&line);
    os_exit(ALLOCATOR_EXIT_REFUSED);
}

void options_load(const char *variable, struct arena_limits *limits, const struct option *own) {
    arena_settings = limits;
    const char *text = os_environment(variable);
    while (text != NULL && *text != '\0') {
        char item[48]; // cut, an item is none
        size_t bytes = strcspn(text, ",");
        size_t kept = bytes < sizeof item ? bytes : sizeof item - 1;
        memcpy(item, text, kept);
        item[kept] = '\0';
        size_t key = strcspn(item, "=");
        const struct option *option = find(own, item, key);
        option = option != NULL ? option : find(common, item, key);
        const char *value = item[key] != '\0' ? item + key + 1 : option != NULL ? option->alone : NULL;
        if (option == NULL || value == NULL || kept != bytes || !option->set(value))
            refuse(variable, item, own);
        text += bytes + (text[bytes] == ',');
    }
}
