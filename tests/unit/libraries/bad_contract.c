// SPDX-License-Identifier: Apache-2.0
// Exports a sound table with a contract record of an impossible size.
#include "../../../allocators/allocator.h"

static _Alignas(16) char block[64];

static void *bad_contract_alloc(size_t bytes) {
    return bytes <= sizeof block ? block : NULL;
}

static void bad_contract_free(void *freed) {
    (void)freed;
}

static const char *bad_contract_text(void) {
    return "version=1";
}

static const struct allocator_contract record = {.version = 1, .struct_bytes = 3, .text = bad_contract_text};

extern const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "bad_contract",
    .summary = "claims a record of three bytes",
    .alloc = bad_contract_alloc,
    .free = bad_contract_free,
    .contract = &record,
};
