// SPDX-License-Identifier: Apache-2.0
// The steps on a heap's status (protocol.h): who includes this defines what HZ_STEP becomes. heap_states.h makes
// functions of them, the explorers in tests/model a table. hz3 and hz5 acquire a heap by its status; hz4 has a lock in
// each heap, and writes the status only while it holds that.
#ifndef HZ_STEP
#define HZ_STEP(word, type, name, kind, from, to, order)
#endif

// clang-format off

// the heap's first thread
HZ_STEP(hz_status, uint32_t, begin, STORE, HZ_HEAP_UNUSED, HZ_HEAP_ALIVE, memory_order_relaxed)
// the thread that ends, or the one that has acquired the heap
// ORDER: seq_cst: releases the heap, and comes before the look at its remote queue; partner: is_abandoned, after a push.
HZ_STEP(hz_status, uint32_t, abandon, STORE, HZ_ANY, HZ_HEAP_ABANDONED, memory_order_seq_cst)
// ORDER: seq_cst: after the push to the heap's remote queue; partner: abandon.
HZ_STEP(hz_status, uint32_t, is_abandoned, LOOK, HZ_HEAP_ABANDONED, HZ_ANY, memory_order_seq_cst)
HZ_STEP(hz_status, uint32_t, peek_abandoned, LOOK, HZ_HEAP_ABANDONED, HZ_ANY, memory_order_relaxed)
// ORDER: acq_rel: whoever takes the heap sees all that its last holder did, and publishes nothing before it holds it;
// partner: abandon.
HZ_STEP(hz_status, uint32_t, acquire, SWAP, HZ_HEAP_ABANDONED, HZ_HEAP_ACQUIRED, memory_order_acq_rel)
// hz3, hz5: the heap's thread, on slow paths that change runs
// ORDER: acquire: what the last helper did; partner: helped.
HZ_STEP(hz_status, uint32_t, hold, SWAP, HZ_HEAP_ALIVE, HZ_HEAP_HELD, memory_order_acquire)
// ORDER: release: partner: help.
HZ_STEP(hz_status, uint32_t, let_go, STORE, HZ_HEAP_HELD, HZ_HEAP_ALIVE, memory_order_release)
// hz3, hz5: another thread, which drains for a thread that does not come to it
// ORDER: seq_cst: acquires what the last holder did, and comes before the look whether a fork is coming: the thread
// that forks says so before it looks whether its heap is helped; partners: let_go, helped, acquire before reclaim, and
// is_helped behind the store to hz_fork_is_coming.
HZ_STEP(hz_status, uint32_t, help, SWAP, HZ_HEAP_ALIVE, HZ_HEAP_HELPED, memory_order_seq_cst)
// ORDER: release: partners: hold, help.
HZ_STEP(hz_status, uint32_t, helped, STORE, HZ_HEAP_HELPED, HZ_HEAP_ALIVE, memory_order_release)
// ORDER: seq_cst: after the thread has said that it is going to fork; partner: help.
HZ_STEP(hz_status, uint32_t, is_helped, LOOK, HZ_HEAP_HELPED, HZ_ANY, memory_order_seq_cst)
// a new thread, which has acquired the heap and has written nothing since: relaxed, because the store continues the release
// sequence of this thread's acquire, whom help and hold then acquire from (C11 5.1.2.4 p10)
HZ_STEP(hz_status, uint32_t, reclaim, STORE, HZ_HEAP_ACQUIRED, HZ_HEAP_ALIVE, memory_order_relaxed)
// hz4: a new thread, and the thread that ends; they hold the heap's lock
HZ_STEP(hz_status, uint32_t, reclaim_locked, STORE, HZ_HEAP_ABANDONED, HZ_HEAP_ALIVE, memory_order_relaxed)
HZ_STEP(hz_status, uint32_t, abandon_locked, STORE, HZ_HEAP_ALIVE, HZ_HEAP_ABANDONED, memory_order_relaxed)
// child of a fork: the heap is whole; it is not
HZ_STEP(hz_status, uint32_t, peek, LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed)
HZ_STEP(hz_status, uint32_t, survive, STORE, HZ_ANY, HZ_HEAP_ABANDONED, memory_order_relaxed)
HZ_STEP(hz_status, uint32_t, lose, STORE, HZ_ANY, HZ_HEAP_LOST, memory_order_relaxed)

// clang-format on

#undef HZ_STEP
