// SPDX-License-Identifier: Apache-2.0
// The walk over a trace. Layer: trace.
#include "walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A lane's place in the frame under way.
struct lane {
    struct trace_cursor cursor;
    uint32_t events;     // of this frame
    uint32_t done;       // of them
    uint64_t start;      // events before this frame
    uint64_t last_start; // events before the frame before
    uint32_t is_over;
    int64_t waits_for; // TRACE_ORDER met and not fulfilled: position in `other`, from its start
    uint32_t other, is_waiting;
};

struct walk {
    struct trace_reader reader;
    struct trace_frame frame;
    struct lane lanes[TRACE_LANES_MAX];
    uint64_t *known;             // lanes x lanes: [a][b] events of b that a has waited for
    struct walk_object *objects; // slots
    uint64_t object_count, object_room;
    struct walk_totals *totals;
    const struct walk_visitor *visitor;
};

enum step { STEP_DONE, STEP_OVER, STEP_WAITS, STEP_BAD };

// Room grows with the slots that are used, not with what a header claims.
static struct walk_object *object_at(struct walk *walk, uint32_t slot) {
    if (slot >= walk->object_room) {
        uint64_t room = walk->object_room < 1024 ? 1024 : walk->object_room * 2;
        room = room <= slot ? (uint64_t)slot + 1 : room;
        struct walk_object *objects = realloc(walk->objects, room * sizeof *objects);
        if (objects == NULL)
            return NULL;
        memset(objects + walk->object_room, 0, (room - walk->object_room) * sizeof *objects);
        walk->objects = objects;
        walk->object_room = room;
    }
    walk->object_count = slot >= walk->object_count ? slot + 1 : walk->object_count;
    return &walk->objects[slot];
}

static uint64_t *known_of(struct walk *walk, uint32_t lane, uint32_t other) {
    return &walk->known[(size_t)lane * walk->reader.header.lanes + other];
}

static const char *order(struct walk *walk, uint32_t index, const struct trace_event *event) {
    struct lane *lane = &walk->lanes[index];
    if (event->slot >= walk->reader.header.lanes || event->slot == index)
        return "an order after a lane that is not there";
    const struct lane *other = &walk->lanes[event->slot];
    if (event->position > (int64_t)other->events || event->position <= (int64_t)(other->last_start - other->start))
        return "an order after events that are not near";
    lane->is_waiting = 1;
    lane->other = event->slot;
    lane->waits_for = event->position;
    return NULL;
}

// The last event of the object must be known to have happened: by the same lane, two frames ago, or waited for.
static int is_ordered(struct walk *walk, uint32_t index, const struct walk_object *object) {
    const struct lane *other = &walk->lanes[object->lane];
    return object->lane == index || object->position <= other->last_start ||
           object->position <= *known_of(walk, index, object->lane);
}

static void count(struct walk_totals *totals, uint32_t lane, const struct trace_event *event,
                  struct walk_object *object) {
    if (event->kind == TRACE_FREE || event->kind == TRACE_REALLOC) {
        totals->live_bytes -= object->bytes;
        totals->live_objects--;
    }
    if (event->kind == TRACE_FREE) {
        totals->frees++;
        totals->remote_frees += object->owner != lane;
    } else if (event->kind != TRACE_USABLE) {
        object->bytes = event->bytes;
        object->owner = (uint16_t)lane;
        object->birth = totals->objects;
        totals->objects++;
        totals->live_bytes += event->bytes;
        totals->live_objects++;
    }
    totals->peak_live_bytes =
        totals->live_bytes > totals->peak_live_bytes ? totals->live_bytes : totals->peak_live_bytes;
    totals->peak_live_objects =
        totals->live_objects > totals->peak_live_objects ? totals->live_objects : totals->peak_live_objects;
    totals->events++;
}

// What is wrong with the event, or NULL.
static const char *play(struct walk *walk, uint32_t index, const struct trace_event *event) {
    struct lane *lane = &walk->lanes[index];
    const int is_birth = event->kind <= TRACE_REALLOC_NULL;
    if (event->slot >= walk->reader.header.slots)
        return "an object beyond those of the header";
    if (event->kind <= TRACE_REALLOC && (event->bytes > TRACE_SIZE_MAX || event->align_bits > TRACE_ALIGN_BITS_MAX))
        return "an impossible size";
    if (lane->done == lane->events)
        return "more events than the table of lanes has";
    struct walk_object *object = object_at(walk, event->slot);
    if (object == NULL)
        return "more objects than this machine has memory for";
    if (is_birth == object->is_alive)
        return is_birth ? "an object that is born while alive" : "a call for an object that is not alive";
    if (object->position != 0 && !is_ordered(walk, index, object))
        return "two lanes' events of one object without an order";
    if (walk->visitor != NULL && walk->visitor->event != NULL)
        walk->visitor->event(walk->visitor->context, index, event, is_birth ? NULL : object, walk->totals);
    count(walk->totals, index, event, object);
    object->is_alive = event->kind != TRACE_FREE;
    lane->done++;
    object->lane = (uint16_t)index;
    object->position = lane->start + lane->done;
    return NULL;
}

static enum step step(struct walk *walk, uint32_t index, const char **what) {
    struct lane *lane = &walk->lanes[index];
    struct trace_event event = {0};
    for (;;) {
        if (lane->is_waiting) {
            const struct lane *other = &walk->lanes[lane->other];
            if ((int64_t)other->done < lane->waits_for)
                return STEP_WAITS;
            uint64_t *known = known_of(walk, index, lane->other);
            const uint64_t position = other->start + (uint64_t)lane->waits_for;
            *known = position > *known ? position : *known;
            lane->is_waiting = 0;
        }
        if (!trace_next(&lane->cursor, &event)) {
            lane->is_over = 1;
            if (lane->cursor.at != lane->cursor.end || lane->done != lane->events) {
                *what = "a lane whose events do not add up";
                return STEP_BAD;
            }
            return STEP_OVER;
        }
        if (event.kind != TRACE_ORDER) {
            *what = play(walk, index, &event);
            return *what == NULL ? STEP_DONE : STEP_BAD;
        }
        *what = order(walk, index, &event);
        if (*what != NULL)
            return STEP_BAD;
    }
}

// Lanes take turns so that each is as far in the frame as the others: nearest to the order that the trace does not
// keep.
static const char *walk_frame(struct walk *walk) {
    const uint32_t lanes = walk->reader.header.lanes;
    const char *what = NULL;
    uint32_t order_of[TRACE_LANES_MAX];
    uint32_t open = 0;
    for (uint32_t i = 0; i < lanes; i++) {
        struct lane *lane = &walk->lanes[i];
        const struct trace_part *part = &walk->frame.parts[i];
        lane->cursor = (struct trace_cursor){part->at, part->end, 0};
        lane->last_start = lane->start;
        lane->start += lane->events;
        lane->events = part->events;
        lane->done = 0;
        lane->is_over = 0;
        lane->is_waiting = 0;
        if (part->at != part->end)
            order_of[open++] = i;
        else if (part->events != 0)
            return "a lane whose events do not add up";
    }
    const uint64_t events = walk->frame.events;
    uint64_t turn = 0; // a lane may have done its share of so many of the frame's events
    while (open != 0) {
        uint32_t moved = 0;
        turn += open;
        for (uint32_t k = 0; k < open; k++) {
            struct lane *lane = &walk->lanes[order_of[k]];
            enum step result = STEP_DONE;
            while (result == STEP_DONE &&
                   (lane->done == lane->events || (uint64_t)lane->done * events < turn * lane->events)) {
                result = step(walk, order_of[k], &what);
                moved += result == STEP_DONE || result == STEP_OVER;
            }
            if (result == STEP_BAD)
                return what;
        }
        uint32_t left = 0;
        for (uint32_t k = 0; k < open; k++) {
            order_of[left] = order_of[k];
            left += !walk->lanes[order_of[k]].is_over;
        }
        open = left;
        if (moved == 0 && turn >= events) // every lane might go on, and none can
            return "an order of events that contradicts itself";
    }
    return NULL;
}

static enum trace_result walk_all(struct walk *walk, char *why, size_t why_bytes) {
    for (;;) {
        const enum trace_result result = trace_reader_next(&walk->reader, &walk->frame, why, why_bytes);
        if (result != TRACE_FRAME)
            return result;
        const char *what = walk_frame(walk);
        if (what != NULL) {
            snprintf(why, why_bytes, "damaged: %s in frame %" PRIu64 " - record it again", what,
                     walk->reader.frames - 1);
            return TRACE_BAD;
        }
        if (walk->visitor != NULL && walk->visitor->frame != NULL)
            walk->visitor->frame(walk->visitor->context, walk->totals);
    }
}

static void visit_alive(struct walk *walk) {
    for (uint64_t i = 0; i < walk->object_count; i++) {
        const struct walk_object *object = &walk->objects[i];
        walk->totals->left_alive += object->is_alive;
        if (object->is_alive && walk->visitor != NULL && walk->visitor->alive != NULL)
            walk->visitor->alive(walk->visitor->context, object, walk->totals);
    }
}

enum trace_result walk_trace(const struct trace_source *source, struct trace_header *header, struct walk_totals *totals,
                             const struct walk_visitor *visitor, char *why, size_t why_bytes) {
    struct walk *walk = calloc(1, sizeof *walk);
    void *memory = malloc(trace_reader_memory_bytes());
    enum trace_result result = TRACE_BAD;
    memset(totals, 0, sizeof *totals);
    snprintf(why, why_bytes, "no memory to read it - free some");
    if (walk != NULL && memory != NULL && trace_reader_begin(&walk->reader, source, memory, why, why_bytes)) {
        const size_t lanes = walk->reader.header.lanes;
        *header = walk->reader.header;
        walk->totals = totals;
        walk->visitor = visitor;
        walk->known = calloc(lanes * lanes, sizeof *walk->known);
        if (walk->known != NULL)
            result = walk_all(walk, why, why_bytes);
        if (result != TRACE_BAD)
            visit_alive(walk);
        if (result == TRACE_END && (totals->events != header->events || totals->objects != header->objects)) {
            snprintf(why, why_bytes, "damaged: the header counts other events than there are - record it again");
            result = TRACE_BAD;
        }
        free(walk->known);
        free(walk->objects);
    }
    free(walk);
    free(memory);
    return result;
}
