// SPDX-License-Identifier: Apache-2.0
// The machine that the emulated program sees: a clock that runs with its instructions, a processor for each thread,
// random numbers of the seed; and where a thread of the host waits. QEMU asks its C library on the program's behalf;
// the plug-in is preloaded into QEMU, too, and answers instead, for the calls that machine_serve() names.
// Layer: runner, the coherence instrument only.
#ifndef HZBENCH_COHERENCE_MACHINE_H
#define HZBENCH_COHERENCE_MACHINE_H

#include <stdint.h>

#define MACHINE_REAL_BASE_NS ((uint64_t)1767225600 * 1000000000u) // 2026-01-01: the program's start on each run
#define MACHINE_MONOTONIC_BASE_NS ((uint64_t)1000000000)
#define MACHINE_NO_CALL (-1)

// `processors` 0: those of the host.
void machine_begin(unsigned processors, uint64_t seed);

// The calling thread of the host, which runs the emulated `thread`, is about to execute that thread's system call, or,
// with MACHINE_NO_CALL, has executed it.
void machine_serve(unsigned thread, int64_t call);

// Whether the thread `id` of the host waits in the system call `number`, whose first argument is `word` (0: any).
int machine_thread_waits(int64_t id, int64_t number, uint64_t word);
int64_t machine_thread_id(void);
void machine_pause(void); // until others on the host have run

#endif
