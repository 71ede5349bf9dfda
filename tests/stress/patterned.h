// SPDX-License-Identifier: Apache-2.0
// Blocks that tell whether they are whole: a head and a pattern that follows from it. Layer: test.
#ifndef HZBENCH_PATTERNED_H
#define HZBENCH_PATTERNED_H

#include <stddef.h>
#include <stdint.h>

// First in every block, which is no smaller.
struct patterned {
    uint32_t bytes;
    uint32_t key;
};

static inline unsigned char patterned_byte(uint32_t key, size_t at) {
    return (unsigned char)(key * 31 + at * 7);
}

// The place behind `at` that is patterned, too: of a large block only both ends are.
static inline size_t patterned_next(size_t at, size_t bytes) {
    return at + 1 < 512 || at + 1 + 512 >= bytes ? at + 1 : bytes - 512;
}

static inline struct patterned *patterned_write(void *memory, size_t bytes, uint32_t key) {
    unsigned char *at = memory;
    for (size_t i = sizeof(struct patterned); i < bytes; i = patterned_next(i, bytes))
        at[i] = patterned_byte(key, i);
    struct patterned *block = memory;
    block->bytes = (uint32_t)bytes;
    block->key = key;
    return block;
}

// Whether the first `valid_bytes` of the block, or all of it, are as they were written.
static inline int patterned_is_whole(const struct patterned *block, size_t valid_bytes) {
    const unsigned char *at = (const unsigned char *)block;
    const size_t end = valid_bytes < block->bytes ? valid_bytes : block->bytes;
    for (size_t i = sizeof *block; i < end; i = patterned_next(i, block->bytes))
        if (at[i] != patterned_byte(block->key, i))
            return 0;
    return 1;
}

#endif
