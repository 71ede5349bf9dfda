// SPDX-License-Identifier: Apache-2.0
// Hardware counters of one thread and the threads it gives birth to. Virtual machines and containers often have none:
// then every value is UINT64_MAX, "not measured". Layer: runner.
#ifndef HZBENCH_COUNTERS_H
#define HZBENCH_COUNTERS_H

#include <stdint.h>

enum counters_event {
    COUNTERS_CYCLES,
    COUNTERS_INSTRUCTIONS,
    COUNTERS_CACHE_MISSES,
    COUNTERS_DTLB_MISSES,
    COUNTERS_COUNT
};

struct counters {
    int fds[COUNTERS_COUNT]; // negative: this event cannot be counted here
};

void counters_open(struct counters *counters); // by the thread to be counted; stopped
void counters_start(const struct counters *counters);
void counters_stop(const struct counters *counters);
// User-space events between start and stop, scaled when the machine had to take turns between counters.
void counters_read(const struct counters *counters, uint64_t values[COUNTERS_COUNT]);
void counters_close(struct counters *counters);

#endif
