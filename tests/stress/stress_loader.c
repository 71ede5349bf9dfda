// SPDX-License-Identifier: Apache-2.0
// stress_backend.h by the loader: any backend of the list or a path; "preload" takes what LD_PRELOAD brought.
#include "stress_backend.h"

#include "../../allocators/loader/loader.h"
#include "../support/library.h"

#include <malloc.h>

static struct loaded_allocator loaded;

// The process's own malloc family, whatever was preloaded: only what every C library has.
static struct allocator ambient = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "preload",
    .summary = "the malloc family of this process",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_ALIGNED,
    .alloc = malloc,
    .free = free,
    .alloc_aligned = memalign,
    .calloc = calloc,
    .realloc = realloc,
    .usable_size = malloc_usable_size,
};

static void ambient_purge(void) {
    malloc_trim(0);
}

const struct allocator *stress_backend_open(const char *spec, char **argv) {
    char why[256];
    if (strcmp(spec, "preload") == 0) {
        // A preloaded library of ours lends its audit and its counters.
        const struct allocator *table = dlsym(RTLD_DEFAULT, ALLOCATOR_TABLE_SYMBOL);
        if (table != NULL && table->abi_version == ALLOCATOR_ABI_VERSION) {
            ambient.verify = table->verify;
            ambient.stats = table->stats;
        }
        ambient.purge = ambient_purge;
        allocator_complete(&ambient);
        return &ambient;
    }
    test_library_environment(argv);
    struct allocator_spec parsed;
    if (allocator_spec_parse(spec, &parsed, why, sizeof why) != ALLOCATOR_LOADED ||
        allocator_load(&parsed, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why) != ALLOCATOR_LOADED) {
        fprintf(stderr, "stress: %s\n", why);
        exit(3);
    }
    return &loaded.table;
}
