// SPDX-License-Identifier: Apache-2.0
// What else the machine was doing while a sample ran, and the one rule by which a sample counts as contaminated. The
// rule looks at the machine only, never at the allocator or at how fast it was; nothing is ever dropped for it.
// Layer: runner.
#ifndef HZBENCH_NOISE_H
#define HZBENCH_NOISE_H

#include "shared.h"

// Shares from which on a sample counts as contaminated.
#define NOISE_RUN_DELAY 0.05       // of the threads' time: runnable without a CPU, although there are enough
#define NOISE_REFERENCE_LOOP 1.25  // the reference loop against its fastest time
#define NOISE_STEAL 0.05           // of all CPUs' time
#define NOISE_PRESSURE_MEMORY 0.01 // of the measured part: some task waited for memory

// The reference loop: a chain of multiplications, about 0.2 ms. It has no memory and no calls, so that only the machine
// can change what it takes.
uint64_t noise_loop_ns(void);

// The fastest of some reference loops: what one takes when nothing disturbs.
uint64_t noise_fastest_loop_ns(void);

struct noise_sample {
    const struct noise *noise;
    uint64_t elapsed_ns, run_delay_ns; // of the measured part
    uint32_t threads, pus;
};

// Returns 1 when contaminated, with the reasons in `reason`, joined by ';'; UINT64_MAX when nothing was measured.
uint64_t noise_is_contaminated(const struct noise_sample *sample, char *reason, size_t reason_bytes);

#endif
