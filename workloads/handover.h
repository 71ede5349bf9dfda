// SPDX-License-Identifier: Apache-2.0
// Hand-over queue: a bounded ring of 8-byte words from one producer to one consumer, in harness memory. A word is an
// object: its address, the number of its last byte and its payload. An object that does not fit (bytes above 2,048, an
// address above 2^48 or not a multiple of 8) takes three words: 0, its meta, its address.
//
// What the two sides share travels once a batch: the producer stores `tail` when a batch of words is full, or when it
// flushes; the consumer stores `head` when it has done a chunk. Each keeps what it counts with on a line of its own.
// Invariant: head <= tail <= head + capacity; words [head, tail) are whole objects. Linearisation points: a publication
// at the store of tail, a return of room at the store of head. No word is reused before head has passed it, so there is
// no ABA; before the store of tail a reader sees the ring without the words. Layer: workloads.
#ifndef HZBENCH_HANDOVER_H
#define HZBENCH_HANDOVER_H

#include "object.h"

#include <stdatomic.h>

#define HANDOVER_LINE 128     // two cache lines: the adjacent-line prefetcher would tie neighbours together
#define HANDOVER_LONG_WORDS 3 // of an object that does not fit one
#define HANDOVER_META_BITS 19 // 11 bits of the last byte's number, 8 of payload
#define HANDOVER_ADDRESS_SHIFT 16
#define HANDOVER_SHORT_BYTES 2048u // number of the last byte in 11 bits
#define HANDOVER_META ((UINT64_C(1) << HANDOVER_META_BITS) - 1)

struct handover_queue {
    _Alignas(HANDOVER_LINE) _Atomic uint64_t head; // consumer writes, any reads: words taken
    _Alignas(HANDOVER_LINE) _Atomic uint64_t tail; // producer writes, any reads: words given
    _Atomic uint32_t closed;                       // producer writes once: nothing follows
    _Alignas(HANDOVER_LINE) uint64_t *next;        // producer: where the next word goes
    uint64_t *limit;                               // producer: where it has to publish, at `room` at the latest
    uint64_t *room;                                // producer: where the ring ends, or what it knows to be free
    uint64_t lap;                                  // producer: words of the laps before this one
    uint64_t seen_head;                            // producer: head when last looked at
    _Alignas(HANDOVER_LINE) uint64_t taken;        // consumer: head, before it is stored
    _Alignas(HANDOVER_LINE) uint64_t *ring;        // const: capacity words
    uint64_t capacity;                             // const: power of two
    uint64_t batch;                                // const: words a publication, at most
};

static inline void handover_init(struct handover_queue *queue, uint64_t *ring, uint64_t capacity, uint64_t batch) {
    atomic_store_explicit(&queue->head, 0, memory_order_relaxed);
    atomic_store_explicit(&queue->tail, 0, memory_order_relaxed);
    atomic_store_explicit(&queue->closed, 0, memory_order_relaxed);
    queue->next = queue->limit = queue->room = ring;
    queue->lap = queue->seen_head = queue->taken = 0;
    queue->ring = ring;
    queue->capacity = capacity;
    queue->batch = batch;
}

// ---- producer ------------------------------------------------------------------------------------------------------

static inline uint64_t handover_given(const struct handover_queue *queue) {
    return queue->lap + (uint64_t)(queue->next - queue->ring);
}

// Publishes what has been written.
static inline void handover_flush(struct handover_queue *queue) {
    const uint64_t given = handover_given(queue);
    if (given != atomic_load_explicit(&queue->tail, memory_order_relaxed)) {
        // ORDER: release publishes the words and the payload bytes of their blocks to handover_available.
        atomic_store_explicit(&queue->tail, given, memory_order_release);
    }
}

// Publishes, goes round the end of the ring, and looks for room. Returns 0 when there is none for so many words.
static __attribute__((noinline)) int handover_turn(struct handover_queue *queue, uint64_t words) {
    handover_flush(queue);
    const uint64_t given = handover_given(queue);
    if (queue->next == queue->ring + queue->capacity) {
        queue->next = queue->ring;
        queue->lap += queue->capacity;
    }
    queue->limit = queue->room = queue->next;
    if (given + words - queue->seen_head > queue->capacity) {
        // ORDER: acquire pairs with the release of head in handover_return: the words below it have been read.
        queue->seen_head = atomic_load_explicit(&queue->head, memory_order_acquire);
        if (given + words - queue->seen_head > queue->capacity)
            return 0;
    }
    const uint64_t at = (uint64_t)(queue->next - queue->ring);
    const uint64_t room = queue->capacity - (given - queue->seen_head);
    const uint64_t batch = queue->batch - at % queue->batch; // batches begin where lines do
    queue->room = queue->next + (room < queue->capacity - at ? room : queue->capacity - at);
    queue->limit = batch < (uint64_t)(queue->room - queue->next) ? queue->next + batch : queue->room;
    return 1;
}

// At the limit: publishes the batch. Returns 0 when the ring is full.
OBJECT_INLINE int handover_next_batch(struct handover_queue *queue) {
    uint64_t *const next = queue->next;
    if (__builtin_expect((uint64_t)(queue->room - next) <= queue->batch, 0))
        return handover_turn(queue, 1);
    // ORDER: as in handover_flush.
    atomic_store_explicit(&queue->tail, queue->lap + (uint64_t)(next - queue->ring), memory_order_release);
    queue->limit = next + queue->batch;
    return 1;
}

// Three words, published together, that may go round the end of the ring.
static __attribute__((noinline)) int handover_push_long(struct handover_queue *queue, const struct object *object) {
    if (!handover_turn(queue, HANDOVER_LONG_WORDS))
        return 0;
    const uint64_t words[HANDOVER_LONG_WORDS] = {0, object->meta, (uintptr_t)object->block};
    for (int i = 0; i < HANDOVER_LONG_WORDS; i++) {
        if (queue->next == queue->ring + queue->capacity) {
            queue->next = queue->ring;
            queue->lap += queue->capacity;
        }
        *queue->next++ = words[i];
    }
    queue->limit = queue->room = queue->next;
    handover_flush(queue);
    return 1;
}

// Returns 0 when the ring is full; the object then stays with the caller. `all_short`: the caller knows that no object
// is above HANDOVER_SHORT_BYTES.
OBJECT_INLINE int handover_push_known(struct handover_queue *queue, const struct object *object, const int all_short) {
    const uint64_t address = (uintptr_t)object->block;
    // Bits of the address that have no place come to lie where the meta belongs.
    const uint64_t turned = address << HANDOVER_ADDRESS_SHIFT | address >> (64 - HANDOVER_ADDRESS_SHIFT);
    if (__builtin_expect((turned & HANDOVER_META) != 0, 0) ||
        (!all_short && __builtin_expect(object->meta > HANDOVER_META, 0)))
        return handover_push_long(queue, object);
    if (__builtin_expect(queue->next == queue->limit, 0) && !handover_next_batch(queue))
        return 0;
    *queue->next++ = turned | object->meta;
    return 1;
}

OBJECT_INLINE int handover_push(struct handover_queue *queue, const struct object *object) {
    return handover_push_known(queue, object, 0);
}

// Nothing will follow.
static inline void handover_close(struct handover_queue *queue) {
    handover_flush(queue);
    // ORDER: release publishes the last tail to a consumer that sees `closed` in handover_is_closed.
    atomic_store_explicit(&queue->closed, 1, memory_order_release);
}

// ---- consumer ------------------------------------------------------------------------------------------------------

// When this returns 1, what handover_available says afterwards is final.
static inline int handover_is_closed(const struct handover_queue *queue) {
    // ORDER: acquire pairs with the release in handover_close.
    return atomic_load_explicit(&queue->closed, memory_order_acquire) != 0;
}

// Words that can be read.
OBJECT_INLINE uint64_t handover_available(const struct handover_queue *queue) {
    // ORDER: acquire pairs with the release of tail in handover_flush: words and payload are visible.
    return atomic_load_explicit(&queue->tail, memory_order_acquire) - queue->taken;
}

OBJECT_INLINE int handover_is_long(uint64_t word) {
    return word >> HANDOVER_META_BITS == 0;
}

OBJECT_INLINE struct object handover_object(uint64_t word) {
    uintptr_t address = word >> HANDOVER_META_BITS << 3;
    __asm__("" : "+r"(address)); // in a register, once: it is compared with and then passed to free
    return (struct object){(unsigned char *)address, word & HANDOVER_META};
}

// Where a block begins, or up to seven bytes behind: enough for a prefetch, and one instruction less.
OBJECT_INLINE const void *handover_hint(uint64_t word) {
    return (const void *)(uintptr_t)(word >> HANDOVER_ADDRESS_SHIFT);
}

// The object that begins at word number `at`, and how many words it has.
OBJECT_INLINE struct object handover_read(const struct handover_queue *queue, uint64_t at, uint64_t *words) {
    const uint64_t mask = queue->capacity - 1;
    const uint64_t word = queue->ring[at & mask];
    *words = 1;
    if (__builtin_expect(!handover_is_long(word), 1))
        return handover_object(word);
    *words = HANDOVER_LONG_WORDS;
    return (struct object){(unsigned char *)(uintptr_t)queue->ring[(at + 2) & mask], queue->ring[(at + 1) & mask]};
}

// Gives the words before number `at` back to the producer.
OBJECT_INLINE void handover_return(struct handover_queue *queue, uint64_t at) {
    queue->taken = at;
    // ORDER: release pairs with the acquire of head in handover_turn: the words may be overwritten now.
    atomic_store_explicit(&queue->head, at, memory_order_release);
}

#endif
