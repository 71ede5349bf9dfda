// SPDX-License-Identifier: Apache-2.0
// dlopen() and dlmopen() without RTLD_DEEPBIND. A library opened with that flag takes malloc and free from the C
// library in front of a preloaded allocator's, while what it exchanges with the program comes from the allocator: the
// first block that crosses over ends the program (PHP opens its extensions so). Without the flag such a library takes
// every name from the program first. Only in libraries that are preloaded. Layer: common, and runner (libhzrun.so).
#include "compiler.h"

#include <dlfcn.h>

// The linker looks into the RUNPATH and the namespace of the library that dlopen() returns to. Hence the tail calls:
// the next function returns to our caller, not to us.
HZ_EXPORT HZ_TAIL_CALLS void *dlopen(const char *file, int mode) {
    void *(*next)(const char *, int);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "dlopen");
    HZ_TAIL_RETURN next(file, mode & ~RTLD_DEEPBIND);
}

// Another namespace has a C library, and a malloc, of its own: ours is in none but the first.
HZ_EXPORT HZ_TAIL_CALLS void *dlmopen(Lmid_t space, const char *file, int mode) {
    void *(*next)(Lmid_t, const char *, int);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "dlmopen");
    HZ_TAIL_RETURN next(space, file, space == LM_ID_BASE ? mode & ~RTLD_DEEPBIND : mode);
}
