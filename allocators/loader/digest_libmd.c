// SPDX-License-Identifier: Apache-2.0
// digest.h by libmd.
#include "digest.h"

#include <sha256.h>

_Static_assert(DIGEST_BYTES == SHA256_DIGEST_STRING_LENGTH, "hex and end");

void digest_of_bytes(const void *data, size_t bytes, char hex[DIGEST_BYTES]) {
    SHA256Data(data, bytes, hex);
}

int digest_of_file(const char *path, char hex[DIGEST_BYTES]) {
    return SHA256File(path, hex) != NULL;
}
