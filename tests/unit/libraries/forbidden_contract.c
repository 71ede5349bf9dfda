// SPDX-License-Identifier: Apache-2.0
// Exports a sound table whose contract record says that this build carries a sanitizer.
#include "../../../allocators/allocator.h"

static _Alignas(16) char block[64];

static void *forbidden_contract_alloc(size_t bytes) {
    return bytes <= sizeof block ? block : NULL;
}

static void forbidden_contract_free(void *freed) {
    (void)freed;
}

static const char *forbidden_contract_text(void) {
    return "version=1";
}

static const struct allocator_contract record = {.version = 1,
                                                 .struct_bytes = sizeof record,
                                                 .text = forbidden_contract_text,
                                                 .forbidden = ALLOCATOR_FORBIDDEN_SANITIZER};

extern const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "forbidden_contract",
    .summary = "says that it may not be measured",
    .alloc = forbidden_contract_alloc,
    .free = forbidden_contract_free,
    .contract = &record,
};
