// SPDX-License-Identifier: Apache-2.0
// The end of a thread gives up its heap, behind the program's own destructors as far as the system allows. The thread
// may still allocate and free afterwards: destructors of other keys run in up to four rounds, of which the last follows
// our last, and the C library's code after all of them. A heap that it takes then is given up after each call.
// Layer: common.
#ifndef HZ_THREAD_END_H
#define HZ_THREAD_END_H

#include "compiler.h"
#include "hzn.h"

HZ_HIDDEN extern HZ_THREAD_LOCAL int hz_thread_has_ended;

void hz_thread_end_watch(void); // when the thread has taken a heap; may allocate. Keeps errno

// After each use of the thread's heap on a slow path.
HZ_INLINE void hz_thread_leave_heap(void) {
    if (HZ_UNLIKELY(hz_thread_has_ended))
        hzn_thread_fini();
}

// Between thread_end.c and the system's own file. Where the system has no way left, hz_thread_end() is not called.
void hz_thread_end_register(void);
void hz_thread_end(void);

#endif
