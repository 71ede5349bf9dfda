// SPDX-License-Identifier: Apache-2.0
// hzrun: a program on an allocator of one's choice. What the command line asks for is collected in struct hzrun; then
// the program is looked up, started with it and waited for. Layer: runner.
#ifndef HZBENCH_HZRUN_H
#define HZBENCH_HZRUN_H

#include "hzrun_report.h"

#include <stddef.h>

#define HZRUN_PRELOADS_MAX 4
#define HZRUN_SETTINGS_MAX 12
#define HZRUN_PATH_BYTES 4096

struct hzrun {
    const char *preloads[HZRUN_PRELOADS_MAX]; // libraries, in the order in which the linker is to search them
    size_t preload_count;
    const char *settings[HZRUN_SETTINGS_MAX][2]; // environment: name, value
    size_t setting_count;
    char **program;                // what stands behind `--`
    char file[HZRUN_PATH_BYTES];   // where it was found
    char report[HZRUN_PATH_BYTES]; // the records' file; empty until hzrun_start()
};

// The seam for what else an option may want inside the program: a library behind those that are there, a variable.
void hzrun_preload(struct hzrun *run, const char *library);
void hzrun_set(struct hzrun *run, const char *name, const char *value);

// Finds program[0] as a shell would and proves that a preloaded library can take part in it. 0: one line in `why`.
int hzrun_find_program(struct hzrun *run, char *why, size_t why_bytes);

// How the program ended.
struct hzrun_end {
    int code;            // its exit code
    int signal;          // or the signal that ended it; 0 otherwise
    int pid;             // what it was
    uint64_t peak_bytes; // of all its processes that were waited for, the largest
};

// Runs the program to its end; signals that reach hzrun reach it. 0: it could not be started, one line in `why`.
int hzrun_start(struct hzrun *run, struct hzrun_end *end, char *why, size_t why_bytes);

// Calls `visit` for each record. 1 when the file could be read.
int hzrun_reports(struct hzrun *run, void (*visit)(const struct hzrun_report *report, void *context), void *context);

void hzrun_forget(struct hzrun *run);           // removes the records
_Noreturn void hzrun_die_of(int signal_number); // as the program did: the caller's shell sees the same

#endif
