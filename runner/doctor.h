// SPDX-License-Identifier: Apache-2.0
// --doctor: what on this machine will hurt a measurement, and the remedy. Layer: runner.
#ifndef HZBENCH_DOCTOR_H
#define HZBENCH_DOCTOR_H

#include "options.h"
#include "topology.h"

// Prints one line a finding. Returns the runner's exit code; findings are no failure.
int doctor_run(const struct options *options, const struct topology *topology, const char *worker);

#endif
