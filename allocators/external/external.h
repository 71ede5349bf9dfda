// SPDX-License-Identifier: Apache-2.0
// Adapters: what a foreign allocator can do beyond its malloc family, brought under the table's names.
// Each takes the loaded object's handle and uses only symbols which that very object defines, so an adapter can never
// purge or count another allocator than the one that is measured. Layer: between os_library.h and the list of backends.
#ifndef HZBENCH_EXTERNAL_H
#define HZBENCH_EXTERNAL_H

#include "../allocator.h"

void system_adapt(struct allocator *table, void *handle);
void jemalloc_adapt(struct allocator *table, void *handle);
void mimalloc_adapt(struct allocator *table, void *handle);
void tcmalloc_adapt(struct allocator *table, void *handle);

// Stores the symbol, or NULL, into the function pointer at `slot`; 1 when it was found.
int external_find(void *handle, const char *symbol, void *slot, size_t slot_bytes);

#define EXTERNAL_FIND(handle, symbol, function) external_find(handle, symbol, &(function), sizeof(function))

#endif
