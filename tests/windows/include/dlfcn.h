// SPDX-License-Identifier: Apache-2.0
// The calls of the dynamic linker and the environment that tests/support/library.h makes, on Windows. Layer: test
// support.
#ifndef TESTS_WINDOWS_DLFCN_H
#define TESTS_WINDOWS_DLFCN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define RTLD_NOW 0
#define RTLD_LOCAL 0

static inline void *dlopen(const char *path, int flags) {
    (void)flags;
    return LoadLibraryA(path);
}

static inline void *dlsym(void *handle, const char *symbol) {
    FARPROC found = GetProcAddress(handle, symbol);
    void *address;
    memcpy(&address, &found, sizeof address);
    return address;
}

static inline const char *dlerror(void) {
    static char text[32];
    snprintf(text, sizeof text, "system error %lu", GetLastError());
    return text;
}

static inline int setenv(const char *name, const char *value, int overwrite) {
    return overwrite || getenv(name) == NULL ? _putenv_s(name, value) : 0;
}

#endif
