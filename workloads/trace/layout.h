// SPDX-License-Identifier: Apache-2.0
// Where the fields of header and frame lie in the file, for its one writer and its one reader. Layer: trace.
#ifndef HZBENCH_TRACE_LAYOUT_H
#define HZBENCH_TRACE_LAYOUT_H

#include "format.h"

#include <string.h>

#define LAYOUT_MAGIC "hztrace\n"
#define LAYOUT_MAGIC_BYTES 8
#define LAYOUT_FRAME_MAGIC 0x4d525a68u // "hZRM"

enum { // header
    LAYOUT_VERSION = 8,
    LAYOUT_LANES = 12,
    LAYOUT_FLAGS = 16,
    LAYOUT_SLOTS = 24,
    LAYOUT_EVENTS = 32,
    LAYOUT_FRAMES = 40,
    LAYOUT_OBJECTS = 48,
    LAYOUT_PEAK = 56,
    LAYOUT_THREADS = 64,
    LAYOUT_LEFT_OUT = 72,
    LAYOUT_PROGRAM = 80,
    LAYOUT_SUM = 120 // of all bytes before
};

enum { // frame
    LAYOUT_FRAME_STORED = 4,
    LAYOUT_FRAME_RAW = 8,
    LAYOUT_FRAME_EVENTS = 12,
    LAYOUT_FRAME_SUM = 16
};

static inline void layout_get_header(const uint8_t *raw, struct trace_header *header) {
    header->version = trace_get_u32(raw + LAYOUT_VERSION);
    header->lanes = trace_get_u32(raw + LAYOUT_LANES);
    header->flags = trace_get_u32(raw + LAYOUT_FLAGS);
    header->slots = trace_get_u64(raw + LAYOUT_SLOTS);
    header->events = trace_get_u64(raw + LAYOUT_EVENTS);
    header->frames = trace_get_u64(raw + LAYOUT_FRAMES);
    header->objects = trace_get_u64(raw + LAYOUT_OBJECTS);
    header->peak_live_bytes = trace_get_u64(raw + LAYOUT_PEAK);
    header->threads = trace_get_u64(raw + LAYOUT_THREADS);
    header->left_out = trace_get_u64(raw + LAYOUT_LEFT_OUT);
    memcpy(header->program, raw + LAYOUT_PROGRAM, TRACE_PROGRAM_BYTES);
    header->program[TRACE_PROGRAM_BYTES - 1] = '\0';
    for (char *c = header->program; *c != '\0'; c++)
        *c = *c < ' ' || *c > '~' ? '?' : *c; // it goes to terminals
}

static inline void layout_put_header(uint8_t *raw, const struct trace_header *header) {
    memset(raw, 0, TRACE_HEADER_BYTES);
    memcpy(raw, LAYOUT_MAGIC, LAYOUT_MAGIC_BYTES);
    trace_put_u32(raw + LAYOUT_VERSION, header->version);
    trace_put_u32(raw + LAYOUT_LANES, header->lanes);
    trace_put_u32(raw + LAYOUT_FLAGS, header->flags);
    trace_put_u64(raw + LAYOUT_SLOTS, header->slots);
    trace_put_u64(raw + LAYOUT_EVENTS, header->events);
    trace_put_u64(raw + LAYOUT_FRAMES, header->frames);
    trace_put_u64(raw + LAYOUT_OBJECTS, header->objects);
    trace_put_u64(raw + LAYOUT_PEAK, header->peak_live_bytes);
    trace_put_u64(raw + LAYOUT_THREADS, header->threads);
    trace_put_u64(raw + LAYOUT_LEFT_OUT, header->left_out);
    memcpy(raw + LAYOUT_PROGRAM, header->program, TRACE_PROGRAM_BYTES);
    trace_put_u64(raw + LAYOUT_SUM, trace_checksum(raw, LAYOUT_SUM));
}

// Of a frame: its lengths and its contents.
static inline uint64_t layout_frame_sum(const uint8_t *head, const uint8_t *stored, uint32_t stored_bytes) {
    return trace_checksum(head, LAYOUT_FRAME_SUM) ^ trace_checksum(stored, stored_bytes);
}

#endif
