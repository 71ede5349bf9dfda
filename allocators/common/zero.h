// SPDX-License-Identifier: Apache-2.0
// Zeroes of calloc for large blocks of memory that was in use before.
#ifndef HZ_ZERO_H
#define HZ_ZERO_H

#include <stddef.h>

// Makes `bytes` of a block nobody else uses read zero, by writing or by giving its whole pages back, whichever keeps
// the resident set as it is.
void zero_recycled(void *block, size_t bytes);

#endif
