// SPDX-License-Identifier: Apache-2.0
// The trace reader. Layer: trace.
#include "reader.h"

#include "layout.h"
#include "packing.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static size_t rounded(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}

size_t trace_reader_memory_bytes(void) {
    return rounded(TRACE_FRAME_BYTES) + rounded(packing_state_bytes());
}

__attribute__((format(printf, 3, 4))) static int refuse(char *why, size_t why_bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return 0;
}

static int check_header(const struct trace_header *header, char *why, size_t why_bytes) {
    if (header->lanes < 1 || header->lanes > TRACE_LANES_MAX) {
        return refuse(why, why_bytes, "the header names %" PRIu32 " lanes, 1 to %u can be - record it again",
                      header->lanes, TRACE_LANES_MAX);
    }
    if (header->slots > TRACE_SLOTS_MAX) {
        return refuse(why, why_bytes,
                      "%" PRIu64 " objects are alive at a time, at most %" PRIu64 " can be replayed - record a smaller "
                      "load",
                      header->slots, TRACE_SLOTS_MAX);
    }
    if (header->events > header->frames * TRACE_FRAME_EVENTS || header->frames > UINT64_MAX / TRACE_FRAME_EVENTS ||
        header->objects > header->events || header->slots > header->objects)
        return refuse(why, why_bytes, "the header's counts contradict each other - record it again");
    if ((header->flags & TRACE_COMPRESSED) && !packing_is_there()) {
        return refuse(why, why_bytes,
                      "compressed, and this build has no libzstd - build with libzstd-dev or pack the "
                      "recording with hztrace pack-raw");
    }
    return 1;
}

int trace_reader_begin(struct trace_reader *reader, const struct trace_source *source, void *memory, char *why,
                       size_t why_bytes) {
    uint8_t raw[TRACE_HEADER_BYTES];
    struct trace_header *header = &reader->header;
    memset(reader, 0, sizeof *reader);
    reader->source = *source;
    reader->stored = memory;
    reader->unpacking = reader->stored + rounded(TRACE_FRAME_BYTES);
    reader->offset = TRACE_HEADER_BYTES;
    const int64_t got = source->read(source, 0, raw, sizeof raw);
    if (got < 0)
        return refuse(why, why_bytes, "cannot be read - is the disk in order?");
    if (got < LAYOUT_MAGIC_BYTES || memcmp(raw, LAYOUT_MAGIC, LAYOUT_MAGIC_BYTES) != 0)
        return refuse(why, why_bytes, "not a trace - record one: hzrun --record=FILE system -- PROGRAM");
    if (got < (int64_t)sizeof raw)
        return refuse(why, why_bytes, "cut off within its header, after %" PRId64 " bytes - record it again", got);
    header->version = trace_get_u32(raw + LAYOUT_VERSION);
    if (header->version != TRACE_VERSION) {
        return refuse(why, why_bytes, "version %" PRIu32 " of the format, this build reads %u - record it again",
                      header->version, TRACE_VERSION);
    }
    if (trace_get_u64(raw + LAYOUT_SUM) != trace_checksum(raw, LAYOUT_SUM))
        return refuse(why, why_bytes, "damaged: the header's checksum is wrong - copy or record it again");
    layout_get_header(raw, header);
    return check_header(header, why, why_bytes);
}

static enum trace_result cut(const struct trace_reader *reader, char *why, size_t why_bytes) {
    snprintf(why, why_bytes, "cut off after %" PRIu64 " of %" PRIu64 " frames - only those are replayed",
             reader->frames, reader->header.frames);
    return TRACE_CUT;
}

static enum trace_result damaged(const struct trace_reader *reader, const char *what, char *why, size_t why_bytes) {
    snprintf(why, why_bytes, "damaged: %s in frame %" PRIu64 " - copy or record it again", what, reader->frames);
    return TRACE_BAD;
}

// The table of lanes at the start of a frame: bytes and events of each part.
static int split(const struct trace_header *header, struct trace_frame *frame, uint32_t raw_bytes) {
    const uint8_t *at = frame->raw;
    const uint8_t *end = frame->raw + raw_bytes;
    uint64_t bytes[TRACE_LANES_MAX];
    uint64_t events = 0;
    for (uint32_t i = 0; i < header->lanes; i++) {
        uint64_t count = 0;
        if (end - at < 2)
            return 0;
        at = trace_get_varint(at, &bytes[i]);
        at = trace_get_varint(at, &count);
        if (at > end || bytes[i] > raw_bytes || count > TRACE_FRAME_EVENTS)
            return 0;
        frame->parts[i].events = (uint32_t)count;
        events += count;
    }
    for (uint32_t i = 0; i < header->lanes; i++) {
        if (bytes[i] > (uint64_t)(end - at))
            return 0;
        frame->parts[i].at = at;
        at += bytes[i];
        frame->parts[i].end = at;
    }
    return at == end && events == frame->events;
}

enum trace_result trace_reader_next(struct trace_reader *reader, struct trace_frame *frame, char *why,
                                    size_t why_bytes) {
    uint8_t head[TRACE_FRAME_HEADER_BYTES];
    const struct trace_source *source = &reader->source;
    if (reader->frames == reader->header.frames)
        return reader->offset == source->bytes ? TRACE_END : damaged(reader, "bytes that are no frame", why, why_bytes);
    const int64_t got = source->read(source, reader->offset, head, sizeof head);
    if (got < (int64_t)sizeof head)
        return cut(reader, why, why_bytes);
    const uint32_t stored_bytes = trace_get_u32(head + LAYOUT_FRAME_STORED);
    const uint32_t raw_bytes = trace_get_u32(head + LAYOUT_FRAME_RAW);
    frame->events = trace_get_u32(head + LAYOUT_FRAME_EVENTS);
    if (trace_get_u32(head) != LAYOUT_FRAME_MAGIC || stored_bytes > raw_bytes || raw_bytes > TRACE_FRAME_BYTES ||
        frame->events > TRACE_FRAME_EVENTS)
        return damaged(reader, "impossible lengths", why, why_bytes);
    if (source->read(source, reader->offset + sizeof head, reader->stored, stored_bytes) != (int64_t)stored_bytes)
        return cut(reader, why, why_bytes);
    if (trace_get_u64(head + LAYOUT_FRAME_SUM) != layout_frame_sum(head, reader->stored, stored_bytes))
        return damaged(reader, "a wrong checksum", why, why_bytes);
    if (stored_bytes == raw_bytes)
        memcpy(frame->raw, reader->stored, raw_bytes);
    else if (!(reader->header.flags & TRACE_COMPRESSED) ||
             !packing_unpack(reader->unpacking, frame->raw, raw_bytes, reader->stored, stored_bytes))
        return damaged(reader, "a compressed part that cannot be unpacked", why, why_bytes);
    memset(frame->raw + raw_bytes, 0, TRACE_SLACK);
    if (!split(&reader->header, frame, raw_bytes))
        return damaged(reader, "a table of lanes that contradicts itself", why, why_bytes);
    reader->offset += sizeof head + stored_bytes;
    reader->frames++;
    return TRACE_FRAME;
}
