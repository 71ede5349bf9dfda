// SPDX-License-Identifier: Apache-2.0
// What common/ needs from an allocator: functions that each hzN - hz3, hz4, hz5 - defines once. malloc and free
// themselves are exported by hzN, so that the fast paths are not one jump further away. Hidden: each library has its
// own.
#ifndef HZ_HZN_H
#define HZ_HZN_H

#include "../allocator.h"
#include "heaps.h"

// What a block is allocated by, and must be freed by where an allocator looks at it.
enum hzn_kind { HZN_MALLOC, HZN_NEW, HZN_NEW_ARRAY };

// All return NULL without touching errno on failure; the front sets it. `alignment` is a power of two above 16.
void *hzn_alloc(size_t bytes);
void *hzn_alloc_aligned(size_t alignment, size_t bytes);
void *hzn_alloc_zeroed(size_t bytes);
// In place or moved; never called with NULL or 0 bytes. On failure, or when `block` is refused, NULL and nothing
// changed; *refused tells the two apart.
void *hzn_realloc(void *block, size_t bytes, int *refused);
void hzn_free(void *block);
// Frees after proving that a request of `bytes` could have produced the block; designs that cannot tell just free.
void hzn_free_sized(void *block, size_t bytes, enum hzn_kind kind);
// malloc and free of C++; designs that do not look at the kind have them as other names.
void *hzn_new(size_t bytes);
void *hzn_new_array(size_t bytes);
void hzn_delete(void *block);
void hzn_delete_array(void *block);
void hzn_set_kind(void *block, enum hzn_kind kind); // of a block just allocated
// The five, where hzn_alloc() and hzn_free() are defined, for a design with one heap for all kinds.
#define HZN_HAS_ONE_KIND                                                                                               \
    void *hzn_new(size_t bytes) __attribute__((alias("hzn_alloc")));                                                   \
    void *hzn_new_array(size_t bytes) __attribute__((alias("hzn_alloc")));                                             \
    void hzn_delete(void *block) __attribute__((alias("hzn_free")));                                                   \
    void hzn_delete_array(void *block) __attribute__((alias("hzn_free")));                                             \
    void hzn_set_kind(void *block HZ_UNUSED, enum hzn_kind kind HZ_UNUSED) {                                           \
    }
size_t hzn_usable_size(void *block);      // 0 for NULL and for refused pointers
extern const char hzn_options_variable[]; // the environment's, of hzn_start()
int hzn_start(void);                      // by hz_init() alone, again until it returns 1
void hzn_purge(void);
void hzn_release_idle(void); // what heaps keep and their threads, all idle, need not; by a thread without a heap
void hzn_stats(struct allocator_stats *out); // as long as heaps and size classes take, not blocks or memory
uint64_t hzn_unguarded(void);                // large blocks without the guard that the user asked for

// Heaps, as heaps.h and thread_end.h want them.
struct hz_heap *hzn_heap_of_thread(void);      // NULL when it has none
void hzn_thread_fini(void);                    // empties and gives up the thread's heap, if it has one
int hzn_heap_has_remote(struct hz_heap *heap); // something waits in its remote queue; read after the status
void hzn_heap_drain(struct hz_heap *heap);     // an abandoned heap that the calling thread holds
int hzn_heap_is_whole(struct hz_heap *heap);   // nobody is changing it

// Locks that the allocator has beside heaps and the arena, around a fork (process.h).
void hzn_fork_lock(void);
void hzn_fork_inherit(void);
void hzn_fork_unlock(void);

extern const struct allocator hzbench_allocator; // the exported table

#endif
