// SPDX-License-Identifier: Apache-2.0
// hidden.h
#include "hidden.h"

#include "os_mem.h"

static void hide(struct hz_hidden *hidden, unsigned size_class, void **top, void **limit, void *none) {
    uint64_t bit = (uint64_t)1 << size_class % 64;
    if ((hidden->classes[size_class / 64] & bit) != 0)
        return;
    hidden->classes[size_class / 64] |= bit;
    hidden->top[size_class] = top[size_class];
    hidden->limit[size_class] = limit[size_class];
    top[size_class] = limit[size_class] = none;
}

void hz_hidden_hide(struct hz_hidden *hidden, unsigned size_class, void **top, void **limit, void *none) {
    uint64_t now = os_clock_coarse_ms();
    if (now != hidden->tick_ms) {
        hidden->tick_ms = now;
        hidden->times = 0;
        for (unsigned each = 0; each < SIZECLASS_COUNT; each++)
            hide(hidden, each, top, limit, none);
    } else if (++hidden->times < HZ_HIDDEN_MOST) {
        hide(hidden, size_class, top, limit, none);
    }
}
