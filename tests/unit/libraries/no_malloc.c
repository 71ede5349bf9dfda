// SPDX-License-Identifier: Apache-2.0
// A shared library that is no allocator: the malloc found through it is libc's, which nobody may measure under its
// name.
#include <stdlib.h>

const char *no_malloc_home(void);

const char *no_malloc_home(void) {
    return getenv("HOME"); // makes the library depend on libc
}
