// SPDX-License-Identifier: Apache-2.0
// What the malloc front (front.c) needs from an allocator: implemented once in each of hz3, hz4 and hz5, which also
// export malloc and free themselves so that the hot paths are not one jump further away. Hidden: each library has its
// own.
#ifndef HZ_CORE_H
#define HZ_CORE_H

#include "../allocator.h"

// All return NULL without touching errno on failure; the front sets it. `alignment` is a power of two above 16.
void *core_alloc(size_t bytes);
void *core_alloc_aligned(size_t alignment, size_t bytes);
void *core_alloc_zeroed(size_t bytes);
// In place or moved; never called with NULL or 0 bytes. On failure, or when `block` is refused, NULL and nothing
// changed; *refused tells the two apart.
void *core_realloc(void *block, size_t bytes, int *refused);
void core_free(void *block);
// Frees after proving that a request of `bytes` could have produced the block; designs that cannot tell just free.
void core_free_sized(void *block, size_t bytes);
size_t core_usable_size(void *block); // 0 for NULL and for refused pointers
int core_init(void);                  // idempotent; 1 on success
void core_purge(void);
void core_stats(struct allocator_stats *out); // as long as heaps and size classes take, not blocks or memory
uint64_t core_unguarded(void);                // large blocks without the guard that the user asked for
void core_limit_address_space(size_t limit);  // the process is going to have no more than this
// In a thread that ends; it may be used once more afterwards.
void core_thread_end(void);
// Around fork, in a process of several threads; fork_linux.c says in which order.
int core_fork_is_quiet(void); // no heap of another thread is being changed
void core_fork_prepare(void); // takes all locks
void core_fork_parent(void);
void core_fork_inherit(void); // in the child: locks that this thread may hold know it by another id
void core_fork_child(void);   // heaps of other threads become abandoned ones, as far as they are whole

extern const struct allocator hzbench_allocator; // the exported table

#endif
