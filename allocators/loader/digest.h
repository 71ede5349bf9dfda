// SPDX-License-Identifier: Apache-2.0
// SHA-256 as hexadecimal text: what a library file, a plan, a host and a run are told apart by.
// Layer: below the loader; digest_libmd.c, or digest_windows.c over the system's own.
#ifndef HZBENCH_DIGEST_H
#define HZBENCH_DIGEST_H

#include <stddef.h>

#define DIGEST_BYTES 65 // 64 hex digits and the end

void digest_of_bytes(const void *data, size_t bytes, char hex[DIGEST_BYTES]);
int digest_of_file(const char *path, char hex[DIGEST_BYTES]); // 0 when it cannot be read to its end

#endif
