// SPDX-License-Identifier: Apache-2.0
// What the runner and the worker need of the operating system: memory that no allocator under test ever sees, clocks,
// pinning, resident set and accounting. os_<os>.c is the only file that includes OS headers for it. Layer: runner.
// What the system does not tell is NOT_MEASURED in every value returned here.
#ifndef HZBENCH_OS_H
#define HZBENCH_OS_H

#include "measured.h"

#include <pthread.h>
#include <stdint.h>

// Harness memory: zeroed and resident, in base pages. NULL when the system has none; errno says why.
void *os_memory_map(uint64_t bytes);
void os_memory_unmap(void *memory, uint64_t bytes);

// `count` thread stacks side by side, each with a guard page at its low end and its top `touched_bytes` resident.
// Multiples of the page size. Stack i is [base + i * bytes, base + (i + 1) * bytes).
// Windows gives each thread a stack itself; there this is address space and no more.
void *os_stacks_map(uint64_t count, uint64_t bytes, uint64_t touched_bytes);
uint64_t os_stacks_resident_bytes(uint64_t count, uint64_t touched_bytes); // of those, before a thread runs on them

// Starts a thread on that stack (Windows: on one of that size). Returns 0 or an errno value.
int os_thread_start(pthread_t *thread, void *stack, uint64_t bytes, void *(*body)(void *), void *argument);

// A condition that os_condition_wait_until() waits for by os_now_ns(); the latter returns 1 when the time has come.
void os_condition_init(pthread_cond_t *condition);
int os_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ns);

// Shared memory of a file descriptor, resident. NULL when it is not there or smaller than `bytes`. Windows passes no
// descriptors on: there it is the section that the environment names (OS_SHARED_ENV), whatever `fd` is.
void *os_shared_map(int fd, uint64_t bytes);
#define OS_SHARED_FD 3
#define OS_SHARED_ENV "HZBENCH_CELL"

uint64_t os_now_ns(void); // CLOCK_MONOTONIC
void os_sleep_ns(uint64_t duration_ns);
void os_yield(void);

// Pins the calling thread; returns 0 or an errno value.
int os_pin_thread(int32_t cpu);

// What the whole machine has spent so far. Pressure: time in which some task waited for the resource.
struct os_machine {
    uint64_t pressure_cpu_ns, pressure_memory_ns, pressure_io_ns;
    uint64_t steal_ns; // taken by the hypervisor, all CPUs
};

void os_machine_read(struct os_machine *out);

// Transparent huge pages: of this process now, and faults of the whole machine that got one.
struct os_huge_pages {
    uint64_t anon_bytes, fault_allocs;
};

void os_huge_pages_read(struct os_huge_pages *out);

int os_rss_open(void);             // descriptor to keep; negative when there is none
uint64_t os_rss_bytes(int rss_fd); // resident set of this process now
uint64_t os_rss_peak_bytes(void);  // its largest since exec (VmHWM; ru_maxrss would start at the parent's)

// This process's memory as Windows' GetProcessMemoryInfo counts it; no other system does.
struct os_windows_memory {
    uint64_t working_set_bytes, peak_working_set_bytes;
    uint64_t private_usage_bytes; // what the process is charged for: committed, touched or not
};

void os_windows_memory_read(struct os_windows_memory *out);

// What the calling thread has used so far.
struct os_usage {
    uint64_t user_ns, system_ns;
    uint64_t run_delay_ns; // runnable but not running
    uint64_t voluntary_switches, involuntary_switches;
    uint64_t minor_faults, major_faults;
};

int os_usage_open(void); // by the thread itself, before the clock starts; negative when there is none
void os_usage_read(int usage_fd, struct os_usage *out);
void os_usage_close(int usage_fd);

#endif
