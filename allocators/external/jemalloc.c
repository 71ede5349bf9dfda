// SPDX-License-Identifier: Apache-2.0
// jemalloc 5 through mallctl(), its one door for everything but the malloc family.
#include "external.h"

#include <string.h>

// Index that stands for all arenas in "arena.<i>.purge"; jemalloc's MALLCTL_ARENAS_ALL.
#define PURGE_ALL_ARENAS "arena.4096.purge"

static int (*control)(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes);

static void jemalloc_purge(void) {
    control("thread.tcache.flush", NULL, NULL, NULL, 0); // only the calling thread's cache can be flushed
    control(PURGE_ALL_ARENAS, NULL, NULL, NULL, 0);
}

static uint64_t counter(const char *name) {
    size_t value = 0;
    size_t bytes = sizeof value;
    return control(name, &value, &bytes, NULL, 0) == 0 ? value : ALLOCATOR_NOT_TOLD;
}

static void jemalloc_stats(struct allocator_stats *out) {
    uint64_t epoch = 1;
    control("epoch", NULL, NULL, &epoch, sizeof epoch); // refreshes the counters below
    uint64_t mapped = counter("stats.mapped");
    uint64_t retained = counter("stats.retained");
    *out = (struct allocator_stats){
        .reserved_bytes =
            mapped != ALLOCATOR_NOT_TOLD && retained != ALLOCATOR_NOT_TOLD ? mapped + retained : ALLOCATOR_NOT_TOLD,
        .committed_bytes = counter("stats.active"),
        .live_bytes = counter("stats.allocated"),
        .metadata_bytes = counter("stats.metadata"),
    };
}

static const char *jemalloc_version(void) {
    const char *version = NULL;
    size_t bytes = sizeof version;
    return control("version", &version, &bytes, NULL, 0) == 0 && version != NULL ? version : "unknown";
}

void jemalloc_adapt(struct allocator *table, const struct external_library *library) {
    if (!EXTERNAL_FIND(library, "mallctl", control))
        return;
    table->purge = jemalloc_purge;
    table->version = jemalloc_version;
    table->capabilities |= ALLOCATOR_PURGE;
    if (counter("stats.allocated") != ALLOCATOR_NOT_TOLD) { // a build without statistics has no such name
        table->stats = jemalloc_stats;
        table->capabilities |= ALLOCATOR_STATS;
    }
}
