// SPDX-License-Identifier: Apache-2.0
// What the process of a sample may use: memory and CPU time. The runner makes a control group for it, of version 2 or
// 1, where the user may; the worker enters it once the harness's own memory is resident, so that the limit is the
// allocator's alone, and the runner removes it. Where no group can be made, RLIMIT_DATA limits memory, and CPU time
// cannot be limited. One implementation a system (budget_linux.c, budget_windows.c). Layer: runner, system.
#ifndef HZBENCH_BUDGET_H
#define HZBENCH_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#define BUDGET_GROUP_BYTES 512u

enum budget_means { BUDGET_NONE, BUDGET_CGROUP_V2, BUDGET_CGROUP_V1, BUDGET_RLIMIT };

// Plain data: in the memory that runner and worker share.
struct budget {
    uint64_t memory_bytes;
    uint32_t memory_means, cpu_means;                                     // enum budget_means
    char memory_group[BUDGET_GROUP_BYTES], cpu_group[BUDGET_GROUP_BYTES]; // directories of control groups
};

// Makes what limits a process to so many bytes and to so many millionths of one CPU; 0: no limit. Returns 0 with one
// line in `why` when that cannot be; else 1, and `why` is empty or says that RLIMIT_DATA has to do. To be paired with
// budget_close whatever it returns.
int budget_open(struct budget *budget, uint64_t memory_bytes, uint64_t cpu_ppm, char *why, size_t why_bytes);

// The calling process and its children are limited from now on. What it has mapped counts only when its memory does not
// stay: when it becomes another program next. Returns 0 or an errno value.
int budget_enter(const struct budget *budget, int becomes_program);

uint64_t budget_kills(const struct budget *budget); // processes that were killed at the memory limit
void budget_close(struct budget *budget);           // when all its processes have ended

// "memory=cgroup-v1;cpu=cgroup-v1", "memory=RLIMIT_DATA"; empty: no limit.
void budget_text(const struct budget *budget, char *out, size_t out_bytes);

#endif
