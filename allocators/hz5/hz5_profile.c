// SPDX-License-Identifier: Apache-2.0
// Profiles are data, chosen by HZ5_PROFILE="NAME[,key=value...]" or "profile=NAME,key=value...", read once.
#include "hz5.h"

#include "../common/check.h"
#include "../common/os_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Sources of the numbers: docs/design.md. A magazine of 32 KiB lets a random walk of a class's population run for
// hundreds of operations between two slow paths; more of it is memory that no other class can use.
static const struct hz5_profile profiles[] = {
    {.name = "balanced",
     .magazine_bytes = 32768,
     .magazine_max = 64,
     .magazine_min = 4,
     .trim_floor_bytes = 2u << 20,
     .keep_bytes = 512u << 10,
     .keep_percent = 6,
     .large_cache_bytes = 3u << 19,
     .limits = {.retain_bytes = 16u << 20, .retain_percent = 12, .decay_ms = 250, .learns = 1}},
    {.name = "local",
     .magazine_bytes = 65536,
     .magazine_max = 128,
     .magazine_min = 8,
     .trim_floor_bytes = 16u << 20,
     .keep_bytes = 8u << 20,
     .keep_percent = 25,
     .large_cache_bytes = 16u << 20,
     .limits = {.retain_bytes = 64u << 20, .retain_percent = 50, .decay_ms = 1000, .learns = 1, .holes_percent = 25}},
    {.name = "remote",
     .magazine_bytes = 32768,
     .magazine_max = 128,
     .magazine_min = 4,
     .trim_floor_bytes = 8u << 20,
     .keep_bytes = 2u << 20,
     .keep_percent = 12,
     .large_cache_bytes = 8u << 20,
     .limits = {.retain_bytes = 32u << 20, .retain_percent = 25, .decay_ms = 500, .learns = 1, .holes_percent = 25}},
    {.name = "rss",
     .magazine_bytes = 2048,
     .magazine_max = 16,
     .magazine_min = 1,
     .trim_floor_bytes = 256u << 10,
     .keep_bytes = 0,
     .keep_percent = 0,
     .limits = {.retain_bytes = 0, .retain_percent = 0, .decay_ms = 0}},
    {.name = "strict",
     .magazine_bytes = 4096,
     .magazine_max = 16,
     .magazine_min = 1,
     .trim_floor_bytes = 2u << 20,
     .keep_bytes = 0,
     .keep_percent = 0,
     .quarantine_bytes = 1u << 20,
     .guard_large = 1,
     .limits = {.retain_bytes = 4u << 20, .retain_percent = 12, .decay_ms = 250}},
};

struct hz5_profile hz5_profile;

static void complain(const char *what, const char *text) {
    struct check_line line = {0};
    check_line_text(&line, "hz5: HZ5_PROFILE: ");
    check_line_text(&line, what);
    check_line_text(&line, " '");
    check_line_text(&line, text);
    check_line_text(
        &line,
        "' ignored (profiles: balanced, local, remote, rss, strict; keys: profile, retain, decay, quarantine, reject)");
    check_line_write(&line);
}

static int parse_bytes(const char *text, uint64_t *out) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (strcmp(end, "KiB") == 0)
        shift = 10;
    else if (strcmp(end, "MiB") == 0)
        shift = 20;
    else if (strcmp(end, "GiB") == 0)
        shift = 30;
    else if (*end != '\0')
        return 0;
    if (end == text || value > UINT64_MAX >> shift)
        return 0;
    *out = (uint64_t)value << shift;
    return 1;
}

static int set_profile(const char *name) {
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            enum hz5_policy policy = hz5_profile.policy;
            hz5_profile = profiles[i];
            hz5_profile.policy = policy;
            return 1;
        }
    }
    return 0;
}

static int set_key(const char *key, const char *value) {
    uint64_t number;
    if (strcmp(key, "profile") == 0)
        return set_profile(value);
    if (strcmp(key, "retain") == 0 && parse_bytes(value, &number)) {
        hz5_profile.limits.retain_bytes = number;
        hz5_profile.limits.retain_percent = 0;
        hz5_profile.limits.learns = 0;
        return 1;
    }
    if (strcmp(key, "decay") == 0 && parse_bytes(value, &number) && number <= 1000000) {
        hz5_profile.limits.decay_ms = (uint32_t)number;
        return 1;
    }
    if (strcmp(key, "quarantine") == 0 && parse_bytes(value, &number) && number <= 1u << 30) {
        hz5_profile.quarantine_bytes = (uint32_t)number;
        return 1;
    }
    if (strcmp(key, "reject") == 0) {
        static const char *const policies[] = {"abort", "report", "count"};
        for (int i = 0; i < 3; i++) {
            if (strcmp(value, policies[i]) == 0) {
                hz5_profile.policy = (enum hz5_policy)i;
                return 1;
            }
        }
    }
    return 0;
}

void hz5_profile_load(void) {
    hz5_profile = profiles[0];
    const char *text = os_environment("HZ5_PROFILE");
    while (text != NULL && *text != '\0') {
        char item[64];
        size_t bytes = strcspn(text, ",");
        if (bytes < sizeof item) {
            memcpy(item, text, bytes);
            item[bytes] = '\0';
            char *value = strchr(item, '=');
            if (value != NULL)
                *value++ = '\0';
            if (value != NULL ? !set_key(item, value) : !set_profile(item))
                complain(value != NULL ? "setting" : "profile", item);
        } else {
            complain("setting", "(too long)");
        }
        text += bytes + (text[bytes] == ',');
    }
}
