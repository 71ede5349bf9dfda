// SPDX-License-Identifier: Apache-2.0
// Symbol lookup shared by the adapters.
#include "external.h"

#include <string.h>

int external_find(const struct external_library *library, const char *symbol, void *slot, size_t slot_bytes) {
    void *address = library->symbol(library->handle, symbol);
    memcpy(slot, &address, slot_bytes); // ISO C has no cast between function and data pointers
    return address != NULL;
}
