// SPDX-License-Identifier: Apache-2.0
// Checks: while any is on, no block is allocated or freed on the fast paths, which find nothing then, and all come
// here. The table of size classes that the fast path of malloc reads names a class that never has a block, and to the
// fast path of free no pointer is of the arena.
//
// A block of a run has a word beside its states: what was asked for and how, its *birth*. Behind what was asked for
// stands the canary up to the block's end, at least one byte. A freed block is filled, if it is to be, before its state
// says that somebody else may take it.
#include "hz5_run.h"

#include "../common/os_mem.h"

#include <string.h>

#define ARRAY_ALIGN 64u
#define POISON_BYTE 0xdfu // as a pointer, no address
#define CANARY_BYTES 64u  // at most, behind the end; and the last eight of the block

// A birth: bytes asked for, kind, and
#define BIRTH_BYTES 0xffffffu
#define BIRTH_KIND_SHIFT 24u
#define BIRTH_KIND 3u
#define BIRTH_FILLED 0x40000000u // freed: the contents are what free has filled in
#define BIRTH_BORN 0x80000000u   // the block was handed out in this life of the run

int hz5_is_checked;

static uint8_t class_of_granules[SIZECLASS_MAX_BYTES / SIZECLASS_GRANULE + 1]; // const after hz_init(), as these are
static uint32_t births_at[SIZECLASS_COUNT];                                    // from the first state, bytes
static uint64_t secret;                                                        // of canaries

static size_t slack_bytes(void) {
    return hz5_has_check(HZ5_CANARY) ? 1 : 0;
}

size_t hz5_births_bytes(uint32_t block_count) {
    return hz_align_up(block_count * sizeof(uint32_t), ARRAY_ALIGN);
}

void hz5_checks_start(void) {
    memcpy(class_of_granules, sizeclass_of_granules, sizeof class_of_granules);
    memset(sizeclass_of_granules, SIZECLASS_COUNT, sizeof sizeclass_of_granules);
    for (unsigned size_class = 0; size_class < SIZECLASS_COUNT; size_class++) {
        uint32_t block_count = (hz5_run_units(size_class) << ARENA_UNIT_SHIFT) / sizeclass_bytes[size_class];
        births_at[size_class] = (uint32_t)hz_align_up(block_count + 1, ARRAY_ALIGN);
    }
    secret = hz5_profile.seed != 0 ? hz5_profile.seed * 0x9e3779b97f4a7c15u : os_entropy64();
    arena_leave_fast_paths();
}

// ---- random numbers -----------------------------------------------------------------------------------------------

void hz5_checks_begin(struct hz5_heap *heap) {
    uint64_t seed = hz5_profile.seed + heap->common.id * 0x9e3779b97f4a7c15u;
    if (hz5_has_check(HZ5_RANDOM))
        heap->random = (hz5_profile.seed != 0 ? seed : os_entropy64()) | 1;
    heap->until_guard = hz5_profile.guard_every;
}

void hz5_checks_inherit(void) {
    struct hz5_heap *heap = hz5_thread.heap;
    if (heap != NULL && hz5_has_check(HZ5_RANDOM))
        heap->random = (hz5_profile.seed != 0 ? heap->random * 0xbf58476d1ce4e5b9u : os_entropy64()) | 1;
}

// xorshift64*
uint64_t hz5_random(struct hz5_heap *heap) {
    heap->random ^= heap->random >> 12;
    heap->random ^= heap->random << 25;
    heap->random ^= heap->random >> 27;
    return heap->random * 0x2545f4914f6cdd1du;
}

// ---- what stands in memory ----------------------------------------------------------------------------------------

// No byte of it is 0, so that the end of a string that is written one too far shows.
static uint64_t canary_of(const void *block) {
    return ((uintptr_t)block ^ secret) * 0x9e3779b97f4a7c15u | 0x0101010101010101u;
}

static uint64_t load(const char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static void store(char *at, uint64_t word) {
    memcpy(at, &word, sizeof word);
}

// Bytes of the word at `end` rounded down that lie behind `end`.
static uint64_t behind(size_t end) {
    return ~(uint64_t)0 << 8 * (end % 8);
}

static size_t canary_end(size_t bytes, size_t block_bytes) {
    size_t end = hz_align_up(bytes, 8) + CANARY_BYTES;
    return end < block_bytes ? end : block_bytes;
}

// bytes < block_bytes, a multiple of 8
static void canary_put(char *block, size_t bytes, size_t block_bytes) {
    uint64_t canary = canary_of(block);
    size_t at = bytes & ~(size_t)7;
    store(block + at, (load(block + at) & ~behind(bytes)) | (canary & behind(bytes)));
    size_t end = canary_end(bytes, block_bytes);
    for (at += 8; at < end; at += 8)
        store(block + at, canary);
    store(block + block_bytes - 8, at < block_bytes ? canary : load(block + block_bytes - 8));
}

static int canary_is_whole(const char *block, size_t bytes, size_t block_bytes) {
    uint64_t canary = canary_of(block);
    size_t at = bytes & ~(size_t)7;
    uint64_t changed = (load(block + at) ^ canary) & behind(bytes);
    size_t end = canary_end(bytes, block_bytes);
    for (at += 8; at < end; at += 8)
        changed |= load(block + at) ^ canary;
    if (at < block_bytes)
        changed |= load(block + block_bytes - 8) ^ canary;
    return changed == 0;
}

static int is_all(const char *block, size_t bytes, uint64_t word) {
    uint64_t changed = 0;
    for (size_t at = 0; at < bytes; at += 16)
        changed |= (load(block + at) ^ word) | (load(block + at + 8) ^ word);
    return changed == 0;
}

static int is_filling(void) {
    return hz5_has_check(HZ5_ZERO | HZ5_POISON);
}

static void fill(void *block, size_t block_bytes) {
    if (is_filling())
        memset(block, hz5_has_check(HZ5_ZERO) ? 0 : (int)POISON_BYTE, block_bytes);
}

// Pages that have been given back to the system read zero.
static int is_filled(const char *block, size_t block_bytes) {
    if (hz5_has_check(HZ5_ZERO))
        return is_all(block, block_bytes, 0);
    const uint64_t poison = POISON_BYTE * (uint64_t)0x0101010101010101u;
    for (size_t at = 0; at < block_bytes;) {
        size_t part = OS_PAGE_BYTES - ((uintptr_t)block + at) % OS_PAGE_BYTES;
        part = part < block_bytes - at ? part : block_bytes - at;
        if (!is_all(block + at, part, load(block + at) == 0 ? 0 : poison))
            return 0;
        at += part;
    }
    return 1;
}

// ---- births -------------------------------------------------------------------------------------------------------

static _Atomic uint32_t *births_of(struct hz5_block *states, unsigned size_class) {
    void *births = states + births_at[size_class];
    return births;
}

static uint32_t birth_read(_Atomic uint32_t *birth) {
    return atomic_load_explicit(birth, memory_order_relaxed);
}

static void birth_mark_filled(_Atomic uint32_t *birth) {
    if (is_filling())
        atomic_store_explicit(birth, birth_read(birth) | BIRTH_FILLED, memory_order_relaxed);
}

// ---- from a pointer to a block ------------------------------------------------------------------------------------

// A block and what is known of it; `run` is NULL for a block without bytes, and its own run for a large one.
struct place {
    struct hz5_desc *desc, *run;
    struct hz5_block *state;
    _Atomic uint32_t *birth; // of a block of a run
    _Atomic uint8_t *kind;   // of any other, and 1
    uint64_t index;          // of a block of a run
    uint32_t owner;
    uint32_t block_bytes;
    unsigned size_class;
};

static int is_of_run(const struct place *place) {
    return place->birth != NULL;
}

// As free_remote() looks: all that is read is of one life.
static int find(const void *pointer, struct place *place) {
    *place = (struct place){0};
    size_t unit = hz5_unit_of_pointer(pointer);
    if (!arena_has(unit))
        return 0;
    struct hz5_desc *desc = place->desc = hz5_desc_at(unit);
    uint64_t owner_generation;
    do {
        owner_generation = hz5_owner_generation_read(&desc->owner_generation);
        uint64_t reciprocal = hz5_reciprocal_read(&desc->reciprocal);
        // ORDER: acquire: as in free_remote(), for `run` below as well.
        uint64_t offset = (uintptr_t)pointer - atomic_load_explicit(&desc->base, memory_order_acquire);
        struct hz5_position position = hz5_position_of(offset, reciprocal);
        if (position.remainder >= reciprocal) {
            if (hz5_find_empty(pointer, desc, &place->state, &place->kind))
                return 1;
            place->run = desc;
            place->kind = &desc->birth;
            return hz5_find_large(pointer, desc, &place->state);
        }
        struct hz5_block *states = (struct hz5_block *)hz5_array_read(&desc->states);
        place->state = states + position.index;
        place->index = position.index;
        // ORDER: acquire: the fields of this unit's life; partner: describe_unit().
        place->run = atomic_load_explicit(&desc->run, memory_order_acquire);
        place->size_class = atomic_load_explicit(&desc->size_class, memory_order_relaxed);
        place->block_bytes = atomic_load_explicit(&desc->block_bytes, memory_order_relaxed);
        place->birth =
            place->size_class < SIZECLASS_COUNT ? births_of(states, place->size_class) + position.index : NULL;
    } while (hz5_owner_generation_read_again(&desc->owner_generation) != owner_generation);
    place->owner = hz5_owner_of(owner_generation);
    return 1;
}

static int find_live(const void *pointer, struct place *place) {
    return find(pointer, place) && hz5_block_is_live(place->state);
}

static size_t requested(const struct place *place) {
    if (is_of_run(place))
        return birth_read(place->birth) & BIRTH_BYTES;
    return place->run != NULL ? place->run->large_bytes : 0;
}

// Without a canary the rest of a block may be used.
static size_t usable(const struct place *place) {
    if (hz5_has_check(HZ5_CANARY) || place->run == NULL)
        return requested(place);
    return is_of_run(place) ? place->block_bytes : hz5_guarded_usable(place->run, 0);
}

// ---- in what state a block is -------------------------------------------------------------------------------------

// Of another block, whose thread may be writing what it may hold: a race by the letter, of one byte, that a sanitizer
// must not see.
__attribute__((noinline, no_sanitize("thread"))) static uint8_t byte_before(const char *block) {
    return *(const volatile uint8_t *)(block - 1);
}

// The last byte of the block before is nobody's to write: it is that block's canary, or what its free has filled in, or
// zero while it has never been used. So whatever its owner is doing, it is one of these.
static int is_whole_before(const char *block, const struct place *place) {
    uint8_t byte = byte_before(block);
    const char *before = block - place->block_bytes;
    if (byte == 0 || (byte == POISON_BYTE && hz5_has_check(HZ5_POISON) && !hz5_has_check(HZ5_ZERO)))
        return 1;
    // ORDER: acquire: the canary of a block that was born; partner: bear().
    int is_born = (atomic_load_explicit(place->birth - 1, memory_order_acquire) & BIRTH_BORN) != 0;
    if (is_born)
        return byte == canary_of(before) >> 56;
    return place->index != 1 && !hz5_has_check(HZ5_ZERO); // memory that others have used
}

// Why a live block must not be freed so; ALLOCATOR_REJECT_COUNT when it may. `bytes`: SIZE_MAX when not told.
static enum allocator_reject examine(const char *block, const struct place *place, enum hzn_kind kind, size_t bytes) {
    uint32_t birth = is_of_run(place) ? birth_read(place->birth) : 0;
    unsigned born_as = is_of_run(place) ? birth >> BIRTH_KIND_SHIFT & BIRTH_KIND
                                        : atomic_load_explicit(place->kind, memory_order_relaxed) - 1u;
    if (hz5_has_check(HZ5_BIRTH) && born_as != (unsigned)kind)
        return ALLOCATOR_REJECT_KIND;
    if (bytes != SIZE_MAX && (hz5_has_check(HZ5_BIRTH) ? bytes != requested(place) : bytes > usable(place)))
        return ALLOCATOR_REJECT_SIZE_MISMATCH;
    if (!hz5_has_check(HZ5_CANARY) || place->run == NULL)
        return ALLOCATOR_REJECT_COUNT;
    size_t end = is_of_run(place) ? place->block_bytes : hz5_guarded_usable(place->run, slack_bytes());
    if (!canary_is_whole(block, requested(place), end) || (is_of_run(place) && !is_whole_before(block, place)))
        return ALLOCATOR_REJECT_OVERFLOW;
    return ALLOCATOR_REJECT_COUNT;
}

void hz5_check_released(const struct hz5_desc *desc, void *block, const struct hz5_block *state) {
    unsigned size_class = hz5_size_class_of(desc);
    struct hz5_block *states = hz5_states_of(desc);
    _Atomic uint32_t *birth = births_of(states, size_class) + (state - states);
    uint32_t bytes = birth_read(birth) & BIRTH_BYTES;
    if (hz5_has_check(HZ5_POISON)) {
        if (is_filled(block, sizeclass_bytes[size_class]))
            return;
        fill(block, sizeclass_bytes[size_class]);
    } else if (!hz5_has_check(HZ5_CANARY) || is_filling() ||
               canary_is_whole(block, bytes, sizeclass_bytes[size_class])) {
        return;
    }
    reject(block, REJECT_REUSE, ALLOCATOR_REJECT_WRITE_AFTER_FREE);
}

// ---- malloc -------------------------------------------------------------------------------------------------------

// Class of `bytes` at a multiple of `alignment`; SIZECLASS_COUNT when there is none.
static unsigned class_of(size_t bytes, size_t alignment) {
    if (bytes > SIZECLASS_MAX_BYTES || alignment > SIZECLASS_MAX_BYTES)
        return SIZECLASS_COUNT;
    unsigned size_class = class_of_granules[(bytes + SIZECLASS_GRANULE - 1) / SIZECLASS_GRANULE];
    while (size_class < SIZECLASS_COUNT && (sizeclass_bytes[size_class] & (alignment - 1)) != 0)
        size_class++;
    while (size_class < SIZECLASS_COUNT && sizeclass_bytes[size_class] < bytes)
        size_class++;
    return size_class;
}

// The magazine's top, or with random placement any of its blocks.
static struct hz5_entry take(struct hz5_heap *heap, unsigned size_class) {
    struct hz5_entry *top = hz5_thread.top[size_class];
    if (HZ_UNLIKELY(top->block == NULL)) {
        hz_heap_enter(&heap->is_busy);
        top = hz5_filled(heap, size_class);
        arena_look();
        hz_heap_leave(&heap->is_busy);
        if (top == NULL)
            return (struct hz5_entry){NULL, NULL};
    }
    struct hz5_entry taken = *top;
    if (hz5_has_check(HZ5_RANDOM)) {
        struct hz5_entry *bottom = heap->magazines + hz5_magazine_offset[size_class];
        uint64_t below = (hz5_random(heap) >> 32) * (uint64_t)(top - bottom) >> 32;
        taken = *(top - below);
        *(top - below) = *top;
    }
    hz5_thread.top[size_class] = top - 1;
    return taken;
}

// What a block is from now on: its birth and its canary. Whether it was written while it was free.
static void bear(const struct hz5_entry *entry, unsigned size_class, size_t bytes, enum hzn_kind kind) {
    const struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(entry->block));
    struct hz5_block *states = hz5_states_of(desc);
    _Atomic uint32_t *birth = births_of(states, size_class) + (entry->state - states);
    size_t block_bytes = sizeclass_bytes[size_class];
    if (hz5_has_check(HZ5_POISON) && (birth_read(birth) & BIRTH_FILLED) != 0 && !is_filled(entry->block, block_bytes)) {
        fill(entry->block, block_bytes);
        reject(entry->block, REJECT_REUSE, ALLOCATOR_REJECT_WRITE_AFTER_FREE);
    }
    if (hz5_has_check(HZ5_CANARY))
        canary_put(entry->block, bytes, block_bytes);
    // ORDER: release: the canary; partner: is_whole_before().
    atomic_store_explicit(birth, BIRTH_BORN | (uint32_t)kind << BIRTH_KIND_SHIFT | (uint32_t)bytes,
                          memory_order_release);
}

static void *alloc_small(unsigned size_class, size_t bytes, enum hzn_kind kind) {
    struct hz5_heap *heap = hz5_heap_of_thread();
    struct hz5_entry entry = {NULL, NULL};
    if (heap != NULL)
        entry = take(heap, size_class);
    if (entry.block != NULL) {
        bear(&entry, size_class, bytes, kind);
        hz5_block_hand_out(entry.state);
    }
    hz_thread_leave_heap();
    return entry.block;
}

// Whether this small block is to be one of those with guards.
static int is_guards_turn(void) {
    struct hz5_heap *heap = hz5_profile.guard_every != 0 ? hz5_heap_of_thread() : NULL;
    if (heap == NULL || --heap->until_guard != 0)
        return 0;
    heap->until_guard = hz5_profile.guard_every;
    return 1;
}

void *hz5_checked_alloc(size_t bytes, size_t alignment, enum hzn_kind kind, int *is_zero) {
    *is_zero = 0;
    if (bytes == 0 && alignment <= SIZECLASS_GRANULE && hz5_profile.guard_large) {
        void *empty = hz5_empty_alloc(kind);
        if (empty != NULL)
            return empty;
    }
    size_t slack = slack_bytes();
    unsigned size_class = bytes <= SIZECLASS_MAX_BYTES ? class_of(bytes + slack, alignment) : SIZECLASS_COUNT;
    if (size_class < SIZECLASS_COUNT && !is_guards_turn())
        return alloc_small(size_class, bytes, kind);
    char *block = hz5_guarded_alloc(bytes, slack, alignment, is_zero);
    if (block == NULL)
        return NULL;
    if (slack != 0)
        canary_put(block, bytes, hz5_guarded_usable(hz5_desc_at(hz5_unit_of_pointer(block)), slack));
    hz5_checked_set_kind(block, kind);
    return block;
}

void hz5_checked_set_kind(void *block, enum hzn_kind kind) {
    struct place place;
    if (!find_live(block, &place))
        return;
    if (is_of_run(&place)) {
        uint32_t others = birth_read(place.birth) & ~(BIRTH_KIND << BIRTH_KIND_SHIFT);
        atomic_store_explicit(place.birth, others | (uint32_t)kind << BIRTH_KIND_SHIFT, memory_order_relaxed);
    } else {
        atomic_store_explicit(place.kind, (uint8_t)(kind + 1), memory_order_relaxed);
    }
}

// ---- free ---------------------------------------------------------------------------------------------------------

// A block of a run that this thread has taken out of LIVE: CACHED, or MOVING if the run is another thread's.
static void give_own(void *block, const struct place *place) {
    struct hz5_heap *heap = hz5_thread.heap;
    unsigned size_class = place->size_class;
    hz_heap_enter(&heap->is_busy);
    if (heap->quarantine != NULL)
        hz5_quarantine(heap, block, place->state, size_class);
    else
        hz5_keep(heap, size_class, block, place->state);
    arena_look();
    hz_heap_leave(&heap->is_busy);
}

// 1 when this thread alone may change the block from now on. Before its contents are filled nobody else may take it.
static int take_out(const struct place *place) {
    if (!is_of_run(place))
        return hz5_block_free_large(place->state);
    if (place->owner != hz5_thread.owner)
        return hz5_block_take_to_move(place->state);
    if (!hz5_block_is_live(place->state))
        return 0;
    hz5_block_free_own(place->state);
    return 1;
}

// 0 when the block's owner has freed it meanwhile.
static int give(void *block, const struct place *place) {
    if (place->run == NULL) {
        hz5_empty_give(place->state, place->kind);
        return 1;
    }
    if (!is_of_run(place)) {
        hz5_guarded_release(place->run);
        return 1;
    }
    fill(block, place->block_bytes);
    birth_mark_filled(place->birth);
    if (place->owner == hz5_thread.owner) {
        give_own(block, place);
        return 1;
    }
    if (!hz5_block_give_moved(place->state))
        return 0;
    hz5_remote_freed(place->run, place->index);
    return 1;
}

static void refuse(const void *block, enum reject_operation operation) {
    reject(block, operation, hz5_classify(block));
}

void hz5_checked_free(void *block, enum hzn_kind kind, size_t bytes) {
    if (block == NULL)
        return;
    struct place place;
    if (!find_live(block, &place)) {
        refuse(block, REJECT_FREE);
        return;
    }
    enum allocator_reject reason = examine(block, &place, kind, bytes);
    if (reason != ALLOCATOR_REJECT_COUNT)
        reject(block, REJECT_FREE, reason);
    else if (!take_out(&place) || !give(block, &place))
        refuse(block, REJECT_FREE);
}

// Always to another place, so that nothing is left to who still uses the old one.
void *hz5_checked_realloc(void *block, size_t bytes, int *refused) {
    struct place place;
    *refused = 1;
    if (!find_live(block, &place)) {
        refuse(block, REJECT_REALLOC);
        return NULL;
    }
    enum allocator_reject reason = examine(block, &place, HZN_MALLOC, SIZE_MAX);
    if (reason != ALLOCATOR_REJECT_COUNT) {
        reject(block, REJECT_REALLOC, reason);
        return NULL;
    }
    size_t old_bytes = usable(&place);
    int is_zero;
    void *moved = bytes <= PTRDIFF_MAX ? hz5_checked_alloc(bytes, SIZECLASS_GRANULE, HZN_MALLOC, &is_zero) : NULL;
    if (moved == NULL) {
        *refused = 0;
        return NULL;
    }
    int taken = take_out(&place);
    if (taken)
        memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    if (!taken || !give(block, &place)) {
        refuse(block, REJECT_REALLOC);
        hz5_checked_free(moved, HZN_MALLOC, SIZE_MAX);
        return NULL;
    }
    *refused = 0;
    return moved;
}

size_t hz5_checked_usable_size(const void *block, int *found) {
    struct place place;
    *found = find_live(block, &place);
    return *found ? usable(&place) : 0;
}
