// SPDX-License-Identifier: Apache-2.0
// The words of hz5's protocol, their values, and the steps on them as functions.
#ifndef HZ5_STATES_H
#define HZ5_STATES_H

#include "../common/protocol.h"

// A block's life. Owner means the heap that owns the run.
//
//   FREE -> CACHED    owner: refill takes it into a magazine
//   CACHED -> LIVE    owner: malloc
//   LIVE -> CACHED    owner: free, plain load and plain store
//   LIVE -> REMOTE    any other thread: free, one compare-and-swap; the winner has freed the block
//   LIVE -> MOVING    any other thread: realloc, before it copies
//   MOVING -> REMOTE  the same thread: realloc, when it has copied
//   REMOTE -> FREE    owner: drain; REMOTE -> CACHED when a magazine wants it
//   CACHED -> FREE    owner: a magazine spills
enum hz5_state {
    HZ5_FREE = 0, // fresh metadata is all free
    HZ5_LIVE = 1,
    HZ5_CACHED = 2,
    HZ5_REMOTE = 3,
    HZ5_MOVING = 4,
    HZ5_NO_BLOCK = 0x7f, // behind the last block of a run
};

HZ_PROTOCOL_WORD(hz5_block, uint8_t)
HZ_PROTOCOL_WORD(hz5_bits, uint64_t)
HZ_PROTOCOL_WORD(hz5_queued, uint8_t)
HZ_PROTOCOL_WORD(hz5_queue, uint32_t)
HZ_PROTOCOL_WORD(hz5_owner_generation, uint64_t)
HZ_PROTOCOL_WORD(hz5_reciprocal, uint64_t)
HZ_PROTOCOL_WORD(hz5_array, uintptr_t)

#define HZ_STEP HZ_STEP_DEFINE
#include "hz5_steps.h"

// hz5_block_is_live() for the fast path: the compiler folds no atomic load into the comparison, which costs free an
// instruction; the machine's own byte comparison is such a load. Sanitizers must see the load itself.
#if defined(__x86_64__) && defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(__SANITIZE_THREAD__) &&                       \
    !defined(__SANITIZE_ADDRESS__)
HZ_INLINE int hz5_is_live(const struct hz5_block *state) {
    int is_live;
    __asm__ volatile("cmpb %2, %1" : "=@cce"(is_live) : "m"(state->protocol_word), "i"(hz5_block_is_live_from));
    return is_live;
}
#else
HZ_INLINE int hz5_is_live(const struct hz5_block *state) {
    return hz5_block_is_live(state);
}
#endif

// Eight states at once; the group is aligned, and other threads change single bytes in it by atomic operations.
HZ_INLINE uint64_t hz5_eight_blocks(struct hz5_block *states, memory_order order) {
    return atomic_load_explicit((_Atomic uint64_t *)(void *)states, order);
}

#endif
