// SPDX-License-Identifier: Apache-2.0
// os.h on Windows. Threads are winpthreads'; clocks, pinning and accounting are the system's. Layer: runner.
#include "os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <windows.h>

#include <psapi.h>

#define PAGE_BYTES 4096u
#define NS_PER_S UINT64_C(1000000000)
#define CPUS_PER_GROUP 64

void *os_memory_map(uint64_t bytes) {
    const uint64_t used_bytes = bytes != 0 ? bytes : PAGE_BYTES;
    void *memory = VirtualAlloc(NULL, used_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (memory == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    memset(memory, 0, used_bytes); // into the working set
    return memory;
}

void os_memory_unmap(void *memory, uint64_t bytes) {
    (void)bytes;
    VirtualFree(memory, 0, MEM_RELEASE);
}

void *os_stacks_map(uint64_t count, uint64_t bytes, uint64_t touched_bytes) {
    (void)touched_bytes;
    errno = ENOMEM;
    return VirtualAlloc(NULL, count * bytes, MEM_RESERVE, PAGE_NOACCESS);
}

uint64_t os_stacks_resident_bytes(uint64_t count, uint64_t touched_bytes) {
    (void)count;
    (void)touched_bytes;
    return 0;
}

int os_thread_start(pthread_t *thread, void *stack, uint64_t bytes, void *(*body)(void *), void *argument) {
    (void)stack;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, bytes);
    const int error = pthread_create(thread, &attributes, body, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

void os_condition_init(pthread_cond_t *condition) {
    pthread_cond_init(condition, NULL);
}

int os_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ns) {
    // The condition knows the wall clock only; a step of it lengthens or shortens one interval.
    const uint64_t now_ns = os_now_ns();
    const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    const uint64_t nanoseconds = (uint64_t)until.tv_nsec + left_ns;
    until.tv_sec += (time_t)(nanoseconds / NS_PER_S);
    until.tv_nsec = (long)(nanoseconds % NS_PER_S);
    return pthread_cond_timedwait(condition, mutex, &until) == ETIMEDOUT;
}

void *os_shared_map(int fd, uint64_t bytes) {
    (void)fd;
    const char *text = getenv(OS_SHARED_ENV);
    char *end = NULL;
    const unsigned long long handle = text != NULL ? strtoull(text, &end, 10) : 0;
    if (text == NULL || *text == '\0' || *end != '\0') {
        errno = EBADF;
        return NULL;
    }
    unsigned char *memory = MapViewOfFile((HANDLE)(uintptr_t)handle, FILE_MAP_ALL_ACCESS, 0, 0, bytes);
    if (memory == NULL) {
        errno = EINVAL; // no section, or a smaller one
        return NULL;
    }
    // Resident: a page that faults later would count as the allocator's.
    for (uint64_t i = 0; i < bytes; i += PAGE_BYTES) {
        volatile unsigned char *byte = &memory[i];
        *byte = *byte;
    }
    return memory;
}

uint64_t os_now_ns(void) {
    static uint64_t per_second; // constant from boot on; threads that race store the same value
    LARGE_INTEGER value;
    uint64_t frequency = __atomic_load_n(&per_second, __ATOMIC_RELAXED);
    if (frequency == 0) {
        QueryPerformanceFrequency(&value);
        frequency = (uint64_t)value.QuadPart;
        __atomic_store_n(&per_second, frequency, __ATOMIC_RELAXED);
    }
    QueryPerformanceCounter(&value);
    const uint64_t ticks = (uint64_t)value.QuadPart;
    return ticks / frequency * NS_PER_S + ticks % frequency * NS_PER_S / frequency;
}

void os_sleep_ns(uint64_t duration_ns) {
    const uint64_t until_ns = os_now_ns() + duration_ns;
    for (uint64_t now_ns = os_now_ns(); now_ns < until_ns; now_ns = os_now_ns())
        Sleep((DWORD)((until_ns - now_ns + 999999) / 1000000));
}

void os_yield(void) {
    SwitchToThread();
}

int os_pin_thread(int32_t cpu) {
    if (cpu < 0)
        return EINVAL;
    const GROUP_AFFINITY place = {.Mask = (KAFFINITY)1 << cpu % CPUS_PER_GROUP, .Group = (WORD)(cpu / CPUS_PER_GROUP)};
    return SetThreadGroupAffinity(GetCurrentThread(), &place, NULL) ? 0 : EINVAL;
}

// Windows tells neither how long tasks waited for a resource nor what a hypervisor took.
void os_machine_read(struct os_machine *out) {
    out->pressure_cpu_ns = out->pressure_memory_ns = out->pressure_io_ns = NOT_MEASURED;
    out->steal_ns = NOT_MEASURED;
}

void os_huge_pages_read(struct os_huge_pages *out) {
    out->anon_bytes = out->fault_allocs = NOT_MEASURED;
}

int os_rss_open(void) {
    return 0; // nothing has to be kept open
}

static int read_memory(PROCESS_MEMORY_COUNTERS_EX *counters) {
    memset(counters, 0, sizeof *counters);
    counters->cb = sizeof *counters;
    return GetProcessMemoryInfo(GetCurrentProcess(), (PROCESS_MEMORY_COUNTERS *)(void *)counters, sizeof *counters);
}

uint64_t os_rss_bytes(int rss_fd) {
    (void)rss_fd;
    PROCESS_MEMORY_COUNTERS_EX counters;
    return read_memory(&counters) ? counters.WorkingSetSize : NOT_MEASURED;
}

uint64_t os_rss_peak_bytes(void) {
    PROCESS_MEMORY_COUNTERS_EX counters;
    return read_memory(&counters) ? counters.PeakWorkingSetSize : NOT_MEASURED;
}

void os_windows_memory_read(struct os_windows_memory *out) {
    PROCESS_MEMORY_COUNTERS_EX counters;
    memset(out, 0xff, sizeof *out);
    if (read_memory(&counters)) {
        out->working_set_bytes = counters.WorkingSetSize;
        out->peak_working_set_bytes = counters.PeakWorkingSetSize;
        // No process is charged nothing: wine leaves the field as it was.
        out->private_usage_bytes = counters.PrivateUsage != 0 ? counters.PrivateUsage : NOT_MEASURED;
    }
}

int os_usage_open(void) {
    return 0;
}

static uint64_t filetime_ns(const FILETIME *time) {
    return ((uint64_t)time->dwHighDateTime << 32 | time->dwLowDateTime) * 100;
}

// The system counts faults by process and switches not at all where a program can ask: not measured.
void os_usage_read(int usage_fd, struct os_usage *out) {
    (void)usage_fd;
    FILETIME created, ended, system, user;
    memset(out, 0xff, sizeof *out);
    if (GetThreadTimes(GetCurrentThread(), &created, &ended, &system, &user)) {
        out->user_ns = filetime_ns(&user);
        out->system_ns = filetime_ns(&system);
    }
}

void os_usage_close(int usage_fd) {
    (void)usage_fd;
}
