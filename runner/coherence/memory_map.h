// SPDX-License-Identifier: Apache-2.0
// What lies where in the emulated program: its object files (code, data and zeroed data), and who asked for the
// anonymous memory, the allocator or the rest of the program. Layer: runner, the coherence instrument only.
#ifndef HZBENCH_COHERENCE_MEMORY_MAP_H
#define HZBENCH_COHERENCE_MEMORY_MAP_H

#include <stdint.h>

struct memory_object {
    uint64_t base; // address of the file's address 0
    uint64_t end;  // behind its last byte of memory
    char path[256];
};

// The object file that `address` belongs to, or NULL.
const struct memory_object *memory_object_at(uint64_t address);
void memory_objects_changed(void); // something was mapped: the next miss reads the kernel's list again
unsigned memory_object_count(void);
const struct memory_object *memory_object(unsigned index);

// Anonymous memory that the program asked the system for, with or without the allocator between.
void memory_region_add(uint64_t address, uint64_t bytes, int by_allocator);
int memory_region_is_allocators(uint64_t address);

#endif
