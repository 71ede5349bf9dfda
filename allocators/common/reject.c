// SPDX-License-Identifier: Apache-2.0
// reject.h
#include "reject.h"

#include "check.h"
#include "hzn.h"
#include "os_mem.h"
#include "process.h"

#include <stdatomic.h>
#include <string.h>

static const char *const policies[] = {"abort", "report", "count"};
enum policy { POLICY_ABORT, POLICY_REPORT, POLICY_COUNT };

static enum policy policy; // const after hz_init()
static _Atomic uint64_t counts[ALLOCATOR_REJECT_COUNT];

int reject_set_policy(const char *name) {
    for (unsigned i = 0; i < sizeof policies / sizeof *policies; i++) {
        if (strcmp(name, policies[i]) != 0)
            continue;
        policy = (enum policy)i;
        return 1;
    }
    return 0;
}

const char *reject_policy(void) {
    return policies[policy];
}

void reject_add(enum allocator_reject reason, uint64_t count) {
    atomic_fetch_add_explicit(&counts[reason], count, memory_order_relaxed);
}

void reject_read(struct allocator_stats *out) {
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        out->rejects[reason] = atomic_load_explicit(&counts[reason], memory_order_relaxed);
}

void reject(const void *pointer, enum reject_operation operation, enum allocator_reject reason) {
    static const char *const operations[] = {"free", "realloc", "malloc_usable_size", "return", "reuse"};
    static const char *const reasons[ALLOCATOR_REJECT_COUNT] = {
        [ALLOCATOR_REJECT_FOREIGN] = "foreign: not memory of this allocator",
        [ALLOCATOR_REJECT_UNMAPPED] = "unmapped: nothing was ever allocated there",
        [ALLOCATOR_REJECT_INTERIOR] = "interior: not the start of a block",
        [ALLOCATOR_REJECT_MISALIGNED] = "misaligned: no block can start there",
        [ALLOCATOR_REJECT_DOUBLE_FREE] = "double_free: the block is not live",
        [ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE] = "double_free_remote: another thread has freed the block",
        [ALLOCATOR_REJECT_STALE_RUN] = "stale_run: what lay there has been freed",
        [ALLOCATOR_REJECT_OWNER] = "wrong_owner_generation: the run has no such owner",
        [ALLOCATOR_REJECT_SIZE_MISMATCH] = "size_mismatch: the block is smaller than the size given",
        [ALLOCATOR_REJECT_CORRUPT] = "corrupt_descriptor: the block's state is damaged",
        [ALLOCATOR_REJECT_OVERFLOW] = "overflow: bytes beside the block have been written",
        [ALLOCATOR_REJECT_WRITE_AFTER_FREE] = "write_after_free: the block was written after it had been freed",
        [ALLOCATOR_REJECT_KIND] = "kind_mismatch: malloc, new and new[] each have their own free",
    };
    reject_add(reason, 1);
    hz_init(); // the policy must be known even when the program's first call is a bad one
    if (policy == POLICY_COUNT)
        return;
    struct check_line line = {0};
    check_line_text(&line, hzbench_allocator.name);
    check_line_text(&line, ": refused ");
    check_line_text(&line, operations[operation]);
    check_line_text(&line, "(");
    check_line_hex(&line, (uintptr_t)pointer);
    check_line_text(&line, "): ");
    check_line_text(&line, reasons[reason]);
    check_line_write(&line);
    if (policy == POLICY_ABORT)
        os_abort();
}
