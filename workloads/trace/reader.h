// SPDX-License-Identifier: Apache-2.0
// Reads a trace frame by frame into memory that the caller owns. Everything a file can say is checked here as far as
// one frame shows it: lengths, counts, checksum; what only all frames together show is trace_walk's (walk.h). Layer:
// trace.
#ifndef HZBENCH_TRACE_READER_H
#define HZBENCH_TRACE_READER_H

#include "format.h"
#include "source.h"

enum trace_result {
    TRACE_FRAME, // there is one
    TRACE_END,   // all frames of the header were read
    TRACE_CUT,   // the file ends before that; what was read is good. One line in `why`.
    TRACE_BAD,   // the file is damaged. One line in `why`.
};

struct trace_part { // of one lane
    const uint8_t *at, *end;
    uint32_t events;
};

struct trace_frame {
    uint32_t events;
    struct trace_part parts[TRACE_LANES_MAX]; // as many as the header has lanes; the rest is undefined
    uint8_t raw[TRACE_FRAME_BYTES + TRACE_SLACK];
};

struct trace_reader {
    struct trace_source source;
    struct trace_header header;
    uint64_t offset; // of the next frame
    uint64_t frames; // read
    uint8_t *stored; // const: a frame as it lies in the file
    void *unpacking; // const: the decompressor's
};

// Bytes of memory a reader works in besides its frames, 16-byte aligned.
size_t trace_reader_memory_bytes(void);

// Reads the header. 0: this is no trace or none for this build; one line in `why`.
int trace_reader_begin(struct trace_reader *reader, const struct trace_source *source, void *memory, char *why,
                       size_t why_bytes);
enum trace_result trace_reader_next(struct trace_reader *reader, struct trace_frame *frame, char *why,
                                    size_t why_bytes);

#endif
