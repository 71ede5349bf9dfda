// SPDX-License-Identifier: Apache-2.0
// digest.h by the system's cryptography (bcrypt).
#include "digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#include <bcrypt.h>

#define HASH_BYTES ((DIGEST_BYTES - 1) / 2)

struct digest {
    BCRYPT_ALG_HANDLE algorithm;
    BCRYPT_HASH_HANDLE hash;
};

// The algorithm is a part of the system: without it nothing here could be named, so the program ends.
static struct digest begin(void) {
    struct digest digest;
    if (BCryptOpenAlgorithmProvider(&digest.algorithm, BCRYPT_SHA256_ALGORITHM, NULL, 0) != 0 ||
        BCryptCreateHash(digest.algorithm, &digest.hash, NULL, 0, NULL, 0, 0) != 0) {
        fputs("runner: the system has no SHA-256 (bcrypt) - repair Windows or wine\n", stderr);
        exit(3);
    }
    return digest;
}

static void add(struct digest *digest, const void *data, size_t bytes) {
    BCryptHashData(digest->hash, (UCHAR *)(uintptr_t)data, (ULONG)bytes, 0);
}

static void end(struct digest *digest, char hex[DIGEST_BYTES]) {
    UCHAR hash[HASH_BYTES] = {0};
    BCryptFinishHash(digest->hash, hash, sizeof hash, 0);
    BCryptDestroyHash(digest->hash);
    BCryptCloseAlgorithmProvider(digest->algorithm, 0);
    for (size_t i = 0; i < HASH_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
}

void digest_of_bytes(const void *data, size_t bytes, char hex[DIGEST_BYTES]) {
    struct digest digest = begin();
    add(&digest, data, bytes);
    end(&digest, hex);
}

int digest_of_file(const char *path, char hex[DIGEST_BYTES]) {
    char block[65536];
    FILE *file = fopen(path, "rb");
    hex[0] = '\0';
    if (file == NULL)
        return 0;
    struct digest digest = begin();
    size_t got;
    while ((got = fread(block, 1, sizeof block, file)) > 0)
        add(&digest, block, got);
    int is_whole = !ferror(file);
    fclose(file);
    end(&digest, hex);
    if (!is_whole)
        hex[0] = '\0';
    return is_whole;
}
