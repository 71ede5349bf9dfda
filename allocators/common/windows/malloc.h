// SPDX-License-Identifier: Apache-2.0
// The functions of the malloc family that the C library of Windows does not declare (its own malloc.h is a part of
// stdlib.h). Layer: common.
#ifndef HZ_WINDOWS_MALLOC_H
#define HZ_WINDOWS_MALLOC_H

#include <stdlib.h>

void *aligned_alloc(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes);
int posix_memalign(void **out, size_t alignment, size_t bytes);
void *reallocarray(void *block, size_t count, size_t bytes);
size_t malloc_usable_size(void *block);

#endif
