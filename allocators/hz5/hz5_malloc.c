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

static HZ_COLD void *alloc_slow(size_t bytes);

// ---- malloc
// ----------------------------------------------------------------------------------------------------------

HZ_INLINE void *alloc(size_t bytes) {
    if (HZ_UNLIKELY(bytes > SIZECLASS_MAX_BYTES))
        return alloc_slow(bytes);
    unsigned size_class = sizeclass_of(bytes);
    struct hz5_entry *top = hz5_thread.top[size_class];
    void *block = top->block;
    if (HZ_UNLIKELY(block == NULL))
        return alloc_slow(bytes);
    atomic_store_explicit(top->state, HZ5_LIVE, memory_order_relaxed);
    hz5_thread.top[size_class] = top - 1;
    return block;
}

static void *alloc_from_class(unsigned size_class) {
    struct hz5_heap *heap = hz5_heap_of_thread();
    void *block = NULL;
    int is_filled = 0;
    if (HZ_LIKELY(heap != NULL)) {
        hz_heap_enter(&heap->is_busy);
        is_filled = hz5_refill(heap, size_class);
        hz_heap_leave(&heap->is_busy);
    }
    if (HZ_LIKELY(is_filled)) {
        struct hz5_entry *top = hz5_thread.top[size_class];
        atomic_store_explicit(top->state, HZ5_LIVE, memory_order_relaxed);
        hz5_thread.top[size_class] = top - 1;
        block = top->block;
    }
    hz5_heap_leave();
    return block;
}

// The table of classes may not have been filled yet: hz5_init() comes first.
static void *alloc_any(size_t bytes) {
    if (bytes > PTRDIFF_MAX || !hz5_init())
        return NULL;
    int is_zero;
    return bytes > SIZECLASS_MAX_BYTES ? hz5_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero)
                                       : alloc_from_class(sizeclass_of(bytes));
}

static void *alloc_slow(size_t bytes) {
    void *block = alloc_any(bytes);
    if (HZ_UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

HZ_EXPORT void *malloc(size_t bytes) {
    return alloc(bytes);
}

void *core_alloc(size_t bytes) {
    return alloc(bytes);
}

void *core_alloc_zeroed(size_t bytes) {
    if (bytes > SIZECLASS_MAX_BYTES) {
        int is_zero = 0;
        void *block = hz5_init() ? hz5_large_alloc(bytes, ARENA_UNIT_BYTES, &is_zero) : NULL;
        if (block != NULL && !is_zero)
            zero_recycled(block, bytes);
        return block;
    }
    void *block = alloc(bytes);
    return block != NULL ? memset(block, 0, bytes) : NULL;
}

void *core_alloc_aligned(size_t alignment, size_t bytes) {
    if (!hz5_init())
        return NULL;
    unsigned size_class = sizeclass_of_aligned(bytes, alignment);
    int is_zero;
    if (size_class == SIZECLASS_COUNT)
        return hz5_large_alloc(bytes, alignment, &is_zero);
    struct hz5_entry *top = hz5_thread.top[size_class];
    if (top->block == NULL)
        return alloc_from_class(size_class);
    atomic_store_explicit(top->state, HZ5_LIVE, memory_order_relaxed);
    hz5_thread.top[size_class] = top - 1;
    return top->block;
}

// ---- free
// ------------------------------------------------------------------------------------------------------------

static HZ_COLD void free_refused(void *block) {
    if (block != NULL)
        hz5_reject(block, HZ5_OP_FREE, hz5_classify(block));
}

// The magazine is full: half of it goes back to the runs. With a quarantine every free comes here.
static HZ_COLD void free_spill(void *block, _Atomic uint8_t *state, size_t size_class) {
    struct hz5_heap *heap = hz5_thread.heap;
    atomic_store_explicit(state, HZ5_CACHED, memory_order_relaxed);
    hz_heap_enter(&heap->is_busy);
    if (hz5_profile.quarantine_bytes != 0)
        hz5_quarantine(heap, block, state, (unsigned)size_class);
    else
        hz5_spill(heap, (unsigned)size_class, hz5_magazine_entries[size_class] / 2);
    hz_heap_leave(&heap->is_busy);
    if (hz5_profile.quarantine_bytes != 0)
        return;
    struct hz5_entry *top = hz5_thread.top[size_class] + 1;
    top->block = block;
    top->state = state;
    hz5_thread.top[size_class] = top;
}

static HZ_COLD void free_large(void *block, struct hz5_desc *desc, _Atomic uint8_t *state) {
    uint8_t expected = HZ5_LIVE;
    // ORDER: acq_rel: the winner's earlier uses of the block happen before its memory is given away, and no second free
    // can win (partner: every other free of the block, here).
    if (!atomic_compare_exchange_strong_explicit(state, &expected, HZ5_CACHED, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        free_refused(block);
        return;
    }
    hz5_large_release(desc);
}

// The block's state has become REMOTE by this thread: accounts for it and lets the owner know.
HZ_INLINE void remote_freed(struct hz5_desc *run, uint64_t index) {
    // ORDER: seq_cst: see free_remote(). A set bit means that a collection which will see our state is still to come.
    uint64_t pending = atomic_load_explicit(&run->pending, memory_order_seq_cst);
    if (HZ_UNLIKELY((pending >> hz5_region_of(index) & 1) == 0)) {
        hz5_publish(run, index);
        return;
    }
    hz5_count_issued(hz5_thread.heap);
}

// No small block starts there: the block of a large run, or nothing.
static HZ_COLD void free_large_or_refuse(void *block, struct hz5_desc *desc) {
    _Atomic uint8_t *state;
    if (hz5_find_large(block, desc, &state))
        free_large(block, desc, state);
    else
        free_refused(block);
}

// The descriptor has changed under the look at it; as a loop it would cost the path that hardly ever loops its
// registers.
static HZ_COLD void free_again(void *block) {
    core_free(block);
}

// Any block whose run this thread does not own.
HZ_INLINE void free_remote(void *block, struct hz5_desc *desc, uint64_t ident) {
    // ORDER: acquire: pairs with the release stores in carve() and release(). magic is 0 from before the end of a run's
    // life until all of the next, ident too, is written; ident is read before it and again behind the rest. So what is
    // read is all of one life, or magic is 0, or the second look shows the change.
    uint64_t magic = atomic_load_explicit(&desc->magic, memory_order_acquire);
    uint64_t offset = (uintptr_t)block - atomic_load_explicit(&desc->base, memory_order_acquire);
    struct hz5_place place = hz5_place_of(offset, magic);
    if (HZ_UNLIKELY(place.low >= magic)) {
        free_large_or_refuse(block, desc);
        return;
    }
    _Atomic uint8_t *state = (_Atomic uint8_t *)atomic_load_explicit(&desc->states, memory_order_acquire) + place.high;
    struct hz5_desc *run = atomic_load_explicit(&desc->run, memory_order_acquire);
    if (HZ_UNLIKELY(atomic_load_explicit(&desc->ident, memory_order_relaxed) != ident)) {
        free_again(block);
        return;
    }
    uint8_t expected = HZ5_LIVE;
    // ORDER: seq_cst: (1) releases this thread's uses of the block to the owner that collects it; (2) comes before the
    // load of `pending` in the one total order in which the owner exchanges `pending` before it reads the states, so
    // either the collector sees REMOTE or we see the cleared bit. From here on the block may be collected, its run
    // released and carved anew at any moment: nothing of the descriptor can tell any more whether the free was good. A
    // run released before the exchange has left its states at rest.
    if (HZ_UNLIKELY(!atomic_compare_exchange_strong_explicit(state, &expected, HZ5_REMOTE, memory_order_seq_cst,
                                                             memory_order_relaxed))) {
        free_refused(block);
        return;
    }
    remote_freed(run, place.high);
}

HZ_INLINE void free_block(void *block) {
    size_t unit = hz5_unit_of_pointer(block);
    if (HZ_UNLIKELY(!arena_has(unit))) {
        free_refused(block);
        return;
    }
    struct hz5_desc *desc = hz5_desc_at(unit);
    // ORDER: acquire: for free_remote(), see there.
    uint64_t ident = atomic_load_explicit(&desc->ident, memory_order_acquire);
    if (HZ_UNLIKELY(hz5_owner_of(ident) != hz5_thread.owner)) {
        free_remote(block, desc, ident);
        return;
    }
    // Own run: only this thread changes the descriptor, and other threads change a state only from LIVE to REMOTE.
    uint64_t offset = (uintptr_t)block - HZ5_OWN(desc, uintptr_t, base);
    struct hz5_place place = hz5_place_of(offset, HZ5_OWN(desc, uint64_t, magic));
    if (HZ_UNLIKELY(place.low >= HZ5_OWN(desc, uint64_t, magic_bound))) {
        free_refused(block);
        return;
    }
    _Atomic uint8_t *state = (_Atomic uint8_t *)(place.high + HZ5_OWN(desc, uintptr_t, states));
    if (HZ_UNLIKELY(!hz5_is_live(state))) {
        free_refused(block);
        return;
    }
    size_t size_class = HZ5_OWN(desc, uint8_t, size_class);
    struct hz5_entry *top = hz5_thread.top[size_class] + 1;
    if (HZ_UNLIKELY(top > hz5_thread.limit[size_class])) {
        free_spill(block, state, size_class);
        return;
    }
    atomic_store_explicit(state, HZ5_CACHED, memory_order_relaxed);
    top->block = block;
    top->state = state;
    hz5_thread.top[size_class] = top;
}

HZ_EXPORT void free(void *block) {
    free_block(block);
}

void core_free(void *block) {
    free_block(block);
}

// ---- lookups with verification
// ---------------------------------------------------------------------------------------

int hz5_find_small(const void *pointer, struct hz5_desc *desc, _Atomic uint8_t **state) {
    // ORDER: acquire: pairs with the release store of magic, the last field, in carve().
    uint64_t magic = atomic_load_explicit(&desc->magic, memory_order_acquire);
    uint64_t offset = (uintptr_t)pointer - atomic_load_explicit(&desc->base, memory_order_relaxed);
    struct hz5_place place = hz5_place_of(offset, magic);
    if (place.low >= magic)
        return 0;
    *state = hz5_states_of(desc) + place.high;
    return 1;
}

int hz5_find_large(const void *pointer, struct hz5_desc *desc, _Atomic uint8_t **state) {
    // ORDER: acquire: pairs with the release store in hz5_large_alloc().
    uint64_t ident = atomic_load_explicit(&desc->ident, memory_order_acquire);
    if (hz5_owner_of(ident) != HZ5_OWNER_LARGE || (uintptr_t)pointer % ARENA_UNIT_BYTES != 0)
        return 0;
    *state = &desc->large_state;
    return 1;
}

struct hz5_desc *hz5_find_live(const void *pointer, _Atomic uint8_t **state) {
    size_t unit = hz5_unit_of_pointer(pointer);
    if (!arena_has(unit))
        return NULL;
    struct hz5_desc *desc = hz5_desc_at(unit);
    if (!hz5_find_small(pointer, desc, state) && !hz5_find_large(pointer, desc, state))
        return NULL;
    if (atomic_load_explicit(*state, memory_order_relaxed) != HZ5_LIVE)
        return NULL;
    return desc;
}

static size_t usable_bytes(const struct hz5_desc *desc) {
    return atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE
               ? (size_t)desc->large_bytes
               : atomic_load_explicit(&desc->block_bytes, memory_order_relaxed);
}

size_t core_usable_size(void *block) {
    if (block == NULL)
        return 0;
    _Atomic uint8_t *state;
    struct hz5_desc *desc = hz5_find_live(block, &state);
    if (desc == NULL) {
        hz5_reject(block, HZ5_OP_USABLE_SIZE, hz5_classify(block));
        return 0;
    }
    return usable_bytes(desc);
}

void core_free_sized(void *block, size_t bytes) {
    _Atomic uint8_t *state;
    struct hz5_desc *desc = block != NULL ? hz5_find_live(block, &state) : NULL;
    // A block may be larger than its request by alignment or in-place shrinking, never smaller.
    if (desc != NULL && bytes > usable_bytes(desc)) {
        hz5_reject(block, HZ5_OP_FREE, ALLOCATOR_REJECT_SIZE_MISMATCH);
        return;
    }
    free_block(block);
}

// While a large block changes its size nobody may free it, so it leaves LIVE; a concurrent free is refused.
static int resize_large(void *block, struct hz5_desc *desc, _Atomic uint8_t *state, size_t bytes, int *refused) {
    uint8_t expected = HZ5_LIVE;
    // ORDER: acquire: the descriptor is read after the block is ours; partner: the release store below and in
    // free_large.
    if (!atomic_compare_exchange_strong_explicit(state, &expected, HZ5_CACHED, memory_order_acquire,
                                                 memory_order_relaxed)) {
        hz5_reject(block, HZ5_OP_REALLOC, hz5_classify(block));
        *refused = 1;
        return 0;
    }
    int done = hz5_large_resize(desc, bytes);
    // ORDER: release: the new size is visible to whoever finds the block live again (free_large, hz5_find_live).
    atomic_store_explicit(state, HZ5_LIVE, memory_order_release);
    return done;
}

static int is_own(const struct hz5_desc *desc) {
    return hz5_owner_of(atomic_load_explicit(&desc->ident, memory_order_relaxed)) == hz5_thread.owner;
}

// Takes a live block out of LIVE before its contents are copied: nobody can free it, and so get it handed out again,
// while they are read. 1 on success.
static int take_for_move(struct hz5_desc *desc, _Atomic uint8_t *state) {
    if (is_own(desc)) {
        if (atomic_load_explicit(state, memory_order_relaxed) != HZ5_LIVE)
            return 0;
        atomic_store_explicit(state, HZ5_CACHED, memory_order_relaxed);
        return 1;
    }
    // A state of its own: give_moved() must see when the owner's free, with its plain load and store, has covered it.
    uint8_t expected = HZ5_LIVE;
    // ORDER: acquire: the copy comes after; partner: the release part of every exchange that gives the block away.
    return atomic_compare_exchange_strong_explicit(state, &expected, HZ5_MOVING, memory_order_acquire,
                                                   memory_order_relaxed);
}

// Frees a block that take_for_move() has taken. 0 when its owner has freed it meanwhile.
static int give_moved(void *block, struct hz5_desc *desc, _Atomic uint8_t *state) {
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
    uint8_t expected = HZ5_MOVING;
    if (atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE) {
        atomic_store_explicit(state, HZ5_CACHED, memory_order_relaxed); // nobody else changes MOVING there
        hz5_large_release(desc);
        return 1;
    }
    struct hz5_desc *run = atomic_load_explicit(&desc->run, memory_order_relaxed);
    uint64_t index = (uint64_t)(state - hz5_states_of(run));
    // ORDER: seq_cst: as the exchange in free_remote().
    if (!atomic_compare_exchange_strong_explicit(state, &expected, HZ5_REMOTE, memory_order_seq_cst,
                                                 memory_order_relaxed))
        return 0;
    remote_freed(run, index);
    return 1;
}

void *core_realloc(void *block, size_t bytes, int *refused) {
    _Atomic uint8_t *state;
    struct hz5_desc *desc = hz5_find_live(block, &state);
    if (desc == NULL) {
        hz5_reject(block, HZ5_OP_REALLOC, hz5_classify(block));
        *refused = 1;
        return NULL;
    }
    size_t old_bytes = usable_bytes(desc);
    if (atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE) {
        if (bytes > SIZECLASS_MAX_BYTES && resize_large(block, desc, state, bytes, refused))
            return block;
        if (*refused)
            return NULL;
    } else if (bytes <= old_bytes && bytes >= old_bytes / 2) {
        return block; // a smaller class would save less than the copy costs
    }
    void *moved = alloc(bytes);
    if (moved == NULL)
        return NULL;
    int taken = take_for_move(desc, state);
    if (taken)
        memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    if (!taken || !give_moved(block, desc, state)) {
        hz5_reject(block, HZ5_OP_REALLOC, hz5_classify(block));
        *refused = 1;
        free_block(moved);
        return NULL;
    }
    return moved;
}
