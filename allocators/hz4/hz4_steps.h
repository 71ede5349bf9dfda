// SPDX-License-Identifier: Apache-2.0
// The steps of hz4's protocol (allocators/common/protocol.h): who includes this defines what HZ_STEP becomes.
// hz4_states.h makes functions of them, tests/model/hz4_explorer.c a table. Holding a heap is a lock, not a step.
#ifndef HZ_STEP
#define HZ_STEP(word, type, name, kind, from, to, order)
#endif

// clang-format off

// ---- a heap's remote queue ----------------------------------------------------------------------------------------

HZ_STEP(hz4_queue, uint64_t, look, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
// any
// ORDER: seq_cst: (1) releases the pointers, and this thread's uses of the blocks, to who takes them; (2) comes before the
// look at the status and before a helper tries to hold; partner: hz4_fence_released.
HZ_STEP(hz4_queue, uint64_t, push, PUSH, HZ_ANY, HZ_ANY, memory_order_seq_cst)
// holder
// ORDER: acquire: the pointers and what senders did to the blocks; partner: push. Each sender's push continues the release
// sequence of those before it.
HZ_STEP(hz4_queue, uint64_t, take, EXCHANGE, HZ_ANY, 0, memory_order_acquire)
// any, behind push
// ORDER: seq_cst: the batch is sent before the look at the status; partner: released.
HZ_STEP(hz4_fence, , sent, FENCE, HZ_ANY, HZ_ANY, memory_order_seq_cst)
// who releases an abandoned heap
// ORDER: seq_cst: ABANDONED, and that nobody holds the heap, come before the look at the remote queue; partners: who
// sends looks at the status after it has sent, and tries to hold after that. One of the two sees the other, so no batch
// stays with an abandoned heap.
HZ_STEP(hz4_fence, , released, FENCE, HZ_ANY, HZ_ANY, memory_order_seq_cst)

// ---- where a block goes: owner of its run, or what a large run is -------------------------------------------------

HZ_STEP(hz4_way, uint32_t, read, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
HZ_STEP(hz4_way, uint32_t, write, PUT, HZ_ANY, HZ_ANY, memory_order_relaxed)
HZ_STEP(hz4_way, uint32_t, is_large, LOOK, HZ4_ROUTE_LARGE, HZ_ANY, memory_order_relaxed)
// any: the winner has freed the large run
HZ_STEP(hz4_way, uint32_t, free_large, SWAP, HZ4_ROUTE_LARGE, HZ4_ROUTE_LARGE_FREE, memory_order_relaxed)

// ---- a place of the depot -----------------------------------------------------------------------------------------

HZ_STEP(hz4_place, uint64_t, look, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
HZ_STEP(hz4_place, uint64_t, is_empty, LOOK, 0, HZ_ANY, memory_order_relaxed)
// ORDER: release: the pointers, and this thread's uses of the blocks; partner: take.
HZ_STEP(hz4_place, uint64_t, put, FILL, 0, HZ_ANY, memory_order_release)
// ORDER: acquire: the pointers and what earlier users did to the blocks; partner: put.
HZ_STEP(hz4_place, uint64_t, take, EXCHANGE, HZ_ANY, 0, memory_order_acquire)

// clang-format on

#undef HZ_STEP
