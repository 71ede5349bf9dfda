// SPDX-License-Identifier: Apache-2.0
// The test of the contract tests: a backend over the C library's malloc with one fault, chosen by CONTRACT_FAULT.
// Without a fault it must pass; with one, the check that is named for it must fail.
#include "../../allocators/allocator.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static const char *fault = "none";
static _Alignas(4096) char shared[8192]; // what the faults hand out
static uint64_t live_bytes;

__attribute__((constructor)) static void read_fault(void) {
    const char *value = getenv("CONTRACT_FAULT");
    fault = value != NULL ? value : "none";
}

static int has_fault(const char *name) {
    return strcmp(fault, name) == 0;
}

static int is_shared(const void *block) {
    return (const char *)block >= shared && (const char *)block < shared + sizeof shared;
}

static void *faulty_alloc(size_t bytes) {
    if (has_fault("overlap") && bytes >= 300 && bytes <= 400)
        return shared;
    if (has_fault("misalign") && bytes == 100)
        return shared + 8;
    if (has_fault("accept-all") && bytes > PTRDIFF_MAX)
        return shared;
    if (has_fault("no-zero-size") && bytes == 0)
        return NULL;
    void *block = malloc(bytes);
    if (block == NULL)
        errno = has_fault("no-enomem") ? 0 : ENOMEM;
    else
        __atomic_fetch_add(&live_bytes, malloc_usable_size(block), __ATOMIC_RELAXED);
    return block;
}

static void faulty_free(void *block) {
    if (has_fault("errno"))
        errno = 0;
    if (block == NULL || is_shared(block) || (has_fault("leak") && malloc_usable_size(block) == 1032))
        return;
    if (!has_fault("stats"))
        __atomic_fetch_sub(&live_bytes, malloc_usable_size(block), __ATOMIC_RELAXED);
    free(block);
}

static void *faulty_alloc_aligned(size_t alignment, size_t bytes) {
    if (has_fault("align-small") && alignment > 4096)
        alignment = 4096;
    void *block = memalign(alignment, bytes);
    if (block != NULL)
        __atomic_fetch_add(&live_bytes, malloc_usable_size(block), __ATOMIC_RELAXED);
    return block;
}

static void *faulty_calloc(size_t count, size_t bytes) {
    if (has_fault("wrap"))
        return faulty_alloc(count * bytes);
    if (has_fault("dirty") && count * bytes == 500)
        return faulty_alloc(500);
    void *block = calloc(count, bytes);
    if (block != NULL)
        __atomic_fetch_add(&live_bytes, malloc_usable_size(block), __ATOMIC_RELAXED);
    return block;
}

static void *faulty_realloc(void *block, size_t bytes) {
    if (is_shared(block))
        return bytes <= 4096 ? block : NULL;
    size_t old = malloc_usable_size(block);
    void *fresh = realloc(block, bytes);
    if (fresh != NULL || bytes == 0)
        __atomic_fetch_add(&live_bytes, malloc_usable_size(fresh) - old, __ATOMIC_RELAXED);
    if (has_fault("lose") && fresh != NULL && old > 40 && bytes > 40)
        ((char *)fresh)[33] ^= 1;
    return fresh;
}

static size_t faulty_usable_size(void *block) {
    size_t bytes = is_shared(block) ? 4096 : malloc_usable_size(block);
    return has_fault("usable-small") ? bytes / 2 : bytes;
}

static int faulty_owns(const void *block) {
    (void)block;
    return has_fault("disown") ? 0 : -1;
}

static void faulty_stats(struct allocator_stats *out) {
    struct mallinfo2 now = mallinfo2();
    *out = (struct allocator_stats){
        .reserved_bytes = now.arena + now.hblkhd,
        .committed_bytes = now.arena + now.hblkhd,
        .live_bytes = __atomic_load_n(&live_bytes, __ATOMIC_RELAXED),
        .metadata_bytes = ALLOCATOR_NOT_TOLD,
    };
}

static void faulty_purge(void) {
    malloc_trim(0);
}

static int faulty_verify(void) {
    return has_fault("contradiction");
}

extern const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "faulty",
    .summary = "the C library with one fault",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_PURGE | ALLOCATOR_STATS | ALLOCATOR_ALIGNED | ALLOCATOR_VERIFY,
    .alloc = faulty_alloc,
    .free = faulty_free,
    .alloc_aligned = faulty_alloc_aligned,
    .calloc = faulty_calloc,
    .realloc = faulty_realloc,
    .usable_size = faulty_usable_size,
    .owns = faulty_owns,
    .verify = faulty_verify,
    .stats = faulty_stats,
    .purge = faulty_purge,
};
