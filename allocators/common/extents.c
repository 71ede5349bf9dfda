// SPDX-License-Identifier: Apache-2.0
// extents.h
//
//   set: root word a 128 GiB -> word a 2 GiB -> 8 words a chunk of 512 units -> unit
//
// The words of all sets for one part of the arena lie side by side, so that what a small heap touches are a few pages.
#include "extents.h"

#include "check.h"
#include "compiler.h"

#define WORD_SHIFT 6u
#define WORD_BITS 64u
#define CHUNK_SHIFT 9u
#define CHUNK_UNITS ((size_t)1 << CHUNK_SHIFT)
#define CHUNK_WORDS (CHUNK_UNITS / WORD_BITS)

// Bins: one for each length below EXACT_LENGTHS, then four for each doubling; the last has no upper bound.
#define EXACT_SHIFT 4u
#define EXACT_LENGTHS (1u << EXACT_SHIFT)
#define STEP_SHIFT 2u
#define LAST_SHIFT 22u
#define BINS (EXACT_LENGTHS - 1 + ((LAST_SHIFT - EXACT_SHIFT) << STEP_SHIFT))

enum { SET_STARTS = BINS, SET_DIRTY, SET_COUNT }; // behind one set of starts for each bin

struct chunk {
    uint64_t words[SET_COUNT][CHUNK_WORDS];
    uint32_t length[CHUNK_UNITS]; // at a free extent's first and last unit, elsewhere 0
};

static struct {
    uint64_t *roots;  // [root][set]: bit a word of `middle`
    uint64_t *middle; // [word][set]: bit a chunk
    struct chunk *chunks;
    size_t root_count;
    size_t units; // that exist
    uint32_t count[BINS];
    uint64_t filled[(BINS + WORD_BITS - 1) / WORD_BITS]; // bit a bin
} extents;

static size_t chunks_of(size_t units) {
    return (units + CHUNK_UNITS - 1) >> CHUNK_SHIFT;
}

static size_t words_of(size_t bits) {
    return (bits + WORD_BITS - 1) >> WORD_SHIFT;
}

size_t extents_top_bytes(size_t units) {
    size_t middle = words_of(chunks_of(units));
    return (middle + words_of(middle)) * SET_COUNT * sizeof(uint64_t);
}

size_t extents_low_bytes(size_t units) {
    return chunks_of(units) * sizeof(struct chunk);
}

void extents_init(void *top, void *low, size_t units) {
    size_t middle = words_of(chunks_of(units));
    extents.root_count = words_of(middle);
    extents.roots = top;
    extents.middle = extents.roots + extents.root_count * SET_COUNT;
    extents.chunks = low;
    extents.units = 0;
}

// ---- sets of units ------------------------------------------------------------------------------------------------

static uint64_t bit(size_t index) {
    return (uint64_t)1 << index % WORD_BITS;
}

static uint64_t from_bit(size_t index) {
    return ~(uint64_t)0 << index % WORD_BITS;
}

static uint64_t up_to_bit(size_t index) {
    return ~(uint64_t)0 >> (WORD_BITS - 1 - index % WORD_BITS);
}

static size_t lowest(uint64_t word) {
    return (size_t)__builtin_ctzll(word);
}

static size_t highest(uint64_t word) {
    return WORD_BITS - 1 - (size_t)__builtin_clzll(word);
}

static uint64_t *middle_word(size_t chunk, unsigned set) {
    return &extents.middle[(chunk >> WORD_SHIFT) * SET_COUNT + set];
}

static uint64_t *root_word(size_t chunk, unsigned set) {
    return &extents.roots[(chunk >> 2 * WORD_SHIFT) * SET_COUNT + set];
}

static uint64_t *low_words(size_t chunk, unsigned set) {
    return extents.chunks[chunk].words[set];
}

static void announce(size_t chunk, unsigned set) {
    *middle_word(chunk, set) |= bit(chunk);
    *root_word(chunk, set) |= bit(chunk >> WORD_SHIFT);
}

static void withdraw_if_empty(size_t chunk, unsigned set) {
    const uint64_t *words = low_words(chunk, set);
    uint64_t all = 0;
    for (size_t i = 0; i < CHUNK_WORDS; i++)
        all |= words[i];
    if (all != 0)
        return;
    uint64_t *middle = middle_word(chunk, set);
    *middle &= ~bit(chunk);
    if (*middle == 0)
        *root_word(chunk, set) &= ~bit(chunk >> WORD_SHIFT);
}

static void set_add(unsigned set, size_t unit) {
    size_t chunk = unit >> CHUNK_SHIFT;
    low_words(chunk, set)[unit % CHUNK_UNITS >> WORD_SHIFT] |= bit(unit);
    announce(chunk, set);
}

static void set_remove(unsigned set, size_t unit) {
    size_t chunk = unit >> CHUNK_SHIFT;
    low_words(chunk, set)[unit % CHUNK_UNITS >> WORD_SHIFT] &= ~bit(unit);
    withdraw_if_empty(chunk, set);
}

static int set_has(unsigned set, size_t unit) {
    return (low_words(unit >> CHUNK_SHIFT, set)[unit % CHUNK_UNITS >> WORD_SHIFT] & bit(unit)) != 0;
}

// First chunk at or above that has members; EXTENTS_NONE: none.
static size_t next_chunk(unsigned set, size_t chunk) {
    size_t root = chunk >> 2 * WORD_SHIFT;
    if (root >= extents.root_count)
        return EXTENTS_NONE;
    uint64_t roots = extents.roots[root * SET_COUNT + set] & from_bit(chunk >> WORD_SHIFT);
    if ((roots & bit(chunk >> WORD_SHIFT)) != 0) {
        uint64_t word = *middle_word(chunk, set) & from_bit(chunk);
        if (word != 0)
            return (chunk & ~(size_t)(WORD_BITS - 1)) + lowest(word);
        roots &= ~bit(chunk >> WORD_SHIFT);
    }
    while (roots == 0) {
        if (++root == extents.root_count)
            return EXTENTS_NONE;
        roots = extents.roots[root * SET_COUNT + set];
    }
    size_t middle = (root << WORD_SHIFT) + lowest(roots);
    return (middle << WORD_SHIFT) + lowest(extents.middle[middle * SET_COUNT + set]);
}

static size_t last_chunk(unsigned set, size_t chunk) {
    size_t root = chunk >> 2 * WORD_SHIFT;
    uint64_t roots = extents.roots[root * SET_COUNT + set] & up_to_bit(chunk >> WORD_SHIFT);
    if ((roots & bit(chunk >> WORD_SHIFT)) != 0) {
        uint64_t word = *middle_word(chunk, set) & up_to_bit(chunk);
        if (word != 0)
            return (chunk & ~(size_t)(WORD_BITS - 1)) + highest(word);
        roots &= ~bit(chunk >> WORD_SHIFT);
    }
    while (roots == 0) {
        if (root-- == 0)
            return EXTENTS_NONE;
        roots = extents.roots[root * SET_COUNT + set];
    }
    size_t middle = (root << WORD_SHIFT) + highest(roots);
    return (middle << WORD_SHIFT) + highest(extents.middle[middle * SET_COUNT + set]);
}

// First member at or above `from`.
static size_t set_next(unsigned set, size_t from) {
    if (from >= extents.units)
        return EXTENTS_NONE;
    size_t chunk = from >> CHUNK_SHIFT;
    size_t at = from % CHUNK_UNITS >> WORD_SHIFT;
    uint64_t word = low_words(chunk, set)[at] & from_bit(from);
    while (word == 0 && ++at < CHUNK_WORDS)
        word = low_words(chunk, set)[at];
    if (word == 0) {
        chunk = next_chunk(set, chunk + 1);
        if (chunk == EXTENTS_NONE)
            return EXTENTS_NONE;
        for (at = 0; (word = low_words(chunk, set)[at]) == 0;)
            at++;
    }
    return (chunk << CHUNK_SHIFT) + (at << WORD_SHIFT) + lowest(word);
}

// Last member at or below `from`, a unit that exists.
static size_t set_last(unsigned set, size_t from) {
    size_t chunk = from >> CHUNK_SHIFT;
    size_t at = from % CHUNK_UNITS >> WORD_SHIFT;
    uint64_t word = low_words(chunk, set)[at] & up_to_bit(from);
    while (word == 0 && at > 0)
        word = low_words(chunk, set)[--at];
    if (word == 0) {
        chunk = chunk > 0 ? last_chunk(set, chunk - 1) : EXTENTS_NONE;
        if (chunk == EXTENTS_NONE)
            return EXTENTS_NONE;
        for (at = CHUNK_WORDS - 1; (word = low_words(chunk, set)[at]) == 0;)
            at--;
    }
    return (chunk << CHUNK_SHIFT) + (at << WORD_SHIFT) + highest(word);
}

// ---- bins ---------------------------------------------------------------------------------------------------------

static unsigned bin_of(size_t length) {
    if (length < EXACT_LENGTHS)
        return (unsigned)length - 1;
    unsigned shift = (unsigned)highest(length);
    unsigned step = (unsigned)(length >> (shift - STEP_SHIFT)) & ((1u << STEP_SHIFT) - 1);
    unsigned bin = EXACT_LENGTHS - 1 + ((shift - EXACT_SHIFT) << STEP_SHIFT) + step;
    return shift < LAST_SHIFT ? bin : BINS - 1;
}

// No extent of the bin is shorter.
static size_t bin_least(unsigned bin) {
    if (bin < EXACT_LENGTHS)
        return bin + 1;
    unsigned step = bin - (EXACT_LENGTHS - 1);
    unsigned shift = EXACT_SHIFT + (step >> STEP_SHIFT);
    return (size_t)((1u << STEP_SHIFT) + step % (1u << STEP_SHIFT)) << (shift - STEP_SHIFT);
}

// First bin at or above with an extent; BINS: none.
static unsigned next_filled(unsigned bin) {
    for (; bin < BINS; bin = (bin | (WORD_BITS - 1)) + 1) {
        uint64_t word = extents.filled[bin >> WORD_SHIFT] & from_bit(bin);
        if (word != 0)
            return (bin & ~(WORD_BITS - 1)) + (unsigned)lowest(word);
    }
    return BINS;
}

static uint32_t *length_of(size_t unit) {
    return &extents.chunks[unit >> CHUNK_SHIFT].length[unit % CHUNK_UNITS];
}

static void link_extent(size_t from, size_t units) {
    unsigned bin = bin_of(units);
    *length_of(from) = *length_of(from + units - 1) = (uint32_t)units;
    set_add(SET_STARTS, from);
    set_add(bin, from);
    if (extents.count[bin]++ == 0)
        extents.filled[bin >> WORD_SHIFT] |= bit(bin);
}

static void unlink_extent(size_t from, size_t units) {
    unsigned bin = bin_of(units);
    *length_of(from) = *length_of(from + units - 1) = 0;
    set_remove(SET_STARTS, from);
    set_remove(bin, from);
    if (--extents.count[bin] == 0)
        extents.filled[bin >> WORD_SHIFT] &= ~bit(bin);
}

// ---- extents ------------------------------------------------------------------------------------------------------

size_t extents_length_at(size_t from) {
    return from < extents.units && set_has(SET_STARTS, from) ? *length_of(from) : 0;
}

size_t extents_last_length(void) {
    return extents.units > 0 ? *length_of(extents.units - 1) : 0;
}

void extents_free(size_t from, size_t units) {
    size_t left = from > 0 ? *length_of(from - 1) : 0;
    size_t right = from + units < extents.units ? *length_of(from + units) : 0;
    if (left != 0)
        unlink_extent(from - left, left);
    if (right != 0)
        unlink_extent(from + units, right);
    link_extent(from - left, left + units + right);
}

void extents_grow(size_t units) {
    size_t old = extents.units;
    extents.units = units;
    if (units > old)
        extents_free(old, units - old);
}

void extents_take(size_t from, size_t units) {
    size_t start = set_last(SET_STARTS, from);
    HZ_ASSERT(start != EXTENTS_NONE && start + *length_of(start) >= from + units);
    size_t end = start + *length_of(start);
    unlink_extent(start, end - start);
    if (start < from)
        link_extent(start, from - start);
    if (from + units < end)
        link_extent(from + units, end - from - units);
}

size_t extents_find(size_t units, size_t base, size_t align_units, size_t looks) {
    size_t best = EXTENTS_NONE;
    for (unsigned bin = next_filled(bin_of(units)); bin < BINS && looks > 0; bin = next_filled(bin + 1)) {
        size_t best_length = SIZE_MAX;
        size_t enough = bin_least(bin) > units ? bin_least(bin) : units; // shorter ones cannot come
        for (size_t at = set_next(bin, 0); at != EXTENTS_NONE && looks > 0 && best_length > enough;
             at = set_next(bin, at + 1), looks--) {
            size_t length = *length_of(at);
            size_t start = hz_align_up(base + at, align_units) - base;
            if (start + units <= at + length && length < best_length) {
                best = start;
                best_length = length;
            }
        }
        if (best != EXTENTS_NONE)
            return best;
    }
    size_t sure = units + align_units - 1;
    unsigned bin = bin_of(sure);
    bin = next_filled(bin_least(bin) < sure ? bin + 1 : bin);
    if (bin >= BINS)
        return EXTENTS_NONE;
    size_t at = set_next(bin, 0);
    return hz_align_up(base + at, align_units) - base;
}

// ---- dirty units --------------------------------------------------------------------------------------------------

void extents_dirty_add(size_t from, size_t to) {
    while (from < to) {
        size_t end = hz_align_up(from + 1, WORD_BITS);
        end = end < to ? end : to;
        low_words(from >> CHUNK_SHIFT, SET_DIRTY)[from % CHUNK_UNITS >> WORD_SHIFT] |=
            from_bit(from) & up_to_bit(end - 1);
        announce(from >> CHUNK_SHIFT, SET_DIRTY);
        from = end;
    }
}

void extents_dirty_remove(size_t from, size_t to) {
    while (from < to) {
        size_t end = hz_align_up(from + 1, WORD_BITS);
        end = end < to ? end : to;
        low_words(from >> CHUNK_SHIFT, SET_DIRTY)[from % CHUNK_UNITS >> WORD_SHIFT] &=
            ~(from_bit(from) & up_to_bit(end - 1));
        if (end == to || end % CHUNK_UNITS == 0)
            withdraw_if_empty(from >> CHUNK_SHIFT, SET_DIRTY);
        from = end;
    }
}

size_t extents_dirty_next(size_t from) {
    return set_next(SET_DIRTY, from);
}

size_t extents_dirty_last(size_t from) {
    return set_last(SET_DIRTY, from);
}
