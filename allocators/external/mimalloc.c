// SPDX-License-Identifier: Apache-2.0
// mimalloc 2. It tells no heap-wide byte counts through its interface, so it promises no stats.
#include "external.h"

#include <stdbool.h>
#include <stdio.h>

static void (*collect)(bool force);
static int (*number)(void);

static void mimalloc_purge(void) {
    collect(true);
}

static const char *mimalloc_version(void) {
    static char text[16];
    int version = number(); // 209 means 2.0.9
    snprintf(text, sizeof text, "%d.%d.%d", version / 100, version / 10 % 10, version % 10);
    return text;
}

void mimalloc_adapt(struct allocator *table, const struct external_library *library) {
    if (EXTERNAL_FIND(library, "mi_collect", collect)) {
        table->purge = mimalloc_purge;
        table->capabilities |= ALLOCATOR_PURGE;
    }
    if (EXTERNAL_FIND(library, "mi_version", number))
        table->version = mimalloc_version;
}
