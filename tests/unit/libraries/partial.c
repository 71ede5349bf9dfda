// SPDX-License-Identifier: Apache-2.0
// A foreign allocator with the required three functions only. memalign, calloc and malloc_usable_size would be found in
// libc through its dependencies; the loader has to take them for absent.
#include <stddef.h>
#include <string.h>

void *malloc(size_t bytes);
void free(void *block);
void *realloc(void *block, size_t bytes);

static _Alignas(16) char arena[1 << 16];
static size_t used_bytes;

void *malloc(size_t bytes) {
    size_t rounded = (bytes + 31) & ~(size_t)15; // room for the size in front
    if (bytes > sizeof arena || rounded > sizeof arena - used_bytes)
        return NULL;
    char *block = arena + used_bytes + 16;
    memcpy(block - 16, &bytes, sizeof bytes);
    memset(block, 0xdd, bytes); // so that a calloc that relies on fresh memory is found out
    used_bytes += rounded;
    return block;
}

void free(void *block) {
    (void)block;
}

void *realloc(void *block, size_t bytes) {
    void *fresh = malloc(bytes);
    if (fresh != NULL && block != NULL) {
        size_t old_bytes;
        memcpy(&old_bytes, (char *)block - 16, sizeof old_bytes);
        memcpy(fresh, block, old_bytes < bytes ? old_bytes : bytes);
    }
    return fresh;
}
