// SPDX-License-Identifier: Apache-2.0
// Fail-closed: why a pointer is not the start of a live block, and what happens then. Nothing here changes the heap.
#include "hz5.h"

#include "../common/check.h"
#include "../common/os_mem.h"

static _Atomic uint64_t reject_counts[ALLOCATOR_REJECT_COUNT];

uint64_t hz5_reject_count(enum allocator_reject reason) {
    return atomic_load_explicit(&reject_counts[reason], memory_order_relaxed);
}

void hz5_reject_add(enum allocator_reject reason, uint64_t count) {
    atomic_fetch_add_explicit(&reject_counts[reason], count, memory_order_relaxed);
}

// Where a unit belongs to a large run but is not its first, the descriptor is empty: the arena knows the run.
static int is_inside_run(size_t unit) {
    size_t first = arena_run_of(unit);
    return first != SIZE_MAX && first != unit;
}

enum allocator_reject hz5_classify(const void *pointer) {
    size_t unit = hz5_unit_of_pointer(pointer);
    if (!arena_has(unit))
        return ALLOCATOR_REJECT_FOREIGN;
    struct hz5_desc *desc = hz5_desc_at(unit);
    uint64_t ident = hz5_ident_read(&desc->ident);
    if (hz5_owner_of(ident) == HZ5_OWNER_NONE) {
        if (is_inside_run(unit))
            return ALLOCATOR_REJECT_INTERIOR;
        return hz5_generation_of(ident) != 0 || unit < arena_high_water() ? ALLOCATOR_REJECT_STALE_RUN
                                                                          : ALLOCATOR_REJECT_UNMAPPED;
    }
    if ((uintptr_t)pointer % SIZECLASS_GRANULE != 0)
        return ALLOCATOR_REJECT_MISALIGNED;
    struct hz5_block *state;
    if (!hz5_find_small(pointer, desc, &state) && !hz5_find_large(pointer, desc, &state))
        return ALLOCATOR_REJECT_INTERIOR;
    switch (hz5_block_peek(state)) {
    case HZ5_FREE:
    case HZ5_CACHED:
    case HZ5_MOVING:
    case HZ5_LIVE: // somebody else's free came between the refusal and this look
        return ALLOCATOR_REJECT_DOUBLE_FREE;
    case HZ5_REMOTE:
        return ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE;
    case HZ5_NO_BLOCK:
        return ALLOCATOR_REJECT_INTERIOR;
    default:
        return ALLOCATOR_REJECT_CORRUPT;
    }
}

void hz5_reject(const void *pointer, enum hz5_operation operation, enum allocator_reject reason) {
    static const char *const names[] = {"free", "realloc", "malloc_usable_size"};
    static const char *const reasons[ALLOCATOR_REJECT_COUNT] = {
        [ALLOCATOR_REJECT_FOREIGN] = "foreign: not memory of this allocator",
        [ALLOCATOR_REJECT_UNMAPPED] = "unmapped: nothing was ever allocated there",
        [ALLOCATOR_REJECT_INTERIOR] = "interior: not the start of a block",
        [ALLOCATOR_REJECT_MISALIGNED] = "misaligned: no block can start there",
        [ALLOCATOR_REJECT_DOUBLE_FREE] = "double_free: the block is not live",
        [ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE] = "double_free_remote: another thread has freed the block",
        [ALLOCATOR_REJECT_STALE_RUN] = "stale_run: its run has been released",
        [ALLOCATOR_REJECT_OWNER] = "wrong_owner_generation: the run has no such owner",
        [ALLOCATOR_REJECT_SIZE_MISMATCH] = "size_mismatch: the block is smaller than the size given",
        [ALLOCATOR_REJECT_CORRUPT] = "corrupt_descriptor: the block's state is damaged",
    };
    hz5_reject_add(reason, 1);
    hz5_init(); // the policy must be known even when the program's first call is a bad one
    if (hz5_profile.policy == HZ5_POLICY_COUNT)
        return;
    struct check_line line = {0};
    check_line_text(&line, "hz5: refused ");
    check_line_text(&line, names[operation]);
    check_line_text(&line, "(");
    check_line_hex(&line, (uintptr_t)pointer);
    check_line_text(&line, "): ");
    check_line_text(&line, reasons[reason]);
    check_line_write(&line);
    if (hz5_profile.policy == HZ5_POLICY_ABORT)
        os_abort();
}
