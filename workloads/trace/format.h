// SPDX-License-Identifier: Apache-2.0
// The trace file: a header, then frames. A frame holds, for every lane (a thread, or threads one after another), what
// it did in the same span of the program's life; frames are whole by themselves, so that a file that was cut off is
// good up to its last whole frame, and a replay needs the memory of two. The manual of the format is docs/traces.md.
// Layer: trace, under the workloads; knows nothing of the rest.
#ifndef HZBENCH_TRACE_FORMAT_H
#define HZBENCH_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_VERSION 1u
#define TRACE_HEADER_BYTES 128u
#define TRACE_FRAME_HEADER_BYTES 24u
#define TRACE_LANES_MAX 256u
#define TRACE_FRAME_EVENTS 8192u            // also how far threads may drift apart: two frames
#define TRACE_FRAME_BYTES (192u << 10)      // 8192 of the longest events, the orders between them and the lane table
#define TRACE_SLACK 32u                     // readable bytes behind a frame; no event is longer
#define TRACE_SLOTS_MAX (UINT64_C(1) << 24) // live objects at a time: half a gigabyte for who reads the file
#define TRACE_SIZE_BITS 40u
#define TRACE_SIZE_MAX ((UINT64_C(1) << TRACE_SIZE_BITS) - 1)
#define TRACE_ALIGN_BITS_MAX 30u
#define TRACE_PROGRAM_BYTES 32u

enum trace_kind {
    TRACE_MALLOC,
    TRACE_CALLOC,
    TRACE_ALIGNED,      // memalign, aligned_alloc, posix_memalign, valloc, pvalloc
    TRACE_REALLOC_NULL, // realloc of NULL
    TRACE_REALLOC,      // of a live object
    TRACE_FREE,
    TRACE_USABLE, // malloc_usable_size of a live object
    TRACE_ORDER,  // no call: what follows happened after another lane's event
};

enum { TRACE_COMPRESSED = 1u << 0 }; // flags of the header

struct trace_header {
    uint32_t version, lanes, flags;
    uint64_t slots;           // names of live objects are 0 .. slots - 1: as many as were alive at a time
    uint64_t events, frames;  // without TRACE_ORDER
    uint64_t objects;         // allocations and resizes
    uint64_t peak_live_bytes; // in the program's own order
    uint64_t threads;         // that the program had in all
    uint64_t left_out;        // calls that are not replayed: failed ones, free(NULL), blocks born before the recording
    char program[TRACE_PROGRAM_BYTES]; // its name, for people
};

struct trace_event {
    enum trace_kind kind;
    uint32_t slot;       // of the object; of TRACE_ORDER: the other lane
    uint32_t align_bits; // TRACE_ALIGNED: log2
    uint64_t bytes;      // asked for
    int64_t position;    // TRACE_ORDER: events of that lane that must be done, counted from this frame's start
};

// One lane's part of a frame, or what is left of it.
struct trace_cursor {
    const uint8_t *at, *end;
    uint32_t slot; // of the event before
};

// Sum over the bytes, eight at a time: every step is a bijection of the word and of the state, so that a single damaged
// word always shows.
uint64_t trace_checksum(const void *bytes, size_t count);

void trace_put_u32(uint8_t *to, uint32_t value);
void trace_put_u64(uint8_t *to, uint64_t value);
uint32_t trace_get_u32(const uint8_t *from);
uint64_t trace_get_u64(const uint8_t *from);

static inline uint8_t *trace_put_varint(uint8_t *to, uint64_t value) {
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

// Reads at most ten bytes, which must be readable.
static inline const uint8_t *trace_get_varint(const uint8_t *from, uint64_t *value) {
    uint64_t result = *from & 0x7f;
    unsigned shift = 7;
    while (*from++ & 0x80 && shift < 70) {
        result |= (uint64_t)(*from & 0x7f) << (shift & 63);
        shift += 7;
    }
    *value = result;
    return from;
}

static inline uint64_t trace_zigzag(int64_t value) {
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t trace_unzigzag(uint64_t value) {
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

#define TRACE_KIND_BITS 3u
#define TRACE_STEP_FOLLOWS 31u // in the upper bits of an event's first byte: the step to the slot is a varint

uint8_t *trace_put_event(uint8_t *to, const struct trace_event *event, uint32_t *slot);

// The next event. 0: the lane's part is over, or no event is there (`at` is then beyond `end`). Memory up to
// TRACE_SLACK behind the end must be readable; the values are not checked.
static inline __attribute__((always_inline)) int trace_next(struct trace_cursor *cursor, struct trace_event *event) {
    const uint8_t *at = cursor->at;
    if (at >= cursor->end)
        return 0;
    const uint32_t first = *at++;
    uint64_t value = first >> TRACE_KIND_BITS;
    event->kind = (enum trace_kind)(first & ((1u << TRACE_KIND_BITS) - 1));
    if (event->kind == TRACE_ORDER) {
        uint64_t lane = 0;
        at = trace_get_varint(at, &lane);
        at = trace_get_varint(at, &value);
        event->slot = lane < TRACE_LANES_MAX ? (uint32_t)lane : TRACE_LANES_MAX;
        event->position = trace_unzigzag(value);
    } else {
        if (value == TRACE_STEP_FOLLOWS)
            at = trace_get_varint(at, &value);
        cursor->slot += (uint32_t)trace_unzigzag(value);
        event->slot = cursor->slot;
        event->align_bits = 0;
        if (event->kind == TRACE_ALIGNED)
            event->align_bits = *at++;
        if (event->kind <= TRACE_REALLOC)
            at = trace_get_varint(at, &event->bytes);
    }
    cursor->at = at;
    return at <= cursor->end;
}

#endif
