// SPDX-License-Identifier: Apache-2.0
// All chatter on stderr: one live line with the time left on a terminal, a line a minute elsewhere; and the error and
// notice lines that must not collide with it. Layer: runner.
#ifndef HZBENCH_PROGRESS_H
#define HZBENCH_PROGRESS_H

#include <stdint.h>

void progress_init(int quiet);

// What the program was started as, argv[0], and what its lines begin with: runner or hzbench.
void progress_name(const char *path);
const char *progress_program(void);

// "runner: ..." whatever --quiet says.
__attribute__((format(printf, 1, 2))) void progress_error(const char *format, ...);

// "runner: ..." unless --quiet.
__attribute__((format(printf, 1, 2))) void progress_notice(const char *format, ...);

struct progress_state {
    uint32_t done, all; // samples; all is 0 when nobody knows: the time left is then an upper limit
    uint64_t left_ns;   // expected
    const char *what;   // runs now
};

// The live line; without a terminal a line of its own when the last one, or the start, was a minute ago.
void progress_show(const struct progress_state *state);
void progress_clear(void);

// "1h 05m", "3m 20s", "12s".
void progress_time_text(uint64_t ns, char *out, unsigned long out_bytes);

#endif
