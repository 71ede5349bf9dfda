// SPDX-License-Identifier: Apache-2.0
// The profiles: tables of settings, chosen by HZ5_OPTIONS="profile=NAME". A setting that follows `profile=` in the
// variable changes what the profile says; one before it is replaced by the profile's.
#include "hz5.h"

#include "../common/options.h"

#include <string.h>

const char hzn_options_variable[] = "HZ5_OPTIONS";

// What each profile is for: README.md beside this file. A magazine of 32 KiB lets a random walk of a class's population
// run for hundreds of operations between two slow paths (docs/nogo.md has the curve); more of it is memory that no
// other class can use.
static const struct hz5_profile profiles[] = {
    {.name = "balanced",
     .magazine_bytes = 32768,
     .magazine_max = 64,
     .magazine_min = 4,
     .trim_floor_bytes = 2u << 20,
     .keep_bytes = 512u << 10,
     .keep_percent = 6,
     .large_cache_bytes = 3u << 19,
     .limits = {.retain_bytes = 16u << 20, .retain_percent = 12, .decay_ms = 250, .adaptive = 1}},
    {.name = "local",
     .magazine_bytes = 65536,
     .magazine_max = 128,
     .magazine_min = 8,
     .trim_floor_bytes = 16u << 20,
     .keep_bytes = 8u << 20,
     .keep_percent = 25,
     .large_cache_bytes = 16u << 20,
     .limits = {.retain_bytes = 64u << 20,
                .retain_percent = 50,
                .decay_ms = 1000,
                .adaptive = 1,
                .fragmentation_percent = 25}},
    {.name = "remote",
     .magazine_bytes = 32768,
     .magazine_max = 128,
     .magazine_min = 4,
     .trim_floor_bytes = 8u << 20,
     .keep_bytes = 2u << 20,
     .keep_percent = 12,
     .large_cache_bytes = 8u << 20,
     .limits = {.retain_bytes = 32u << 20,
                .retain_percent = 25,
                .decay_ms = 500,
                .adaptive = 1,
                .fragmentation_percent = 25}},
    {.name = "rss",
     .magazine_bytes = 2048,
     .magazine_max = 16,
     .magazine_min = 1,
     .trim_floor_bytes = 256u << 10,
     .keep_bytes = 0,
     .keep_percent = 0,
     .limits = {.retain_bytes = 0, .retain_percent = 0, .decay_ms = 0}},
    {.name = "strict",
     .magazine_bytes = 8192,
     .magazine_max = 32,
     .magazine_min = 2,
     .trim_floor_bytes = 2u << 20,
     .keep_bytes = 0,
     .keep_percent = 0,
     .checks = HZ5_CANARY | HZ5_ZERO | HZ5_POISON | HZ5_BIRTH | HZ5_RANDOM,
     .quarantine_bytes = 2u << 20,
     .guard_large = 1,
     .limits = {.retain_bytes = 4u << 20, .retain_percent = 12, .decay_ms = 250}},
};

struct hz5_profile hz5_profile;

static int set_profile(const char *name) {
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            hz5_profile = profiles[i];
            return 1;
        }
    }
    return 0;
}

static int set_quarantine(const char *value) {
    uint64_t bytes;
    if (!options_bytes(value, 1u << 30, &bytes))
        return 0;
    hz5_profile.quarantine_bytes = (uint32_t)bytes;
    return 1;
}

static int set_check(const char *value, uint32_t check) {
    int is_on = strcmp(value, "on") == 0;
    if (!is_on && strcmp(value, "off") != 0)
        return 0;
    hz5_profile.checks = is_on ? hz5_profile.checks | check : hz5_profile.checks & ~check;
    return 1;
}

static int set_canary(const char *value) {
    return set_check(value, HZ5_CANARY);
}

static int set_zero(const char *value) {
    return set_check(value, HZ5_ZERO);
}

static int set_poison(const char *value) {
    return set_check(value, HZ5_POISON);
}

static int set_birth(const char *value) {
    return set_check(value, HZ5_BIRTH);
}

static int set_random(const char *value) {
    hz5_profile.seed = 0;
    return set_check(value, HZ5_RANDOM) ||
           (options_bytes(value, UINT64_MAX, &hz5_profile.seed) && set_check("on", HZ5_RANDOM));
}

static int set_guard(const char *value) {
    static const char every[] = "every:";
    uint64_t number = 0;
    int is_every = strncmp(value, every, sizeof every - 1) == 0;
    if (is_every && (!options_bytes(value + sizeof every - 1, UINT32_MAX, &number) || number == 0))
        return 0;
    if (!is_every && strcmp(value, "large") != 0 && strcmp(value, "none") != 0)
        return 0;
    hz5_profile.guard_large = is_every || strcmp(value, "large") == 0;
    hz5_profile.guard_every = (uint32_t)number;
    return 1;
}

void hz5_profile_load(void) {
    static const struct option own[] = {
        {"profile", "balanced|local|remote|rss|strict", set_profile, NULL},
        {"canary", "on|off", set_canary, "on"},
        {"zero", "on|off", set_zero, "on"},
        {"poison", "on|off", set_poison, "on"},
        {"kind", "on|off", set_birth, "on"},
        {"random", "on|off|SEED", set_random, "on"},
        {"quarantine", "BYTES", set_quarantine, NULL},
        {"guard", "none|large|every:N", set_guard, NULL},
        {NULL, NULL, NULL, NULL},
    };
    hz5_profile = profiles[0];
    options_load(hzn_options_variable, &hz5_profile.limits, own);
    hz5_is_checked = hz5_profile.checks != 0 || hz5_profile.quarantine_bytes != 0 || hz5_profile.guard_large != 0;
}
