// SPDX-License-Identifier: Apache-2.0
// Magazines: how large a thread's cache of each class is, how it is refilled and where its surplus goes. All of it is
// work of the owning thread, on slow paths. A magazine's capacity is promised from the thread's byte budget, so that
// what is cached is bounded without counting on the fast paths; a class that never allocates has none and keeps
// nothing.
#include "hz4.h"

#include "../common/check.h"

#include <string.h>

#define FIRST_BYTES 1024u  // a class's first capacity, in bytes and ...
#define FIRST_BLOCKS 8u    // ... in blocks at most; one block at least
#define BORROW_BYTES 4096u // free in another heap's last run
#define CHORE_PERIOD 16u   // slow paths
#define SHRINK_PERIOD 8u   // slow paths between two attempts: classes in balance must not trade room all the time
#define SHRINK_STEPS 16u   // classes looked at to make room for another

uint32_t hz4_magazine_offset[SIZECLASS_COUNT];
uint32_t hz4_magazine_entries[SIZECLASS_COUNT];

static uint32_t all_entries;

void hz4_magazines_lay_out(void) {
    uint32_t offset = SIZECLASS_COUNT * (HZ4_MAGAZINE_NARROW + 1);
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
    uint32_t narrow = size_class * (HZ4_MAGAZINE_NARROW + 1);
    return heap->magazines + (heap->local.is_wide[size_class] ? hz4_magazine_offset[size_class] : narrow) + 1;
}

static uint32_t capacity_of(struct hz4_heap *heap, unsigned size_class) {
    return (uint32_t)((void **)hz4_thread.limit[size_class + 1] - bottom_of(heap, size_class));
}

static uint32_t count_of(struct hz4_heap *heap, unsigned size_class) {
    return (uint32_t)((void **)hz4_thread.top[size_class + 1] - bottom_of(heap, size_class));
}

// A thread that uses every class a little would touch a dozen pages for wide magazines.
static void widen(struct hz4_heap *heap, unsigned size_class) {
    if (heap->local.is_wide[size_class])
        return;
    void **narrow = bottom_of(heap, size_class);
    uint32_t capacity = capacity_of(heap, size_class);
    uint32_t count = count_of(heap, size_class);
    heap->local.is_wide[size_class] = 1;
    void **wide = bottom_of(heap, size_class);
    memcpy(wide, narrow, count * sizeof *wide);
    hz4_thread.top[size_class + 1] = wide + count;
    hz4_thread.limit[size_class + 1] = wide + capacity;
}

static void set_capacity(struct hz4_heap *heap, unsigned size_class, uint32_t blocks) {
    int64_t more = (int64_t)blocks - (int64_t)capacity_of(heap, size_class);
    heap->local.magazine_bytes += more * (int64_t)sizeclass_bytes[size_class];
    if (blocks > HZ4_MAGAZINE_NARROW)
        widen(heap, size_class);
    hz4_thread.limit[size_class + 1] = bottom_of(heap, size_class) + blocks;
}

static void update_budget(struct hz4_heap *heap) {
    uint32_t threads = hz_heap_alive_count();
    int are_few = threads <= HZ4_FEW_THREADS;
    size_t share = HZ4_BUDGET_ALL_BYTES / threads;
    size_t most = are_few ? HZ4_BUDGET_FEW_SHARE_BYTES : HZ4_BUDGET_SHARE_BYTES;
    share = share > most ? most : share;
    heap->local.help_bytes = (uint32_t)(share > HZ4_HELP_BYTES ? HZ4_HELP_BYTES : share);
    int64_t out = atomic_load_explicit(&heap->out_bytes, memory_order_relaxed);
    heap->local.budget_bytes =
        (int64_t)(share + HZ4_BUDGET_THREAD_BYTES) + out / (are_few ? HZ4_BUDGET_FEW_OUT_SHARE : HZ4_BUDGET_OUT_SHARE);
}

static void show(struct hz4_heap *heap, unsigned size_class) {
    hz_hidden_show(&heap->hidden, size_class, hz4_thread.top_of_class, hz4_thread.limit + 1);
}

static void show_all(struct hz4_heap *heap) {
    hz_hidden_show_all(&heap->hidden, hz4_thread.top_of_class, hz4_thread.limit + 1);
}

static void watch(struct hz4_heap *heap, unsigned size_class) {
    arena_look();
    int is_aging = hz4_large_look();
    if (HZ_UNLIKELY(is_aging || atomic_load_explicit(&arena_holds, memory_order_relaxed) != 0))
        hz_hidden_hide(&heap->hidden, size_class, hz4_thread.top_of_class, hz4_thread.limit + 1, hz4_thread.none);
}

void hz4_magazines_begin(struct hz4_heap *heap) {
    memset(heap->hidden.classes, 0, sizeof heap->hidden.classes); // a fork has left its thread behind
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz4_thread.top[size_class + 1] = bottom_of(heap, size_class);
        hz4_thread.limit[size_class + 1] = bottom_of(heap, size_class);
    }
    update_budget(heap);
}

// ---- surplus ------------------------------------------------------------------------------------------------------

static uint32_t owner_of(const void *block) {
    return hz4_route_owner(hz4_way_read(&hz4_tag_at(hz4_granule_of(block))->route));
}

// The oldest entries leave first: they are the coldest.
static void drop_oldest(struct hz4_heap *heap, unsigned size_class, uint32_t gone, uint32_t keep) {
    void **bottom = bottom_of(heap, size_class);
    memmove(bottom, bottom + gone, keep * sizeof *bottom);
    hz4_thread.top[size_class + 1] = bottom + keep;
}

// The caller holds the heap.
static void spill_home(struct hz4_heap *heap, unsigned size_class, uint32_t keep) {
    void **bottom = bottom_of(heap, size_class);
    uint32_t count = count_of(heap, size_class);
    if (count <= keep)
        return;
    heap->local.is_spilling++;
    for (uint32_t gone = 0; gone < count - keep;)
        gone += hz4_blocks_return(heap, bottom + gone, count - keep - gone);
    heap->local.is_spilling--;
    drop_oldest(heap, size_class, count - keep, keep);
}

// To the depot, as far as it takes them, if the oldest block is a foreign one: then blocks are being exchanged, and
// which run they came from matters less than which thread needs them next. Otherwise they go to their runs. The caller
// does not hold the heap.
static void spill(struct hz4_heap *heap, unsigned size_class, uint32_t keep) {
    void **bottom = bottom_of(heap, size_class);
    uint32_t count = count_of(heap, size_class);
    if (count <= keep)
        return;
    int is_exchanged =
        owner_of(bottom[0]) != heap->common.id || (heap->local.exchanges && hz_heap_alive_count() > HZ4_FEW_THREADS);
    uint32_t gone = 0;
    for (uint32_t taken = is_exchanged; count - gone > keep && taken != 0; gone += taken)
        taken = hz4_depot_put(&heap->local, size_class, bottom + gone, count - gone - keep);
    if (gone != 0)
        drop_oldest(heap, size_class, gone, count - gone);
    if (count - gone > keep) {
        hz4_acquire(heap);
        spill_home(heap, size_class, keep);
        hz4_release(heap);
    }
}

void hz4_spill_all(struct hz4_heap *heap) {
    show_all(heap);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        spill_home(heap, size_class, 0);
}

uint64_t hz4_magazines_bytes(struct hz4_heap *heap) {
    show_all(heap);
    uint64_t bytes = 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        bytes += (uint64_t)count_of(heap, size_class) * sizeclass_bytes[size_class];
    return bytes;
}

void hz4_magazines_end(struct hz4_heap *heap) {
    hz4_spill_all(heap);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        hz4_thread.top[size_class + 1] = hz4_thread.top[0];
        hz4_thread.limit[size_class + 1] = hz4_thread.limit[0];
    }
}

// At the end of every slow path; now and then sends what has waited long.
static void do_chores(struct hz4_heap *heap) {
    if (++heap->local.slow_paths % CHORE_PERIOD != 0)
        return;
    hz4_remote_flush_stale();
    hz4_depot_age(heap);
}

// Open batches are guaranteed a quarter of the budget, or surplus would travel in batches of one block.
static int64_t room_of(const struct hz4_local *local) {
    return local->budget_bytes - local->budget_bytes / 4 - local->magazine_bytes;
}

// ---- capacity -----------------------------------------------------------------------------------------------------

// Halves what other classes may keep, beginning with classes that were not used lately.
static void shrink_others(struct hz4_heap *heap, unsigned size_class, int64_t bytes) {
    struct hz4_local *local = &heap->local;
    for (uint32_t step = 0; step < SHRINK_STEPS; step++) {
        if (room_of(local) >= bytes)
            return;
        unsigned victim = local->class_hand;
        local->class_hand = victim + 1 < SIZECLASS_COUNT ? victim + 1 : 0;
        show(heap, victim);
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
    update_budget(heap);
    int64_t more = (int64_t)(wanted - capacity) * bytes;
    if (room_of(local) < more && local->slow_paths % SHRINK_PERIOD == 0)
        shrink_others(heap, size_class, more);
    // The first block is always granted: without it every malloc of the class would be slow.
    if (capacity == 0 || room_of(local) >= more)
        set_capacity(heap, size_class, wanted);
}

// ---- overflow -----------------------------------------------------------------------------------------------------

static void push(unsigned size_class, void *block) {
    void **top = hz4_thread.top[size_class + 1];
    *top = block;
    hz4_thread.top[size_class + 1] = top + 1;
}

// A class without a magazine is not allocated by this thread: its freed blocks are surplus and wait in a batch to their
// owner. Of more owners than there are slots, though, each batch would travel with a block or two: then the class gets
// a magazine, and its surplus goes through the depot to threads that allocate the class.
static void overflow(struct hz4_heap *heap, void *block, unsigned size_class, uint32_t route) {
    int is_foreign = hz4_route_owner(route) != heap->common.id;
    int is_crowded = is_foreign && !hz4_remote_has_room(route);
    heap->local.exchanges |= (uint32_t)is_foreign;
    if (is_crowded)
        grow_capacity(heap, size_class);
    uint32_t capacity = capacity_of(heap, size_class);
    if (capacity != 0) {
        heap->local.used[size_class] = 1;
        if (count_of(heap, size_class) >= capacity)
            spill(heap, size_class, capacity / 2);
        push(size_class, block);
    } else if (is_foreign) {
        hz4_remote_free(block, route);
        return;
    } else {
        hz4_acquire(heap);
        hz4_blocks_return(heap, &block, 1);
        hz4_release(heap);
    }
    do_chores(heap);
}

void hz4_overflow(struct hz4_heap *heap, void *block, unsigned size_class, uint32_t route) {
    show(heap, size_class);
    overflow(heap, block, size_class, route);
    watch(heap, size_class);
}

// ---- refill -------------------------------------------------------------------------------------------------------

static int is_empty(unsigned size_class) {
    void **top = hz4_thread.top[size_class + 1];
    return top[-1] == NULL;
}

// Blocks of `from`, which the caller holds, up to half a magazine. Returns what the magazine holds then.
static uint32_t take_blocks(struct hz4_heap *heap, struct hz4_heap *from, unsigned size_class) {
    void **top = hz4_thread.top[size_class + 1];
    uint32_t want = (capacity_of(heap, size_class) + 1) / 2;
    uint32_t have = (uint32_t)(top - bottom_of(heap, size_class));
    if (have < want) {
        uint32_t taken = hz4_run_take(from, size_class, top, want - have);
        hz4_thread.top[size_class + 1] = top + taken;
        have += taken;
    }
    return have;
}

static uint32_t take_own(struct hz4_heap *heap, unsigned size_class) {
    return take_blocks(heap, heap, size_class);
}

// The last run of a busy heap keeps its owner, but blocks of it are taken if they fill half a magazine, or a page. So a
// thread that needs few blocks of a class does not take a run for it.
static void borrow(struct hz4_heap *heap, struct hz4_heap *other, unsigned size_class) {
    struct hz4_run *run = other->lists[size_class].first;
    uint32_t want = (capacity_of(heap, size_class) + 1) / 2;
    if (run != NULL && (run->free_count >= want || run->free_count * sizeclass_bytes[size_class] >= BORROW_BYTES))
        take_blocks(heap, other, size_class);
}

// Blocks that do not end with a line share it with their neighbours: taken from another's run, they would make two
// threads that exchange nothing write to one line for as long as both use them. With many threads, a heap that has much
// free for what it has in use takes them nevertheless.
static int may_share_lines(const struct hz4_heap *heap, unsigned size_class) {
    return heap->local.exchanges || sizeclass_bytes[size_class] % HZ_CACHE_LINE == 0 ||
           hz_heap_alive_count() > HZ4_FEW_THREADS;
}

// Another heap, as far as one sees without acquiring it.
struct visit {
    struct hz4_heap *heap;
    int is_idle, is_abandoned;
    int has_remote; // more waits in its remote queue than it should be left with
    uint32_t runs;  // with free blocks of the class
    uint32_t free;  // these blocks
};

static struct visit look_at(struct hz4_heap *heap, unsigned size_class) {
    struct visit visit = {.heap = heap};
    uint32_t activity = atomic_load_explicit(&heap->activity, memory_order_relaxed);
    visit.is_idle = activity == atomic_load_explicit(&heap->activity_seen, memory_order_relaxed);
    if (!visit.is_idle)
        atomic_store_explicit(&heap->activity_seen, activity, memory_order_relaxed);
    visit.is_abandoned = hz_status_peek_abandoned(&heap->common.status);
    visit.runs = atomic_load_explicit(&heap->supply[size_class].runs, memory_order_relaxed);
    visit.free = atomic_load_explicit(&heap->supply[size_class].home, memory_order_relaxed);
    visit.has_remote = hz4_queue_charge(heap) > (visit.is_idle || visit.is_abandoned ? 0 : HZ4_DRAIN_BYTES);
    return visit;
}

// From a heap that the caller has acquired: what waits in its remote queue may fit the magazine, its runs may get
// another owner. An abandoned heap gives all its runs of the class, an idle one a run, a busy one a run if it has more
// than one; of its only run some blocks are taken. While this thread is not pressed, runs in use stay where they are.
// Returns 1 when something was gained.
static int take_from(struct hz4_heap *heap, const struct visit *visit, unsigned size_class, int may_share) {
    if (visit->has_remote)
        hz4_drain(visit->heap, HZ4_DRAIN_BATCHES);
    uint32_t moved = 0;
    uint32_t runs = atomic_load_explicit(&visit->heap->supply[size_class].runs, memory_order_relaxed);
    int is_pressed = heap->local.is_pressed;
    int is_given = visit->is_abandoned || (visit->is_idle && may_share && is_pressed) ||
                   (runs > 1 && (visit->is_idle || is_pressed));
    if (is_given && hz4_try_acquire(heap)) {
        moved = hz4_run_move(heap, visit->heap, size_class, visit->is_abandoned ? UINT32_MAX : 1);
        hz4_release(heap);
    } else if (runs != 0 && is_empty(size_class) && may_share && is_pressed) {
        borrow(heap, visit->heap, size_class);
    }
    return moved != 0 || !is_empty(size_class);
}

// Looks at a few other heaps. Returns 1 when something was gained; otherwise *busy is a heap that had something and
// could not be acquired, if there was one.
static int take_from_some(struct hz4_heap *heap, unsigned size_class, struct hz4_heap **busy) {
    uint32_t count = hz_heap_count();
    uint32_t visits = count < HZ4_VISITS ? count : HZ4_VISITS;
    uint64_t free_elsewhere = 0;
    uint32_t most = 0;
    struct hz4_heap *richest = NULL;
    int may_share = may_share_lines(heap, size_class);
    for (uint32_t i = 0; i < visits; i++) {
        uint32_t id = heap->local.heap_hand + 1;
        heap->local.heap_hand = id < count ? id : 0;
        struct hz4_heap *other = hz4_heap_by_id(id <= count ? id : 1);
        if (other == heap)
            continue;
        struct visit visit = look_at(other, size_class);
        free_elsewhere += visit.free;
        if (visit.free > most) {
            most = visit.free;
            richest = other;
        }
        if (!visit.has_remote && visit.runs == 0)
            continue;
        if (!hz4_try_acquire(other)) {
            *busy = visit.runs > 1 || visit.has_remote ? other : *busy;
            continue;
        }
        int is_gain = take_from(heap, &visit, size_class, may_share);
        hz4_release(other);
        if (is_gain)
            return 1;
    }
    // Others have as much free as a new run would bring: a little of it is better than the run.
    if (free_elsewhere * sizeclass_bytes[size_class] < hz4_run_bytes(size_class) || !may_share ||
        !heap->local.is_pressed)
        return 0;
    if (!hz4_try_acquire(richest)) {
        *busy = richest;
        return 0;
    }
    take_blocks(heap, richest, size_class);
    hz4_release(richest);
    return !is_empty(size_class);
}

// A heap that has what this thread needs is held by a thread that the system may have stopped: waiting costs less than
// new memory, and then memory use does not depend on the scheduler.
static int take_from_others(struct hz4_heap *heap, unsigned size_class) {
    for (int attempt = 0; attempt < 4; attempt++) {
        struct hz4_heap *busy = NULL;
        if (take_from_some(heap, size_class, &busy))
            return 1;
        if (busy == NULL || !hz4_may_wait(busy))
            return 0;
        hz4_acquire_wait(busy);
        hz4_release(busy);
    }
    return 0;
}

// Each heap that is looked at costs three lines that its thread writes, and what is taken from a busy one is shared
// with its thread from then on. So a thread that exchanges nothing takes new memory without looking, unless its heap
// has grown by an eighth since it last looked in vain, and no blocks of busy heaps as long as its own has little free.
static int look_around(struct hz4_heap *heap, unsigned size_class) {
    struct hz4_local *local = &heap->local;
    int64_t out = atomic_load_explicit(&heap->out_bytes, memory_order_relaxed);
    int64_t spare = atomic_load_explicit(&heap->spare_bytes, memory_order_relaxed);
    int64_t most = HZ4_SPARE_ALL_BYTES / hz_heap_alive_count();
    most = most > (int64_t)HZ4_SPARE_BYTES ? (int64_t)HZ4_SPARE_BYTES : most;
    local->is_pressed = local->exchanges || spare > most + out / HZ4_SPARE_SHARE;
    int64_t all = out + spare;
    if (!local->is_pressed && all < local->looks_at_bytes && hz_heap_abandoned_count() == 0)
        return 0;
    if (!take_from_others(heap, size_class))
        local->looks_at_bytes = all + all / 8 + (int64_t)HZ4_LOOK_BYTES;
    return 1;
}

// Drains no more batches than needed: blocks returned early may empty runs that the next refill would carve again.
static void drain_some(struct hz4_heap *heap, unsigned size_class, uint32_t charge) {
    for (uint32_t batches = 0; batches < HZ4_DRAIN_BATCHES; batches++) {
        if (batches != 0 && !is_empty(size_class) && charge <= HZ4_HELP_BYTES)
            return;
        hz4_drain(heap, 1);
    }
}

// A batch may be larger than the magazine's capacity, not than its place.
static int take_batch(struct hz4_heap *heap, unsigned size_class) {
    uint64_t packed = hz4_depot_take(size_class);
    if (packed == 0)
        return 0;
    uint32_t count = hz4_depot_count(packed);
    if (count > HZ4_MAGAZINE_NARROW)
        widen(heap, size_class);
    void **bottom = bottom_of(heap, size_class);
    hz4_depot_unpack(&heap->local, size_class, packed, bottom);
    hz4_thread.top[size_class + 1] = bottom + count;
    return 1;
}

static int take_own_or_new(struct hz4_heap *heap, unsigned size_class) {
    hz4_acquire(heap);
    int done = take_own(heap, size_class) != 0 || (hz4_run_carve(heap, size_class) && take_own(heap, size_class) != 0);
    hz4_release(heap);
    return done;
}

static int refill(struct hz4_heap *heap, unsigned size_class) {
    grow_capacity(heap, size_class);
    int done = heap->local.exchanges && take_batch(heap, size_class);
    uint32_t charge = hz4_queue_charge(heap);
    heap->local.exchanges |= done || charge != 0;
    if (!done || charge > HZ4_DRAIN_BYTES) {
        hz4_acquire(heap);
        // Reclaim before grow: batches from other threads, own runs, blocks and runs of other heaps; only then a new
        // run. The queue comes first because its blocks are resident; those of a run may never have been touched.
        if (charge != 0 || heap->rest != NULL)
            drain_some(heap, size_class, charge);
        done = done || take_own(heap, size_class) != 0;
        hz4_release(heap);
    }
    if (!done) {
        int has_looked = look_around(heap, size_class);
        done = take_own_or_new(heap, size_class);
        if (!done && !has_looked) { // there is no more memory but theirs
            heap->local.is_pressed = 1;
            take_from_others(heap, size_class);
            done = take_own_or_new(heap, size_class);
        }
    }
    do_chores(heap);
    return done;
}

// One block, the magazine's newest; NULL when out of memory.
void *hz4_refill(struct hz4_heap *heap, unsigned size_class) {
    show(heap, size_class);
    void *block = NULL;
    if (!is_empty(size_class) || refill(heap, size_class)) {
        void **top = hz4_thread.top_of_class[size_class];
        block = top[-1];
        hz4_thread.top_of_class[size_class] = top - 1;
    }
    watch(heap, size_class);
    return block;
}
