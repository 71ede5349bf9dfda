// SPDX-License-Identifier: Apache-2.0
// --doctor: what on this machine will hurt a measurement, and the remedy. Layer: runner.
#ifndef HZBENCH_DOCTOR_H
#define HZBENCH_DOCTOR_H

#include "plan/options.h"
#include "system/topology.h"

// Prints one line a finding. Returns the runner's exit code; findings are no failure.
int doctor_run(const struct options *options, const struct topology *topology, const char *worker);

// For doctor_<os>.c: one finding - what was found and, when it hurts, what to do; and all that is to be found there.
__attribute__((format(printf, 3, 4))) void doctor_report(const char *name, const char *remedy, const char *format, ...);
void doctor_check_system(void);

#endif
