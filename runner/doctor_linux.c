// SPDX-License-Identifier: Apache-2.0
// What the doctor finds in /proc and /sys. Layer: runner.
#include "doctor.h"

#include "system/machine.h"
#include "system/machine_linux.h"
#include "system/os.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCH_NS UINT64_C(500000000)
#define BUSY_PERCENT 5.0
#define STEAL_PERCENT 0.5
#define PRESSURE_PERCENT 1.0

struct cpu_times {
    uint64_t all, idle, steal;
};

static struct cpu_times read_cpu_times(void) {
    char line[512];
    struct cpu_times times = {0};
    machine_read_line("/proc/stat", line, sizeof line);
    char *at = line + strcspn(line, " ");
    // user nice system idle iowait irq softirq steal; guests are contained in user.
    for (int i = 0; i < 8; i++) {
        uint64_t value = strtoull(at, &at, 10);
        times.all += value;
        times.idle += i == 3 || i == 4 ? value : 0;
        times.steal += i == 7 ? value : 0;
    }
    return times;
}

static void check_load(void) {
    struct cpu_times before = read_cpu_times();
    os_sleep_ns(WATCH_NS);
    struct cpu_times after = read_cpu_times();
    double all = (double)(after.all - before.all);
    if (all <= 0) {
        doctor_report("load", NULL, "not known: /proc/stat does not say");
        return;
    }
    double steal = 100 * (double)(after.steal - before.steal) / all;
    double busy = 100 - 100 * (double)(after.idle - before.idle) / all - steal;
    doctor_report("load", busy > BUSY_PERCENT ? "stop other programs; more --runs spread what is left" : NULL,
                  "%.1f %% of all CPUs busy with something else", busy);
    doctor_report("steal",
                  steal > STEAL_PERCENT ? "the host gives this machine's CPUs to others: use a machine of your own"
                                        : NULL,
                  "%.1f %% taken by the hypervisor", steal);
}

static void check_pressure(const char *name, const char *path, const char *remedy) {
    char line[256];
    machine_read_line(path, line, sizeof line);
    const char *at = strstr(line, "avg10=");
    if (at == NULL) {
        doctor_report(name, NULL, "not known: the kernel keeps no pressure figures");
        return;
    }
    double percent = strtod(at + strlen("avg10="), NULL);
    doctor_report(name, percent > PRESSURE_PERCENT ? remedy : NULL, "%.1f %% of the last 10 s some task waited",
                  percent);
}

static void check_governor(void) {
    char governor[64];
    machine_read("governor", governor, sizeof governor);
    if (governor[0] == '\0')
        doctor_report("governor", NULL, "not visible (virtual machine or fixed frequency)");
    else
        doctor_report("governor",
                      strcmp(governor, "performance") == 0 ? NULL
                                                           : "cpupower frequency-set --governor performance (as root)",
                      "%s", governor);
}

static void check_boost(void) {
    char no_turbo[16], boost[16];
    machine_read_line("/sys/devices/system/cpu/intel_pstate/no_turbo", no_turbo, sizeof no_turbo);
    machine_read_line("/sys/devices/system/cpu/cpufreq/boost", boost, sizeof boost);
    if (no_turbo[0] == '\0' && boost[0] == '\0')
        doctor_report("frequency boost", NULL, "not visible");
    else if (strcmp(no_turbo, "0") == 0 || strcmp(boost, "1") == 0)
        doctor_report("frequency boost",
                      "frequency depends on heat: write 1 to intel_pstate/no_turbo or 0 to cpufreq/boost", "on");
    else
        doctor_report("frequency boost", NULL, "off");
}

static void check_memory(void) {
    char line[128];
    machine_read("transparent_hugepages", line, sizeof line);
    int always = strstr(line, "[always]") != NULL;
    doctor_report("transparent huge pages",
                  always ? "RSS jumps in steps of 2 MiB: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
                         : NULL,
                  "%s", line[0] ? line : "not known");
    machine_read("overcommit", line, sizeof line);
    doctor_report("overcommit",
                  strcmp(line, "2") == 0 ? "reserving address space may fail: sysctl vm.overcommit_memory=0" : NULL,
                  "%s", line[0] ? line : "not known");
    machine_read("max_map_count", line, sizeof line);
    doctor_report("max_map_count",
                  line[0] && strtoull(line, NULL, 10) < 65530
                      ? "an allocator may run out of mappings: sysctl vm.max_map_count=65530"
                      : NULL,
                  "%s mappings a process", line[0] ? line : "not known");
}

static void check_available(void) {
    char line[256];
    uint64_t available_kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %" SCNu64, &available_kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    doctor_report("free memory",
                  available_kib < 1048576 ? "below 1 GiB large working sets will swap: close other programs" : NULL,
                  "%.1f GiB", (double)available_kib / 1048576);
}

static void check_aslr(void) {
    char line[32];
    machine_read("aslr", line, sizeof line);
    // On is right: every sample gets another layout, so no lucky one stays for a whole table.
    doctor_report("address randomisation",
                  strcmp(line, "0") == 0
                      ? "one layout for all samples can favour an allocator: sysctl kernel.randomize_va_space=2"
                      : NULL,
                  "%s", line[0] ? line : "not known");
}

static void check_quota(void) {
    char quota[64];
    machine_read_line("/sys/fs/cgroup/cpu.max", quota, sizeof quota);
    if (quota[0] && strncmp(quota, "max", 3) != 0)
        doctor_report("CPU quota", "the container is throttled: run without --cpus or raise cpu.max", "%s", quota);
    else
        doctor_report("CPU quota", NULL, "none");
}

void doctor_check_system(void) {
    check_quota();
    check_governor();
    check_boost();
    check_load();
    check_pressure("CPU pressure", "/proc/pressure/cpu", "stop other programs");
    check_pressure("memory pressure", "/proc/pressure/memory",
                   "free memory: RSS rows are worthless while the kernel reclaims");
    check_memory();
    check_available();
    check_aslr();
}
