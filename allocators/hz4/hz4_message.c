// SPDX-License-Identifier: Apache-2.0
// Messages: the staging slots a sender fills, the inbox of a heap, the drain that brings names home, and the pool of
// empty messages. Linearisation points: a message is sent by the compare-and-swap on `inbox` and received by the
// exchange. No ABA: nobody takes a single message out of an inbox, and the pool's head carries a counter.
#include "hz4.h"

#include "../common/check.h"

#define POOL_SLAB_BYTES ((size_t)2048)
#define POOL_CHAIN 8u     // messages that go to the pool, or come from it, at once
#define FIRST_NAMES 8u    // of the first message from a slot
#define HELP_MESSAGES 16u // a helper drains at once: the owner may be waiting
#define HELP_CHARGES 2u   // times what makes a sender help: now it waits for who does
#define STALE_PERIOD 16u  // slow paths between two looks at open slots
#define CARRY_ATTEMPTS 64u
#define CHARGE_MAX 0xffffffffu

static _Atomic uint64_t pool; // index of the first message of the newest chain | counter << 32

// Messages are metadata, which lies below the arena's first unit.
uint32_t hz4_message_index(const struct hz4_message *message) {
    return (uint32_t)((arena.base - (uintptr_t)message) / sizeof *message);
}

struct hz4_message *hz4_message_at(uint32_t index) {
    return index != 0 ? (struct hz4_message *)(arena.base - (uintptr_t)index * sizeof(struct hz4_message)) : NULL;
}

// ---- pool ---------------------------------------------------------------------------------------------------------

static struct hz4_message *pool_take_chain(void) {
    // ORDER: acquire: the chain's links; partner: the release in pool_give_chain().
    uint64_t head = atomic_load_explicit(&pool, memory_order_acquire);
    while ((uint32_t)head != 0) {
        struct hz4_message *chain = hz4_message_at((uint32_t)head);
        uint64_t next = atomic_load_explicit(&chain->next, memory_order_relaxed) | ((head >> 32) + 1) << 32;
        // ORDER: acquire: as above, on either way out.
        if (atomic_compare_exchange_weak_explicit(&pool, &head, next, memory_order_acquire, memory_order_acquire))
            return chain;
    }
    return NULL;
}

static void pool_give_chain(struct hz4_message *chain, uint32_t count) {
    chain->count = count;
    uint64_t head = atomic_load_explicit(&pool, memory_order_relaxed);
    uint64_t desired;
    do {
        atomic_store_explicit(&chain->next, (uint32_t)head, memory_order_relaxed);
        desired = hz4_message_index(chain) | ((head >> 32) + 1) << 32;
        // ORDER: release: the chain's links; partner: pool_take_chain().
    } while (!atomic_compare_exchange_weak_explicit(&pool, &head, desired, memory_order_release, memory_order_relaxed));
}

struct hz4_message *hz4_message_take(struct hz4_local *local) {
    if (HZ_UNLIKELY(local->messages == NULL)) {
        struct hz4_message *chain = pool_take_chain();
        if (chain != NULL) {
            local->message_count = chain->count;
        } else {
            chain = arena_metadata(POOL_SLAB_BYTES, POOL_SLAB_BYTES);
            if (chain == NULL)
                return NULL;
            local->message_count = POOL_SLAB_BYTES / sizeof *chain;
            for (uint32_t i = 0; i + 1 < local->message_count; i++)
                chain[i].chain = hz4_message_index(chain + i + 1);
        }
        local->messages = chain;
    }
    struct hz4_message *message = local->messages;
    local->messages = hz4_message_at(message->chain);
    local->message_count--;
    return message;
}

void hz4_messages_begin(struct hz4_heap *heap) {
    for (uint32_t i = 0; i < HZ4_OWN_MESSAGES; i++)
        hz4_message_give(&heap->local, &heap->messages[i]);
}

void hz4_message_give(struct hz4_local *local, struct hz4_message *message) {
    message->chain = local->messages != NULL ? hz4_message_index(local->messages) : 0;
    local->messages = message;
    if (++local->message_count < 2 * POOL_CHAIN)
        return;
    struct hz4_message *last = message;
    for (uint32_t i = 1; i < POOL_CHAIN; i++)
        last = hz4_message_at(last->chain);
    local->messages = hz4_message_at(last->chain);
    local->message_count -= POOL_CHAIN;
    last->chain = 0;
    pool_give_chain(message, POOL_CHAIN);
}

void hz4_pool_give_all(struct hz4_local *local) {
    if (local->messages != NULL)
        pool_give_chain(local->messages, local->message_count);
    local->messages = NULL;
    local->message_count = 0;
}

// ---- inbox --------------------------------------------------------------------------------------------------------

uint32_t hz4_inbox_charge(struct hz4_heap *heap) {
    return (uint32_t)(hz4_inbox_look(&heap->inbox) >> 32);
}

// Does the owner's work: it is dead, or it has not looked for long and memory piles up. If somebody else is at that,
// but does not get on, waiting for him is what bounds the memory: the system may have stopped him, and runs us.
static HZ_COLD void help(struct hz4_heap *heap, uint64_t charge) {
    struct hz4_local *local = &hz4_thread.heap->local;
    if (local->is_helping) {
        local->owes_help = 1;
        return;
    }
    local->is_helping = 1;
    int is_held = hz4_try_hold(heap);
    if (!is_held && charge > HELP_CHARGES * (uint64_t)local->help_bytes && hz4_may_await(heap)) {
        hz4_await(heap);
        is_held = 1;
    }
    if (is_held) {
        hz4_drain(heap, HELP_MESSAGES);
        hz4_let_go(heap);
    }
    while (local->owes_help) {
        local->owes_help = 0;
        for (uint32_t id = 1; id <= hz_heap_count(); id++) {
            struct hz4_heap *other = hz4_heap_by_id(id);
            if (other != NULL && other != hz4_thread.heap && hz4_inbox_charge(other) != 0 &&
                hz_status_peek_abandoned(&other->common.status) && hz4_try_hold(other)) {
                hz4_drain(other, UINT32_MAX);
                hz4_let_go(other);
            }
        }
    }
    local->is_helping = 0;
}

static void send(struct hz4_message *message, uint32_t charge) {
    struct hz4_heap *heap = hz4_heap_by_id(hz4_route_owner(message->route));
    uint64_t head = hz4_inbox_look(&heap->inbox);
    uint64_t total;
    do {
        atomic_store_explicit(&message->next, (uint32_t)head, memory_order_relaxed);
        total = (head >> 32) + charge;
        total = total > CHARGE_MAX ? CHARGE_MAX : total;
    } while (!hz4_inbox_push(&heap->inbox, &head, hz4_message_index(message) | total << 32));
    hz4_fence_sent();
    if (HZ_UNLIKELY(hz_status_peek_abandoned(&heap->common.status) || total > hz4_thread.heap->local.help_bytes))
        help(heap, total);
}

// Of the blocks that were sent to `heap`, the first, and others if they go the same way. Returns how many.
static uint32_t bring_home(struct hz4_heap *heap, void *const *blocks, uint32_t count) {
    unsigned index = atomic_load_explicit(&hz4_tag_at(hz4_granule_of(blocks[0]))->index, memory_order_relaxed);
    void **top = hz4_thread.top[index];
    if (top < (void **)hz4_thread.limit[index] && !hz4_thread.heap->local.is_spilling) {
        // As good as home, and the next malloc writes to it: ask for the line now, while others are on their way too.
        __builtin_prefetch(blocks[0], 1);
        *top = blocks[0];
        hz4_thread.top[index] = top + 1;
        return 1;
    }
    return hz4_send_home(heap, blocks, count); // on to another heap if the run has changed hands since this was sent
}

void hz4_drain(struct hz4_heap *heap, uint32_t messages) {
    for (; messages > 0; messages--) {
        struct hz4_message *message = heap->rest;
        if (message == NULL) {
            if (hz4_inbox_look(&heap->inbox) == 0)
                return;
            message = hz4_message_at((uint32_t)hz4_inbox_take(&heap->inbox));
            if (message == NULL)
                return;
        }
        heap->rest = hz4_message_at(atomic_load_explicit(&message->next, memory_order_relaxed));
        if (heap->rest != NULL)
            for (uint32_t line = 0; line < sizeof *message; line += HZ_CACHE_LINE)
                __builtin_prefetch((char *)heap->rest + line);
        uintptr_t window = hz4_route_window(message->route);
        void *blocks[HZ4_MESSAGE_NAMES];
        for (uint32_t i = 0; i < message->count; i++)
            blocks[i] = (void *)(window | (uintptr_t)message->names[i] << HZ4_NAME_SHIFT);
        for (uint32_t i = 0; i < message->count;)
            i += bring_home(heap, blocks + i, message->count - i);
        hz4_message_give(&hz4_thread.heap->local, message);
    }
}

int core_heap_has_remote(struct hz_heap *heap) {
    return hz4_inbox_look(&hz4_heap_of(heap)->inbox) != 0;
}

// ---- staging ------------------------------------------------------------------------------------------------------

const uint32_t hz4_group_bytes[HZ4_GROUPS] = {256, 2112, 16448, 65600};

// Names a message of the group takes when memory is no object: beyond these the atomic operation is cheap beside the
// block.
static const uint32_t group_names[HZ4_GROUPS] = {HZ4_MESSAGE_NAMES, HZ4_MESSAGE_NAMES, 16, 4};

// The first open slot from `from` on, round robin. Slots are 0..127 in the bit map, 128..255 in the thread's arrays.
static int next_open_slot(const struct hz4_local *local, uint32_t from, uint32_t *slot) {
    for (uint32_t step = 0; step <= HZ4_SLOTS / 64; step++) {
        uint32_t word = (from / 64 + step) % (HZ4_SLOTS / 64);
        uint64_t bits = local->open_slots[word];
        if (step == 0)
            bits &= ~(uint64_t)0 << from % 64;
        if (bits != 0) {
            *slot = HZ4_FIRST_SLOT + word * 64 + (uint32_t)__builtin_ctzll(bits);
            return 1;
        }
    }
    return 0;
}

static void mark_slot(struct hz4_local *local, uint32_t slot, int is_open) {
    uint64_t *word = &local->open_slots[(slot - HZ4_FIRST_SLOT) / 64];
    uint64_t bit = (uint64_t)1 << slot % 64;
    *word = is_open ? *word | bit : *word & ~bit;
}

static int slot_is_open(const struct hz4_local *local, uint32_t slot) {
    return (local->open_slots[(slot - HZ4_FIRST_SLOT) / 64] >> slot % 64 & 1) != 0;
}

int hz4_stage_has_room(uint32_t route) {
    uint32_t slot = (uint8_t)route;
    return hz4_thread.stage_route[slot] == route || !slot_is_open(&hz4_thread.heap->local, slot);
}

void hz4_stage_flush(uint32_t slot) {
    struct hz4_local *local = &hz4_thread.heap->local;
    uint32_t *top = hz4_thread.top[slot];
    struct hz4_message *message =
        (struct hz4_message *)(((uintptr_t)top - 1) & ~(uintptr_t)(sizeof(struct hz4_message) - 1));
    message->count = (uint32_t)(top - message->names);
    hz4_thread.stage_route[slot] = HZ4_ROUTE_CLOSED;
    mark_slot(local, slot, 0);
    local->staged_bytes -= local->slot_promise[slot - HZ4_FIRST_SLOT];
    // Blocks of a group are taken for three quarters of its largest; the message itself is memory too.
    uint32_t largest = hz4_group_bytes[hz4_route_group(message->route)];
    send(message, message->count * (largest - largest / 4) + (uint32_t)sizeof *message);
}

// One open slot is looked at; if nothing was added to it since the last look, it leaves: no block
// waits long in a thread that goes on working.
void hz4_stage_flush_stale(void) {
    struct hz4_local *local = &hz4_thread.heap->local;
    uint32_t slot;
    if (!next_open_slot(local, local->slot_hand, &slot))
        return;
    uint32_t *seen = &local->slot_seen[slot - HZ4_FIRST_SLOT];
    uint32_t top = (uint32_t)(uintptr_t)hz4_thread.top[slot];
    local->slot_hand = (slot + 1) % HZ4_SLOTS;
    if (*seen == top)
        hz4_stage_flush(slot);
    else
        *seen = top;
}

void hz4_stage_flush_all(void) {
    uint32_t slot;
    while (next_open_slot(&hz4_thread.heap->local, 0, &slot))
        hz4_stage_flush(slot);
}

// A slot's promise shrinks as the budget does, so many owners share what one would get alone.
static int stage_open(struct hz4_local *local, uint32_t slot, uint32_t route) {
    uint32_t victim;
    while (local->budget_bytes - local->magazine_bytes - local->staged_bytes < (int64_t)(2 * HZ4_SLOT_MIN_BYTES) &&
           next_open_slot(local, local->slot_hand, &victim)) {
        local->slot_hand = (victim + 1) % HZ4_SLOTS;
        hz4_stage_flush(victim);
    }
    struct hz4_message *message = hz4_message_take(local);
    if (message == NULL)
        return 0;
    int64_t share = (local->budget_bytes - local->magazine_bytes - local->staged_bytes) / 4;
    share = share > (int64_t)HZ4_SLOT_MAX_BYTES ? (int64_t)HZ4_SLOT_MAX_BYTES : share;
    share = share < (int64_t)HZ4_SLOT_MIN_BYTES ? (int64_t)HZ4_SLOT_MIN_BYTES : share;
    uint32_t group = hz4_route_group(route);
    uint32_t names = (uint32_t)share / hz4_group_bytes[group];
    uint32_t most = local->slot_names[slot - HZ4_FIRST_SLOT] * 2;
    most = most == 0 ? FIRST_NAMES : most > group_names[group] ? group_names[group] : most;
    names = names > most ? most : names == 0 ? 1 : names;
    local->slot_names[slot - HZ4_FIRST_SLOT] = (uint8_t)names;
    message->route = route;
    for (uint32_t line = HZ_CACHE_LINE; line < sizeof *message; line += HZ_CACHE_LINE)
        __builtin_prefetch((char *)message + line, 1); // the last reader still has them
    hz4_thread.stage_route[slot] = route;
    hz4_thread.top[slot] = message->names;
    hz4_thread.limit[slot] = message->names + names;
    mark_slot(local, slot, 1);
    local->slot_promise[slot - HZ4_FIRST_SLOT] = names * hz4_group_bytes[group];
    local->slot_seen[slot - HZ4_FIRST_SLOT] = 0;
    local->staged_bytes += names * hz4_group_bytes[group];
    return 1;
}

// There is no memory for a message: the block is put into its run by hand. Lost, and nothing else, if its owner's heap
// cannot be had; this thread may itself be the one that holds it.
static HZ_COLD void carry(void *block) {
    for (unsigned attempt = 0; attempt < CARRY_ATTEMPTS; attempt++) {
        uint32_t route = hz4_way_read(&hz4_tag_at(hz4_granule_of(block))->route);
        struct hz4_heap *heap = hz4_heap_by_id(hz4_route_owner(route));
        if (hz4_may_await(heap))
            hz4_await(heap);
        else if (!hz4_try_hold(heap))
            continue;
        // Runs change hands only while their heap is held: now the owner is certain.
        route = hz4_way_read(&hz4_tag_at(hz4_granule_of(block))->route);
        int is_owner = hz4_route_owner(route) == heap->common.id;
        if (is_owner)
            hz4_run_put(heap, &block, 1);
        hz4_let_go(heap);
        if (is_owner)
            return;
    }
}

void hz4_stage(void *block, uint32_t route) {
    struct hz4_local *local = &hz4_thread.heap->local;
    uint32_t slot = (uint8_t)route;
    // Flushing may help, and helping may stage: look again.
    while (hz4_thread.stage_route[slot] != route) {
        if (slot_is_open(local, slot))
            hz4_stage_flush(slot);
        else if (!stage_open(local, slot, route)) {
            carry(block);
            return;
        }
    }
    uint32_t *name = hz4_thread.top[slot];
    *name++ = (uint32_t)((uintptr_t)block >> HZ4_NAME_SHIFT);
    hz4_thread.top[slot] = name;
    if ((void *)name >= hz4_thread.limit[slot])
        hz4_stage_flush(slot);
}

uint32_t hz4_send_home(struct hz4_heap *heap, void *const *blocks, uint32_t count) {
    uint32_t route = hz4_way_read(&hz4_tag_at(hz4_granule_of(blocks[0]))->route);
    if (hz4_route_owner(route) == heap->common.id)
        return hz4_run_put(heap, blocks, count);
    hz4_stage(blocks[0], route);
    return 1;
}

void core_heap_drain(struct hz_heap *base) {
    struct hz4_heap *heap = hz4_heap_of(base);
    hz4_drain(heap, UINT32_MAX);
    if (heap == hz4_thread.heap) { // the end of its thread: what belongs to others goes on at once
        hz4_stage_flush_all();
        hz4_pool_give_all(&heap->local);
    }
}
