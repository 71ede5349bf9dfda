// SPDX-License-Identifier: Apache-2.0
// Hand-over queue: a bounded ring of objects from one producer to one consumer, in harness memory.
// Invariant: head <= tail <= head + capacity; entries [head, tail) are valid. Linearisation points: push at the store
// of tail, drain at the store of head. No entry is reused before head has passed it, so there is no ABA; in the gap
// between writing an entry and storing tail a reader sees the ring without it. Layer: workloads.
#ifndef HZBENCH_HANDOVER_H
#define HZBENCH_HANDOVER_H

#include "object.h"

#include <stdatomic.h>

#define HANDOVER_LINE 128 // two cache lines: the adjacent-line prefetcher would tie neighbours together

struct handover_queue {
    _Alignas(HANDOVER_LINE) _Atomic uint64_t head; // consumer writes, any reads: entries taken
    _Alignas(HANDOVER_LINE) _Atomic uint64_t tail; // producer writes, any reads: entries given
    uint64_t seen_head;                            // producer: head when last looked at
    _Atomic uint32_t closed;                       // producer writes once: nothing follows
    _Alignas(HANDOVER_LINE) struct object *ring;   // const: capacity entries
    uint64_t capacity;                             // const: power of two
};

static inline void handover_init(struct handover_queue *queue, struct object *ring, uint64_t capacity) {
    atomic_store_explicit(&queue->head, 0, memory_order_relaxed);
    atomic_store_explicit(&queue->tail, 0, memory_order_relaxed);
    atomic_store_explicit(&queue->closed, 0, memory_order_relaxed);
    queue->seen_head = 0;
    queue->ring = ring;
    queue->capacity = capacity;
}

// Producer. Returns 0 when the ring is full; the object then stays with the caller.
OBJECT_INLINE int handover_push(struct handover_queue *queue, struct object object) {
    const uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    if (__builtin_expect(tail - queue->seen_head == queue->capacity, 0)) {
        // ORDER: acquire pairs with the release of head in handover_take: the entries below it have been read.
        queue->seen_head = atomic_load_explicit(&queue->head, memory_order_acquire);
        if (tail - queue->seen_head == queue->capacity)
            return 0;
    }
    queue->ring[tail & (queue->capacity - 1)] = object;
    // ORDER: release publishes the entry and the payload bytes of its block to handover_available.
    atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
    return 1;
}

// Producer: nothing will follow.
static inline void handover_close(struct handover_queue *queue) {
    // ORDER: release publishes the last tail to a consumer that sees `closed` in handover_is_closed.
    atomic_store_explicit(&queue->closed, 1, memory_order_release);
}

// Consumer. When this returns 1, what handover_available says afterwards is final.
static inline int handover_is_closed(const struct handover_queue *queue) {
    // ORDER: acquire pairs with the release in handover_close.
    return atomic_load_explicit(&queue->closed, memory_order_acquire) != 0;
}

// Consumer: number of entries that can be read from handover_entry(0..n-1).
OBJECT_INLINE uint64_t handover_available(const struct handover_queue *queue) {
    // ORDER: acquire pairs with the release of tail in handover_push: entries and payload are visible.
    const uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);
    return tail - atomic_load_explicit(&queue->head, memory_order_relaxed);
}

OBJECT_INLINE const struct object *handover_entry(const struct handover_queue *queue, uint64_t index) {
    const uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    return &queue->ring[(head + index) & (queue->capacity - 1)];
}

// Consumer: gives `count` entries back to the producer.
OBJECT_INLINE void handover_take(struct handover_queue *queue, uint64_t count) {
    const uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    // ORDER: release pairs with the acquire of head in handover_push: the entries may be overwritten now.
    atomic_store_explicit(&queue->head, head + count, memory_order_release);
}

#endif
