// SPDX-License-Identifier: Apache-2.0
// Shared objects as the operating system sees them: finding, loading, and proof of what lies in which.
// Layer: below the loader; os_library_<os>.c is the only file of the loader that knows the dynamic linker.
#ifndef HZBENCH_OS_LIBRARY_H
#define HZBENCH_OS_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

#define OS_PATH_BYTES 512
#define OS_BUILD_ID_BYTES 41 // 40 hex digits and the end; longer ids are cut

// Loads `name` (a path with '/', or a soname the system looks up) with all symbols bound and none made global.
// NULL on failure, with the dynamic linker's reason in `why`. The handle is never closed: allocators cannot be
// unloaded.
void *os_library_open(const char *name, char *why, size_t why_bytes);

// Handle of an object that is in the process already, NULL when it is not.
void *os_library_loaded(const char *path);

// The symbol, if and only if that very object defines it. What a dependency of it defines is not found.
void *os_library_symbol(void *handle, const char *symbol);

// The symbol as the object itself (or, with a NULL handle, the whole process) would bind it, wherever that lies.
void *os_library_symbol_anywhere(void *handle, const char *symbol);

// 1 when `address` lies in the object.
int os_library_holds(void *handle, const void *address);

// Real path of the object that holds `address`; 0 and an empty string when no object does.
int os_library_path_of(const void *address, char *path, size_t path_bytes);

// Same for a handle.
int os_library_path(void *handle, char *path, size_t path_bytes);

// Build id of a loaded object, from its notes in memory; empty when it has none.
void os_library_build_id(void *handle, char hex[OS_BUILD_ID_BYTES]);

// Where the system's lookup would find `soname`, without loading it; a path stands for itself. 1 when found.
int os_library_find(const char *soname, char *path, size_t path_bytes);

// Where our own backend's library lies, seen from this executable: the one place that knows the layouts of build tree,
// installation and a bare directory. 1 when found.
int os_library_find_own(const char *backend, const char *library, char *path, size_t path_bytes);

// 1 when the file could be loaded into this process: a shared object of this executable's class and machine.
int os_library_is_loadable(const char *path);

// Build id of a library file that nobody has loaded; 1 when it has one, else 0 and an empty string.
int os_library_build_id_of_file(const char *path, char hex[OS_BUILD_ID_BYTES]);

int os_library_real_path(const char *name, char *path, size_t path_bytes); // 0 and an empty string when there is none
int os_library_same_file(const char *a, const char *b); // 1 when both name one file (device and inode)
int os_library_is_file(const char *path);               // 1 for a readable regular file
int os_library_executable_directory(char *path, size_t path_bytes);

void os_environment_set(const char *name, const char *value);

#endif
