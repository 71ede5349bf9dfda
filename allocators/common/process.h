// SPDX-License-Identifier: Apache-2.0
// What a library does once in a process: its start, and the locks that it holds over a fork. Layer: common.
#ifndef HZ_PROCESS_H
#define HZ_PROCESS_H

#include "compiler.h"

#include <stdatomic.h>

HZ_HIDDEN extern _Atomic int hz_is_ready;
int hz_init_slow(void);

// Before the allocator's first use of the arena and the size classes: hzn_start(), until it has succeeded. 1 on
// success. Ends the process, by one line, on a system whose pages are not OS_PAGE_BYTES.
HZ_INLINE int hz_init(void) {
    // ORDER: acquire: all that hzn_start() wrote; partner: hz_init_slow().
    return HZ_LIKELY(atomic_load_explicit(&hz_is_ready, memory_order_acquire)) ? 1 : hz_init_slow();
}

void hz_fork_lock(void);    // the locks of start, allocator and arena, in this order
void hz_fork_inherit(void); // in the child: locks that this thread may hold know it by another id
void hz_fork_unlock(void);  // in parent and child

#endif
