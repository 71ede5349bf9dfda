// SPDX-License-Identifier: Apache-2.0
// What happens to a pointer that is not ours, or that a run does not want back. Nothing here changes the heap.
// HZ4_OPTIONS="reject=abort|report|count": end the process after one line (the default), only the line, only the count.
#include "hz4.h"

#include "../common/check.h"
#include "../common/os_mem.h"

#include <stdlib.h>
#include <string.h>

enum policy { POLICY_ABORT, POLICY_REPORT, POLICY_COUNT };

static enum policy policy; // const after hz4_init()
static _Atomic uint64_t counts[ALLOCATOR_REJECT_COUNT];

void hz4_reject_load(void) {
    const char *text = os_environment("HZ4_OPTIONS");
    if (text == NULL || *text == '\0' || strcmp(text, "reject=abort") == 0)
        return;
    if (strcmp(text, "reject=report") == 0) {
        policy = POLICY_REPORT;
    } else if (strcmp(text, "reject=count") == 0) {
        policy = POLICY_COUNT;
    } else {
        struct check_line line = {0};
        check_line_text(&line, "hz4: HZ4_OPTIONS: '");
        check_line_text(&line, text);
        check_line_text(&line, "' ignored (reject=abort, reject=report or reject=count)");
        check_line_write(&line);
    }
}

uint64_t hz4_reject_count(enum allocator_reject reason) {
    return atomic_load_explicit(&counts[reason], memory_order_relaxed);
}

enum allocator_reject hz4_classify(const void *pointer) {
    size_t granule = hz4_granule_of(pointer);
    if (!arena_is_below(granule, &hz4_granule_count))
        return ALLOCATOR_REJECT_FOREIGN;
    if (atomic_load_explicit(&hz4_tag_at(granule)->index, memory_order_relaxed) != 0)
        return ALLOCATOR_REJECT_INTERIOR;
    switch (hz4_way_read(&hz4_tag_at(granule)->route)) {
    case HZ4_ROUTE_LARGE:
        return ALLOCATOR_REJECT_INTERIOR;
    case HZ4_ROUTE_LARGE_FREE:
        return ALLOCATOR_REJECT_DOUBLE_FREE;
    default: {
        size_t unit = granule / HZ4_UNIT_GRANULES;
        size_t first = arena_run_of(unit);
        return first != SIZE_MAX && first != unit ? ALLOCATOR_REJECT_INTERIOR
               : unit < arena_high_water()        ? ALLOCATOR_REJECT_STALE_RUN
                                                  : ALLOCATOR_REJECT_UNMAPPED;
    }
    }
}

void hz4_reject(const void *pointer, enum hz4_operation operation, enum allocator_reject reason) {
    static const char *const names[] = {"free", "realloc", "malloc_usable_size", "return"};
    static const char *const reasons[ALLOCATOR_REJECT_COUNT] = {
        [ALLOCATOR_REJECT_FOREIGN] = "foreign: not memory of this allocator",
        [ALLOCATOR_REJECT_UNMAPPED] = "unmapped: nothing was ever allocated there",
        [ALLOCATOR_REJECT_INTERIOR] = "interior: not the start of a block",
        [ALLOCATOR_REJECT_DOUBLE_FREE] = "double_free: the block is not live",
        [ALLOCATOR_REJECT_STALE_RUN] = "stale_run: nothing is allocated there now",
        [ALLOCATOR_REJECT_SIZE_MISMATCH] = "size_mismatch: the block is smaller than the size given",
    };
    atomic_fetch_add_explicit(&counts[reason], 1, memory_order_relaxed);
    if (policy == POLICY_COUNT)
        return;
    struct check_line line = {0};
    check_line_text(&line, "hz4: refused ");
    check_line_text(&line, names[operation]);
    check_line_text(&line, "(");
    check_line_hex(&line, (uintptr_t)pointer);
    check_line_text(&line, "): ");
    check_line_text(&line, reasons[reason]);
    check_line_write(&line);
    if (policy == POLICY_ABORT)
        os_abort();
}
