// SPDX-License-Identifier: Apache-2.0
// The purge thread, of the setting purge_thread=1: it gives back what the arena retains once no thread has taken or
// given memory for a while. Without it memory leaves when a thread calls the allocator, and a process that is idle
// keeps what it retained. Layer: common.
//
// It is created when the library is loaded, and sleeps until there is something to retain. Not later, inside malloc or
// free: the C library calls free with the lock held that creating a thread takes. It blocks all signals, uses memory of
// the arena only through the arena's lock, and never allocates. The library is never unloaded, so that the thread
// outlives a dlclose. The child of a fork has none, until it starts another program.
#ifndef HZ_PURGE_H
#define HZ_PURGE_H

extern const char hz_purge_thread_values[]; // of the setting, on this system
int hz_purge_thread_set(const char *value); // 0: not one of them

#endif
