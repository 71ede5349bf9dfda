// SPDX-License-Identifier: Apache-2.0
// `runner selftest`: measures the backend with known faults and demands that each is recovered or refused. Layer:
// runner.
#ifndef HZBENCH_SELFTEST_H
#define HZBENCH_SELFTEST_H

#include "system/topology.h"

// Prints one table. Returns EXIT_CODE_OK when all is found, 1 when something is not, EXIT_CODE_UNAVAILABLE and one line
// when the backend with the faults is not there.
int selftest_run(const struct topology *topology, const char *worker);

#endif
