// SPDX-License-Identifier: Apache-2.0
// Which thread's cache holds which line of 64 bytes: a directory with the states of MESI, caches without a limit, one
// thread a core. It counts the lines that travel between cores. Lines that only ever leave a cache for want of room,
// the prefetcher's, and the distance between cores are not modelled (docs/method.md says what follows from that).
//
// Not synchronised: the caller has one access at a time (schedule.h). Layer: runner, the coherence instrument only.
#ifndef HZBENCH_COHERENCE_DIRECTORY_H
#define HZBENCH_COHERENCE_DIRECTORY_H

#include <stdint.h>

#define DIRECTORY_LINE_BYTES 64u
#define DIRECTORY_LINE_SHIFT 6u

// What one access made travel; sums of it a place in the code, a line, or all.
struct directory_counts {
    uint64_t from_modified; // the line came from another core that had written it
    uint64_t from_clean;    // it came from another core, or from below, where another core held it unwritten
    uint64_t for_ownership; // of these two: because this core wrote
    uint64_t upgrades;      // this core held it and wrote: the others' copies were invalidated, nothing moved
    uint64_t invalidations; // copies of others that a write ended
    uint64_t false_shared;  // of the moves: the bytes that the last owner wrote were never touched by the new one
    uint64_t atomics;       // locked instructions
};

enum directory_code { DIRECTORY_CODE_OTHER, DIRECTORY_CODE_ALLOCATOR, DIRECTORY_CODE_COUNT };

struct directory_line {
    uint64_t address; // first byte
    uint64_t sharers[4];
    uint64_t written;    // bytes that the modifying core has written since it got the line
    uint64_t unresolved; // bytes that the previous owner had written, until the newest holder touches one of them
    struct directory_site *unresolved_site;
    int16_t modified_by;                                  // -1: clean
    int16_t unresolved_core;                              // whom `unresolved` is about; -1: nobody
    uint8_t touched;                                      // bit an enum directory_code: that code has accessed the line
    struct directory_counts counts[DIRECTORY_CODE_COUNT]; // by the code that made it travel
    struct directory_site *last_site;                     // what made it travel last
};

// A place in the code: an instruction that accesses memory.
struct directory_site {
    uint64_t address;
    enum directory_code code;
    uint8_t is_locked;
    struct directory_counts counts;
};

void directory_access(unsigned core, uint64_t address, unsigned bytes, int is_write, struct directory_site *site);

// Pages of [address, address + bytes) are new, or gone: no core holds any line of them. `fold` gets each line first.
void directory_forget(uint64_t address, uint64_t bytes, void (*fold)(const struct directory_line *line));
void directory_walk(void (*visit)(const struct directory_line *line));

void directory_add(struct directory_counts *sum, const struct directory_counts *more);
uint64_t directory_moves(const struct directory_counts *counts); // lines that travelled

#endif
