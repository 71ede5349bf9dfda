// SPDX-License-Identifier: Apache-2.0
// Whose turn it is. One emulated thread runs at a time, for a quantum of instructions; then the next one that can run
// follows, in a ring. So no thread is ever further ahead of another that can run than one quantum, however few cores
// the host has, and a run can be repeated. A thread in a system call that may wait is left out until the call returns.
// Layer: runner, the coherence instrument only.
#ifndef HZBENCH_COHERENCE_SCHEDULE_H
#define HZBENCH_COHERENCE_SCHEDULE_H

#include <stdint.h>

#define SCHEDULE_MAX_THREADS 256u

// `quantum` instructions a turn on average; each turn's length is drawn from [quantum / 2, quantum * 3 / 2] by `seed`,
// so that no two threads fall into step. `quantum` >= 2.
void schedule_begin(uint32_t quantum, uint64_t seed);

void schedule_born(unsigned thread); // it may run from now on; called by the thread that creates it
// The calling thread wants to run `instructions` more. Returns when it is its turn. 1: the access counts; 0: turns are
// suspended (schedule_suspend), so accesses of several threads may overlap.
int schedule_run(unsigned thread, uint32_t instructions);
void schedule_yield(unsigned thread); // lets the next one run, if there is one
// Enters the system call `number`, which may wait, on `word` if it is a futex's. The next one runs when the host's
// thread does wait, or is back, so it does not matter how fast the host is.
void schedule_wait(unsigned thread, int64_t number, uint64_t word);
void schedule_continue(unsigned thread);            // is back
void schedule_gone(unsigned thread, uint64_t word); // whoever joins it waits on `word`, which becomes 0; 0: nobody

// Is back from a wait on a futex that the host or its clock ended: goes on when schedule_wake() has chosen it, or at
// `ns` of emulated time.
void schedule_sleep_until(unsigned thread, uint64_t ns);

// The thread whose turn it is wakes `count` of those that wait on `word`, those that came first; and has woken them:
// returns when they are back, however fast the host is.
void schedule_wake(uint64_t word, uint64_t count);
void schedule_woken(uint64_t word);

// Emulated time: half a nanosecond an instruction, of all threads that can run at once; one thread's alone; and the sum
// of all threads'.
uint64_t schedule_time_ns(void);
uint64_t schedule_thread_time_ns(unsigned thread);
uint64_t schedule_work_ns(void);

// While the emulator needs all threads to move (fork, exit): turns are suspended, nothing is counted.
void schedule_suspend(void);
void schedule_resume(void);
void schedule_after_fork(unsigned thread); // in the child, where only `thread` is left

uint64_t schedule_instructions(unsigned thread);
uint64_t schedule_turns(void);
unsigned schedule_thread_count(void); // most threads seen at any time

#endif
