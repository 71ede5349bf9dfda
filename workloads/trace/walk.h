// SPDX-License-Identifier: Apache-2.0
// Plays a trace on paper: every event in an order the trace allows, every rule checked that a replay relies on, so that
// what passes can be replayed without a deadlock and without one object's events in the wrong order. Layer: trace.
#ifndef HZBENCH_TRACE_WALK_H
#define HZBENCH_TRACE_WALK_H

#include "reader.h"

struct walk_object {
    uint64_t bytes;
    uint64_t birth;    // objects born before it
    uint64_t position; // of its last event in `lane`, from 1
    uint16_t lane;     // of its last event
    uint16_t owner;    // lane that allocated or last resized it
    uint8_t is_alive;
};

struct walk_totals {
    uint64_t events, objects, frees, remote_frees, left_alive;
    uint64_t live_bytes, peak_live_bytes, live_objects, peak_live_objects;
};

struct walk_visitor {
    // Before the event takes effect. `object` is NULL for what has none yet; `totals` are those up to here.
    void (*event)(void *context, uint32_t lane, const struct trace_event *event, const struct walk_object *object,
                  const struct walk_totals *totals);
    void (*frame)(void *context, const struct walk_totals *totals); // after each; may be NULL
    void (*alive)(void *context, const struct walk_object *object,
                  const struct walk_totals *totals); // at the end; may be NULL
    void *context;
};

// TRACE_END, or TRACE_CUT or TRACE_BAD with one line in `why`. Memory grows with the objects alive, up to
// TRACE_SLOTS_MAX. `visitor` may be NULL.
enum trace_result walk_trace(const struct trace_source *source, struct trace_header *header, struct walk_totals *totals,
                             const struct walk_visitor *visitor, char *why, size_t why_bytes);

#endif
