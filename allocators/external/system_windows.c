// SPDX-License-Identifier: Apache-2.0
// The C library's own malloc on Windows: msvcrt's or the universal CRT's, whichever the programs here are built for.
#include "external.h"

#include <stdio.h>
#include <windows.h>

static int (*minimise)(void);
static size_t (*block_size)(void *block);
static char version_text[32];

static void system_purge(void) {
    minimise();
}

// The C library takes NULL for a broken program and ends it.
static size_t system_usable_size(void *block) {
    return block != NULL ? block_size(block) : 0;
}

static const char *system_version(void) {
    return version_text;
}

// The fixed part of a version resource.
static void read_version(HMODULE library) {
    HRSRC found = FindResourceA(library, MAKEINTRESOURCEA(VS_VERSION_INFO), MAKEINTRESOURCEA(16)); // 16: RT_VERSION
    HGLOBAL loaded = found != NULL ? LoadResource(library, found) : NULL;
    const DWORD *words = loaded != NULL ? LockResource(loaded) : NULL;
    size_t count = loaded != NULL ? SizeofResource(library, found) / sizeof *words : 0;
    for (size_t i = 0; words != NULL && i + 3 < count; i++) {
        if (words[i] == 0xfeef04bdu) { // VS_FFI_SIGNATURE
            snprintf(version_text, sizeof version_text, "%u.%u.%u.%u", (unsigned)(words[i + 2] >> 16),
                     (unsigned)(words[i + 2] & 0xffff), (unsigned)(words[i + 3] >> 16),
                     (unsigned)(words[i + 3] & 0xffff));
            return;
        }
    }
}

void system_adapt(struct allocator *table, const struct external_library *library) {
    if (EXTERNAL_FIND(library, "_heapmin", minimise)) {
        table->purge = system_purge;
        table->capabilities |= ALLOCATOR_PURGE;
    }
    if (EXTERNAL_FIND(library, "_msize", block_size))
        table->usable_size = system_usable_size;
    read_version(library->handle);
    if (version_text[0] != '\0')
        table->version = system_version;
}
