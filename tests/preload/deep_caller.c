// SPDX-License-Identifier: Apache-2.0
// A library that opens others. Its RUNPATH, which the program lacks, is the only way to deep_plugin by its bare name.
// Layer: test.
#include <dlfcn.h>

void *caller_dlopen(const char *name, int mode);
void *caller_dlmopen(long space, const char *name, int mode);

static volatile int calls; // changed after the call, which can therefore not be a tail call

void *caller_dlopen(const char *name, int mode) {
    void *library = dlopen(name, mode);
    calls++;
    return library;
}

void *caller_dlmopen(long space, const char *name, int mode) {
    void *library = dlmopen(space, name, mode);
    calls++;
    return library;
}
