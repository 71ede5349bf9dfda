// SPDX-License-Identifier: Apache-2.0
// Remote frees: blocks that go to their owners. A thread collects the compressed pointers of foreign blocks in one
// private buffer per owner and pushes a copy of a full buffer to the owner's remote queue with one compare-and-swap;
// the owner takes the whole remote queue with one exchange when a list of it is empty. They travel in arrays: a list
// linked through the blocks would cost the owner a miss for each.
#include "hz3.h"

#include "../common/check.h"

#include <errno.h>

#define OPEN_BATCH_BYTES HZ_KIB(16) // of blocks in one buffer, before it is pushed
#define OPEN_HEAP_BYTES HZ_KIB(64)  // and in all buffers of a thread
#define WAITING_BYTES HZ_KIB(256)   // in one remote queue, before who sends drains it for an owner that does not
#define EMPTIES_PER_ALLOCATION 16u

_Static_assert((OPEN_BATCH_BYTES + SIZECLASS_MAX_BYTES) / SIZECLASS_GRANULE <= UINT16_MAX, "a batch tells its bytes");

// Empty batches that no heap holds; taken all at once, so that no pop can meet a link that has moved on.
static struct { _Alignas(2 * HZ_CACHE_LINE) _Atomic uintptr_t newest; } empties;

static struct hz3_batch *batch_of(uintptr_t link) {
    return (struct hz3_batch *)link;
}

static uint32_t compressed_of(const void *block) {
    return (uint32_t)((uintptr_t)block >> 4);
}

static uint32_t window_of(const void *block) {
    return (uint32_t)((uintptr_t)block >> 36);
}

static void *block_of(uint32_t window, uint32_t compressed) {
    return (void *)((uintptr_t)window << 36 | (uintptr_t)compressed << 4);
}

// ---- empty batches ------------------------------------------------------------------------------------------------

static struct hz3_batch *empty_take(struct hz3_heap *heap) {
    if (heap->batches == NULL && atomic_load_explicit(&empties.newest, memory_order_relaxed) != 0) {
        // ORDER: acquire: the links, and the end of the last reader's use; partner: the release in empties_give().
        heap->batches = batch_of(atomic_exchange_explicit(&empties.newest, 0, memory_order_acquire));
    }
    if (heap->batches == NULL) {
        int saved = errno;
        struct hz3_batch *fresh = arena_metadata(EMPTIES_PER_ALLOCATION * sizeof(struct hz3_batch), HZ_CACHE_LINE);
        errno = saved;
        for (unsigned i = 0; fresh != NULL && i < EMPTIES_PER_ALLOCATION; i++) {
            fresh[i].next = (uintptr_t)heap->batches;
            heap->batches = fresh + i;
        }
    }
    struct hz3_batch *batch = heap->batches;
    if (batch != NULL)
        heap->batches = batch_of(batch->next);
    return batch;
}

static void empties_give(uintptr_t first, struct hz3_batch *last) {
    uintptr_t head = atomic_load_explicit(&empties.newest, memory_order_relaxed);
    do {
        last->next = head;
        // ORDER: release: the links, and our reading of the pointers comes before anybody's writing; partner:
        // empty_take().
    } while (!atomic_compare_exchange_weak_explicit(&empties.newest, &head, first, memory_order_release,
                                                    memory_order_relaxed));
}

// ---- pushing ------------------------------------------------------------------------------------------------------

static uintptr_t link_in(uintptr_t queue) {
    return queue & (((uintptr_t)1 << HZ3_QUEUE_LINK_BITS) - 1);
}

static uintptr_t bytes_in(uintptr_t queue) {
    return queue >> HZ3_QUEUE_LINK_BITS << HZ3_QUEUE_BYTES_SHIFT;
}

static uintptr_t queue_of(uintptr_t link, uintptr_t bytes) {
    uintptr_t most = UINTPTR_MAX >> HZ3_QUEUE_LINK_BITS;
    uintptr_t units = (bytes + (1u << HZ3_QUEUE_BYTES_SHIFT) - 1) >> HZ3_QUEUE_BYTES_SHIFT;
    return link | (units < most ? units : most) << HZ3_QUEUE_LINK_BITS;
}

static void push(uint32_t owner, uintptr_t link, uintptr_t *next, uint32_t bytes) {
    struct hz3_heap *heap = hz3_heap_by_id(owner);
    uintptr_t head = atomic_load_explicit(&heap->remote_queue, memory_order_relaxed);
    do {
        *next = link_in(head);
        // ORDER: seq_cst: releases the pointers and this thread's uses of the blocks to who drains, and comes before
        // the look at the status in the order in which a heap is abandoned before the last look at its remote queue
        // (hz_heap_release); partners: hz3_remote_drain(), hzn_heap_has_remote() behind hz_status_abandon.
    } while (!atomic_compare_exchange_weak_explicit(&heap->remote_queue, &head, queue_of(link, bytes_in(head) + bytes),
                                                    memory_order_seq_cst, memory_order_relaxed));
    // Nobody else would drain for a thread that has ended.
    if (HZ_UNLIKELY(hz_status_is_abandoned(&heap->common.status)) && hz_heap_acquire(&heap->common)) {
        hz3_remote_drain(heap);
        hz_heap_release(&heap->common);
    } else if (HZ_UNLIKELY(bytes_in(head) >= WAITING_BYTES) && heap != hz3_thread.heap && hz_heap_help(&heap->common)) {
        hz3_remote_drain(heap);
        hz_heap_helped(&heap->common);
    }
}

void hz3_remote_send(uint32_t owner, void *block) {
    push(owner, (uintptr_t)block | HZ3_LINK_IS_BLOCK, block, sizeclass_bytes[hz3_tag_class(hz3_tag_of(block))]);
}

static void flush(struct hz3_heap *heap, struct hz3_open_batch *open) {
    uint32_t count = open->count;
    if (count == 0)
        return;
    uint32_t bytes = open->bytes;
    hz_tally_add(&heap->open_bytes, 0 - (uint64_t)bytes);
    open->count = 0;
    open->bytes = 0;
    open->is_stale = 0;
    struct hz3_batch *batch = empty_take(heap);
    if (HZ_UNLIKELY(batch == NULL)) {
        // No memory: each block is sent alone. Pushing may lead back here, to the same buffer, so its pointers are
        // copied first.
        uint32_t owner = open->owner;
        uint32_t window = open->window;
        uint32_t compressed[HZ3_BATCH_BLOCKS];
        for (uint32_t i = 0; i < count; i++)
            compressed[i] = open->compressed[i];
        for (uint32_t i = 0; i < count; i++)
            hz3_remote_send(owner, block_of(window, compressed[i]));
        return;
    }
    if (heap->batches != NULL)
        __builtin_prefetch(heap->batches, 1);
    batch->window = open->window;
    batch->count = (uint16_t)count;
    batch->granules = (uint16_t)(bytes / SIZECLASS_GRANULE);
    hz_tally_add(&heap->sent_bytes, bytes);
    for (uint32_t i = 0; i < HZ3_BATCH_BLOCKS; i++) // all of them: a fixed count is a handful of vector moves
        batch->compressed[i] = open->compressed[i];
    push(open->owner, (uintptr_t)batch, &batch->next, bytes);
}

void hz3_remote_flush(struct hz3_heap *heap) {
    for (uint32_t i = 0; heap->open != NULL && hz_tally_get(&heap->open_bytes) != 0 && i < HZ3_OPEN_BATCHES; i++)
        flush(heap, heap->open + i);
}

void hz3_remote_tick(struct hz3_heap *heap) {
    if (hz_tally_get(&heap->open_bytes) == 0)
        return;
    heap->open_hand = (heap->open_hand + 1) % HZ3_OPEN_BATCHES;
    struct hz3_open_batch *open = heap->open + heap->open_hand;
    if (open->is_stale)
        flush(heap, open);
    open->is_stale = open->count != 0;
}

static HZ3_SLOW int open_begin(struct hz3_heap *heap) {
    int saved = errno;
    heap->open = arena_metadata(HZ3_OPEN_BATCHES * sizeof(struct hz3_open_batch), HZ_CACHE_LINE);
    errno = saved;
    return heap->open != NULL;
}

void hz3_remote_free(struct hz3_heap *heap, uint32_t owner, void *block, unsigned size_class) {
    if (HZ_UNLIKELY(heap->open == NULL && !open_begin(heap))) {
        hz3_remote_send(owner, block);
        return;
    }
    struct hz3_open_batch *open = heap->open + owner % HZ3_OPEN_BATCHES;
    if (HZ_UNLIKELY(open->owner != owner || open->window != window_of(block))) {
        flush(heap, open);
        open->owner = owner;
        open->window = window_of(block);
    }
    open->compressed[open->count++] = compressed_of(block);
    open->bytes += sizeclass_bytes[size_class];
    hz_tally_add(&heap->open_bytes, sizeclass_bytes[size_class]);
    if (HZ_UNLIKELY(open->count == HZ3_BATCH_BLOCKS || open->bytes >= OPEN_BATCH_BYTES))
        flush(heap, open);
    else if (HZ_UNLIKELY(hz_tally_get(&heap->open_bytes) > OPEN_HEAP_BYTES))
        hz3_remote_flush(heap);
}

// ---- arriving -----------------------------------------------------------------------------------------------------

static void deliver(struct hz3_heap *heap, void *block) {
    uint32_t tag = hz3_tag_of(block);
    unsigned size_class = hz3_tag_class(tag);
    struct hz3_heap *mine = hz3_thread.heap;
    HZ_ASSERT(tag > HZ3_TAG_LARGE);
    if (HZ_UNLIKELY(hz3_tag_owner(tag) != heap->common.id)) // its run has been adopted meanwhile
        if (mine != NULL)
            hz3_remote_free(mine, hz3_tag_owner(tag), block, size_class);
        else
            hz3_remote_send(hz3_tag_owner(tag), block);
    else if (heap == mine && *hz3_room(size_class) > 0)
        hz3_list_push(block, size_class);
    else
        hz3_run_push(heap, block, size_class);
}

// By the heap's thread, by who has acquired the abandoned heap, or by a helper.
void hz3_remote_drain(struct hz3_heap *heap) {
    // ORDER: acquire: the pointers, and all uses of the blocks come before ours; partner: the exchange in push().
    uintptr_t link = link_in(atomic_exchange_explicit(&heap->remote_queue, 0, memory_order_acquire));
    uintptr_t first = 0;
    struct hz3_batch *last = NULL;
    while (link != 0) {
        if (link & HZ3_LINK_IS_BLOCK) {
            struct hz3_block *block = (struct hz3_block *)(link & ~HZ3_LINK_IS_BLOCK);
            link = (uintptr_t)block->next;
            deliver(heap, block);
            continue;
        }
        struct hz3_batch *batch = batch_of(link);
        uintptr_t next = batch->next;
        if (next != 0)
            __builtin_prefetch((const void *)next);
        hz_tally_add(&heap->received_bytes, (uint64_t)batch->granules * SIZECLASS_GRANULE);
        for (uint32_t i = 0; i < batch->count; i++)
            deliver(heap, block_of(batch->window, batch->compressed[i]));
        batch->next = first;
        first = link;
        if (last == NULL)
            last = batch;
        link = next;
    }
    if (last != NULL)
        empties_give(first, last);
}

int hzn_heap_has_remote(struct hz_heap *heap) {
    // ORDER: seq_cst: after the status; partner: push().
    return atomic_load_explicit(&hz3_heap_of(heap)->remote_queue, memory_order_seq_cst) != 0;
}

void hzn_heap_drain(struct hz_heap *heap) {
    hz3_remote_drain(hz3_heap_of(heap));
}
