// SPDX-License-Identifier: Apache-2.0
// What the malloc front (front.c) needs from an allocator: implemented once in each of hz3, hz4 and hz5, which also
// export malloc and free themselves so that the hot paths are not one jump further away. Hidden: each library has its
// own.
#ifndef HZ_CORE_H
#define HZ_CORE_H

#include "../allocator.h"
#include "heaps.h"

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
int core_start(void);                 // by hz_init() alone, again until it returns 1
void core_purge(void);
void core_stats(struct allocator_stats *out); // as long as heaps and size classes take, not blocks or memory
uint64_t core_unguarded(void);                // large blocks without the guard that the user asked for

// Heaps, as heaps.h and thread_end.h want them.
struct hz_heap *core_heap_of_thread(void);      // NULL when it has none
void core_thread_fini(void);                    // empties and gives up the thread's heap, if it has one
int core_heap_has_remote(struct hz_heap *heap); // something waits in its remote queue; read after the status
void core_heap_drain(struct hz_heap *heap);     // an abandoned heap that the calling thread holds
int core_heap_is_whole(struct hz_heap *heap);   // nobody is changing it

// Locks that the allocator has beside heaps and the arena, around a fork (process.h).
void core_fork_lock(void);
void core_fork_inherit(void);
void core_fork_unlock(void);

extern const struct allocator hzbench_allocator; // the exported table

#endif
