// SPDX-License-Identifier: Apache-2.0
// stderr. Layer: runner.
#include "progress.h"

#include "system/os.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MINUTE_NS UINT64_C(60000000000)
#define LINE_BYTES 79 // of the oldest terminal; a longer line would wrap and could not be taken back

static const char *program = "runner"; // and `hzbench` where it is installed under that name
static int is_quiet;
static int is_live;      // stderr is a terminal and not --quiet
static int is_shown;     // the live line is on the screen
static uint64_t told_ns; // when, without a terminal, the last line was written

void progress_name(const char *path) {
    const char *last = strrchr(path, '/');
    if (strcmp(last != NULL ? last + 1 : path, "hzbench") == 0)
        program = "hzbench";
}

const char *progress_program(void) {
    return program;
}

void progress_init(int quiet) {
    is_quiet = quiet;
    is_live = !quiet && isatty(STDERR_FILENO);
    told_ns = os_now_ns();
}

void progress_clear(void) {
    if (is_shown)
        fprintf(stderr, "\r%*s\r", LINE_BYTES, "");
    is_shown = 0;
}

static void say(const char *format, va_list arguments) {
    char line[2304];
    vsnprintf(line, sizeof line, format, arguments);
    // One line, whatever a library's message holds.
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
    progress_clear();
    fprintf(stderr, "%s: %s\n", program, line);
}

void progress_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void progress_notice(const char *format, ...) {
    va_list arguments;
    if (is_quiet)
        return;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void progress_time_text(uint64_t ns, char *out, unsigned long out_bytes) {
    uint64_t seconds = (ns + 500000000) / 1000000000;
    if (seconds >= 3600)
        snprintf(out, out_bytes, "%" PRIu64 "h %02" PRIu64 "m", seconds / 3600, seconds / 60 % 60);
    else if (seconds >= 60)
        snprintf(out, out_bytes, "%" PRIu64 "m %02" PRIu64 "s", seconds / 60, seconds % 60);
    else
        snprintf(out, out_bytes, "%" PRIu64 "s", seconds);
}

static void state_text(const struct progress_state *state, char *out, size_t out_bytes) {
    char left[32], all[16] = "";
    progress_time_text(state->left_ns, left, sizeof left);
    if (state->all != 0)
        snprintf(all, sizeof all, "/%" PRIu32, state->all);
    snprintf(out, out_bytes, "%" PRIu32 "%s  %s%s left  %s", state->done, all, state->all != 0 ? "" : "at most ", left,
             state->what);
}

void progress_show(const struct progress_state *state) {
    char line[256];
    state_text(state, line, sizeof line);
    if (is_live) {
        fprintf(stderr, "\r%-*.*s", LINE_BYTES, LINE_BYTES, line);
        fflush(stderr);
        is_shown = 1;
    } else if (os_now_ns() - told_ns >= MINUTE_NS) {
        progress_notice("%s", line);
        told_ns = os_now_ns();
    }
}
