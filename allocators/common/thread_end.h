// SPDX-License-Identifier: Apache-2.0
// The end of a thread: core_thread_end() runs in it, behind the program's own destructors as far as the system allows.
// Layer: common.
#ifndef HZ_THREAD_END_H
#define HZ_THREAD_END_H

// For the calling thread; may allocate. Keeps errno. Where the system has no way left, core_thread_end() is not called.
void hz_thread_end_watch(void);

#endif
