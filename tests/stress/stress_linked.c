// SPDX-License-Identifier: Apache-2.0
// stress_backend.h for sanitizer builds: the allocator's sources are linked in, under names that leave the sanitizer's
// own malloc alone.
#include "stress_backend.h"

extern const struct allocator hzbench_allocator;

const struct allocator *stress_backend_open(const char *spec, char **argv) {
    (void)spec;
    (void)argv;
    return &hzbench_allocator;
}
