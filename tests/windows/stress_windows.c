// SPDX-License-Identifier: Apache-2.0
// stress_backend.h by the loader on Windows, where nothing is preloaded.
#include "../stress/stress_backend.h"

#include "../../allocators/loader/loader.h"

#include <stdio.h>
#include <stdlib.h>

const struct allocator *stress_backend_open(const char *spec, char **argv) {
    static struct loaded_allocator loaded;
    static struct allocator_spec parsed;
    char why[256];
    (void)argv;
    if (allocator_spec_parse(spec, &parsed, why, sizeof why) != ALLOCATOR_LOADED ||
        allocator_load(&parsed, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why) != ALLOCATOR_LOADED) {
        fprintf(stderr, "stress: %s\n", why);
        exit(3);
    }
    return &loaded.table;
}
