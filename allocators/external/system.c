// SPDX-License-Identifier: Apache-2.0
// The C library's own malloc (glibc), measured by the same path as every other backend.
#include "external.h"

#include <malloc.h>

static int (*trim)(size_t pad_bytes);
static struct mallinfo2 (*info)(void);
static const char *(*libc_version)(void);

static void system_purge(void) {
    trim(0);
}

static void system_stats(struct allocator_stats *out) {
    struct mallinfo2 now = info();
    *out = (struct allocator_stats){
        .reserved_bytes = now.arena + now.hblkhd,
        .committed_bytes = now.arena + now.hblkhd, // what was trimmed inside an arena is not told apart
        .live_bytes = now.uordblks + now.hblkhd,
        .metadata_bytes = ALLOCATOR_NOT_TOLD,
    };
}

void system_adapt(struct allocator *table, const struct external_library *library) {
    if (EXTERNAL_FIND(library, "malloc_trim", trim)) {
        table->purge = system_purge;
        table->capabilities |= ALLOCATOR_PURGE;
    }
    if (EXTERNAL_FIND(library, "mallinfo2", info)) {
        table->stats = system_stats;
        table->capabilities |= ALLOCATOR_STATS;
    }
    if (EXTERNAL_FIND(library, "gnu_get_libc_version", libc_version))
        table->version = libc_version;
}
