// SPDX-License-Identifier: Apache-2.0
// The fast paths: malloc and free of blocks up to 64 KiB in at most 15 instructions each, and every way into and around
// them. Whatever is added here is paid by every program: count (objdump) before and after.
#include "hz3.h"

#include "../common/zero.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

HZ_THREAD_LOCAL union hz3_thread hz3_thread;

// A foreign block goes on the own list only when it shares no cache line with its neighbours: else this thread would
// write where the owner writes for as long as the block lives (passive false sharing).
static int has_own_lines(unsigned size_class) {
    return sizeclass_bytes[size_class] % HZ_CACHE_LINE == 0;
}

// ---- malloc -------------------------------------------------------------------------------------------------------

static void *alloc_from_class(unsigned size_class) {
    struct hz3_block *block = *hz3_head(size_class);
    if (HZ_LIKELY(block != NULL)) {
        *hz3_head(size_class) = block->next;
        ++*hz3_room(size_class);
        return block;
    }
    struct hz3_heap *heap = hz3_heap_of_thread();
    if (HZ_LIKELY(heap != NULL)) {
        hz_heap_enter(&heap->is_busy);
        block = hz3_list_refill(heap, size_class);
        hz_heap_leave(&heap->is_busy);
    }
    hz_thread_leave_heap();
    return block;
}

// The table of classes may not have been filled yet: hz_init() comes first.
HZ3_SLOW void *hz3_alloc_slow(size_t bytes) {
    void *block = NULL;
    if (HZ_LIKELY(bytes <= PTRDIFF_MAX && hz_init())) {
        int is_zero;
        block = bytes > SIZECLASS_MAX_BYTES ? hz3_large_alloc(bytes, SIZECLASS_GRANULE, &is_zero)
                                            : alloc_from_class(sizeclass_of(bytes));
    }
    if (HZ_UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

HZ_INLINE void *alloc(size_t bytes) {
    if (HZ_UNLIKELY(bytes > SIZECLASS_MAX_BYTES))
        return hz3_large_alloc_cached(bytes);
    unsigned slot = sizeclass_slot_of(bytes);
    struct hz3_block *block = hz3_thread.head[slot];
    if (HZ_UNLIKELY(block == NULL))
        return hz3_alloc_slow(bytes);
    hz3_thread.room[slot]++;
    hz3_thread.head[slot] = block->next;
    return block;
}

HZ_EXPORT void *malloc(size_t bytes) {
    return alloc(bytes);
}

void *hzn_alloc(size_t bytes) {
    return alloc(bytes);
}

void *hzn_alloc_zeroed(size_t bytes) {
    if (bytes > SIZECLASS_MAX_BYTES) {
        int is_zero = 0;
        void *block = hz_init() ? hz3_large_alloc(bytes, SIZECLASS_GRANULE, &is_zero) : NULL;
        if (block != NULL && !is_zero)
            zero_recycled(block, bytes);
        return block;
    }
    void *block = alloc(bytes);
    return block != NULL ? memset(block, 0, bytes) : NULL;
}

void *hzn_alloc_aligned(size_t alignment, size_t bytes) {
    if (!hz_init())
        return NULL;
    unsigned size_class = sizeclass_of_aligned(bytes, alignment);
    int is_zero;
    return size_class == SIZECLASS_COUNT ? hz3_large_alloc(bytes, alignment, &is_zero) : alloc_from_class(size_class);
}

// ---- free ---------------------------------------------------------------------------------------------------------

static HZ_COLD void free_untagged(void *block) {
    if (block != NULL)
        hz3_reject(block, REJECT_FREE);
}

HZ_INLINE void free_to_slot(void *block, uint32_t slot) {
    if (HZ_UNLIKELY(--hz3_thread.room[slot] < 0)) {
        hz3_list_full(block); // one argument: a second would cost the fast path a move
        return;
    }
    struct hz3_block *freed = block;
    freed->next = hz3_thread.head[slot];
    hz3_thread.head[slot] = freed;
}

// Everything that is not a block of an own run; without the table over the address space, those too.
HZ3_SLOW void hz3_free_other(void *block) {
    uint32_t tag = hz3_tag_of(block);
    if (tag == HZ3_TAG_LARGE) {
        hz3_large_free(block);
        return;
    }
    if (HZ_UNLIKELY(tag < HZ3_TAG_LARGE)) {
        free_untagged(block);
        return;
    }
    unsigned size_class = hz3_tag_class(tag);
    struct hz3_heap *heap = hz3_thread.heap;
    if (HZ_UNLIKELY(heap == NULL)) {
        hz3_remote_send(hz3_tag_owner(tag), block);
    } else if (hz3_tag_owner(tag) == heap->common.id) {
        free_to_slot(block, HZ3_FIRST_SLOT + size_class);
    } else {
        hz_heap_enter(&heap->is_busy);
        if (!has_own_lines(size_class) || !hz3_list_borrow(heap, block, size_class))
            hz3_remote_free(heap, hz3_tag_owner(tag), block, size_class);
        hz_heap_leave(&heap->is_busy);
    }
}

HZ_INLINE void free_block(void *block) {
    // Small for own tags alone: other owners' are at least 256 - SIZECLASS_COUNT away, and so is HZ3_TAG_LARGE from
    // any. A thread without a heap meets tag 0 in slot 0, where there is never room.
    uint32_t slot = hz3_tag_fast(block) - hz3_thread.mine;
    if (HZ_UNLIKELY(slot >= HZ3_FIRST_SLOT + SIZECLASS_COUNT)) {
        hz3_free_other(block);
        return;
    }
    free_to_slot(block, slot);
}

HZ_EXPORT void free(void *block) {
    free_block(block);
}

void hzn_free(void *block) {
    free_block(block);
}

HZN_HAS_ONE_KIND

// ---- lookups ------------------------------------------------------------------------------------------------------

// 0 for pointers that lead to no block.
static size_t usable_bytes(const void *block) {
    uint32_t tag = hz3_tag_of(block);
    if (tag > HZ3_TAG_LARGE)
        return sizeclass_bytes[hz3_tag_class(tag)];
    return tag == HZ3_TAG_LARGE && hz3_large_is_start(block) ? hz3_large_usable(block) : 0;
}

size_t hzn_usable_size(void *block) {
    size_t bytes = block != NULL ? usable_bytes(block) : 0;
    if (bytes == 0 && block != NULL)
        hz3_reject(block, REJECT_USABLE_SIZE);
    return bytes;
}

void hzn_free_sized(void *block, size_t bytes, enum hzn_kind kind HZ_UNUSED) {
    size_t usable = block != NULL ? usable_bytes(block) : 0;
    // A block may be larger than its request by alignment or in-place shrinking, never smaller.
    if (usable != 0 && bytes > usable) {
        reject(block, REJECT_FREE, ALLOCATOR_REJECT_SIZE_MISMATCH);
        return;
    }
    free_block(block);
}

void *hzn_realloc(void *block, size_t bytes, int *refused) {
    size_t old_bytes = usable_bytes(block);
    if (old_bytes == 0) {
        hz3_reject(block, REJECT_REALLOC);
        *refused = 1;
        return NULL;
    }
    int is_large = hz3_tag_of(block) == HZ3_TAG_LARGE;
    if (is_large) {
        if (bytes > SIZECLASS_MAX_BYTES && hz3_large_resize(block, bytes))
            return block;
    } else if (bytes <= old_bytes && bytes >= old_bytes / 2) {
        return block; // a smaller class would save less than the copy costs
    }
    void *moved = is_large && bytes > old_bytes ? hz3_large_alloc_growing(bytes) : alloc(bytes);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    if (is_large)
        hz3_large_free_copied(block);
    else
        free_block(block);
    return moved;
}
