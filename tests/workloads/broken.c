// SPDX-License-Identifier: Apache-2.0
// A backend that is broken as BROKEN says: "overlap" hands out a block twice, "refuse" counts a refusal although it
// frees, "scarce" has memory for a thousand blocks. For the tests of the worker's verdicts. Layer: tests.
#include "../../allocators/allocator.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t calls;
static _Atomic uint64_t refusals;

static int is_broken(const char *how) {
    const char *broken = getenv("BROKEN");
    return broken != NULL && strcmp(broken, how) == 0;
}

static void *broken_alloc(size_t bytes) {
    static _Thread_local void *last;
    static _Thread_local size_t last_bytes;
    const uint64_t call = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (call > 1000 && is_broken("scarce"))
        return NULL;
    if (call % 50 == 49 && last_bytes >= bytes && is_broken("overlap"))
        return last;
    last = malloc(bytes);
    last_bytes = bytes;
    return last;
}

static void broken_free(void *block) {
    if (is_broken("refuse"))
        atomic_fetch_add_explicit(&refusals, 1, memory_order_relaxed);
    if (!is_broken("overlap")) // there the same block would be freed twice
        free(block);
}

static void *broken_realloc(void *block, size_t bytes) {
    return realloc(block, bytes);
}

static size_t broken_usable_size(void *block) {
    (void)block;
    return 0;
}

static int broken_owns(const void *block) {
    (void)block;
    return -1;
}

static void broken_stats(struct allocator_stats *out) {
    memset(out, 0, sizeof *out);
    out->metadata_bytes = ALLOCATOR_NOT_TOLD;
    out->reserved_bytes = 12345;
    out->rejects[ALLOCATOR_REJECT_OWNER] = atomic_load_explicit(&refusals, memory_order_relaxed);
}

extern __attribute__((visibility("default"))) const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "broken",
    .summary = "broken on purpose",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_STATS | ALLOCATOR_FAIL_CLOSED,
    .alloc = broken_alloc,
    .free = broken_free,
    .realloc = broken_realloc,
    .usable_size = broken_usable_size,
    .owns = broken_owns,
    .stats = broken_stats,
};
