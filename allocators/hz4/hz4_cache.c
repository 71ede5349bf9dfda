// SPDX-License-Identifier: Apache-2.0
// Magazines: how large a thread's cache of each class is, how it is refilled and where its surplus goes. All of it is
// work of the owning thread, on slow paths. A magazine's capacity is promised from the thread's byte budget, so that
// what is cached is bounded without counting on the fast paths; a class that never allocates has none and keeps
// nothing.
#include "hz4.h"

#include "../common/check.h"

#include <string.h>

#define FIRST_BYTES 1024u // a class's first capacity, in bytes and ...
#define FIRST_BLOCKS 8u   // ... in blocks at most; one block at least
#define SHRINK_STEPS 16u  // classes looked at to make room for another

uint32_t hz4_magazine_offset[SIZECLASS_COUNT];
uint32_t hz4_magazine_entries[SIZECLASS_COUNT];

static uint32_t all_entries;

void hz4_magazines_lay_out(void) {
    uint32_t offset = 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        uint32_t entries = (uint32_t)(HZ4_MAGAZINE_BYTES / sizeclass_bytes[size_class]);
        entries = entries > HZ4_MAGAZINE_MAX ? HZ4_MAGAZINE_MAX : entries;
        entries = entries < HZ4_MAGAZINE_MIN ? HZ4_MAGAZINE_MIN : entries;
        hz4_magazine_entries[size_class] = entries;
        hz4_magazine_offset[size_class] = offset;
        offset += entries + 1; // entry 0 marks the bottom
    }
    all_entries = offset;
}

uint32_t hz4_magazines_entries(void) {
    return all_entries;
}

static void **bottom_of(struct hz4_heap *heap, unsigned size_class) {
    return heap->magazines + hz4_magazine_offset[size_class] + 1;
}

static uint32_t capacity_of(struct hz4_heap *heap, unsigned size_class) {
    return (uint32_t)((void **)hz4_thread.limit[size_class + 1] - bottom_of(heap, size_class));
}

static void set_capacity(struct hz4_heap *heap, unsigned size_class, uint32_t blocks) {
    int64_t more = (int64_t)blocks - (int64_t)capacity_of(heap, size_class);
    heap->local.promised_bytes += more * (int64_t)sizeclass_bytes[size_class];
    hz4_thread.limit[size_class + 1] = bottom_of(heap, size_class) + blocks;
}

static void update_budget(struct hz4_local *local) {
    size_t bytes = HZ4_BUDGET_ALL_BYTES / hz4_alive_count();
    bytes = bytes > HZ4_BUDGET_MAX_BYTES ? HZ4_BUDGET_MAX_BYTES : bytes;
    local->budget_bytes = (int64_t)(bytes < HZ4_BUDGET_MIN_BYTES ? HZ4_BUDGET_MIN_BYTES : bytes);
}

void hz4_magazines_begin(struct hz4_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz4_thread.top[size_class + 1] = bottom_of(heap, size_class);
        hz4_thread.limit[size_class + 1] = bottom_of(heap, size_class);
    }
    memset(&heap->local, 0, sizeof heap->local);
    update_budget(&heap->local);
}

// ---- surplus ------------------------------------------------------------------------------------------------------

static void send_home(struct hz4_heap *heap, void *block) {
    uint32_t route = atomic_load_explicit(&hz4_tag_at(hz4_unit_of(block))->route, memory_order_relaxed);
    if (hz4_route_owner(route) == heap->id)
        hz4_run_put(heap, block);
    else
        hz4_stage(block, route);
}

// The oldest entries leave: they are the coldest. The caller holds the heap.
static void spill(struct hz4_heap *heap, unsigned size_class, uint32_t keep) {
    void **bottom = bottom_of(heap, size_class);
    uint32_t count = (uint32_t)((void **)hz4_thread.top[size_class + 1] - bottom);
    if (count <= keep)
        return;
    uint32_t leave = count - keep;
    heap->local.is_spilling++;
    for (uint32_t i = 0; i < leave; i++)
        send_home(heap, bottom[i]);
    heap->local.is_spilling--;
    memmove(bottom, bottom + leave, keep * sizeof *bottom);
    hz4_thread.top[size_class + 1] = bottom + keep;
}

void hz4_spill_all(struct hz4_heap *heap) {
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        spill(heap, size_class, 0);
}

uint64_t hz4_magazines_bytes(struct hz4_heap *heap) {
    uint64_t bytes = 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        bytes += (uint64_t)((void **)hz4_thread.top[size_class + 1] - bottom_of(heap, size_class)) *
                 sizeclass_bytes[size_class];
    return bytes;
}

void hz4_magazines_end(struct hz4_heap *heap) {
    hz4_spill_all(heap);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz4_thread.top[size_class + 1] = hz4_thread.top[0];
        hz4_thread.limit[size_class + 1] = hz4_thread.limit[0];
    }
}

void hz4_overflow(struct hz4_heap *heap, void *block, unsigned size_class) {
    heap->local.used[size_class] = 1;
    uint32_t capacity = capacity_of(heap, size_class);
    hz4_hold(heap);
    if (capacity == 0) {
        send_home(heap, block);
    } else {
        spill(heap, size_class, capacity / 2);
        void **top = hz4_thread.top[size_class + 1];
        *top = block;
        hz4_thread.top[size_class + 1] = top + 1;
    }
    hz4_let_go(heap);
    hz4_stage_flush_stale();
}

// ---- capacity -----------------------------------------------------------------------------------------------------

// Halves what other classes may keep, those first that were not refilled lately. The caller holds the heap.
static void shrink_others(struct hz4_heap *heap, unsigned size_class, int64_t bytes) {
    struct hz4_local *local = &heap->local;
    for (uint32_t step = 0; step < SHRINK_STEPS; step++) {
        if (local->budget_bytes - local->promised_bytes >= bytes)
            return;
        unsigned victim = local->class_hand;
        local->class_hand = victim + 1 < SIZECLASS_COUNT ? victim + 1 : 0;
        uint32_t capacity = capacity_of(heap, victim);
        if (victim == size_class || capacity == 0)
            continue;
        if (local->used[victim]) {
            local->used[victim] = 0;
            continue;
        }
        spill(heap, victim, capacity / 2);
        set_capacity(heap, victim, capacity / 2);
    }
}

// A class that runs dry may keep twice as much, as long as the thread's budget allows.
static void grow_capacity(struct hz4_heap *heap, unsigned size_class) {
    struct hz4_local *local = &heap->local;
    uint32_t bytes = sizeclass_bytes[size_class];
    uint32_t capacity = capacity_of(heap, size_class);
    uint32_t wanted = capacity * 2;
    if (capacity == 0) {
        wanted = FIRST_BYTES / bytes;
        wanted = wanted > FIRST_BLOCKS ? FIRST_BLOCKS : wanted == 0 ? 1 : wanted;
    }
    if (wanted > hz4_magazine_entries[size_class])
        wanted = hz4_magazine_entries[size_class];
    local->used[size_class] = 1;
    if (wanted <= capacity)
        return;
    update_budget(local);
    int64_t more = (int64_t)(wanted - capacity) * bytes;
    if (local->budget_bytes - local->promised_bytes < more)
        shrink_others(heap, size_class, more);
    // The first block is always granted: without it every malloc of the class would be slow.
    if (capacity == 0 || local->budget_bytes - local->promised_bytes >= more)
        set_capacity(heap, size_class, wanted);
}

// ---- refill -------------------------------------------------------------------------------------------------------

static int is_empty(unsigned size_class) {
    void **top = hz4_thread.top[size_class + 1];
    return top[-1] == NULL;
}

// Looks at a few other heaps: what lies in their inboxes may fit the magazine, runs with free blocks may change hands.
// A dead heap gives all, an idle one its last run, a busy one none it is about to use. Returns 1 when something was
// gained.
static int take_from_others(struct hz4_heap *heap, unsigned size_class) {
    uint32_t count = hz4_heap_count();
    uint32_t visits = count < HZ4_VISITS ? count : HZ4_VISITS;
    for (uint32_t visit = 0; visit < visits; visit++) {
        uint32_t id = heap->local.heap_hand + 1;
        heap->local.heap_hand = id < count ? id : 0;
        struct hz4_heap *other = hz4_heap_by_id(id <= count ? id : 1);
        if (other == NULL || other == heap)
            continue;
        uint32_t activity = atomic_load_explicit(&other->activity, memory_order_relaxed);
        int is_idle = activity == atomic_load_explicit(&other->activity_seen, memory_order_relaxed);
        atomic_store_explicit(&other->activity_seen, activity, memory_order_relaxed);
        int is_dead = (atomic_load_explicit(&other->control, memory_order_relaxed) & HZ4_DEAD) != 0;
        uint32_t runs = atomic_load_explicit(&other->run_count[size_class], memory_order_relaxed);
        int has_mail = hz4_inbox_charge(other) > (is_idle || is_dead ? 0 : HZ4_DRAIN_BYTES);
        int has_runs = runs > (is_idle || is_dead ? 0 : 1);
        if ((!has_mail && !has_runs) || !hz4_try_hold(other))
            continue;
        if (has_mail)
            hz4_drain(other, HZ4_DRAIN_MESSAGES);
        uint32_t moved = 0;
        runs = atomic_load_explicit(&other->run_count[size_class], memory_order_relaxed);
        if (runs > (is_idle || is_dead ? 0 : 1))
            moved = hz4_run_move(heap, other, size_class, is_dead ? UINT32_MAX : 1);
        hz4_let_go(other);
        if (moved != 0 || !is_empty(size_class))
            return 1;
    }
    return 0;
}

static uint32_t take_own(struct hz4_heap *heap, unsigned size_class) {
    void **top = hz4_thread.top[size_class + 1];
    uint32_t want = (capacity_of(heap, size_class) + 1) / 2;
    uint32_t have = (uint32_t)(top - bottom_of(heap, size_class));
    if (have < want) {
        uint32_t taken = hz4_run_take(heap, size_class, top, want - have);
        hz4_thread.top[size_class + 1] = top + taken;
        have += taken;
    }
    return have;
}

int hz4_refill(struct hz4_heap *heap, unsigned size_class) {
    hz4_hold(heap);
    grow_capacity(heap, size_class);
    // Reclaim before grow: own runs, what others sent, what others do not use; only then a new run.
    uint32_t charge = hz4_inbox_charge(heap);
    if (heap->lists[size_class].first == NULL || charge > HZ4_DRAIN_BYTES || heap->rest != NULL)
        hz4_drain(heap, charge > HZ4_HELP_BYTES ? UINT32_MAX : HZ4_DRAIN_MESSAGES);
    int done = take_own(heap, size_class) != 0 ||
               (take_from_others(heap, size_class) && take_own(heap, size_class) != 0) ||
               (hz4_run_carve(heap, size_class) && take_own(heap, size_class) != 0);
    hz4_let_go(heap);
    hz4_stage_flush_stale();
    return done;
}
