// SPDX-License-Identifier: Apache-2.0
// Reads the little the loader wants from an ELF image it does not trust: its machine and its build id.
// Layer: below the loader. Every offset is checked against the image before it is followed.
#ifndef HZBENCH_OS_ELF_H
#define HZBENCH_OS_ELF_H

#include "os_library.h"

// Walks the notes in [notes, notes + bytes); 1 when a GNU build id was found and written.
int os_elf_build_id_of_notes(const unsigned char *notes, size_t bytes, size_t alignment, char hex[OS_BUILD_ID_BYTES]);

// Build id of a whole file image; 1 when found, 0 for none and for anything malformed (hex is then empty).
int os_elf_build_id(const unsigned char *image, size_t bytes, char hex[OS_BUILD_ID_BYTES]);

// The same for a file on disk.
int os_elf_build_id_of_file(const char *path, char hex[OS_BUILD_ID_BYTES]);

// 1 when the file could be loaded into this process: an ELF shared object of this executable's class and machine.
int os_elf_is_loadable_here(const char *path);

#endif
