// SPDX-License-Identifier: Apache-2.0
// Opens one of our own libraries by path, for tests that must work on a fresh copy in a process of their own, before
// and without the loader. Layer: test support, header only.
#ifndef TESTS_SUPPORT_LIBRARY_H
#define TESTS_SUPPORT_LIBRARY_H

#include "../../allocators/allocator.h"
#include "random.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test_library {
    const struct allocator *table;
    void (*free_sized)(void *block, size_t bytes);
    void *handle;
};

// Our thread view is initial-exec and above glibc's default surplus of static TLS, which is read at program start: the
// process begins again with the tunable set. First thing in main().
static inline void test_library_environment(char **argv) {
    const char *tunables = getenv("GLIBC_TUNABLES");
    if (tunables != NULL && strstr(tunables, "optional_static_tls") != NULL)
        return;
    setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384", 1);
    execv("/proc/self/exe", argv);
    perror("cannot start again with GLIBC_TUNABLES");
    exit(3);
}

// Ends the process with status 3 when the library is not what it must be.
static inline struct test_library test_library_open(const char *path) {
    struct test_library library = {0};
    library.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library.handle != NULL) {
        library.table = dlsym(library.handle, ALLOCATOR_TABLE_SYMBOL);
        // ISO C knows no conversion from object to function pointers; POSIX defines this one.
        *(void **)(void *)&library.free_sized = dlsym(library.handle, "free_sized");
    }
    if (library.table == NULL || library.table->abi_version != ALLOCATOR_ABI_VERSION ||
        library.table->struct_bytes != sizeof(struct allocator)) {
        fprintf(stderr, "%s: no allocator of this ABI (%s): build the library first\n", path,
                library.handle != NULL ? "no table" : dlerror());
        exit(3);
    }
    return library;
}

// Rejects of all reasons together.
static inline uint64_t test_library_rejects(const struct allocator *table) {
    struct allocator_stats stats;
    table->verify(); // hz5's audit: what it finds is counted
    table->stats(&stats);
    uint64_t sum = 0;
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        sum += stats.rejects[reason];
    return sum;
}

// A count from the environment, so that the acceptance script runs the very programs that CI runs.
static inline uint64_t test_count(const char *variable, uint64_t otherwise) {
    const char *text = getenv(variable);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

#endif
