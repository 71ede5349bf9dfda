// SPDX-License-Identifier: Apache-2.0
// os.h on Linux. Allocates nothing: /proc is read with open and pread into the stack. Layer: runner.
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define NS_PER_S UINT64_C(1000000000)

static void *map_private(uint64_t bytes, int populate) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    // Base pages: whether the kernel has a huge page to spare must not decide what the harness costs in this sample.
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    if (populate)
        memset(memory, 0, bytes);
    return memory;
}

void *os_memory_map(uint64_t bytes) {
    return map_private(bytes != 0 ? bytes : PAGE_BYTES, 1);
}

void os_memory_unmap(void *memory, uint64_t bytes) {
    munmap(memory, bytes != 0 ? bytes : PAGE_BYTES);
}

void *os_stacks_map(uint64_t count, uint64_t bytes, uint64_t touched_bytes) {
    unsigned char *base = map_private(count * bytes, 0);
    if (base == NULL)
        return NULL;
    for (uint64_t i = 0; i < count; i++) {
        unsigned char *stack = base + i * bytes;
        if (mprotect(stack, PAGE_BYTES, PROT_NONE) != 0) {
            munmap(base, count * bytes);
            return NULL;
        }
        memset(stack + bytes - touched_bytes, 0, touched_bytes);
    }
    return base;
}

uint64_t os_stacks_resident_bytes(uint64_t count, uint64_t touched_bytes) {
    return count * touched_bytes;
}

int os_thread_start(pthread_t *thread, void *stack, uint64_t bytes, void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int error = pthread_attr_setstack(&attributes, stack, bytes);
    if (error == 0)
        error = pthread_create(thread, &attributes, body, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

void os_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &clock);
    pthread_condattr_destroy(&clock);
}

int os_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ns) {
    const struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    return pthread_cond_timedwait(condition, mutex, &until) == ETIMEDOUT;
}

void *os_shared_map(int fd, uint64_t bytes) {
    struct stat status;
    if (fstat(fd, &status) != 0)
        return NULL;
    if (status.st_size < 0 || (uint64_t)status.st_size < bytes) {
        errno = EINVAL;
        return NULL;
    }
    unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED)
        return NULL;
    // MAP_POPULATE may give up silently; a page that faults later would count as the allocator's.
    for (uint64_t i = 0; i < bytes; i += PAGE_BYTES) {
        volatile unsigned char *byte = &memory[i];
        *byte = *byte;
    }
    return memory;
}

uint64_t os_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void os_sleep_ns(uint64_t duration_ns) {
    const uint64_t until_ns = os_now_ns() + duration_ns;
    const struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

void os_yield(void) {
    sched_yield();
}

int os_pin_thread(int32_t cpu) {
    // 8192 CPUs, more than any kernel is built for; the fixed cpu_set_t ends at 1024.
    static _Thread_local unsigned long mask[8192 / (8 * sizeof(unsigned long))];
    const size_t bits = 8 * sizeof(unsigned long);
    if (cpu < 0 || (size_t)cpu >= sizeof mask * 8)
        return EINVAL;
    memset(mask, 0, sizeof mask);
    mask[(size_t)cpu / bits] = 1ul << (size_t)cpu % bits;
    return sched_setaffinity(0, sizeof mask, (const cpu_set_t *)mask) == 0 ? 0 : errno;
}

// Reads the whole of a small /proc file into `text`; returns its length, or 0.
static size_t read_small(int fd, char *text, size_t text_bytes) {
    const ssize_t length = fd < 0 ? -1 : pread(fd, text, text_bytes - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    return length > 0 ? (size_t)length : 0;
}

int os_rss_open(void) {
    return open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

uint64_t os_rss_bytes(int rss_fd) {
    char text[128];
    if (read_small(rss_fd, text, sizeof text) == 0)
        return NOT_MEASURED;
    char *end = text;
    strtoull(text, &end, 10); // the first number is the address space
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t os_rss_peak_bytes(void) {
    char text[4096]; // VmHWM stands in the first kilobyte
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const size_t length = read_small(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    const char *line = length != 0 ? strstr(text, "\nVmHWM:") : NULL;
    return line == NULL ? NOT_MEASURED : strtoull(line + 7, NULL, 10) * 1024;
}

void os_windows_memory_read(struct os_windows_memory *out) {
    out->working_set_bytes = out->peak_working_set_bytes = out->private_usage_bytes = NOT_MEASURED;
}

static void read_file(const char *path, char *text, size_t text_bytes) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    read_small(fd, text, text_bytes);
    if (fd >= 0)
        close(fd);
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=123": microseconds since boot.
static uint64_t pressure_ns(const char *path) {
    char text[256];
    read_file(path, text, sizeof text);
    const char *total = strstr(text, "total=");
    return total == NULL ? NOT_MEASURED : strtoull(total + 6, NULL, 10) * 1000;
}

// The number behind a name of a file of lines "NAME NUMBER".
static uint64_t number_of(const char *path, const char *name) {
    char text[16384];
    size_t used = 0;
    ssize_t got = 1;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && got > 0 && used < sizeof text - 1) { // a read gives a page of it at most
        got = read(fd, text + used, sizeof text - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    text[used] = '\0';
    const char *found = strstr(text, name);
    return found != NULL ? strtoull(found + strlen(name), NULL, 10) : NOT_MEASURED;
}

void os_huge_pages_read(struct os_huge_pages *out) {
    const uint64_t kib = number_of("/proc/self/smaps_rollup", "AnonHugePages:");
    out->anon_bytes = kib == NOT_MEASURED ? NOT_MEASURED : kib * 1024;
    out->fault_allocs = number_of("/proc/vmstat", "thp_fault_alloc ");
}

void os_machine_read(struct os_machine *out) {
    char text[256]; // the first line, of all CPUs, is shorter
    out->pressure_cpu_ns = pressure_ns("/proc/pressure/cpu");
    out->pressure_memory_ns = pressure_ns("/proc/pressure/memory");
    out->pressure_io_ns = pressure_ns("/proc/pressure/io");
    out->steal_ns = NOT_MEASURED;
    read_file("/proc/stat", text, sizeof text);
    char *at = text + strcspn(text, " ");
    uint64_t ticks = 0;
    int fields = 0;
    // user nice system idle iowait irq softirq steal
    for (char *end; fields < 8 && (ticks = strtoull(at, &end, 10), end != at); at = end)
        fields++;
    if (fields == 8)
        out->steal_ns = ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

int os_usage_open(void) {
    return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

static uint64_t timeval_ns(const struct timeval *time) {
    return (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_usec * 1000;
}

void os_usage_read(int usage_fd, struct os_usage *out) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    // getrusage is up to a tick behind, all there is of a thread that lives shorter; this clock is exact. How the time
    // divides into user and system is only known from ticks anyway.
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    const uint64_t cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec;
    const uint64_t system_ns = timeval_ns(&usage.ru_stime);
    out->system_ns = system_ns < cpu_ns ? system_ns : cpu_ns;
    out->user_ns = cpu_ns - out->system_ns;
    out->voluntary_switches = (uint64_t)usage.ru_nvcsw;
    out->involuntary_switches = (uint64_t)usage.ru_nivcsw;
    out->minor_faults = (uint64_t)usage.ru_minflt;
    out->major_faults = (uint64_t)usage.ru_majflt;
    out->run_delay_ns = NOT_MEASURED;
    char text[128];
    if (read_small(usage_fd, text, sizeof text) != 0) {
        char *end = text;
        strtoull(text, &end, 10); // time on the CPU
        out->run_delay_ns = strtoull(end, NULL, 10);
    }
}

void os_usage_close(int usage_fd) {
    if (usage_fd >= 0)
        close(usage_fd);
}
