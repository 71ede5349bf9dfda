// SPDX-License-Identifier: Apache-2.0
// hzrun --record=FILE: the recorder in front of the program, and afterwards a trace of each of its processes. The
// program itself becomes FILE, every other one FILE.PID, and FILE.PID-N what a process turned itself into by exec.
// Layer: runner.
#ifndef HZBENCH_HZRUN_RECORD_H
#define HZBENCH_HZRUN_RECORD_H

#include "hzrun.h"

// Makes sure that traces can be written there, and puts the recorder first. 0: one line in `why`.
int hzrun_record_prepare(struct hzrun *run, const char *file, char *why, size_t why_bytes);

// Makes traces of what was recorded, and says on standard error how many calls and at which cost. 0: one line in `why`,
// and the recordings stay for `hztrace pack`.
int hzrun_record_finish(const struct hzrun_end *end, char *why, size_t why_bytes);

#endif
