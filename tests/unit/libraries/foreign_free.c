// SPDX-License-Identifier: Apache-2.0
// Exports a table whose free is libc's: half a backend, which the loader refuses by the member's name.
#include "../../../allocators/allocator.h"

#include <stdlib.h>

static _Alignas(16) char block[64];

static void *foreign_free_alloc(size_t bytes) {
    return bytes <= sizeof block ? block : NULL;
}

extern const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "foreign_free",
    .summary = "frees with the C library",
    .alloc = foreign_free_alloc,
    .free = free,
};
