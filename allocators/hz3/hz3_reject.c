// SPDX-License-Identifier: Apache-2.0
// Pointers that lead to no block: why, and what happens then. Nothing here changes the heap. HZ3_OPTIONS=reject=
// abort (default), report or count.
#include "hz3.h"

#include "../common/check.h"
#include "../common/os_mem.h"

#include <stdlib.h>
#include <string.h>

static enum { REJECT_ABORT, REJECT_REPORT, REJECT_COUNT } policy; // const after hz3_reject_init()
static _Atomic uint64_t counts[ALLOCATOR_REJECT_COUNT];

void hz3_reject_init(void) {
    const char *text = os_environment("HZ3_OPTIONS");
    if (text == NULL || *text == '\0' || strcmp(text, "reject=abort") == 0)
        return;
    if (strcmp(text, "reject=report") == 0) {
        policy = REJECT_REPORT;
    } else if (strcmp(text, "reject=count") == 0) {
        policy = REJECT_COUNT;
    } else {
        struct check_line line = {0};
        check_line_text(&line, "hz3: HZ3_OPTIONS: '");
        check_line_text(&line, text);
        check_line_text(&line, "' ignored (reject=abort, reject=report or reject=count)");
        check_line_write(&line);
    }
}

uint64_t hz3_reject_count(enum allocator_reject reason) {
    return atomic_load_explicit(&counts[reason], memory_order_relaxed);
}

static enum allocator_reject classify(const void *pointer) {
    size_t unit = hz3_unit_of(pointer);
    if (!arena_has(unit))
        return ALLOCATOR_REJECT_FOREIGN;
    size_t first = arena_run_of(unit);
    if (first == SIZE_MAX)
        return unit < arena_high_water() ? ALLOCATOR_REJECT_STALE_RUN : ALLOCATOR_REJECT_UNMAPPED;
    uint32_t tag = atomic_load_explicit(hz3_lookup.tags + first, memory_order_relaxed);
    return tag == HZ3_TAG_NONE ? ALLOCATOR_REJECT_STALE_RUN : ALLOCATOR_REJECT_INTERIOR;
}

void hz3_reject_as(const void *pointer, enum hz3_operation operation, enum allocator_reject reason) {
    static const char *const operations[] = {"free", "realloc", "malloc_usable_size"};
    static const char *const reasons[ALLOCATOR_REJECT_COUNT] = {
        [ALLOCATOR_REJECT_FOREIGN] = "foreign: not memory of this allocator",
        [ALLOCATOR_REJECT_UNMAPPED] = "unmapped: nothing was ever allocated there",
        [ALLOCATOR_REJECT_INTERIOR] = "interior: not the start of the block",
        [ALLOCATOR_REJECT_STALE_RUN] = "stale_run: what lay there has been freed",
        [ALLOCATOR_REJECT_SIZE_MISMATCH] = "size_mismatch: the block is smaller than the size given",
    };
    atomic_fetch_add_explicit(&counts[reason], 1, memory_order_relaxed);
    if (policy == REJECT_COUNT)
        return;
    struct check_line line = {0};
    check_line_text(&line, "hz3: refused ");
    check_line_text(&line, operations[operation]);
    check_line_text(&line, "(");
    check_line_hex(&line, (uintptr_t)pointer);
    check_line_text(&line, "): ");
    check_line_text(&line, reasons[reason]);
    check_line_write(&line);
    if (policy == REJECT_ABORT)
        os_abort();
}

void hz3_reject(const void *pointer, enum hz3_operation operation) {
    hz3_reject_as(pointer, operation, classify(pointer));
}
