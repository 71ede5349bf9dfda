// SPDX-License-Identifier: Apache-2.0
// gperftools' tcmalloc through the C side of its MallocExtension.
#include "external.h"

static void (*release)(void);
static int (*property)(const char *name, size_t *value);
static const char *(*library_version)(int *major, int *minor, const char **patch);

static uint64_t counter(const char *name) {
    size_t value = 0;
    return property(name, &value) != 0 ? value : ALLOCATOR_NOT_TOLD;
}

static void tcmalloc_stats(struct allocator_stats *out) {
    uint64_t heap = counter("generic.heap_size"); // without what was given back to the system
    uint64_t unmapped = counter("tcmalloc.pageheap_unmapped_bytes");
    *out = (struct allocator_stats){
        .reserved_bytes =
            heap != ALLOCATOR_NOT_TOLD && unmapped != ALLOCATOR_NOT_TOLD ? heap + unmapped : ALLOCATOR_NOT_TOLD,
        .committed_bytes = heap,
        .live_bytes = counter("generic.current_allocated_bytes"),
        .metadata_bytes = ALLOCATOR_NOT_TOLD,
    };
}

static const char *tcmalloc_version(void) {
    return library_version(NULL, NULL, NULL);
}

void tcmalloc_adapt(struct allocator *table, const struct external_library *library) {
    if (EXTERNAL_FIND(library, "MallocExtension_ReleaseFreeMemory", release)) {
        table->purge = release;
        table->capabilities |= ALLOCATOR_PURGE;
    }
    if (EXTERNAL_FIND(library, "MallocExtension_GetNumericProperty", property)) {
        table->stats = tcmalloc_stats;
        table->capabilities |= ALLOCATOR_STATS;
    }
    if (EXTERNAL_FIND(library, "tc_version", library_version))
        table->version = tcmalloc_version;
}
