// SPDX-License-Identifier: Apache-2.0
// hzrun --record=FILE: the recorder in front of the program, and afterwards a trace of each of its processes. The one
// with the most calls, which did the work, becomes FILE; every other one FILE.PID, and FILE.PID-N what a process turned
// itself into by exec. Layer: runner.
#ifndef HZBENCH_HZRUN_RECORD_H
#define HZBENCH_HZRUN_RECORD_H

#include "hzrun.h"

enum hzrun_record_result { HZRUN_RECORD_READY, HZRUN_RECORD_USAGE, HZRUN_RECORD_UNAVAILABLE };

// Makes sure that traces can be written there, and puts the recorder first. One line in `why` unless it is ready.
enum hzrun_record_result hzrun_record_prepare(struct hzrun *run, const char *file, char *why, size_t why_bytes);

// Makes traces of what was recorded (of programs of the name `only`; NULL: of all), and says on standard error how many
// calls of which program and at which cost. 0: one line in `why`, and recordings that could not be packed stay for
// `hztrace pack`.
int hzrun_record_finish(const char *only, char *why, size_t why_bytes);

#endif
