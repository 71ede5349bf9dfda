// SPDX-License-Identifier: Apache-2.0
// Batches: the batch slots a sender fills, the remote queue of a heap, the drain that returns the blocks, and the pool
// of empty batches. Linearisation points: a batch is sent by the compare-and-swap on `remote_queue` and received by the
// exchange. No ABA: nobody takes a single batch out of a remote queue, and the pool's head carries a counter.
#include "hz4.h"

#include "../common/check.h"

#define POOL_SLAB_BYTES ((size_t)2048)
#define POOL_CHAIN 8u         // batches that go to the pool, or come from it, at once
#define FIRST_BATCH_BLOCKS 8u // of the first batch from a slot
#define HELP_BATCHES 16u      // a helper drains at once: the owner may be waiting
#define HELP_CHARGES 2u       // times what makes a sender help: now it waits for who does
#define STALE_PERIOD 16u      // slow paths between two looks at open slots
#define CARRY_ATTEMPTS 64u
#define CHARGE_MAX 0xffffffffu

static _Atomic uint64_t pool; // index of the first batch of the newest chain | counter << 32

// Batches are metadata, which lies below the arena's first unit.
uint32_t hz4_batch_index(const struct hz4_batch *batch) {
    return (uint32_t)((arena.base - (uintptr_t)batch) / sizeof *batch);
}

struct hz4_batch *hz4_batch_at(uint32_t index) {
    return index != 0 ? (struct hz4_batch *)(arena.base - (uintptr_t)index * sizeof(struct hz4_batch)) : NULL;
}

// ---- pool ---------------------------------------------------------------------------------------------------------

static struct hz4_batch *pool_take_chain(void) {
    // ORDER: acquire: the chain's links; partner: the release in pool_give_chain(). Both change the head by an
    // exchange, which continues the release sequence of each one before it.
    uint64_t head = atomic_load_explicit(&pool, memory_order_acquire);
    while ((uint32_t)head != 0) {
        struct hz4_batch *chain = hz4_batch_at((uint32_t)head);
        uint64_t next = atomic_load_explicit(&chain->next, memory_order_relaxed) | ((head >> 32) + 1) << 32;
        // ORDER: acquire: as above, on either way out.
        if (atomic_compare_exchange_weak_explicit(&pool, &head, next, memory_order_acquire, memory_order_acquire))
            return chain;
    }
    return NULL;
}

static void pool_give_chain(struct hz4_batch *chain, uint32_t count) {
    chain->count = count;
    uint64_t head = atomic_load_explicit(&pool, memory_order_relaxed);
    uint64_t desired;
    do {
        atomic_store_explicit(&chain->next, (uint32_t)head, memory_order_relaxed);
        desired = hz4_batch_index(chain) | ((head >> 32) + 1) << 32;
        // ORDER: release: the chain's links; partner: pool_take_chain().
    } while (!atomic_compare_exchange_weak_explicit(&pool, &head, desired, memory_order_release, memory_order_relaxed));
}

struct hz4_batch *hz4_batch_take(struct hz4_local *local) {
    if (HZ_UNLIKELY(local->batches == NULL)) {
        struct hz4_batch *chain = pool_take_chain();
        if (chain != NULL) {
            local->batch_count = chain->count;
        } else {
            chain = arena_metadata(POOL_SLAB_BYTES, POOL_SLAB_BYTES);
            if (chain == NULL)
                return NULL;
            local->batch_count = POOL_SLAB_BYTES / sizeof *chain;
            for (uint32_t i = 0; i + 1 < local->batch_count; i++)
                chain[i].chain = hz4_batch_index(chain + i + 1);
        }
        local->batches = chain;
    }
    struct hz4_batch *batch = local->batches;
    local->batches = hz4_batch_at(batch->chain);
    local->batch_count--;
    return batch;
}

void hz4_batches_begin(struct hz4_heap *heap) {
    for (uint32_t i = 0; i < HZ4_OWN_BATCHES; i++)
        hz4_batch_give(&heap->local, &heap->batches[i]);
}

void hz4_batch_give(struct hz4_local *local, struct hz4_batch *batch) {
    batch->chain = local->batches != NULL ? hz4_batch_index(local->batches) : 0;
    local->batches = batch;
    if (++local->batch_count < 2 * POOL_CHAIN)
        return;
    struct hz4_batch *last = batch;
    for (uint32_t i = 1; i < POOL_CHAIN; i++)
        last = hz4_batch_at(last->chain);
    local->batches = hz4_batch_at(last->chain);
    local->batch_count -= POOL_CHAIN;
    last->chain = 0;
    pool_give_chain(batch, POOL_CHAIN);
}

void hz4_pool_give_all(struct hz4_local *local) {
    if (local->batches != NULL)
        pool_give_chain(local->batches, local->batch_count);
    local->batches = NULL;
    local->batch_count = 0;
}

// ---- remote queue -------------------------------------------------------------------------------------------------

uint32_t hz4_queue_charge(struct hz4_heap *heap) {
    return (uint32_t)(hz4_queue_look(&heap->queue) >> 32);
}

// Drains for the owner: its heap is abandoned, or it has not drained for long and memory piles up. If another thread is
// draining it and does not finish, this one waits, which bounds the memory: the system may have stopped the other
// thread.
static HZ_COLD void help(struct hz4_heap *heap, uint64_t charge) {
    struct hz4_local *local = &hz4_thread.heap->local;
    if (local->is_helping) {
        local->owes_help = 1;
        return;
    }
    local->is_helping = 1;
    int is_held = hz4_try_acquire(heap);
    if (!is_held && charge > HELP_CHARGES * (uint64_t)local->help_bytes && hz4_may_wait(heap)) {
        hz4_acquire_wait(heap);
        is_held = 1;
    }
    if (is_held) {
        hz4_drain(heap, HELP_BATCHES);
        hz4_release(heap);
    }
    while (local->owes_help) {
        local->owes_help = 0;
        for (uint32_t id = 1; id <= hz_heap_count(); id++) {
            struct hz4_heap *other = hz4_heap_by_id(id);
            if (other != hz4_thread.heap && hz4_queue_charge(other) != 0 &&
                hz_status_peek_abandoned(&other->common.status) && hz4_try_acquire(other)) {
                hz4_drain(other, UINT32_MAX);
                hz4_release(other);
            }
        }
    }
    local->is_helping = 0;
}

static void send(struct hz4_batch *batch, uint32_t charge) {
    struct hz4_heap *heap = hz4_heap_by_id(hz4_route_owner(batch->route));
    uint64_t head = hz4_queue_look(&heap->queue);
    uint64_t total;
    do {
        atomic_store_explicit(&batch->next, (uint32_t)head, memory_order_relaxed);
        total = (head >> 32) + charge;
        total = total > CHARGE_MAX ? CHARGE_MAX : total;
    } while (!hz4_queue_push(&heap->queue, &head, hz4_batch_index(batch) | total << 32));
    hz4_fence_sent();
    if (HZ_UNLIKELY(hz_status_peek_abandoned(&heap->common.status) || total > hz4_thread.heap->local.help_bytes))
        help(heap, total);
}

// Of the blocks that were sent to `heap`, the first, and others if they go the same way. Returns how many.
static uint32_t bring_home(struct hz4_heap *heap, void *const *blocks, uint32_t count) {
    unsigned index = atomic_load_explicit(&hz4_tag_at(hz4_granule_of(blocks[0]))->index, memory_order_relaxed);
    void **top = hz4_thread.top[index];
    if (top < (void **)hz4_thread.limit[index] && !hz4_thread.heap->local.is_spilling) {
        // In the magazine the next malloc writes to it: prefetch its line now, together with those of other blocks.
        __builtin_prefetch(blocks[0], 1);
        *top = blocks[0];
        hz4_thread.top[index] = top + 1;
        return 1;
    }
    return hz4_blocks_return(heap, blocks,
                             count); // on to another heap if the run has changed hands since this was sent
}

void hz4_drain(struct hz4_heap *heap, uint32_t batches) {
    for (; batches > 0; batches--) {
        struct hz4_batch *batch = heap->rest;
        if (batch == NULL) {
            if (hz4_queue_look(&heap->queue) == 0)
                return;
            batch = hz4_batch_at((uint32_t)hz4_queue_take(&heap->queue));
            if (batch == NULL)
                return;
        }
        heap->rest = hz4_batch_at(atomic_load_explicit(&batch->next, memory_order_relaxed));
        if (heap->rest != NULL)
            for (uint32_t line = 0; line < sizeof *batch; line += HZ_CACHE_LINE)
                __builtin_prefetch((char *)heap->rest + line);
        uintptr_t window = hz4_route_window(batch->route);
        void *blocks[HZ4_BATCH_BLOCKS];
        for (uint32_t i = 0; i < batch->count; i++)
            blocks[i] = (void *)(window | (uintptr_t)batch->compressed[i] << HZ4_COMPRESSED_SHIFT);
        for (uint32_t i = 0; i < batch->count;)
            i += bring_home(heap, blocks + i, batch->count - i);
        hz4_batch_give(&hz4_thread.heap->local, batch);
    }
}

int hzn_heap_has_remote(struct hz_heap *heap) {
    return hz4_queue_look(&hz4_heap_of(heap)->queue) != 0;
}

// ---- open batches -------------------------------------------------------------------------------------------------

const uint32_t hz4_group_bytes[HZ4_GROUPS] = {256, 2112, 16448, 65600};

// Blocks that a batch of the group takes when memory is no object: beyond these the atomic operation is cheap beside
// the block.
static const uint32_t group_blocks[HZ4_GROUPS] = {HZ4_BATCH_BLOCKS, HZ4_BATCH_BLOCKS, 16, 4};

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

int hz4_remote_has_room(uint32_t route) {
    uint32_t slot = (uint8_t)route;
    return hz4_thread.slot_route[slot] == route || !slot_is_open(&hz4_thread.heap->local, slot);
}

void hz4_remote_flush(uint32_t slot) {
    struct hz4_local *local = &hz4_thread.heap->local;
    uint32_t *top = hz4_thread.top[slot];
    struct hz4_batch *batch = (struct hz4_batch *)(((uintptr_t)top - 1) & ~(uintptr_t)(sizeof(struct hz4_batch) - 1));
    batch->count = (uint32_t)(top - batch->compressed);
    hz4_thread.slot_route[slot] = HZ4_ROUTE_CLOSED;
    mark_slot(local, slot, 0);
    local->slot_bytes -= local->slot_promise[slot - HZ4_FIRST_SLOT];
    // Blocks of a group are taken for three quarters of its largest; the batch itself is memory too.
    uint32_t largest = hz4_group_bytes[hz4_route_group(batch->route)];
    send(batch, batch->count * (largest - largest / 4) + (uint32_t)sizeof *batch);
}

// One open slot is looked at; if nothing was added to it since the last look, it leaves: no block
// waits long in a thread that goes on working.
void hz4_remote_flush_stale(void) {
    struct hz4_local *local = &hz4_thread.heap->local;
    uint32_t slot;
    if (!next_open_slot(local, local->slot_hand, &slot))
        return;
    uint32_t *seen = &local->slot_seen[slot - HZ4_FIRST_SLOT];
    uint32_t top = (uint32_t)(uintptr_t)hz4_thread.top[slot];
    local->slot_hand = (slot + 1) % HZ4_SLOTS;
    if (*seen == top)
        hz4_remote_flush(slot);
    else
        *seen = top;
}

void hz4_remote_flush_all(void) {
    uint32_t slot;
    while (next_open_slot(&hz4_thread.heap->local, 0, &slot))
        hz4_remote_flush(slot);
}

// Slots get smaller as the budget fills, so many owners share what one would get alone.
static int slot_open(struct hz4_local *local, uint32_t slot, uint32_t route) {
    uint32_t victim;
    while (local->budget_bytes - local->magazine_bytes - local->slot_bytes < (int64_t)(2 * HZ4_SLOT_MIN_BYTES) &&
           next_open_slot(local, local->slot_hand, &victim)) {
        local->slot_hand = (victim + 1) % HZ4_SLOTS;
        hz4_remote_flush(victim);
    }
    struct hz4_batch *batch = hz4_batch_take(local);
    if (batch == NULL)
        return 0;
    int64_t share = (local->budget_bytes - local->magazine_bytes - local->slot_bytes) / 4;
    share = share > (int64_t)HZ4_SLOT_MAX_BYTES ? (int64_t)HZ4_SLOT_MAX_BYTES : share;
    share = share < (int64_t)HZ4_SLOT_MIN_BYTES ? (int64_t)HZ4_SLOT_MIN_BYTES : share;
    uint32_t group = hz4_route_group(route);
    uint32_t blocks = (uint32_t)share / hz4_group_bytes[group];
    uint32_t most = local->slot_blocks[slot - HZ4_FIRST_SLOT] * 2;
    most = most == 0 ? FIRST_BATCH_BLOCKS : most > group_blocks[group] ? group_blocks[group] : most;
    blocks = blocks > most ? most : blocks == 0 ? 1 : blocks;
    local->slot_blocks[slot - HZ4_FIRST_SLOT] = (uint8_t)blocks;
    batch->route = route;
    for (uint32_t line = HZ_CACHE_LINE; line < sizeof *batch; line += HZ_CACHE_LINE)
        __builtin_prefetch((char *)batch + line, 1); // the last reader still has them
    hz4_thread.slot_route[slot] = route;
    hz4_thread.top[slot] = batch->compressed;
    hz4_thread.limit[slot] = batch->compressed + blocks;
    mark_slot(local, slot, 1);
    local->slot_promise[slot - HZ4_FIRST_SLOT] = blocks * hz4_group_bytes[group];
    local->slot_seen[slot - HZ4_FIRST_SLOT] = 0;
    local->slot_bytes += blocks * hz4_group_bytes[group];
    return 1;
}

// There is no memory for a batch: the block is put into its run by hand. Lost, and nothing else, if its owner's heap
// cannot be had; this thread may itself be the one that holds it.
static HZ_COLD void carry(void *block) {
    for (unsigned attempt = 0; attempt < CARRY_ATTEMPTS; attempt++) {
        uint32_t route = hz4_way_read(&hz4_tag_at(hz4_granule_of(block))->route);
        struct hz4_heap *heap = hz4_heap_by_id(hz4_route_owner(route));
        if (hz4_may_wait(heap))
            hz4_acquire_wait(heap);
        else if (!hz4_try_acquire(heap))
            continue;
        // Runs change hands only while their heap is held: now the owner is certain.
        route = hz4_way_read(&hz4_tag_at(hz4_granule_of(block))->route);
        int is_owner = hz4_route_owner(route) == heap->common.id;
        if (is_owner)
            hz4_run_put(heap, &block, 1);
        hz4_release(heap);
        if (is_owner)
            return;
    }
}

void hz4_remote_free(void *block, uint32_t route) {
    struct hz4_local *local = &hz4_thread.heap->local;
    uint32_t slot = (uint8_t)route;
    // Flushing may help, and helping may add to batches: look again.
    while (hz4_thread.slot_route[slot] != route) {
        if (slot_is_open(local, slot))
            hz4_remote_flush(slot);
        else if (!slot_open(local, slot, route)) {
            carry(block);
            return;
        }
    }
    uint32_t *at = hz4_thread.top[slot];
    *at++ = (uint32_t)((uintptr_t)block >> HZ4_COMPRESSED_SHIFT);
    hz4_thread.top[slot] = at;
    if ((void *)at >= hz4_thread.limit[slot])
        hz4_remote_flush(slot);
}

uint32_t hz4_blocks_return(struct hz4_heap *heap, void *const *blocks, uint32_t count) {
    uint32_t route = hz4_way_read(&hz4_tag_at(hz4_granule_of(blocks[0]))->route);
    if (hz4_route_owner(route) == heap->common.id)
        return hz4_run_put(heap, blocks, count);
    hz4_remote_free(blocks[0], route);
    return 1;
}

void hzn_heap_drain(struct hz_heap *base) {
    struct hz4_heap *heap = hz4_heap_of(base);
    hz4_drain(heap, UINT32_MAX);
    if (heap == hz4_thread.heap) { // the end of its thread: what belongs to others goes on at once
        hz4_remote_flush_all();
        hz4_pool_give_all(&heap->local);
    }
}
