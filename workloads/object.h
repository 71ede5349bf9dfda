// SPDX-License-Identifier: Apache-2.0
// An object of the allocator under test as the harness remembers it, and the payload that proves nobody else wrote to
// it. The expected byte lives here, outside the object, so damage cannot hide by damaging the expectation.
// Checks are branch-free in the mask: a backend that stores nothing runs the same instructions. Layer: workloads.
#ifndef HZBENCH_OBJECT_H
#define HZBENCH_OBJECT_H

#include "workload.h"

#include <string.h>

#define OBJECT_INLINE static inline __attribute__((always_inline))

struct object {
    unsigned char *block; // NULL: none
    uint32_t bytes;       // asked for
    uint32_t tag;         // low 8 bits: payload byte; the rest: generation of the thread that allocated it
};

OBJECT_INLINE uint32_t object_tag(uint32_t generation, uint64_t random) {
    return generation << 8 | (uint32_t)(random & 0xff);
}

OBJECT_INLINE uint32_t object_generation(const struct object *object) {
    return object->tag >> 8;
}

OBJECT_INLINE void object_fill(const struct object *object, enum workload_touch touch) {
    const unsigned char payload = (unsigned char)object->tag;
    if (touch == TOUCH_ENDS) {
        object->block[0] = payload;
        object->block[object->bytes - 1] = payload;
    } else if (touch == TOUCH_ALL) {
        memset(object->block, payload, object->bytes);
    }
}

// 1 when a touched byte among the first `bytes` differs, else 0.
OBJECT_INLINE uint32_t object_is_bad(const struct object *object, uint32_t bytes, enum workload_touch touch,
                                     uint8_t mask) {
    const unsigned char payload = (unsigned char)object->tag;
    unsigned char differs = 0;
    if (touch == TOUCH_ENDS)
        differs = (object->block[0] ^ payload) | (object->block[bytes - 1] ^ payload);
    else if (touch == TOUCH_ALL)
        for (uint32_t i = 0; i < bytes; i++)
            differs |= object->block[i] ^ payload;
    return (differs & mask) != 0;
}

#endif
