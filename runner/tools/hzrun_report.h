// SPDX-License-Identifier: Apache-2.0
// What the processes of a program under hzrun tell about themselves: records of one size, appended to a file whose name
// travels in the environment, so that they survive fork, exec and closed descriptors. Written by libhzrun.so
// (hzrun_library_linux.c), read by hzrun. Layer: runner.
#ifndef HZBENCH_HZRUN_REPORT_H
#define HZBENCH_HZRUN_REPORT_H

#include "../../allocators/allocator.h"

#define HZRUN_REPORT_ENV "HZRUN_REPORT"   // the file of records
#define HZRUN_LIBRARY_ENV "HZRUN_LIBRARY" // the library whose malloc must be in use
#define HZRUN_PID_ENV "HZRUN_PID"         // the program itself; all other processes are its descendants
#define HZRUN_STATS_ENV "HZRUN_STATS"     // present: report at exit, too

enum hzrun_event {
    HZRUN_TOOK = 1, // before main: malloc and free are the library's
    HZRUN_OTHER,    // before main: they are somebody else's
    HZRUN_ENDED,    // at exit, with numbers
};

struct hzrun_report {
    uint32_t event;
    int32_t pid;
    uint64_t peak_bytes; // VmHWM at exit; 0 before
    struct allocator_stats stats;
    char program[32]; // name of the executable, cut
    char other[96];   // HZRUN_OTHER: the object that holds malloc
};

#endif
