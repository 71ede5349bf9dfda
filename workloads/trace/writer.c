// SPDX-License-Identifier: Apache-2.0
// The trace writer. Layer: trace.
#include "writer.h"

#include "layout.h"
#include "packing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LANE_TABLE_BYTES (TRACE_LANES_MAX * 6u) // at most three bytes each for length and count
#define EVENT_BYTES_MAX (2u * TRACE_SLACK)      // an event and the order before it
#define STEAL_COUNT 32u                         // free slots moved between lanes at a time: one order for all of them
#define NONE UINT32_MAX

// One object's name. While free it is linked into the list of the lane that freed it.
struct slot {
    uint64_t bytes;
    uint64_t position; // of the last event, in `lane`, from 1
    uint32_t newer, older;
    uint16_t lane;
};

struct lane {
    uint8_t *bytes; // of the frame under way
    size_t used, room;
    uint32_t slot;   // of the event before
    uint32_t events; // of the frame under way
    uint64_t start, last_start;
    uint32_t newest, oldest; // free slots
    uint64_t free_count;
};

struct writer {
    FILE *file;
    struct trace_header header;
    struct lane *lanes;
    uint64_t *known; // [a][b]: events of b that a comes after
    struct slot *slots;
    uint64_t slot_room;
    uint64_t live_bytes;
    uint32_t frame_events;
    size_t frame_bytes;
    uint8_t *raw, *packed;
    const char *failure;
};

static void *need(struct writer *writer, void *memory) {
    if (memory == NULL)
        writer->failure = "no memory";
    return memory;
}

struct writer *writer_begin(FILE *file, uint32_t lanes, int is_compressed) {
    struct writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return NULL;
    writer->file = file;
    writer->header.version = TRACE_VERSION;
    writer->header.lanes = lanes;
    writer->header.flags = is_compressed && packing_is_there() ? TRACE_COMPRESSED : 0;
    writer->lanes = need(writer, calloc(lanes, sizeof *writer->lanes));
    writer->known = need(writer, calloc((size_t)lanes * lanes, sizeof *writer->known));
    writer->raw = need(writer, malloc(TRACE_FRAME_BYTES));
    writer->packed = need(writer, malloc(TRACE_FRAME_BYTES));
    for (uint32_t i = 0; i < lanes && writer->lanes != NULL; i++)
        writer->lanes[i].newest = writer->lanes[i].oldest = NONE;
    const uint8_t nothing[TRACE_HEADER_BYTES] = {0}; // no trace until the end
    if (fwrite(nothing, 1, sizeof nothing, file) != sizeof nothing)
        writer->failure = strerror(errno);
    return writer;
}

// ---- frames --------------------------------------------------------------------------------------------------------

static void flush(struct writer *writer) {
    uint8_t head[TRACE_FRAME_HEADER_BYTES];
    uint8_t *to = writer->raw;
    if (writer->frame_events == 0 || writer->failure != NULL)
        return;
    for (uint32_t i = 0; i < writer->header.lanes; i++) {
        to = trace_put_varint(to, writer->lanes[i].used);
        to = trace_put_varint(to, writer->lanes[i].events);
    }
    for (uint32_t i = 0; i < writer->header.lanes; i++) {
        struct lane *lane = &writer->lanes[i];
        if (lane->used != 0)
            memcpy(to, lane->bytes, lane->used);
        to += lane->used;
        lane->used = 0;
        lane->slot = 0;
        lane->last_start = lane->start;
        lane->start += lane->events;
        lane->events = 0;
    }
    const uint32_t raw_bytes = (uint32_t)(to - writer->raw);
    const uint8_t *stored = writer->raw;
    uint32_t stored_bytes = raw_bytes;
    if (writer->header.flags & TRACE_COMPRESSED) {
        const size_t packed_bytes = packing_pack(writer->packed, TRACE_FRAME_BYTES, writer->raw, raw_bytes);
        stored = packed_bytes != 0 ? writer->packed : writer->raw;
        stored_bytes = packed_bytes != 0 ? (uint32_t)packed_bytes : raw_bytes;
    }
    trace_put_u32(head, LAYOUT_FRAME_MAGIC);
    trace_put_u32(head + LAYOUT_FRAME_STORED, stored_bytes);
    trace_put_u32(head + LAYOUT_FRAME_RAW, raw_bytes);
    trace_put_u32(head + LAYOUT_FRAME_EVENTS, writer->frame_events);
    trace_put_u64(head + LAYOUT_FRAME_SUM, layout_frame_sum(head, stored, stored_bytes));
    if (fwrite(head, 1, sizeof head, writer->file) != sizeof head ||
        fwrite(stored, 1, stored_bytes, writer->file) != stored_bytes)
        writer->failure = strerror(errno);
    writer->header.frames++;
    writer->frame_events = 0;
    writer->frame_bytes = 0;
}

static void put(struct writer *writer, struct lane *lane, const struct trace_event *event) {
    if (lane->used + TRACE_SLACK > lane->room) {
        const size_t room = lane->room == 0 ? 4096 : lane->room * 2;
        uint8_t *bytes = need(writer, realloc(lane->bytes, room));
        if (bytes == NULL)
            return;
        lane->bytes = bytes;
        lane->room = room;
    }
    const size_t used = (size_t)(trace_put_event(lane->bytes + lane->used, event, &lane->slot) - lane->bytes);
    writer->frame_bytes += used - lane->used;
    lane->used = used;
}

// ---- slots ---------------------------------------------------------------------------------------------------------

static void give(struct writer *writer, struct lane *lane, uint32_t index) {
    struct slot *slot = &writer->slots[index];
    slot->newer = NONE;
    slot->older = lane->newest;
    if (lane->newest != NONE)
        writer->slots[lane->newest].newer = index;
    else
        lane->oldest = index;
    lane->newest = index;
    lane->free_count++;
}

static uint32_t take_newest(struct writer *writer, struct lane *lane) {
    const uint32_t index = lane->newest;
    lane->newest = writer->slots[index].older;
    if (lane->newest != NONE)
        writer->slots[lane->newest].newer = NONE;
    else
        lane->oldest = NONE;
    lane->free_count--;
    return index;
}

static uint32_t take_oldest(struct writer *writer, struct lane *lane) {
    const uint32_t index = lane->oldest;
    lane->oldest = writer->slots[index].newer;
    if (lane->oldest != NONE)
        writer->slots[lane->oldest].older = NONE;
    else
        lane->newest = NONE;
    lane->free_count--;
    return index;
}

// The richest lane's oldest: freed so long ago that nobody has to wait for it.
static void steal(struct writer *writer, struct lane *lane) {
    struct lane *richest = &writer->lanes[0];
    for (uint32_t i = 1; i < writer->header.lanes; i++)
        richest = writer->lanes[i].free_count > richest->free_count ? &writer->lanes[i] : richest;
    for (uint32_t i = 0; i < STEAL_COUNT && richest->free_count != 0; i++)
        give(writer, lane, take_oldest(writer, richest));
}

static uint32_t new_slot(struct writer *writer) {
    if (writer->header.slots == TRACE_SLOTS_MAX) {
        writer->failure = "more than 16777216 objects alive at a time, which no replay has room for";
        return WRITER_NO_SLOT;
    }
    if (writer->header.slots == writer->slot_room) {
        const uint64_t room = writer->slot_room == 0 ? 1024 : writer->slot_room * 2;
        struct slot *slots = need(writer, realloc(writer->slots, room * sizeof *slots));
        if (slots == NULL)
            return WRITER_NO_SLOT;
        writer->slots = slots;
        writer->slot_room = room;
    }
    memset(&writer->slots[writer->header.slots], 0, sizeof *writer->slots);
    return (uint32_t)writer->header.slots++;
}

// ---- events --------------------------------------------------------------------------------------------------------

// Orders the event after the last one of its object, where nothing else does.
static void order(struct writer *writer, uint32_t index, const struct slot *slot) {
    const struct lane *other = &writer->lanes[slot->lane];
    uint64_t *known = &writer->known[(size_t)index * writer->header.lanes + slot->lane];
    if (slot->position == 0 || slot->lane == index || slot->position <= other->last_start || slot->position <= *known)
        return;
    *known = slot->position;
    put(writer, &writer->lanes[index],
        &(struct trace_event){
            .kind = TRACE_ORDER, .slot = slot->lane, .position = (int64_t)(slot->position - other->start)});
}

static void happen(struct writer *writer, uint32_t index, const struct trace_event *event) {
    struct lane *lane = &writer->lanes[index];
    struct slot *slot = &writer->slots[event->slot];
    const uint64_t longest = TRACE_FRAME_BYTES - LANE_TABLE_BYTES - EVENT_BYTES_MAX;
    if (writer->frame_events == TRACE_FRAME_EVENTS || writer->frame_bytes > longest)
        flush(writer);
    order(writer, index, slot);
    put(writer, lane, event);
    lane->events++;
    writer->frame_events++;
    writer->header.events++;
    slot->lane = (uint16_t)index;
    slot->position = lane->start + lane->events;
    if (event->kind <= TRACE_REALLOC) {
        writer->live_bytes += event->bytes - (event->kind == TRACE_REALLOC ? slot->bytes : 0);
        slot->bytes = event->bytes;
        writer->header.objects++;
    } else if (event->kind == TRACE_FREE) {
        writer->live_bytes -= slot->bytes;
        give(writer, lane, event->slot);
    }
    if (writer->live_bytes > writer->header.peak_live_bytes)
        writer->header.peak_live_bytes = writer->live_bytes;
}

uint32_t writer_birth(struct writer *writer, uint32_t index, enum trace_kind kind, uint64_t bytes,
                      uint32_t align_bits) {
    if (writer->failure != NULL)
        return WRITER_NO_SLOT;
    struct lane *lane = &writer->lanes[index];
    if (lane->free_count == 0)
        steal(writer, lane);
    const uint32_t slot = lane->free_count != 0 ? take_newest(writer, lane) : new_slot(writer);
    if (slot != WRITER_NO_SLOT) {
        happen(writer, index,
               &(struct trace_event){.kind = kind, .slot = slot, .bytes = bytes, .align_bits = align_bits});
    }
    return slot;
}

void writer_call(struct writer *writer, uint32_t lane, enum trace_kind kind, uint32_t slot, uint64_t bytes) {
    if (writer->failure == NULL)
        happen(writer, lane, &(struct trace_event){.kind = kind, .slot = slot, .bytes = bytes});
}

int writer_finish(struct writer *writer, struct trace_header *header, char *why, size_t why_bytes) {
    uint8_t raw[TRACE_HEADER_BYTES];
    flush(writer);
    writer->header.threads = header->threads;
    writer->header.left_out = header->left_out;
    memcpy(writer->header.program, header->program, TRACE_PROGRAM_BYTES);
    *header = writer->header;
    layout_put_header(raw, header);
    if (writer->failure == NULL &&
        (fflush(writer->file) != 0 || fseek(writer->file, 0, SEEK_SET) != 0 ||
         fwrite(raw, 1, sizeof raw, writer->file) != sizeof raw || fflush(writer->file) != 0))
        writer->failure = strerror(errno);
    const char *failure = writer->failure;
    for (uint32_t i = 0; i < writer->header.lanes && writer->lanes != NULL; i++)
        free(writer->lanes[i].bytes);
    free(writer->lanes);
    free(writer->known);
    free(writer->slots);
    free(writer->raw);
    free(writer->packed);
    free(writer);
    if (failure != NULL)
        snprintf(why, why_bytes, "the trace could not be written: %s", failure);
    return failure == NULL;
}
