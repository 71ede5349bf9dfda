// SPDX-License-Identifier: Apache-2.0
// A program that brings a malloc of its own: no preloaded one can serve it, and hzrun must say so. Layer: test.
#include <stddef.h>
#include <string.h>

void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *block, size_t bytes);
void free(void *block);

static char memory[1 << 20];
static size_t used;

void *malloc(size_t bytes) {
    size_t at = used;
    used += (bytes + 31) & ~(size_t)15;
    return used <= sizeof memory ? memory + at : NULL;
}

void *calloc(size_t count, size_t bytes) {
    return malloc(count * bytes);
}

void *realloc(void *block, size_t bytes) {
    void *moved = malloc(bytes);
    if (moved != NULL && block != NULL)
        memmove(moved, block, bytes); // reads on into younger blocks, all of them in `memory`
    return moved;
}

void free(void *block) {
    (void)block;
}

int main(void) {
    return 0;
}
