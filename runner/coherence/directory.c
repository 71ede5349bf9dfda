// SPDX-License-Identifier: Apache-2.0
// directory.h
#include "directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SHIFT 12u
#define PAGE_LINES (1u << (PAGE_SHIFT - DIRECTORY_LINE_SHIFT))
#define FIRST_TABLE_BITS 12u

// The lines of a page, in an open hash table by page number.
struct page {
    uint64_t number; // page address >> PAGE_SHIFT
    struct directory_line lines[PAGE_LINES];
};

static struct {
    struct page **slots;
    unsigned bits;
    size_t count;
} table;

static void *reserve(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fputs("hzcoherence: out of memory for the directory of lines; measure a shorter run\n", stderr);
        exit(3);
    }
    return memory;
}

static size_t slot_of(uint64_t number, unsigned bits) {
    return (size_t)(number * 0x9e3779b97f4a7c15u >> (64 - bits));
}

static void insert(struct page **slots, unsigned bits, struct page *page) {
    size_t mask = ((size_t)1 << bits) - 1;
    size_t slot = slot_of(page->number, bits);
    while (slots[slot] != NULL)
        slot = (slot + 1) & mask;
    slots[slot] = page;
}

static void grow(void) {
    unsigned bits = table.slots == NULL ? FIRST_TABLE_BITS : table.bits + 1;
    struct page **slots = reserve(sizeof(void *) << bits);
    for (size_t i = 0; table.slots != NULL && i < (size_t)1 << table.bits; i++)
        if (table.slots[i] != NULL)
            insert(slots, bits, table.slots[i]);
    free(table.slots);
    table.slots = slots;
    table.bits = bits;
}

static void begin_line(struct directory_line *line, uint64_t address) {
    *line = (struct directory_line){.address = address, .modified_by = -1, .unresolved_core = -1};
}

static struct page *find_page(uint64_t number) {
    if (table.slots == NULL)
        return NULL;
    size_t mask = ((size_t)1 << table.bits) - 1;
    for (size_t slot = slot_of(number, table.bits); table.slots[slot] != NULL; slot = (slot + 1) & mask)
        if (table.slots[slot]->number == number)
            return table.slots[slot];
    return NULL;
}

static struct page *page_of(uint64_t number) {
    static struct page *last; // most accesses fall into the page of the one before
    if (last != NULL && last->number == number)
        return last;
    struct page *page = find_page(number);
    if (page == NULL) {
        if (table.slots == NULL || table.count >= (size_t)1 << (table.bits - 1))
            grow();
        page = reserve(sizeof *page);
        page->number = number;
        for (unsigned i = 0; i < PAGE_LINES; i++)
            begin_line(&page->lines[i], (number << PAGE_SHIFT) + i * DIRECTORY_LINE_BYTES);
        insert(table.slots, table.bits, page);
        table.count++;
    }
    last = page;
    return page;
}

void directory_add(struct directory_counts *sum, const struct directory_counts *more) {
    sum->from_modified += more->from_modified;
    sum->from_clean += more->from_clean;
    sum->for_ownership += more->for_ownership;
    sum->upgrades += more->upgrades;
    sum->invalidations += more->invalidations;
    sum->false_shared += more->false_shared;
    sum->atomics += more->atomics;
}

uint64_t directory_moves(const struct directory_counts *counts) {
    return counts->from_modified + counts->from_clean;
}

static int is_sharer(const struct directory_line *line, unsigned core) {
    return (int)(line->sharers[core / 64] >> (core % 64) & 1);
}

static unsigned sharer_count(const struct directory_line *line) {
    unsigned count = 0;
    for (unsigned i = 0; i < 4; i++)
        count += (unsigned)__builtin_popcountll(line->sharers[i]);
    return count;
}

static void add_false_sharing(struct directory_line *line) {
    if (line->unresolved_core < 0)
        return;
    line->counts[line->unresolved_site->code].false_shared++;
    line->unresolved_site->counts.false_shared++;
    line->unresolved_core = -1;
}

static uint64_t bytes_mask(uint64_t address, unsigned bytes) {
    uint64_t all = bytes >= DIRECTORY_LINE_BYTES ? ~(uint64_t)0 : ((uint64_t)1 << bytes) - 1;
    return all << (address % DIRECTORY_LINE_BYTES);
}

// One line moves to `core`, or its other copies end.
static void transfer(struct directory_line *line, unsigned core, int is_write, struct directory_site *site) {
    struct directory_counts counts = {0};
    int held = is_sharer(line, core);
    unsigned others = sharer_count(line) - (unsigned)held;
    if (!held && line->modified_by >= 0)
        counts.from_modified = 1;
    else if (!held && others > 0)
        counts.from_clean = 1;
    else if (held && is_write && others > 0)
        counts.upgrades = 1;
    if (is_write) {
        counts.for_ownership = !held && others > 0;
        counts.invalidations = others;
    }
    // The newest holder has not touched what its predecessor wrote, and now loses the line, or its place as the newest.
    if ((is_write && line->unresolved_core != (int)core) || counts.from_modified)
        add_false_sharing(line);
    if (counts.from_modified) {
        line->unresolved = line->written;
        line->unresolved_core = (int16_t)core;
        line->unresolved_site = site;
    }
    if (is_write) {
        memset(line->sharers, 0, sizeof line->sharers);
        line->modified_by = (int16_t)core;
        line->written = 0;
    } else if (line->modified_by != (int)core) {
        line->modified_by = -1;
    }
    line->sharers[core / 64] |= (uint64_t)1 << (core % 64);
    directory_add(&line->counts[site->code], &counts);
    directory_add(&site->counts, &counts);
    line->last_site = site;
}

static void access_line(struct directory_line *line, unsigned core, uint64_t mask, int is_write,
                        struct directory_site *site) {
    line->touched |= (uint8_t)(1u << site->code);
    int hit = is_write ? line->modified_by == (int)core : is_sharer(line, core);
    if (!hit)
        transfer(line, core, is_write, site);
    if (line->unresolved_core == (int)core && (line->unresolved & mask) != 0)
        line->unresolved_core = -1; // true sharing
    if (is_write)
        line->written |= mask;
}

void directory_access(unsigned core, uint64_t address, unsigned bytes, int is_write, struct directory_site *site) {
    uint64_t atomics = site->is_locked;
    site->counts.atomics += atomics;
    while (bytes > 0) {
        unsigned room = DIRECTORY_LINE_BYTES - (unsigned)(address % DIRECTORY_LINE_BYTES);
        unsigned here = bytes < room ? bytes : room;
        struct page *page = page_of(address >> PAGE_SHIFT);
        struct directory_line *line = &page->lines[address >> DIRECTORY_LINE_SHIFT & (PAGE_LINES - 1)];
        access_line(line, core, bytes_mask(address, here), is_write, site);
        line->counts[site->code].atomics += atomics;
        atomics = 0; // an access that straddles two lines is one instruction
        address += here;
        bytes -= here;
    }
}

static void forget_page(struct page *page, void (*fold)(const struct directory_line *line)) {
    for (unsigned i = 0; i < PAGE_LINES; i++) {
        fold(&page->lines[i]);
        begin_line(&page->lines[i], page->lines[i].address);
    }
}

void directory_forget(uint64_t address, uint64_t bytes, void (*fold)(const struct directory_line *line)) {
    uint64_t first = address >> PAGE_SHIFT;
    uint64_t end = (address + bytes + (1u << PAGE_SHIFT) - 1) >> PAGE_SHIFT;
    if (end - first < table.count) {
        for (uint64_t number = first; number < end; number++) {
            struct page *page = find_page(number);
            if (page != NULL)
                forget_page(page, fold);
        }
        return;
    }
    for (size_t i = 0; table.slots != NULL && i < (size_t)1 << table.bits; i++) {
        struct page *page = table.slots[i];
        if (page != NULL && page->number >= first && page->number < end)
            forget_page(page, fold);
    }
}

void directory_walk(void (*visit)(const struct directory_line *line)) {
    for (size_t i = 0; table.slots != NULL && i < (size_t)1 << table.bits; i++)
        for (unsigned line = 0; table.slots[i] != NULL && line < PAGE_LINES; line++)
            visit(&table.slots[i]->lines[line]);
}
