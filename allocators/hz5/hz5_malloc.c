// SPDX-License-Identifier: Apache-2.0
// The fast paths: malloc and free of blocks up to 64 KiB, and every way into and around them. See hz5.h for the data.
#include "hz5.h"

#include "../common/zero.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Every thread begins with empty magazines that also count as full, so the first malloc and the first free of a thread
// leave the fast path by the tests that are there anyway.
static struct hz5_entry empty_magazine = {NULL, NULL};

#define EMPTY_8                                                                                                        \
    &empty_magazine, &empty_magazine, &empty_magazine, &empty_magazine, &empty_magazine, &empty_magazine,              \
        &empty_magazine, &empty_magazine
#define EMPTY_128                                                                                                      \
    EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8,        \
        EMPTY_8, EMPTY_8, EMPTY_8, EMPTY_8
_Static_assert(SIZECLASS_COUNT + 10 == 128, "EMPTY_128 fills the magazines of a thread");

HZ_THREAD_LOCAL struct hz5_thread hz5_thread = {
    .top = {EMPTY_128}, .limit = {EMPTY_128}, .owner = HZ5_OWNER_NO_HEAP, .heap = NULL};

static HZ_COLD void *alloc_slow(size_t bytes, enum hzn_kind kind);

// ---- malloc -------------------------------------------------------------------------------------------------------

HZ_INLINE void *alloc(size_t bytes, enum hzn_kind kind) {
    if (HZ_UNLIKELY(bytes > SIZECLASS_MAX_BYTES))
        return alloc_slow(bytes, kind);
    unsigned size_class = sizeclass_of(bytes);
    struct hz5_entry *top = hz5_thread.top[size_class];
    void *block = top->block;
    if (HZ_UNLIKELY(block == NULL))
        return alloc_slow(bytes, kind);
    hz5_block_hand_out(top->state);
    hz5_thread.top[size_class] = top - 1;
    return block;
}

static void watch(struct hz5_heap *heap, unsigned size_class) {
    arena_look();
    if (HZ_UNLIKELY(atomic_load_explicit(&arena_holds, memory_order_relaxed) != 0))
        hz_hidden_hide(&heap->hidden, size_class, (void **)hz5_thread.top, (void **)hz5_thread.limit, &empty_magazine);
}

static void *alloc_from_class(unsigned size_class) {
    struct hz5_heap *heap = hz5_heap_of_thread();
    void *block = NULL;
    if (HZ_LIKELY(heap != NULL)) {
        hz_heap_enter(&heap->is_busy);
        struct hz5_entry *top = hz5_filled(heap, size_class);
        if (HZ_LIKELY(top != NULL)) {
            hz5_block_hand_out(top->state);
            hz5_thread.top[size_class] = top - 1;
            block = top->block;
        }
        watch(heap, size_class);
        hz_heap_leave(&heap->is_busy);
    }
    hz_thread_leave_heap();
    return block;
}

// The table of classes may not have been filled yet: hz_init() comes first.
static void *alloc_any(size_t bytes, enum hzn_kind kind) {
    if (bytes > PTRDIFF_MAX || !hz_init())
        return NULL;
    int is_zero;
    if (hz5_is_checked)
        return hz5_checked_alloc(bytes, SIZECLASS_GRANULE, kind, &is_zero);
    return bytes > SIZECLASS_MAX_BYTES ? hz5_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero)
                                       : alloc_from_class(sizeclass_of(bytes));
}

static void *alloc_slow(size_t bytes, enum hzn_kind kind) {
    void *block = alloc_any(bytes, kind);
    if (HZ_UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

HZ_EXPORT void *malloc(size_t bytes) {
    return alloc(bytes, HZN_MALLOC);
}

void *hzn_alloc(size_t bytes) {
    return alloc(bytes, HZN_MALLOC);
}

void *hzn_new(size_t bytes) {
    return alloc(bytes, HZN_NEW);
}

void *hzn_new_array(size_t bytes) {
    return alloc(bytes, HZN_NEW_ARRAY);
}

void hzn_set_kind(void *block, enum hzn_kind kind) {
    if (hz5_is_checked)
        hz5_checked_set_kind(block, kind);
}

// Whether what is asked for is served with checks.
static int is_checked(void) {
    return hz_init() && hz5_is_checked;
}

void *hzn_alloc_zeroed(size_t bytes) {
    if (bytes > SIZECLASS_MAX_BYTES && is_checked()) {
        int is_zero;
        void *block = hz5_checked_alloc(bytes, SIZECLASS_GRANULE, HZN_MALLOC, &is_zero);
        if (block != NULL && !is_zero)
            memset(block, 0, bytes);
        return block;
    }
    if (bytes > SIZECLASS_MAX_BYTES) {
        int is_zero = 0;
        void *block = hz_init() ? hz5_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero) : NULL;
        if (block != NULL && !is_zero)
            zero_recycled(block, bytes);
        return block;
    }
    void *block = alloc(bytes, HZN_MALLOC);
    return block != NULL ? memset(block, 0, bytes) : NULL;
}

void *hzn_alloc_aligned(size_t alignment, size_t bytes) {
    if (!hz_init())
        return NULL;
    int is_zero;
    if (hz5_is_checked)
        return hz5_checked_alloc(bytes, alignment, HZN_MALLOC, &is_zero);
    unsigned size_class = sizeclass_of_aligned(bytes, alignment);
    if (size_class == SIZECLASS_COUNT)
        return hz5_large_alloc(bytes, alignment, &is_zero);
    struct hz5_entry *top = hz5_thread.top[size_class];
    if (top->block == NULL)
        return alloc_from_class(size_class);
    hz5_block_hand_out(top->state);
    hz5_thread.top[size_class] = top - 1;
    return top->block;
}

// ---- free ---------------------------------------------------------------------------------------------------------

// Nor with checks does a free come further on the fast path than to the question whether the block is of the arena.
static HZ_COLD void free_refused(void *block, enum hzn_kind kind) {
    if (hz5_is_checked)
        hz5_checked_free(block, kind, SIZE_MAX);
    else if (block != NULL)
        reject(block, REJECT_FREE, hz5_classify(block));
}

// The magazine is full, or out of sight.
static HZ_COLD void free_spill(void *block, struct hz5_block *state, size_t size_class) {
    struct hz5_heap *heap = hz5_thread.heap;
    hz5_block_free_own(state);
    hz_heap_enter(&heap->is_busy);
    hz5_keep(heap, (unsigned)size_class, block, state);
    watch(heap, (unsigned)size_class);
    hz_heap_leave(&heap->is_busy);
}

static HZ_COLD void free_large(void *block, struct hz5_desc *desc, struct hz5_block *state) {
    if (!hz5_block_free_large(state)) {
        free_refused(block, HZN_MALLOC);
        return;
    }
    hz5_large_release(desc);
}

// No small block starts there: the block of a large run, or nothing.
static HZ_COLD void free_large_or_refuse(void *block, struct hz5_desc *desc) {
    struct hz5_block *state;
    if (hz5_find_large(block, desc, &state))
        free_large(block, desc, state);
    else
        free_refused(block, HZN_MALLOC);
}

// The descriptor has changed under the look at it; as a loop it would cost the path that hardly ever loops its
// registers.
static HZ_COLD void free_again(void *block) {
    hzn_free(block);
}

// Any block whose run this thread does not own.
HZ_INLINE void free_remote(void *block, struct hz5_desc *desc, uint64_t owner_generation) {
    // ORDER: acquire: with owner_generation before and after it, a consistent look at the fields of one life; partners:
    // carve() and hz5_steps.h.
    uint64_t reciprocal = hz5_reciprocal_read(&desc->reciprocal);
    uint64_t offset = (uintptr_t)block - atomic_load_explicit(&desc->base, memory_order_acquire);
    struct hz5_position position = hz5_position_of(offset, reciprocal);
    if (HZ_UNLIKELY(position.remainder >= reciprocal)) {
        free_large_or_refuse(block, desc);
        return;
    }
    struct hz5_block *state = (struct hz5_block *)hz5_array_read(&desc->states) + position.index;
    struct hz5_desc *run = atomic_load_explicit(&desc->run, memory_order_acquire);
    if (HZ_UNLIKELY(hz5_owner_generation_read_again(&desc->owner_generation) != owner_generation)) {
        free_again(block);
        return;
    }
    // From here on the block may be drained, its run released and carved anew at any moment: nothing of the
    // descriptor can tell any more whether the free was good. A run released before has left its states at rest.
    if (HZ_UNLIKELY(!hz5_block_free_remote(state))) {
        free_refused(block, HZN_MALLOC);
        return;
    }
    hz5_remote_freed(run, position.index);
}

HZ_INLINE void free_block(void *block, enum hzn_kind kind) {
    size_t unit = hz5_unit_of_pointer(block);
    if (HZ_UNLIKELY(!arena_has_fast(unit))) {
        free_refused(block, kind);
        return;
    }
    struct hz5_desc *desc = hz5_desc_at(unit);
    uint64_t owner_generation = hz5_owner_generation_read(&desc->owner_generation);
    if (HZ_UNLIKELY(hz5_owner_of(owner_generation) != hz5_thread.owner)) {
        free_remote(block, desc, owner_generation);
        return;
    }
    // Own run: only this thread changes the descriptor, and other threads change a state only from LIVE to REMOTE.
    uint64_t offset = (uintptr_t)block - HZ5_OWN(desc, uintptr_t, base);
    struct hz5_position position = hz5_position_of(offset, HZ5_OWN(desc, uint64_t, reciprocal));
    if (HZ_UNLIKELY(position.remainder >= HZ5_OWN(desc, uint64_t, remainder_bound))) {
        free_refused(block, HZN_MALLOC);
        return;
    }
    struct hz5_block *state = (struct hz5_block *)(position.index + HZ5_OWN(desc, uintptr_t, states));
    if (HZ_UNLIKELY(!hz5_is_live(state))) {
        free_refused(block, HZN_MALLOC);
        return;
    }
    size_t size_class = HZ5_OWN(desc, uint8_t, size_class);
    struct hz5_entry *top = hz5_thread.top[size_class] + 1;
    if (HZ_UNLIKELY(top > hz5_thread.limit[size_class])) {
        free_spill(block, state, size_class);
        return;
    }
    hz5_block_free_own(state);
    top->block = block;
    top->state = state;
    hz5_thread.top[size_class] = top;
}

HZ_EXPORT void free(void *block) {
    free_block(block, HZN_MALLOC);
}

void hzn_free(void *block) {
    free_block(block, HZN_MALLOC);
}

void hzn_delete(void *block) {
    free_block(block, HZN_NEW);
}

void hzn_delete_array(void *block) {
    free_block(block, HZN_NEW_ARRAY);
}

// ---- lookups with verification ------------------------------------------------------------------------------------

static size_t usable_bytes(const struct hz5_desc *desc) {
    return atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE
               ? hz5_large_usable(desc)
               : atomic_load_explicit(&desc->block_bytes, memory_order_relaxed);
}

size_t hzn_usable_size(void *block) {
    if (block == NULL)
        return 0;
    struct hz5_block *state;
    struct hz5_desc *desc = hz5_find_live(block, &state);
    if (desc == NULL) {
        int found = 0;
        size_t bytes = hz5_is_checked ? hz5_checked_usable_size(block, &found) : 0;
        if (found)
            return bytes;
        reject(block, REJECT_USABLE_SIZE, hz5_classify(block));
        return 0;
    }
    return usable_bytes(desc);
}

void hzn_free_sized(void *block, size_t bytes, enum hzn_kind kind) {
    if (hz5_is_checked) {
        hz5_checked_free(block, kind, bytes);
        return;
    }
    struct hz5_block *state;
    struct hz5_desc *desc = block != NULL ? hz5_find_live(block, &state) : NULL;
    // A block may be larger than its request by alignment or in-place shrinking, never smaller.
    if (desc != NULL && bytes > usable_bytes(desc)) {
        reject(block, REJECT_FREE, ALLOCATOR_REJECT_SIZE_MISMATCH);
        return;
    }
    free_block(block, HZN_MALLOC);
}

// A large block must not be freed while its size changes, so it leaves LIVE; a concurrent free is refused.
static int resize_large(void *block, struct hz5_desc *desc, struct hz5_block *state, size_t bytes, int *refused) {
    if (!hz5_block_resize(state)) {
        reject(block, REJECT_REALLOC, hz5_classify(block));
        *refused = 1;
        return 0;
    }
    int done = hz5_large_resize(desc, bytes);
    hz5_block_resized(state);
    return done;
}

static int is_own(const struct hz5_desc *desc) {
    return hz5_owner_of(hz5_owner_generation_read_again(&desc->owner_generation)) == hz5_thread.owner;
}

// Takes a live block out of LIVE before its contents are copied: nobody can free it, and so get it handed out again,
// while they are read. 1 on success.
static int take_for_move(struct hz5_desc *desc, struct hz5_block *state) {
    if (is_own(desc)) {
        if (!hz5_block_is_live(state))
            return 0;
        hz5_block_free_own(state);
        return 1;
    }
    return hz5_block_take_to_move(state);
}

// Frees a block that take_for_move() has taken. 0 when its owner has freed it meanwhile.
static int give_moved(void *block, struct hz5_desc *desc, struct hz5_block *state) {
    if (is_own(desc)) {
        size_t size_class = atomic_load_explicit(&desc->size_class, memory_order_relaxed);
        struct hz5_entry *top = hz5_thread.top[size_class] + 1;
        if (top > hz5_thread.limit[size_class]) {
            free_spill(block, state, size_class);
            return 1;
        }
        top->block = block;
        top->state = state;
        hz5_thread.top[size_class] = top;
        return 1;
    }
    if (atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE) {
        hz5_block_free_moved_large(state);
        hz5_large_release_copied(desc);
        return 1;
    }
    struct hz5_desc *run = atomic_load_explicit(&desc->run, memory_order_relaxed);
    uint64_t index = (uint64_t)(state - hz5_states_of(run));
    if (!hz5_block_give_moved(state))
        return 0;
    hz5_remote_freed(run, index);
    return 1;
}

void *hzn_realloc(void *block, size_t bytes, int *refused) {
    struct hz5_block *state;
    struct hz5_desc *desc = hz5_find_live(block, &state);
    if (desc == NULL) {
        if (hz5_is_checked)
            return hz5_checked_realloc(block, bytes, refused);
        reject(block, REJECT_REALLOC, hz5_classify(block));
        *refused = 1;
        return NULL;
    }
    size_t old_bytes = usable_bytes(desc);
    int is_large = atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE;
    if (is_large) {
        if (bytes > SIZECLASS_MAX_BYTES && resize_large(block, desc, state, bytes, refused))
            return block;
        if (*refused)
            return NULL;
    } else if (bytes <= old_bytes && bytes >= old_bytes / 2) {
        return block; // a smaller class would save less than the copy costs
    }
    void *moved = is_large && bytes > old_bytes ? hz5_large_alloc_growing(bytes) : alloc(bytes, HZN_MALLOC);
    if (moved == NULL)
        return NULL;
    int taken = take_for_move(desc, state);
    if (taken)
        memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    if (!taken || !give_moved(block, desc, state)) {
        reject(block, REJECT_REALLOC, hz5_classify(block));
        *refused = 1;
        free_block(moved, HZN_MALLOC);
        return NULL;
    }
    return moved;
}
