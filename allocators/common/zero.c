// SPDX-License-Identifier: Apache-2.0
// zero.h
#include "zero.h"

#include "compiler.h"
#include "os_mem.h"

#include <stdint.h>
#include <string.h>

#define FRESH_FROM_BYTES HZ_KIB(128) // below, writing costs less than asking
#define SAMPLES 8u

static int is_zero_page(const char *page) {
    const uint64_t *words = (const uint64_t *)(const void *)page;
    uint64_t any = 0;
    for (size_t i = 0; i < OS_PAGE_BYTES / sizeof *words; i++)
        any |= words[i];
    return any == 0;
}

// Zeros written into pages that are not resident would make them so; pages given back that are resident would be
// faulted in again. Which of the two it is nobody tells without a rare system call, but the last user's traces do: a
// page that is not resident reads zero (and stays out of the resident set), one that was written seldom does. A program
// that clears all and uses little leaves zeros behind, and is served fresh pages the next time.
static int was_written_throughout(const char *pages, size_t bytes) {
    size_t count = bytes / OS_PAGE_BYTES;
    for (size_t i = 1; i <= SAMPLES; i++)
        if (is_zero_page(pages + count * i / (SAMPLES + 1) * OS_PAGE_BYTES))
            return 0;
    return 1;
}

void zero_recycled(void *block, size_t bytes) {
    if (bytes >= FRESH_FROM_BYTES) {
        char *pages = (char *)hz_align_up((uintptr_t)block, OS_PAGE_BYTES);
        char *end = (char *)(((uintptr_t)block + bytes) & ~(uintptr_t)(OS_PAGE_BYTES - 1));
        size_t whole = (size_t)(end - pages);
        if (!was_written_throughout(pages, whole) && os_mem_decommit(pages, whole)) {
            memset(block, 0, (size_t)(pages - (char *)block));
            memset(end, 0, (size_t)((char *)block + bytes - end));
            return;
        }
    }
    memset(block, 0, bytes);
}
