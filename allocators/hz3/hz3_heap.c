// SPDX-License-Identifier: Apache-2.0
// The start of the library and its table of tags; how a thread takes a heap and gives it up (common/heaps.h has the
// life cycle).
#include "hz3.h"

#include "../common/options.h"
#include "../common/os_mem.h"

// One tag a unit for all 47 bits of user address space: 8 GiB of which only pages with tags ever exist.
#define ADDRESS_BITS 47u
#define TABLE_BYTES ((size_t)4 << (ADDRESS_BITS - ARENA_UNIT_SHIFT))
#define TABLE_LIMIT_SHARE 8u // of the address space this process may use
#define NO_TABLE_SHIFT 63u

static const _Atomic uint32_t no_tag = HZ3_TAG_NONE;

struct hz3_lookup hz3_lookup = {.table = &no_tag, .shift = NO_TABLE_SHIFT};

// ---- initialisation -----------------------------------------------------------------------------------------------

static struct {
    char *table; // over the whole address space, while it is there
    char *own;   // the arena's part of it, once the rest has been released: from the first page to the end of what is
                 // mapped
    char *own_end;
} tags;

static char *end_of_tags(size_t units) {
    return (char *)hz_align_up((uintptr_t)(hz3_lookup.tags + units), OS_PAGE_BYTES);
}

// The process has got a limit on address space. From here on every look-up finds the zero at the table's start, and the
// slow path looks in the arena's own part. Threads that have read the old shift go on with the old table: every block
// that may be freed has its tag in the part that stays.
static void drop_table(size_t units) {
    // ORDER: release: as in tags_init(), though nothing depends on it: either shift fits what stays.
    atomic_store_explicit(&hz3_lookup.shift, NO_TABLE_SHIFT, memory_order_release);
    char *first_page = tags.table + OS_PAGE_BYTES;
    char *end = tags.table + TABLE_BYTES;
    tags.own = (char *)((uintptr_t)hz3_lookup.tags & ~(OS_PAGE_BYTES - 1));
    tags.own_end = end_of_tags(units);
    os_mem_release(first_page, (size_t)(tags.own - first_page));
    os_mem_release(tags.own_end, (size_t)(end - tags.own_end));
    tags.table = NULL;
}

// Called by the arena, under its lock: it is about to have so many units, or a limit leaves it no more than these.
static int follow_units(size_t units) {
    if (tags.table != NULL)
        drop_table(units);
    if (tags.own == NULL)
        return 1; // a table for all that the arena can ever have
    char *end = end_of_tags(units);
    if (end < tags.own_end
            ? !os_mem_release(end, (size_t)(tags.own_end - end))
            : end > tags.own_end && !os_mem_map(tags.own_end, (size_t)(end - tags.own_end), OS_MEM_READ_WRITE))
        return 0;
    tags.own_end = end;
    return 1;
}

static int tags_init(void) {
    size_t bytes = hz_align_up(arena.span_units * sizeof *hz3_lookup.tags, OS_PAGE_BYTES);
    char *table = NULL;
    if (os_mem_address_space_limit() / TABLE_LIMIT_SHARE >= TABLE_BYTES &&
        arena.base_unit + arena.span_units <= (uintptr_t)1 << (ADDRESS_BITS - ARENA_UNIT_SHIFT))
        table = os_mem_reserve(TABLE_BYTES, OS_PAGE_BYTES, OS_MEM_READ);
    if (table == NULL) { // the slow path will do all look-ups, in a table for the arena alone
        hz3_lookup.tags = os_mem_reserve(bytes, OS_PAGE_BYTES, OS_MEM_READ_WRITE);
        return hz3_lookup.tags != NULL;
    }
    char *ours = table + arena.base_unit * sizeof *hz3_lookup.tags;
    char *page = (char *)((uintptr_t)ours & ~(OS_PAGE_BYTES - 1));
    if (!os_mem_protect(page, bytes + OS_PAGE_BYTES, OS_MEM_READ_WRITE)) {
        os_mem_release(table, TABLE_BYTES);
        return 0;
    }
    os_mem_set_dumped(table, TABLE_BYTES, 0);
    char *behind = page + bytes + OS_PAGE_BYTES;
    os_mem_zeroes(table, (size_t)(page - table));
    os_mem_zeroes(behind, (size_t)(table + TABLE_BYTES - behind));
    hz3_lookup.tags = (_Atomic uint32_t *)(void *)ours;
    tags.table = table;
    atomic_store_explicit(&hz3_lookup.table, (const _Atomic uint32_t *)(void *)table, memory_order_relaxed);
    // ORDER: release: the table; partner: hz3_tag_fast(). The old shift is in order with either table.
    atomic_store_explicit(&hz3_lookup.shift, ARENA_UNIT_SHIFT, memory_order_release);
    return 1;
}

const char hzn_options_variable[] = "HZ3_OPTIONS";

int hzn_start(void) {
    if (!arena_init(sizeof(struct hz3_run), follow_units) || (hz3_lookup.tags == NULL && !tags_init()))
        return 0;
    static const struct option none = {NULL, NULL, NULL, NULL};
    struct arena_limits limits = {
        .retain_bytes = HZ_MIB(16), .retain_percent = 50, .decay_ms = 250, .adaptive = 1, .fragmentation_percent = 25};
    options_load(hzn_options_variable, &limits, &none);
    arena_set_limits(&limits);
    sizeclass_init();
    hz3_list_init();
    return 1;
}

void hzn_fork_lock(void) {
    // there are no locks but those of common
}

void hzn_fork_inherit(void) {
    // as hzn_fork_lock()
}

void hzn_fork_unlock(void) {
    // as hzn_fork_lock()
}

// ---- heaps --------------------------------------------------------------------------------------------------------

struct hz_heap *hzn_heap_of_thread(void) {
    return hz3_thread.heap != NULL ? &hz3_thread.heap->common : NULL;
}

int hzn_heap_is_whole(struct hz_heap *heap) {
    return hz_heap_is_at_rest(heap) && atomic_load_explicit(&hz3_heap_of(heap)->is_busy, memory_order_relaxed) == 0;
}

static struct hz3_heap *new_heap(void) {
    struct hz3_heap *heap =
        hz_heap_count() < HZ_MAX_HEAPS ? arena_metadata(sizeof(struct hz3_heap), _Alignof(struct hz3_heap)) : NULL;
    if (heap == NULL)
        return NULL;
    hz_status_begin(&heap->common.status);
    return hz_heap_register(&heap->common) ? heap : NULL;
}

static HZ_COLD struct hz3_heap *heap_begin(void) {
    struct hz3_heap *heap = hz3_heap_of(hz_heap_reclaim());
    if (heap == NULL)
        heap = new_heap();
    if (heap == NULL)
        return NULL;
    hz3_list_begin(heap);
    hz3_thread.heap = heap;
    hz3_thread.mine = heap->common.id << HZ3_TAG_SHIFT;
    hz_thread_end_watch(); // may allocate: the heap is complete by now
    return heap;
}

struct hz3_heap *hz3_heap_of_thread(void) {
    struct hz3_heap *heap = hz3_thread.heap;
    return HZ_LIKELY(heap != NULL) ? heap : heap_begin();
}

void hzn_thread_fini(void) {
    struct hz3_heap *heap = hz3_thread.heap;
    if (heap == NULL)
        return;
    hz_heap_enter(&heap->is_busy);
    hz_heap_hold(&heap->common);
    hz3_remote_drain(heap);
    hz3_list_return_all(heap);
    hz3_remote_flush(heap);
    hz3_large_release_cached(heap);
    hz3_run_release_empty(heap);
    hz3_list_end(heap); // pushing may have drained abandoned heaps, never into lists
    hz3_thread.mine = 0;
    hz3_thread.heap = NULL;
    hz_heap_leave(&heap->is_busy);
    hz_heap_release(&heap->common);
}
