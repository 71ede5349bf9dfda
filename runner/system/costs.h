// SPDX-License-Identifier: Apache-2.0
// What two things cost on this machine that no description of it tells and that decide between allocators: fresh memory
// and a cache line that another core has written. Layer: runner.
#ifndef HZBENCH_COSTS_H
#define HZBENCH_COSTS_H

#include "topology.h"

struct costs {
    double first_touch_ns;   // a page of 4 KiB that the kernel has to provide
    double line_transfer_ns; // a line from the core that wrote it to another one
};

// Measures both, each as the least of some repetitions, in about 20 ms. Negative where it cannot be measured: no
// memory, one core, or cores that other programs hold.
void costs_measure(const struct topology *topology, struct costs *out);

#endif
