// SPDX-License-Identifier: Apache-2.0
// Settings of an allocator: one variable, NAME_OPTIONS="key=value,key=value", read once, before the first block. What
// is not understood ends the process with one line: a program that is measured, or protected, under other settings than
// it was given would be worse. Layer: common.
#ifndef HZ_OPTIONS_H
#define HZ_OPTIONS_H

#include "arena.h"
#include "compiler.h"

struct option {
    const char *key;
    const char *values;            // for the line that refuses
    int (*set)(const char *value); // 0: not one of them
    const char *alone;             // what the key alone means, or NULL
};

// The settings that all have: reject=, and retain= and decay= of the arena, which go into `limits`.
// `own`: others, up to one without a key.
HZ_HIDDEN void options_load(const char *variable, struct arena_limits *limits, const struct option *own);
HZ_HIDDEN int options_bytes(const char *text, uint64_t most,
                            uint64_t *out); // 64, 64KiB, 64MiB, 64GiB; 0: no such number

#endif
