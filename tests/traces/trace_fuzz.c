// SPDX-License-Identifier: Apache-2.0
// Fuzz target of the trace reader: any bytes as a file, as they are and once more with all checksums made right, so
// that what lies behind them is reached. What the walk accepts is replayed by driver_run in tests/traces/round_trip.c;
// here nothing may crash, hang or take memory without bound. Layer: test.
#include "trace_fuzz.h"

#include "../../workloads/trace/layout.h"
#include "../../workloads/trace/profile.h"

#include <stdlib.h>

void trace_fuzz_repair(uint8_t *bytes, size_t count) {
    if (count < TRACE_HEADER_BYTES)
        return;
    trace_put_u64(bytes + LAYOUT_SUM, trace_checksum(bytes, LAYOUT_SUM));
    for (size_t at = TRACE_HEADER_BYTES; at + TRACE_FRAME_HEADER_BYTES <= count;) {
        const uint64_t stored = trace_get_u32(bytes + at + LAYOUT_FRAME_STORED);
        if (stored > count - at - TRACE_FRAME_HEADER_BYTES)
            return;
        trace_put_u64(bytes + at + LAYOUT_FRAME_SUM,
                      layout_frame_sum(bytes + at, bytes + at + TRACE_FRAME_HEADER_BYTES, (uint32_t)stored));
        at += TRACE_FRAME_HEADER_BYTES + stored;
    }
}

enum trace_result trace_fuzz_walk(const uint8_t *bytes, size_t count) {
    struct trace_source source = trace_source_memory(bytes, count);
    struct trace_header header;
    struct walk_totals totals;
    char why[512] = "";
    static struct profile *profile; // grows fuller with each file: what it counts does not matter here
    profile = profile != NULL ? profile : profile_begin();
    const struct walk_visitor visitor = profile_visitor(profile);
    const enum trace_result result = walk_trace(&source, &header, &totals, &visitor, why, sizeof why);
    // A refusal says why, in one line.
    if (profile == NULL || (result != TRACE_END && (why[0] == '\0' || strchr(why, '\n') != NULL)))
        abort();
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    trace_fuzz_walk(data, bytes);
    uint8_t *copy = malloc(bytes + 1);
    if (copy != NULL) {
        memcpy(copy, data, bytes);
        trace_fuzz_repair(copy, bytes);
        trace_fuzz_walk(copy, bytes);
    }
    free(copy);
    return 0;
}
