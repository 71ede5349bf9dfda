// SPDX-License-Identifier: Apache-2.0
// The fast paths: malloc and free of blocks up to 64 KiB, and every way into and around them. See hz4.h for the data.
#include "hz4.h"

#include "../common/zero.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Every thread begins with magazines that are empty and full at once, so its first malloc and its first free leave the
// fast path by the tests that are there anyway. Slot 0 is the one that the route of an unused granule, 0, would fit.
static void *no_magazine[2];

#define NONE_8                                                                                                         \
    no_magazine + 1, no_magazine + 1, no_magazine + 1, no_magazine + 1, no_magazine + 1, no_magazine + 1,              \
        no_magazine + 1, no_magazine + 1
#define NONE_128                                                                                                       \
    NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8, NONE_8,    \
        NONE_8, NONE_8
_Static_assert(SIZECLASS_COUNT < HZ4_FIRST_SLOT, "classes end below the slots, and NONE_128 fills them");

// Routes of tags begin at bit 7, so 0 closes every slot but that of a granule without a route.
HZ_THREAD_LOCAL struct hz4_thread hz4_thread = {
    .top = {NONE_128}, .limit = {NONE_128}, .slot_route = {HZ4_ROUTE_CLOSED}};

uintptr_t hz4_base_granule;
_Atomic uintptr_t hz4_granule_count;
struct hz4_tag *hz4_tags;

static HZ_COLD void *alloc_slow(size_t bytes);

// ---- malloc -------------------------------------------------------------------------------------------------------

HZ_INLINE void *alloc(size_t bytes) {
    if (HZ_UNLIKELY(bytes > SIZECLASS_MAX_BYTES))
        return alloc_slow(bytes);
    unsigned size_class = sizeclass_of(bytes);
    void **top = hz4_thread.top_of_class[size_class];
    void *block = top[-1];
    if (HZ_UNLIKELY(block == NULL))
        return alloc_slow(bytes);
    hz4_thread.top_of_class[size_class] = top - 1;
    return block;
}

static void *alloc_from_class(unsigned size_class) {
    void **top = hz4_thread.top_of_class[size_class];
    void *block = top[-1];
    if (block != NULL) {
        hz4_thread.top_of_class[size_class] = top - 1;
    } else {
        struct hz4_heap *heap = hz4_heap_of_thread();
        block = heap != NULL ? hz4_refill(heap, size_class) : NULL;
    }
    hz_thread_leave_heap();
    return block;
}

// The table of classes may not have been filled yet: hz_init() comes first.
static void *alloc_any(size_t bytes, int *is_zero) {
    *is_zero = 0;
    if (bytes > PTRDIFF_MAX || !hz_init())
        return NULL;
    return bytes > SIZECLASS_MAX_BYTES ? hz4_large_alloc(bytes, ARENA_UNIT_BYTES, is_zero)
                                       : alloc_from_class(sizeclass_of(bytes));
}

static void *alloc_slow(size_t bytes) {
    int is_zero;
    void *block = alloc_any(bytes, &is_zero);
    if (HZ_UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

HZ_EXPORT void *malloc(size_t bytes) {
    return alloc(bytes);
}

void *hzn_alloc(size_t bytes) {
    int is_zero;
    return alloc_any(bytes, &is_zero);
}

void *hzn_alloc_zeroed(size_t bytes) {
    int is_zero;
    void *block = alloc_any(bytes, &is_zero);
    if (block != NULL && !is_zero)
        zero_recycled(block, bytes);
    return block;
}

void *hzn_alloc_aligned(size_t alignment, size_t bytes) {
    if (!hz_init())
        return NULL;
    unsigned size_class = sizeclass_of_aligned(bytes, alignment);
    int is_zero;
    return size_class == SIZECLASS_COUNT ? hz4_large_alloc(bytes, alignment, &is_zero) : alloc_from_class(size_class);
}

// ---- free ---------------------------------------------------------------------------------------------------------

static HZ_COLD void free_refused(void *block) {
    if (block != NULL)
        reject(block, REJECT_FREE, hz4_classify(block));
}

// No room in the magazine and no open batch to the owner: an own block, a first one for that owner, a large one, or
// nothing of ours.
static HZ_COLD void free_slow(void *block) {
    size_t granule = hz4_granule_of(block);
    struct hz4_tag *tag = hz4_tag_at(granule);
    unsigned index = atomic_load_explicit(&tag->index, memory_order_relaxed);
    if (index == 0) {
        if (!hz4_large_free(block, granule, 0))
            free_refused(block);
        return;
    }
    int saved = errno; // a first free begins a heap
    struct hz4_heap *heap = hz4_heap_of_thread();
    errno = saved;
    if (HZ_UNLIKELY(heap == NULL))
        return; // no memory even for a heap: the block is lost, nothing else
    uint32_t route = hz4_way_read(&tag->route);
    hz4_overflow(heap, block, index - 1, route);
    hz_thread_leave_heap();
}

HZ_INLINE void free_block(void *block) {
    size_t granule = hz4_granule_of(block);
    if (HZ_UNLIKELY(!arena_is_below(granule, &hz4_granule_count))) {
        free_refused(block);
        return;
    }
    size_t index = atomic_load_explicit(&hz4_tags[granule].index, memory_order_relaxed);
    void **top = hz4_thread.top[index];
    if (HZ_LIKELY(top < (void **)hz4_thread.limit[index])) { // whoever owns it: my next malloc can use it
        *top = block;
        hz4_thread.top[index] = top + 1;
        return;
    }
    __asm__("" : "+r"(granule)); // else gcc computes the tag's address early, for both paths
    uint32_t route = hz4_way_read(&hz4_tags[granule].route);
    size_t slot = (uint8_t)route;
    if (HZ_UNLIKELY(hz4_thread.slot_route[slot] != route)) {
        free_slow(block);
        return;
    }
    uint32_t *at = hz4_thread.top[slot];
    *at++ = (uint32_t)((uintptr_t)block >> HZ4_COMPRESSED_SHIFT);
    hz4_thread.top[slot] = at;
    if (HZ_UNLIKELY((void *)at >= hz4_thread.limit[slot]))
        hz4_remote_flush((uint32_t)slot);
}

HZ_EXPORT void free(void *block) {
    free_block(block);
}

void hzn_free(void *block) {
    free_block(block);
}

HZN_HAS_ONE_KIND

// ---- the rest -----------------------------------------------------------------------------------------------------

// Usable bytes of what may start at `block`; 0 when nothing of ours can.
static size_t usable_bytes(const void *block) {
    size_t granule = hz4_granule_of(block);
    if (!arena_is_below(granule, &hz4_granule_count))
        return 0;
    struct hz4_tag *tag = hz4_tag_at(granule);
    unsigned index = atomic_load_explicit(&tag->index, memory_order_relaxed);
    if (index != 0)
        return sizeclass_bytes[index - 1];
    if (!hz4_way_is_large(&tag->route) || ((uintptr_t)block & (ARENA_UNIT_BYTES - 1)) != 0)
        return 0;
    return hz4_map_large(granule) << ARENA_UNIT_SHIFT;
}

size_t hzn_usable_size(void *block) {
    size_t bytes = block != NULL ? usable_bytes(block) : 0;
    if (bytes == 0 && block != NULL)
        reject(block, REJECT_USABLE_SIZE, hz4_classify(block));
    return bytes;
}

void hzn_free_sized(void *block, size_t bytes, enum hzn_kind kind HZ_UNUSED) {
    // A block may be larger than its request by alignment or in-place shrinking, never smaller.
    size_t usable = block != NULL ? usable_bytes(block) : 0;
    if (usable != 0 && bytes > usable) {
        reject(block, REJECT_FREE, ALLOCATOR_REJECT_SIZE_MISMATCH);
        return;
    }
    free_block(block);
}

void *hzn_realloc(void *block, size_t bytes, int *refused) {
    size_t old_bytes = usable_bytes(block);
    if (old_bytes == 0) {
        reject(block, REJECT_REALLOC, hz4_classify(block));
        *refused = 1;
        return NULL;
    }
    size_t granule = hz4_granule_of(block);
    int is_large = atomic_load_explicit(&hz4_tag_at(granule)->index, memory_order_relaxed) == 0;
    if (is_large) {
        if (bytes > SIZECLASS_MAX_BYTES && hz4_large_resize(block, granule, bytes))
            return block;
    } else if (bytes <= old_bytes && bytes >= old_bytes / 2) {
        return block; // a smaller class would save less than the copy costs
    }
    void *moved = is_large && bytes > old_bytes ? hz4_large_alloc_growing(bytes) : hzn_alloc(bytes);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    if (!is_large)
        free_block(block);
    else if (!hz4_large_free(block, granule, 1))
        reject(block, REJECT_FREE, hz4_classify(block));
    return moved;
}
