// SPDX-License-Identifier: Apache-2.0
// counters.h by perf_event_open (Linux). Layer: runner.
#include "counters.h"

#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    uint32_t type;
    uint64_t config;
} events[COUNTERS_COUNT] = {
    [COUNTERS_CYCLES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    [COUNTERS_INSTRUCTIONS] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    [COUNTERS_CACHE_MISSES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
    [COUNTERS_DTLB_MISSES] = {PERF_TYPE_HW_CACHE, PERF_COUNT_HW_CACHE_DTLB | PERF_COUNT_HW_CACHE_OP_READ << 8 |
                                                      PERF_COUNT_HW_CACHE_RESULT_MISS << 16},
};

void counters_open(struct counters *counters) {
    for (int i = 0; i < COUNTERS_COUNT; i++) {
        struct perf_event_attr attributes;
        memset(&attributes, 0, sizeof attributes);
        attributes.size = sizeof attributes;
        attributes.type = events[i].type;
        attributes.config = events[i].config;
        attributes.disabled = 1;
        attributes.inherit = 1;        // generations of threads are born inside the measured part
        attributes.exclude_kernel = 1; // allowed to unprivileged users
        attributes.exclude_hv = 1;
        attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
        counters->fds[i] = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    }
}

static void control(const struct counters *counters, unsigned long request) {
    for (int i = 0; i < COUNTERS_COUNT; i++)
        if (counters->fds[i] >= 0)
            ioctl(counters->fds[i], request, 0);
}

void counters_start(const struct counters *counters) {
    control(counters, PERF_EVENT_IOC_ENABLE);
}

void counters_stop(const struct counters *counters) {
    control(counters, PERF_EVENT_IOC_DISABLE);
}

void counters_read(const struct counters *counters, uint64_t values[COUNTERS_COUNT]) {
    for (int i = 0; i < COUNTERS_COUNT; i++) {
        struct {
            uint64_t value, enabled_ns, running_ns;
        } reading;
        values[i] = UINT64_MAX;
        // Never running means that the event exists by name only, as on many virtual machines: not a measured zero.
        if (counters->fds[i] >= 0 && read(counters->fds[i], &reading, sizeof reading) == (ssize_t)sizeof reading &&
            reading.running_ns != 0) {
            const double scale = (double)reading.enabled_ns / (double)reading.running_ns;
            values[i] =
                reading.running_ns < reading.enabled_ns ? (uint64_t)((double)reading.value * scale) : reading.value;
        }
    }
}

void counters_close(struct counters *counters) {
    for (int i = 0; i < COUNTERS_COUNT; i++)
        if (counters->fds[i] >= 0)
            close(counters->fds[i]);
}
