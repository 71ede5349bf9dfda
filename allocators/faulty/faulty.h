// SPDX-License-Identifier: Apache-2.0
// The faults that FAULTY_OPTIONS asks for: what is injected, in which amount. Layer: a backend's own.
#ifndef HZBENCH_FAULTY_H
#define HZBENCH_FAULTY_H

#include <stddef.h>
#include <stdint.h>

struct faulty_options {
    uint64_t slow_ps;           // slow=20ns, slow=1500ps: each malloc takes so much longer
    uint64_t slow_remote_ps;    // slow-remote=20ns: each free of a block of another thread
    uint64_t waste_percent;     // waste=25%: each block takes so much more resident memory
    uint64_t leak_bytes;        // leak=64: each malloc loses so much resident memory for ever
    uint64_t spike_ps;          // spike=50us/1000: one malloc in so many of a thread takes so much longer
    uint64_t spike_every;       //
    uint64_t corrupt_every;     // corrupt=1000: one malloc in so many flips a byte of the block before it
    uint64_t overlap_every;     // overlap=1000: one malloc in so many returns the block before it once more
    int is_false_sharing;       // false-sharing: each malloc counts in a word beside those of other threads
    int is_slow;                // slow and slow-remote were asked for, be it with 0ns, which costs two fences
    int is_slow_remote;         //
    int is_fallback;            // fallback: the table holds the C library's own functions
    uint64_t more_instructions; // instructions=3: malloc executes so many more, 0 or 3
};

// Returns 0 with the item that is not understood, and its length.
int faulty_options_parse(const char *text, struct faulty_options *out, const char **wrong, size_t *wrong_length);

#endif
