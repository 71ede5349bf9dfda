// SPDX-License-Identifier: Apache-2.0
// Makes a trace of what libhzrecord.so has left of one process: merges the lanes by their tickets and gives objects
// names instead of addresses. Layer: recorder.
#ifndef HZBENCH_RECORDER_PACK_H
#define HZBENCH_RECORDER_PACK_H

#include "../trace/format.h"

struct pack_result {
    struct trace_header header;
    uint64_t calls;    // of the malloc family that were recorded
    uint32_t is_ended; // the process came to its exit handlers; else it was killed or is still running
    uint32_t is_full;  // the recording stopped before the process did
    double call_ns;    // what recording a call took, by the recorder's own samples; 0: too few calls to tell
};

// Writes the trace `to` from the recording `from`. `progress` (may be NULL) hears now and then how many bytes of how
// many have been read. 0: one line in `why`.
int pack_recording(const char *from, const char *to, int is_compressed, void (*progress)(uint64_t done, uint64_t whole),
                   struct pack_result *result, char *why, size_t why_bytes);

#endif
