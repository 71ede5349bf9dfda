// SPDX-License-Identifier: Apache-2.0
// Words, events and the checksum of the trace file. Layer: trace.
#include "format.h"

#include <string.h>

#define CHECKSUM_FACTOR UINT64_C(0x9e3779b97f4a7c15) // odd, so that multiplying loses nothing

void trace_put_u32(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

void trace_put_u64(uint8_t *to, uint64_t value) {
    trace_put_u32(to, (uint32_t)value);
    trace_put_u32(to + 4, (uint32_t)(value >> 32));
}

uint32_t trace_get_u32(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

uint64_t trace_get_u64(const uint8_t *from) {
    return trace_get_u32(from) | (uint64_t)trace_get_u32(from + 4) << 32;
}

static uint64_t stir(uint64_t sum, uint64_t word) {
    sum ^= word;
    return (sum << 29 | sum >> 35) * CHECKSUM_FACTOR;
}

uint64_t trace_checksum(const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    uint64_t sum = CHECKSUM_FACTOR ^ count;
    for (; count >= 8; at += 8, count -= 8)
        sum = stir(sum, trace_get_u64(at));
    uint8_t rest[8] = {0};
    memcpy(rest, at, count);
    sum = stir(stir(sum, trace_get_u64(rest)), 0);
    return sum ^ sum >> 32;
}

uint8_t *trace_put_event(uint8_t *to, const struct trace_event *event, uint32_t *slot) {
    if (event->kind == TRACE_ORDER) {
        *to++ = TRACE_ORDER;
        to = trace_put_varint(to, event->slot);
        return trace_put_varint(to, trace_zigzag(event->position));
    }
    const uint64_t step = trace_zigzag((int32_t)(event->slot - *slot));
    *slot = event->slot;
    *to++ = (uint8_t)((step < TRACE_STEP_FOLLOWS ? step : TRACE_STEP_FOLLOWS) << TRACE_KIND_BITS | event->kind);
    if (step >= TRACE_STEP_FOLLOWS)
        to = trace_put_varint(to, step);
    if (event->kind == TRACE_ALIGNED)
        *to++ = (uint8_t)event->align_bits;
    return event->kind <= TRACE_REALLOC ? trace_put_varint(to, event->bytes) : to;
}
