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
    uint64_t meta;        // object_meta: what was asked for, and the payload
};

// The number of the last byte, 30 bits, above the payload byte. An object has one byte at least.
OBJECT_INLINE uint64_t object_meta(uint64_t bytes, uint64_t random) {
    return (bytes - 1) << 8 | (random & 0xff);
}

OBJECT_INLINE uint64_t object_meta_bytes(uint64_t meta) {
    return (meta >> 8) + 1;
}

OBJECT_INLINE uint64_t object_bytes(const struct object *object) {
    return object_meta_bytes(object->meta);
}

// Where objects are freed unread: one in so many is verified all the same. Which ones is up to the payload byte, which
// is drawn, so they are the same for each allocator.
#define OBJECT_SAMPLE 128u

OBJECT_INLINE int object_is_sampled(const struct object *object) {
    return (object->meta & (OBJECT_SAMPLE - 1)) == OBJECT_SAMPLE - 1;
}

OBJECT_INLINE int object_is_cold(enum workload_touch touch) {
    return touch > TOUCH_ALL;
}

// Which bytes are written and compared.
OBJECT_INLINE enum workload_touch object_bytes_touched(enum workload_touch touch) {
    return object_is_cold(touch) ? (enum workload_touch)(touch - (TOUCH_COLD_ENDS - TOUCH_ENDS)) : touch;
}

OBJECT_INLINE void object_fill(const struct object *object, enum workload_touch touch) {
    const unsigned char payload = (unsigned char)object->meta;
    if (object_bytes_touched(touch) == TOUCH_ENDS) {
        object->block[0] = payload;
        object->block[object->meta >> 8] = payload;
    } else if (object_bytes_touched(touch) == TOUCH_ALL) {
        memset(object->block, payload, object_bytes(object));
    }
}

// 1 when a touched byte among the first `bytes` differs, else 0.
OBJECT_INLINE uint32_t object_is_bad(const struct object *object, uint64_t bytes, enum workload_touch touch,
                                     uint8_t mask) {
    const unsigned char payload = (unsigned char)object->meta;
    unsigned char differs = 0;
    if (object_bytes_touched(touch) == TOUCH_ENDS)
        differs = (object->block[0] ^ payload) | (object->block[bytes - 1] ^ payload);
    else if (object_bytes_touched(touch) == TOUCH_ALL)
        for (uint64_t i = 0; i < bytes; i++)
            differs |= object->block[i] ^ payload;
    return (differs & mask) != 0;
}

// The same of a whole object, for timed loops: two comparisons and two branches that are not taken. A backend that
// stores nothing mostly finds a wrong byte at once and takes one branch instead, as predictable and as short.
OBJECT_INLINE uint32_t object_is_damaged(const struct object *object, enum workload_touch touch, uint8_t mask) {
    const unsigned char payload = (unsigned char)object->meta;
    if (touch != TOUCH_ENDS)
        return object_is_bad(object, object_bytes(object), touch, mask);
    if (__builtin_expect(object->block[0] == payload, 1) &&
        __builtin_expect(object->block[object->meta >> 8] == payload, 1))
        return 0;
    return __builtin_expect(mask != 0, 0);
}

#endif
