// SPDX-License-Identifier: Apache-2.0
// The exported vtable, and the accounts behind it: statistics, ownership, purge, audit.
#include "hz5.h"
#include "hz5_descriptor.h"

#include <malloc.h>
#include <stdlib.h>

// Every small run, in address order. Descriptors are type-stable, so the walk is safe; numbers are a snapshot.
static struct hz5_desc *next_run(size_t *unit, size_t end) {
    while (*unit < end) {
        struct hz5_desc *desc = hz5_desc_at(*unit);
        uint64_t owner_generation = hz5_owner_generation_read(&desc->owner_generation);
        uint32_t units = hz5_owner_of(owner_generation) != HZ5_OWNER_NONE ? desc->units : 1;
        *unit += units != 0 ? units : 1;
        if (hz5_owner_of(owner_generation) != HZ5_OWNER_NONE)
            return desc;
    }
    return NULL;
}

static uint32_t count_state(struct hz5_desc *run, uint8_t wanted) {
    struct hz5_block *states = hz5_states_of(run);
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->block_count; i++)
        count += hz5_block_count(states + i) == wanted;
    return count;
}

// Runs without an array of states.
static int is_large(struct hz5_desc *desc) {
    uint8_t kind = atomic_load_explicit(&desc->kind, memory_order_relaxed);
    return kind == HZ5_KIND_LARGE || kind == HZ5_KIND_EMPTY;
}

static _Atomic uint64_t absorbed_reported;

struct totals {
    uint64_t issued;             // frees of blocks of other heaps
    uint64_t drained;            // of these, found by the owner
    uint64_t waiting_bytes;      // of the others, by the sizes in the regions that wait to be searched
    int nothing_waits;           // all that is issued has been searched for
    uint64_t used_bytes;         // blocks not FREE
    uint64_t dirty_bytes;        // pages of runs of small blocks
    uint64_t large_cached_bytes; // in caches of threads
};

// Sums of all heaps' counters. A free is counted when its region is pushed, a region as searched when its frees are
// counted as drained, and everything is read in that order: when no region waits, the two counts differ by nothing
// but frees that were absorbed.
static struct totals read_totals(void) {
    struct totals totals = {0};
    // ORDER: acquire: partner: hz5_count_issued().
    totals.issued = atomic_load_explicit(&hz5_heapless_issued, memory_order_acquire);
    for (uint32_t id = 1; id <= hz_heap_count(); id++)
        totals.issued += atomic_load_explicit(&hz5_heap_by_id(id)->remote_issued, memory_order_acquire);
    struct hz5_regions pushed;
    struct hz5_regions searched;
    hz5_regions_read(&pushed, &searched);
    totals.nothing_waits = hz_tally_get(&pushed.count) == hz_tally_get(&searched.count);
    for (uint32_t id = 1; id <= hz_heap_count(); id++) {
        struct hz5_heap *heap = hz5_heap_by_id(id);
        totals.drained += atomic_load_explicit(&heap->remote_drained, memory_order_relaxed);
        totals.used_bytes += hz_tally_get(&heap->used_bytes);
        totals.dirty_bytes += hz_tally_get(&heap->dirty_bytes);
        totals.large_cached_bytes += hz_tally_get(&heap->large.bytes);
    }
    int64_t blocks = (int64_t)(hz_tally_get(&pushed.blocks) - hz_tally_get(&searched.blocks));
    int64_t bytes = (int64_t)(hz_tally_get(&pushed.bytes) - hz_tally_get(&searched.bytes));
    uint64_t absorbed = atomic_load_explicit(&absorbed_reported, memory_order_relaxed);
    int64_t waiting = (int64_t)(totals.issued - totals.drained - absorbed);
    if (!totals.nothing_waits && waiting > 0 && blocks > 0 && bytes > 0)
        totals.waiting_bytes = (uint64_t)((hz_uint128)(uint64_t)waiting * (uint64_t)bytes / (uint64_t)blocks);
    return totals;
}

static void report_absorbed(uint64_t issued, uint64_t seen) {
    uint64_t absorbed = issued > seen ? issued - seen : 0;
    uint64_t before = atomic_load_explicit(&absorbed_reported, memory_order_relaxed);
    while (absorbed > before) {
        if (atomic_compare_exchange_weak_explicit(&absorbed_reported, &before, absorbed, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            reject_add(ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE, absorbed - before);
            break;
        }
    }
}

// Cached blocks of the calling thread; nobody may look into the magazines of others, whose blocks count as live.
static uint64_t cached_bytes(struct hz5_heap *heap) {
    hz5_show_magazines(heap);
    uint64_t bytes = heap->quarantine != NULL ? heap->quarantine->bytes : 0;
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
        bytes += (uint64_t)(hz5_thread.top[size_class] - (heap->magazines + hz5_magazine_offset[size_class])) *
                 sizeclass_bytes[size_class];
    return bytes;
}

// Takes as long as there are heaps and, for the calling thread's magazines, size classes, however many blocks live.
void hzn_stats(struct allocator_stats *out) {
    *out = (struct allocator_stats){0};
    struct arena_usage usage;
    arena_read_usage(&usage);
    struct totals totals = read_totals();
    if (totals.nothing_waits)
        report_absorbed(totals.issued, totals.drained);
    out->reserved_bytes = usage.reserved_bytes;
    out->metadata_bytes = usage.metadata_bytes;
    out->committed_bytes = usage.dirty_free_bytes + totals.dirty_bytes + hz5_large_bytes();
    uint64_t held = totals.used_bytes + hz5_large_bytes();
    uint64_t freed = totals.large_cached_bytes + totals.waiting_bytes;
    freed += hz5_thread.heap != NULL ? cached_bytes(hz5_thread.heap) : 0;
    out->live_bytes = held > freed ? held - freed : 0;
    reject_read(out);
}

// Two frees of one block, by its owner and by another thread, in the same few nanoseconds: the owner's store may cover
// the other's mark. The block is freed once, so nothing is damaged, but the second free was not refused where it
// happened. The accounts tell: every foreign free is counted by its thread and every drained one by the owner. Read
// in this order they never show one too many while other threads run.
void hz5_audit(void) {
    // ORDER: acquire: the states were changed before; partner: hz5_count_issued().
    uint64_t issued = atomic_load_explicit(&hz5_heapless_issued, memory_order_acquire);
    for (uint32_t id = 1; id <= hz_heap_count(); id++)
        issued += atomic_load_explicit(&hz5_heap_by_id(id)->remote_issued, memory_order_acquire);
    uint64_t seen = 0;
    size_t end = arena_high_water();
    size_t unit = 0;
    for (struct hz5_desc *run = next_run(&unit, end); run != NULL; run = next_run(&unit, end))
        if (!is_large(run))
            seen += count_state(run, HZ5_REMOTE);
    for (uint32_t id = 1; id <= hz_heap_count(); id++)
        seen += atomic_load_explicit(&hz5_heap_by_id(id)->remote_drained, memory_order_relaxed);
    report_absorbed(issued, seen);
}

// A fork left the run's owner behind while that was changing it: nothing will ever use the run.
static int is_lost(const struct hz5_desc *run) {
    uint32_t owner = hz5_owner_of(hz5_owner_generation_read(&run->owner_generation));
    struct hz5_heap *heap = owner <= hz_heap_count() ? hz5_heap_by_id(owner) : NULL;
    return heap == NULL || hz_status_peek(&heap->common.status) == HZ_HEAP_LOST;
}

// Contradictions between descriptors, states and lists of the calling thread's heap; exact while no other thread runs.
static int verify(void) {
    int contradictions = 0;
    size_t end = arena_high_water();
    size_t unit = 0;
    for (struct hz5_desc *run = next_run(&unit, end); run != NULL; run = next_run(&unit, end)) {
        if (is_large(run) || is_lost(run))
            continue;
        struct hz5_block *states = hz5_states_of(run);
        contradictions += count_state(run, HZ5_FREE) != run->free_count;
        contradictions += hz5_block_peek(states + run->block_count) != HZ5_NO_BLOCK;
    }
    hz5_audit();
    return contradictions;
}

void hzn_purge(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    if (heap != NULL) {
        hz_heap_enter(&heap->is_busy);
        hz5_show_magazines(heap);
        hz_heap_hold(&heap->common);
        for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
            hz5_spill(heap, size_class, 0);
        hz5_drain(heap);
        hz5_quarantine_flush(heap); // after the drain, which fills it
        hz5_large_flush(heap);
        hz5_guarded_flush();
        hz5_release_empty_runs(heap);
        hz5_trim(heap);
        hz_heap_let_go(&heap->common);
        hz_heap_leave(&heap->is_busy);
    }
    struct hz_heap *abandoned;
    for (uint32_t id = 0; (abandoned = hz_heap_acquire_next(&id)) != NULL; hz_heap_release(abandoned)) {
        heap = hz5_heap_of(abandoned);
        hz5_drain(heap);
        hz5_quarantine_flush(heap); // like the large runs: of a thread that a fork left behind
        hz5_large_flush(heap);
        hz5_release_empty_runs(heap);
        hz5_trim(heap);
    }
    if (arena.span_units != 0)
        arena_purge();
}

// No run is released: the thread's own free reads the descriptors of its runs once. Their pages go.
static void release_idle(struct hz_heap *common) {
    struct hz5_heap *heap = hz5_heap_of(common);
    if (heap->quarantine != NULL)
        return;
    hz5_drain(heap);
    hz5_trim(heap);
}

// Magazines and the cache of large runs stay: only the thread itself may take from them.
void hzn_release_idle(void) {
    hz_heaps_visit(release_idle);
}

static int owns(const void *block) {
    struct hz5_block *state;
    int found = 0;
    if (hz5_is_checked)
        hz5_checked_usable_size(block, &found);
    return found || hz5_find_live(block, &state) != NULL;
}

static const char *version(void) {
    return HZBENCH_VERSION;
}

static void *table_alloc_aligned(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}

HZ_EXPORT const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "hz5",
    .summary = "page/run first, sidecar descriptors, every free verified",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_OWNS_EXACT | ALLOCATOR_FAIL_CLOSED | ALLOCATOR_PURGE |
                    ALLOCATOR_STATS | ALLOCATOR_ALIGNED | ALLOCATOR_VERIFY,
    .alloc = malloc,
    .free = free,
    .alloc_aligned = table_alloc_aligned,
    .calloc = calloc,
    .realloc = realloc,
    .usable_size = malloc_usable_size,
    .owns = owns,
    .verify = verify,
    .thread_fini = hzn_thread_fini,
    .stats = hzn_stats,
    .purge = hzn_purge,
    .version = version,
    .contract = &hz5_descriptor,
};
