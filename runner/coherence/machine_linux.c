// SPDX-License-Identifier: Apache-2.0
// machine.h
#include "machine.h"

#include "schedule.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define PAUSE_NS 20000

static struct {
    unsigned processors;
    uint64_t random;
} machine;

static _Thread_local int64_t served = MACHINE_NO_CALL;
static _Thread_local unsigned served_thread;

void machine_begin(unsigned processors, uint64_t seed) {
    machine.processors = processors;
    machine.random = seed * 0x9e3779b97f4a7c15u + 3;
}

void machine_serve(unsigned thread, int64_t call) {
    served_thread = thread;
    served = call;
}

int64_t machine_thread_id(void) {
    return gettid();
}

void machine_pause(void) {
    struct timespec pause = {0, PAUSE_NS};
    nanosleep(&pause, NULL);
}

int machine_thread_waits(int64_t id, int64_t number, uint64_t word) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%lld/syscall", (long long)id);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    long long call = -1;
    unsigned long long first = 0;
    int fields = fscanf(file, "%lld %llx", &call, &first);
    fclose(file);
    // QEMU may use another call for it (ppoll for poll), but a futex's only for itself or for a short wait of its own.
    return word == 0 ? fields >= 1 && call >= 0 && call != SYS_futex : fields == 2 && call == number && first == word;
}

// ---- answers -------------------------------------------------------------------------------------------------------

static uint64_t clock_now(clockid_t clock) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        return MACHINE_REAL_BASE_NS + schedule_time_ns();
    case CLOCK_THREAD_CPUTIME_ID:
        return schedule_thread_time_ns(served_thread);
    case CLOCK_PROCESS_CPUTIME_ID:
        return schedule_work_ns();
    default:
        return MACHINE_MONOTONIC_BASE_NS + schedule_time_ns();
    }
}

static long answer_affinity(void *mask, size_t bytes) {
    size_t needed = (machine.processors + 63) / 64 * 8;
    if (bytes < needed) {
        errno = EINVAL;
        return -1;
    }
    memset(mask, 0, needed);
    for (unsigned i = 0; i < machine.processors; i++)
        ((unsigned char *)mask)[i / 8] |= (unsigned char)(1u << i % 8);
    return (long)needed;
}

static long answer_random(unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        machine.random ^= machine.random >> 12;
        machine.random ^= machine.random << 25;
        machine.random ^= machine.random >> 27;
        bytes[i] = (unsigned char)(machine.random * 0x2545f4914f6cdd1du >> 56);
    }
    return (long)count;
}

static long answer_processor(unsigned *processor, unsigned *node) {
    if (processor != NULL)
        *processor = served_thread % machine.processors;
    if (node != NULL)
        *node = 0;
    return 0;
}

// ---- what QEMU calls -----------------------------------------------------------------------------------------------

EXPORTED int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (served == SYS_clock_gettime) {
        uint64_t ns = clock_now(clock);
        *now = (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
        return 0;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, now);
}

EXPORTED int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (served == SYS_gettimeofday) {
        uint64_t us = clock_now(CLOCK_REALTIME) / 1000;
        *now = (struct timeval){(time_t)(us / 1000000u), (suseconds_t)(us % 1000000u)};
        return 0;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "gettimeofday");
    return real(now, zone);
}

EXPORTED time_t time(time_t *now) {
    static time_t (*real)(time_t *);
    if (served == SYS_time) {
        time_t seconds = (time_t)(clock_now(CLOCK_REALTIME) / 1000000000u);
        if (now != NULL)
            *now = seconds;
        return seconds;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "time");
    return real(now);
}

EXPORTED long syscall(long number, ...) {
    static long (*real)(long, ...);
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (unsigned i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == served && number == SYS_sched_getaffinity && machine.processors != 0)
        return answer_affinity((void *)a[2], (size_t)a[1]);
    if (number == served && number == SYS_getcpu && machine.processors != 0)
        return answer_processor((unsigned *)a[0], (unsigned *)a[1]);
    if (number == served && number == SYS_getrandom)
        return answer_random((unsigned char *)a[0], (size_t)a[1]);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
