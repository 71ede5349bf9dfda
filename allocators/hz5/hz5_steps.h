// SPDX-License-Identifier: Apache-2.0
// The steps of hz5's protocol (allocators/common/protocol.h): who includes this defines what HZ_STEP becomes.
// hz5_states.h makes functions of them, tests/model/hz5_explorer.c a table. `owner` is the heap that owns the run.
#ifndef HZ_STEP
#define HZ_STEP(word, type, name, kind, from, to, order)
#endif

// clang-format off

// ---- the state of a block -----------------------------------------------------------------------------------------

// owner: refill takes it into a magazine
HZ_STEP(hz5_block, uint8_t, refill, STORE, HZ5_FREE, HZ5_CACHED, memory_order_relaxed)
// owner: malloc
HZ_STEP(hz5_block, uint8_t, hand_out, STORE, HZ5_CACHED, HZ5_LIVE, memory_order_relaxed)
// owner: free sees that the block is live and takes it; another thread's free between the two is covered by the store
// and shows in the accounts (hz5_audit)
HZ_STEP(hz5_block, uint8_t, is_live, LOOK, HZ5_LIVE, HZ_ANY, memory_order_relaxed)
HZ_STEP(hz5_block, uint8_t, free_own, COVER, HZ5_LIVE, HZ5_CACHED, memory_order_relaxed)
// any other thread: the winner has freed the block
// ORDER: seq_cst: (1) releases this thread's uses of the block to the owner that drains it; (2) comes before the look
// at the region's bit in the one total order in which the owner takes the bits before it reads the states, so either the
// drainer sees REMOTE or we see the cleared bit; partners: (1) see_remote; (2) look, against take and then is_remote.
// is_remote reads eight states at once, which C11 does not relate to the one that is exchanged here: x86-64 and Arm order
// a wide load for each of its bytes.
HZ_STEP(hz5_block, uint8_t, free_remote, SWAP, HZ5_LIVE, HZ5_REMOTE, memory_order_seq_cst)
// any other thread: realloc, before it copies. A state of its own: give_moved must see when the owner's free, with its
// plain load and store, has covered it.
// ORDER: acquire: the copy comes after; partner: the release part of every step that gives the block away.
HZ_STEP(hz5_block, uint8_t, take_to_move, SWAP, HZ5_LIVE, HZ5_MOVING, memory_order_acquire)
// the same thread, when it has copied
// ORDER: seq_cst: as free_remote.
HZ_STEP(hz5_block, uint8_t, give_moved, SWAP, HZ5_MOVING, HZ5_REMOTE, memory_order_seq_cst)
// owner: drain. The first look reads eight states at once; accesses of different sizes do not synchronise, so each
// REMOTE state is read again by itself.
// ORDER: seq_cst: after the bits were taken; partner: free_remote.
HZ_STEP(hz5_block, uint8_t, is_remote, LOOK, HZ5_REMOTE, HZ_ANY, memory_order_seq_cst)
// ORDER: acquire: the block's contents; partners: free_remote, give_moved.
HZ_STEP(hz5_block, uint8_t, see_remote, LOAD, HZ5_REMOTE, HZ_ANY, memory_order_acquire)
// ORDER: release: the block is counted as drained before its state changes; partner: count.
HZ_STEP(hz5_block, uint8_t, drain_to_magazine, STORE, HZ5_REMOTE, HZ5_CACHED, memory_order_release)
HZ_STEP(hz5_block, uint8_t, drain_to_run, STORE, HZ5_REMOTE, HZ5_FREE, memory_order_release)
// owner: a magazine spills
HZ_STEP(hz5_block, uint8_t, spill, STORE, HZ5_CACHED, HZ5_FREE, memory_order_relaxed)

// A large run's block: whoever takes it out of LIVE alone may change the run.
// ORDER: acq_rel: the winner's earlier uses of the block happen before its memory is given away, and it sees the size
// that the last resize has left; partners: every other free of the block, resized.
HZ_STEP(hz5_block, uint8_t, free_large, SWAP, HZ5_LIVE, HZ5_CACHED, memory_order_acq_rel)
// ORDER: acquire: the descriptor is read after the block is ours; partner: resized.
HZ_STEP(hz5_block, uint8_t, resize, SWAP, HZ5_LIVE, HZ5_CACHED, memory_order_acquire)
// ORDER: release: the new size is visible to whoever finds the block live again; partners: free_large, resize.
HZ_STEP(hz5_block, uint8_t, resized, STORE, HZ5_CACHED, HZ5_LIVE, memory_order_release)
// realloc has copied it; nobody else changes MOVING there
HZ_STEP(hz5_block, uint8_t, free_moved_large, STORE, HZ5_MOVING, HZ5_CACHED, memory_order_relaxed)

// What no step of another thread follows: states before a run's first life and after its last, and looks that decide
// nothing but what is reported.
HZ_STEP(hz5_block, uint8_t, rest, PUT, HZ_ANY, HZ_ANY, memory_order_relaxed)
HZ_STEP(hz5_block, uint8_t, peek, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
// ORDER: acquire: partners: drain_to_magazine, drain_to_run, which follow the count of what is drained.
HZ_STEP(hz5_block, uint8_t, count, LOAD, HZ_ANY, HZ_ANY, memory_order_acquire)

// ---- bits of the regions with blocks that the owner does not know of ----------------------------------------------

// ORDER: seq_cst: after free_remote. A set bit means that a drain which will see our state is still to come; partner:
// take, then is_remote.
HZ_STEP(hz5_bits, uint64_t, look, LOAD, HZ_ANY, HZ_ANY, memory_order_seq_cst)
// ORDER: seq_cst: before the look whether the run is queued; partner: clear, then take.
HZ_STEP(hz5_bits, uint64_t, set, OR, HZ_ANY, HZ_ANY, memory_order_seq_cst)
// owner
// ORDER: seq_cst: before the states are read; partner: free_remote.
HZ_STEP(hz5_bits, uint64_t, take, EXCHANGE, HZ_ANY, 0, memory_order_seq_cst)
// owner of a longer run in which the unit lies now: late bits of the unit's last life
HZ_STEP(hz5_bits, uint64_t, drop, EXCHANGE, HZ_ANY, 0, memory_order_relaxed)

// ---- whether a run is in a queue, or in its owner's list of such --------------------------------------------------

// ORDER: seq_cst: after the bit was set; partner: clear: the drainer clears the flag before it looks for bits.
HZ_STEP(hz5_queued, uint8_t, is_clear, LOOK, 0, HZ_ANY, memory_order_seq_cst)
// ORDER: seq_cst: as is_clear; whoever has found 0 queues the run.
HZ_STEP(hz5_queued, uint8_t, mark, EXCHANGE, 0, 1, memory_order_seq_cst)
// whoever has marked it, or taken it out of a queue
// ORDER: seq_cst: before the next look at the bits and at the owner, so that a thread which sets a bit later queues the
// run again; partners: set, then is_clear or mark.
HZ_STEP(hz5_queued, uint8_t, clear, STORE, 1, 0, memory_order_seq_cst)
// owner, before it gives the run away
HZ_STEP(hz5_queued, uint8_t, peek_clear, LOOK, 0, HZ_ANY, memory_order_relaxed)

// ---- a heap's queue of such runs ----------------------------------------------------------------------------------

HZ_STEP(hz5_queue, uint32_t, head, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
// ORDER: seq_cst: releases the run's link to the drainer, and comes before the look at the heap's status in the order
// in which a thread that ends sets the status before its last look at the queue; partners: take; hz_status_abandon, then
// is_empty.
HZ_STEP(hz5_queue, uint32_t, push, PUSH, HZ_ANY, HZ_ANY, memory_order_seq_cst)
// owner
// ORDER: seq_cst: acquires the links of the runs; partner: push.
HZ_STEP(hz5_queue, uint32_t, take, EXCHANGE, HZ_ANY, 0, memory_order_seq_cst)
// ORDER: seq_cst: after hz_status_abandon; partner: push.
HZ_STEP(hz5_queue, uint32_t, is_empty, LOOK, 0, HZ_ANY, memory_order_seq_cst)

// ---- the descriptor -----------------------------------------------------------------------------------------------

// reciprocal is 0 from before the end of a run's life until all of the next, owner_generation too, is written; a free of
// another thread reads owner_generation, reciprocal, the rest, and owner_generation again. So what it has read is all of
// one life, or reciprocal is 0, or the second look shows the change.

// ORDER: acquire: the fields of the life that owner_generation names; partner: write.
HZ_STEP(hz5_owner_generation, uint64_t, read, LOAD, HZ_ANY, HZ_ANY, memory_order_acquire)
HZ_STEP(hz5_owner_generation, uint64_t, read_again, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
// ORDER: seq_cst: after a bit was set; partner: hz5_fence_carved, after which the owner looks for bits.
HZ_STEP(hz5_owner_generation, uint64_t, read_to_queue, LOAD, HZ_ANY, HZ_ANY, memory_order_seq_cst)
// owner
// ORDER: release: the descriptor's fields; partner: read.
HZ_STEP(hz5_owner_generation, uint64_t, write, PUT, HZ_ANY, HZ_ANY, memory_order_release)
// ORDER: acquire: the fields of the life that reciprocal belongs to, and owner_generation; partner: begin.
HZ_STEP(hz5_reciprocal, uint64_t, read, LOAD, HZ_ANY, HZ_ANY, memory_order_acquire)
// owner: carving, after owner_generation and all else
// ORDER: release: partner: read: whoever sees it and has seen the unit without a run sees another owner_generation the
// second time.
HZ_STEP(hz5_reciprocal, uint64_t, begin, PUT, HZ_ANY, HZ_ANY, memory_order_release)
// owner: release, before owner_generation
HZ_STEP(hz5_reciprocal, uint64_t, end, STORE, HZ_ANY, 0, memory_order_relaxed)
// ORDER: acquire: the owner_generation of before the array's life; partner: write.
HZ_STEP(hz5_array, uintptr_t, read, LOAD, HZ_ANY, HZ_ANY, memory_order_acquire)
HZ_STEP(hz5_array, uintptr_t, read_own, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
// owner: carving
// ORDER: release: after the write of owner_generation that ended the unit's last life; partner: read.
HZ_STEP(hz5_array, uintptr_t, write, PUT, HZ_ANY, HZ_ANY, memory_order_release)
// owner: carving, when all is written
// ORDER: seq_cst: before the look for bits that a thread which freed into the unit's last life may have set after that
// life's last drain; it sets the bit before it looks for an owner; partners: set, then read_to_queue.
HZ_STEP(hz5_fence, , carved, FENCE, HZ_ANY, HZ_ANY, memory_order_seq_cst)

// clang-format on

#undef HZ_STEP
