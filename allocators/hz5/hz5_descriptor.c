// SPDX-License-Identifier: Apache-2.0
// hz5_descriptor.h
#include "hz5_descriptor.h"

#include "hz5.h"
#include "hz5_build.h"

#include <stdio.h>

#ifdef __OPTIMIZE__
#define UNOPTIMISED 0u
#else
#define UNOPTIMISED ALLOCATOR_FORBIDDEN_UNOPTIMISED
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED ALLOCATOR_FORBIDDEN_SANITIZER
#else
#define SANITIZED 0u
#endif

static const char *profile(void) {
    return hz_init() ? hz5_profile.name : "unknown";
}

static const char *text(void) {
    static char line[256];
    const char *name = profile();
    snprintf(line, sizeof line,
             "hz5_descriptor=%u version=%s commit=%s features=0x%x forbidden=0x%x profile=%s checks=0x%x quarantine=%u "
             "guard=%u reject=%s",
             hz5_descriptor.head.version, hz5_descriptor.version, hz5_descriptor.source_commit,
             hz5_descriptor.head.features, hz5_descriptor.head.forbidden, name, hz5_profile.checks,
             hz5_profile.quarantine_bytes,
             hz5_profile.guard_every != 0 ? hz5_profile.guard_every : hz5_profile.guard_large, reject_policy());
    return line;
}

const struct hz5_descriptor_v1 hz5_descriptor = {
    .head = {.version = HZ5_DESCRIPTOR_VERSION,
             .struct_bytes = sizeof(struct hz5_descriptor_v1),
             .text = text,
             .features = HZ5_FEATURE_EXACT_START | HZ5_FEATURE_LIVE_STATE | HZ5_FEATURE_REMOTE_VERIFIED |
                         HZ5_FEATURE_NOTHING_IN_BAND | HZ5_FEATURE_PAGE_TRIM,
             .forbidden = UNOPTIMISED | SANITIZED},
    .version = HZBENCH_VERSION,
    .source_commit = HZ5_SOURCE_COMMIT,
    .compiler = __VERSION__,
    .profile = profile,
};
