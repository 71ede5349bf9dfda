// SPDX-License-Identifier: Apache-2.0
// Adapters: what a foreign allocator can do beyond its malloc family, brought under the table's names.
// Each takes the loaded object and uses only symbols which that very object defines, so an adapter can never
// purge or count another allocator than the one that is measured. Layer: above allocator.h; the loader's list of
// backends names the adapters.
#ifndef HZBENCH_EXTERNAL_H
#define HZBENCH_EXTERNAL_H

#include "../allocator.h"

// A loaded object, and how the loader finds what that very object defines.
struct external_library {
    void *handle;
    void *(*symbol)(void *handle, const char *name); // NULL when it has no such symbol
};

void system_adapt(struct allocator *table, const struct external_library *library);
void jemalloc_adapt(struct allocator *table, const struct external_library *library);
void mimalloc_adapt(struct allocator *table, const struct external_library *library);
void tcmalloc_adapt(struct allocator *table, const struct external_library *library);

// Stores the symbol, or NULL, into the function pointer at `slot`; 1 when it was found.
int external_find(const struct external_library *library, const char *symbol, void *slot, size_t slot_bytes);

#define EXTERNAL_FIND(library, symbol, function) external_find(library, symbol, &(function), sizeof(function))

#endif
