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
        // ORDER: acquire: the descriptor's fields; partner: set_ident().
        uint64_t ident = atomic_load_explicit(&desc->ident, memory_order_acquire);
        uint32_t units = hz5_owner_of(ident) != HZ5_OWNER_NONE ? desc->units : 1;
        *unit += units != 0 ? units : 1;
        if (hz5_owner_of(ident) != HZ5_OWNER_NONE)
            return desc;
    }
    return NULL;
}

static uint32_t count_state(struct hz5_desc *run, uint8_t wanted) {
    _Atomic uint8_t *states = hz5_states_of(run);
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->block_count; i++)
        // ORDER: acquire: partner: collect(), which counts a block before it changes the state.
        count += atomic_load_explicit(states + i, memory_order_acquire) == wanted;
    return count;
}

static int is_large(struct hz5_desc *desc) {
    return atomic_load_explicit(&desc->kind, memory_order_relaxed) == HZ5_KIND_LARGE;
}

void core_stats(struct allocator_stats *out) {
    *out = (struct allocator_stats){0};
    struct arena_usage usage;
    arena_read_usage(&usage);
    out->reserved_bytes = usage.reserved_bytes;
    out->committed_bytes = usage.dirty_free_bytes;
    out->metadata_bytes = usage.metadata_bytes;
    size_t end = arena_high_water();
    size_t unit = 0;
    for (struct hz5_desc *run = next_run(&unit, end); run != NULL; run = next_run(&unit, end)) {
        if (is_large(run)) {
            out->committed_bytes += run->large_bytes;
            if (atomic_load_explicit(&run->large_state, memory_order_relaxed) == HZ5_LIVE)
                out->live_bytes += run->large_bytes;
        } else {
            out->committed_bytes += (uint64_t)__builtin_popcountll(run->dirty_pages) << run->page_shift;
            out->live_bytes +=
                (uint64_t)count_state(run, HZ5_LIVE) * atomic_load_explicit(&run->block_bytes, memory_order_relaxed);
        }
    }
    hz5_audit();
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        out->rejects[reason] = hz5_reject_count((enum allocator_reject)reason);
}

// Two frees of one block, by its owner and by another thread, in the same few nanoseconds: the owner's store may cover
// the other's mark. The block is freed once, so nothing is damaged, but the second free was not refused where it
// happened. The accounts tell: every foreign free is counted by its thread and every collected one by the owner. Read
// in this order they never show one too many while other threads run.
void hz5_audit(void) {
    static _Atomic uint64_t reported;
    uint64_t issued = atomic_load_explicit(&hz5_heapless_issued, memory_order_relaxed);
    for (uint32_t id = 1; id <= hz5_heap_count(); id++)
        issued += atomic_load_explicit(&hz5_heap_by_id(id)->remote_issued, memory_order_relaxed);
    uint64_t seen = 0;
    size_t end = arena_high_water();
    size_t unit = 0;
    for (struct hz5_desc *run = next_run(&unit, end); run != NULL; run = next_run(&unit, end)) {
        if (!is_large(run))
            seen += count_state(run, HZ5_REMOTE);
    }
    for (uint32_t id = 1; id <= hz5_heap_count(); id++)
        seen += atomic_load_explicit(&hz5_heap_by_id(id)->remote_collected, memory_order_relaxed);
    uint64_t absorbed = issued > seen ? issued - seen : 0;
    uint64_t before = atomic_load_explicit(&reported, memory_order_relaxed);
    while (absorbed > before) {
        if (atomic_compare_exchange_weak_explicit(&reported, &before, absorbed, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            hz5_reject_add(ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE, absorbed - before);
            break;
        }
    }
}

// Contradictions between descriptors, states and lists of the calling thread's heap; exact while no other thread runs.
static int verify(void) {
    int contradictions = 0;
    size_t end = arena_high_water();
    size_t unit = 0;
    for (struct hz5_desc *run = next_run(&unit, end); run != NULL; run = next_run(&unit, end)) {
        if (is_large(run))
            continue;
        _Atomic uint8_t *states = hz5_states_of(run);
        contradictions += count_state(run, HZ5_FREE) != run->free_count;
        contradictions += atomic_load_explicit(states + run->block_count, memory_order_relaxed) != HZ5_NO_BLOCK;
    }
    hz5_audit();
    return contradictions;
}

void core_purge(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    if (heap != NULL) {
        for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++)
            hz5_spill(heap, size_class, 0);
        hz5_collect_pending(heap);
        hz5_quarantine_flush(heap); // after the collection, which fills it
        hz5_large_flush(heap);
        hz5_release_empty_runs(heap);
        hz5_trim(heap);
    }
    uint32_t count = hz5_dead_heap_count() > 0 ? hz5_heap_count() : 0;
    for (uint32_t id = 1; id <= count; id++) {
        struct hz5_heap *dead = hz5_heap_by_id(id);
        if (dead != NULL && hz5_heap_claim_dead(dead)) {
            hz5_collect_pending(dead);
            hz5_release_empty_runs(dead);
            hz5_trim(dead);
            hz5_heap_unclaim(dead);
        }
    }
    if (arena.unit_count != 0)
        arena_purge();
}

static int owns(const void *block) {
    _Atomic uint8_t *state;
    return hz5_find_live(block, &state) != NULL;
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
    .thread_fini = hz5_thread_fini,
    .stats = core_stats,
    .purge = core_purge,
    .version = version,
    .contract = &hz5_descriptor,
};
