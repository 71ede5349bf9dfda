// SPDX-License-Identifier: Apache-2.0
// Watching the time in a thread that never leaves its fast paths. Such a program allocates and frees in turns, and the
// arena would keep what it retained for busier times. So while memory is retained, the thread's magazines are out of
// sight, as if each were empty and full: the next malloc or free of a small block takes a slow path, which shows the
// one of its class again, lets the arena look at the time, and hides it once more. A busy thread is left alone after a
// few times, until it takes a slow path of its own in another tick of the clock (a few milliseconds). Of hz4 and hz5;
// hz3 hides single lists (hz3_list.c).
#ifndef HZ_HIDDEN_H
#define HZ_HIDDEN_H

#include "arena.h"
#include "compiler.h"
#include "sizeclass.h"

#include <stdint.h>

#define HZ_HIDDEN_MOST 256u // times in a tick

struct hz_hidden {
    uint64_t classes[(SIZECLASS_COUNT + 63) / 64]; // bit a class
    uint64_t tick_ms;                              // when all were hidden last
    uint32_t times;                                // one was hidden since
    void *top[SIZECLASS_COUNT], *limit[SIZECLASS_COUNT];
};

// `top` and `limit`: of all classes, as the thread has them.
HZ_INLINE void hz_hidden_show(struct hz_hidden *hidden, unsigned size_class, void **top, void **limit) {
    uint64_t bit = (uint64_t)1 << size_class % 64;
    if (HZ_LIKELY((hidden->classes[size_class / 64] & bit) == 0))
        return;
    hidden->classes[size_class / 64] &= ~bit;
    top[size_class] = hidden->top[size_class];
    limit[size_class] = hidden->limit[size_class];
}

HZ_INLINE void hz_hidden_show_all(struct hz_hidden *hidden, void **top, void **limit) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        hz_hidden_show(hidden, size_class, top, limit);
}

// At the end of a slow path of the class, while memory is retained. `none`: the top and the limit of a magazine that is
// empty and full.
void hz_hidden_hide(struct hz_hidden *hidden, unsigned size_class, void **top, void **limit, void *none);

#endif
