// SPDX-License-Identifier: Apache-2.0
// Blocks on their way home. A thread notes the names of foreign blocks in one private buffer per owner and posts a copy
// of a full buffer to the owner's inbox with one compare-and-swap; the owner takes the whole inbox with one exchange
// when a list of it is empty. Names travel in arrays: a list linked through the blocks would cost the owner a miss for
// each.
#include "hz3.h"

#include "../common/check.h"

#include <errno.h>

#define STAGED_BLOCK_BYTES HZ_KIB(16) // named in one buffer, before it is posted
#define STAGED_HEAP_BYTES HZ_KIB(64)  // and in all buffers of a thread
#define BLANKS_PER_ALLOCATION 16u

_Static_assert((STAGED_BLOCK_BYTES + SIZECLASS_MAX_BYTES) / SIZECLASS_GRANULE <= UINT16_MAX,
               "a message tells its bytes");

// Blank messages that no heap holds; taken all at once, so that no pop can meet a link that has moved on.
static struct { _Alignas(2 * HZ_CACHE_LINE) _Atomic uintptr_t newest; } blanks;

static struct hz3_message *message_of(uintptr_t link) {
    return (struct hz3_message *)link;
}

static uint32_t name_of(const void *block) {
    return (uint32_t)((uintptr_t)block >> 4);
}

static uint32_t window_of(const void *block) {
    return (uint32_t)((uintptr_t)block >> 36);
}

static void *block_of(uint32_t window, uint32_t name) {
    return (void *)((uintptr_t)window << 36 | (uintptr_t)name << 4);
}

// ---- blank messages ------------------------------------------------------------------------------------------------

static struct hz3_message *blank_take(struct hz3_heap *heap) {
    if (heap->messages == NULL && atomic_load_explicit(&blanks.newest, memory_order_relaxed) != 0) {
        // ORDER: acquire: the links, and the end of the last reader's use; partner: the release in blanks_give().
        heap->messages = message_of(atomic_exchange_explicit(&blanks.newest, 0, memory_order_acquire));
    }
    if (heap->messages == NULL) {
        int saved = errno;
        struct hz3_message *fresh = arena_metadata(BLANKS_PER_ALLOCATION * sizeof(struct hz3_message), HZ_CACHE_LINE);
        errno = saved;
        for (unsigned i = 0; fresh != NULL && i < BLANKS_PER_ALLOCATION; i++) {
            fresh[i].next = (uintptr_t)heap->messages;
            heap->messages = fresh + i;
        }
    }
    struct hz3_message *message = heap->messages;
    if (message != NULL)
        heap->messages = message_of(message->next);
    return message;
}

static void blanks_give(uintptr_t first, struct hz3_message *last) {
    uintptr_t head = atomic_load_explicit(&blanks.newest, memory_order_relaxed);
    do {
        last->next = head;
        // ORDER: release: the links, and our reading of the names comes before anybody's writing; partner:
        // blank_take().
    } while (!atomic_compare_exchange_weak_explicit(&blanks.newest, &head, first, memory_order_release,
                                                    memory_order_relaxed));
}

// ---- posting -------------------------------------------------------------------------------------------------------

static void post(uint32_t owner, uintptr_t link, uintptr_t *next) {
    struct hz3_heap *heap = hz3_heap_by_id(owner);
    uintptr_t head = atomic_load_explicit(&heap->inbox, memory_order_relaxed);
    do {
        *next = head;
        // ORDER: seq_cst: releases the names and this thread's uses of the blocks to who drains, and comes before the
        // look at the status in the order in which a heap is abandoned before the last look at its inbox
        // (hz_heap_release).
    } while (
        !atomic_compare_exchange_weak_explicit(&heap->inbox, &head, link, memory_order_seq_cst, memory_order_relaxed));
    // Nobody else would drain for a thread that has ended.
    if (HZ_UNLIKELY(hz_status_is_abandoned(&heap->common.status)) && hz_heap_acquire(&heap->common)) {
        hz3_mail_drain(heap);
        hz_heap_release(&heap->common);
    }
}

void hz3_mail_send(uint32_t owner, void *block) {
    post(owner, (uintptr_t)block | HZ3_LINK_IS_BLOCK, block);
}

static void flush(struct hz3_heap *heap, struct hz3_staged *staged) {
    uint32_t count = staged->count;
    if (count == 0)
        return;
    uint32_t bytes = staged->bytes;
    hz_tally_add(&heap->staged_bytes, 0 - (uint64_t)bytes);
    staged->count = 0;
    staged->bytes = 0;
    staged->is_stale = 0;
    struct hz3_message *message = blank_take(heap);
    if (HZ_UNLIKELY(message == NULL)) {
        // No memory: each block goes alone. Posting may lead back here, to the same buffer, so its names are copied
        // first.
        uint32_t owner = staged->owner;
        uint32_t window = staged->window;
        uint32_t names[HZ3_MESSAGE_NAMES];
        for (uint32_t i = 0; i < count; i++)
            names[i] = staged->names[i];
        for (uint32_t i = 0; i < count; i++)
            hz3_mail_send(owner, block_of(window, names[i]));
        return;
    }
    if (heap->messages != NULL)
        __builtin_prefetch(heap->messages, 1);
    message->window = staged->window;
    message->count = (uint16_t)count;
    message->granules = (uint16_t)(bytes / SIZECLASS_GRANULE);
    hz_tally_add(&heap->sent_bytes, bytes);
    for (uint32_t i = 0; i < HZ3_MESSAGE_NAMES; i++) // all of them: a fixed count is a handful of vector moves
        message->names[i] = staged->names[i];
    post(staged->owner, (uintptr_t)message, &message->next);
}

void hz3_mail_flush(struct hz3_heap *heap) {
    for (uint32_t i = 0; heap->staged != NULL && hz_tally_get(&heap->staged_bytes) != 0 && i < HZ3_STAGED_COUNT; i++)
        flush(heap, heap->staged + i);
}

void hz3_mail_tick(struct hz3_heap *heap) {
    if (hz_tally_get(&heap->staged_bytes) == 0)
        return;
    heap->staged_hand = (heap->staged_hand + 1) % HZ3_STAGED_COUNT;
    struct hz3_staged *staged = heap->staged + heap->staged_hand;
    if (staged->is_stale)
        flush(heap, staged);
    staged->is_stale = staged->count != 0;
}

static HZ3_SLOW int staged_begin(struct hz3_heap *heap) {
    int saved = errno;
    heap->staged = arena_metadata(HZ3_STAGED_COUNT * sizeof(struct hz3_staged), HZ_CACHE_LINE);
    errno = saved;
    return heap->staged != NULL;
}

void hz3_mail_stage(struct hz3_heap *heap, uint32_t owner, void *block, unsigned size_class) {
    if (HZ_UNLIKELY(heap->staged == NULL && !staged_begin(heap))) {
        hz3_mail_send(owner, block);
        return;
    }
    struct hz3_staged *staged = heap->staged + owner % HZ3_STAGED_COUNT;
    if (HZ_UNLIKELY(staged->owner != owner || staged->window != window_of(block))) {
        flush(heap, staged);
        staged->owner = owner;
        staged->window = window_of(block);
    }
    staged->names[staged->count++] = name_of(block);
    staged->bytes += sizeclass_bytes[size_class];
    hz_tally_add(&heap->staged_bytes, sizeclass_bytes[size_class]);
    if (HZ_UNLIKELY(staged->count == HZ3_MESSAGE_NAMES || staged->bytes >= STAGED_BLOCK_BYTES))
        flush(heap, staged);
    else if (HZ_UNLIKELY(hz_tally_get(&heap->staged_bytes) > STAGED_HEAP_BYTES))
        hz3_mail_flush(heap);
}

// ---- arriving ------------------------------------------------------------------------------------------------------

static void deliver(struct hz3_heap *heap, void *block) {
    uint32_t tag = hz3_tag_of(block);
    unsigned size_class = hz3_tag_class(tag);
    struct hz3_heap *mine = hz3_thread.heap;
    HZ_ASSERT(tag > HZ3_TAG_LARGE);
    if (HZ_UNLIKELY(hz3_tag_owner(tag) != heap->common.id)) // its run has been adopted meanwhile
        if (mine != NULL)
            hz3_mail_stage(mine, hz3_tag_owner(tag), block, size_class);
        else
            hz3_mail_send(hz3_tag_owner(tag), block);
    else if (heap == mine && *hz3_room(size_class) > 0)
        hz3_list_push(block, size_class);
    else
        hz3_run_push(heap, block, size_class);
}

// By the heap's thread, or by who has acquired the abandoned heap.
void hz3_mail_drain(struct hz3_heap *heap) {
    // ORDER: acquire: the names, and all uses of the blocks come before ours; partner: the exchange in post().
    uintptr_t link = atomic_exchange_explicit(&heap->inbox, 0, memory_order_acquire);
    uintptr_t first = 0;
    struct hz3_message *last = NULL;
    while (link != 0) {
        if (link & HZ3_LINK_IS_BLOCK) {
            struct hz3_block *block = (struct hz3_block *)(link & ~HZ3_LINK_IS_BLOCK);
            link = (uintptr_t)block->next;
            deliver(heap, block);
            continue;
        }
        struct hz3_message *message = message_of(link);
        uintptr_t next = message->next;
        if (next != 0)
            __builtin_prefetch((const void *)next);
        hz_tally_add(&heap->received_bytes, (uint64_t)message->granules * SIZECLASS_GRANULE);
        for (uint32_t i = 0; i < message->count; i++)
            deliver(heap, block_of(message->window, message->names[i]));
        message->next = first;
        first = link;
        if (last == NULL)
            last = message;
        link = next;
    }
    if (last != NULL)
        blanks_give(first, last);
}

int core_heap_has_remote(struct hz_heap *heap) {
    // ORDER: seq_cst: after the status; partner: post().
    return atomic_load_explicit(&hz3_heap_of(heap)->inbox, memory_order_seq_cst) != 0;
}

void core_heap_drain(struct hz_heap *heap) {
    hz3_mail_drain(hz3_heap_of(heap));
}
