// SPDX-License-Identifier: Apache-2.0
// Looks at the machine for a second and measures the harness itself. Layer: runner.
#include "doctor.h"

#include "os.h"
#include "process.h"
#include "provenance.h"
#include "sample.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCH_NS UINT64_C(500000000)
#define CLOCK_READS 200000
#define SLOW_CLOCK_NS 100 // a system call instead of the vDSO
#define BUSY_PERCENT 5.0
#define STEAL_PERCENT 0.5
#define PRESSURE_PERCENT 1.0

static unsigned hurts;

// One finding: what was found and, when it hurts, what to do.
__attribute__((format(printf, 3, 4))) static void report(const char *name, const char *remedy, const char *format,
                                                         ...) {
    va_list arguments;
    printf("%-5s %-22s ", remedy ? "HURTS" : "ok", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    if (remedy)
        printf("\n%29s-> %s", "", remedy);
    putchar('\n');
    hurts += remedy != NULL;
}

struct cpu_times {
    uint64_t all, idle, steal;
};

static struct cpu_times read_cpu_times(void) {
    char line[512];
    struct cpu_times times = {0};
    provenance_read_line("/proc/stat", line, sizeof line);
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
        report("load", NULL, "not known: /proc/stat does not say");
        return;
    }
    double steal = 100 * (double)(after.steal - before.steal) / all;
    double busy = 100 - 100 * (double)(after.idle - before.idle) / all - steal;
    report("load", busy > BUSY_PERCENT ? "stop other programs; more --runs spread what is left" : NULL,
           "%.1f %% of all CPUs busy with something else", busy);
    report("steal",
           steal > STEAL_PERCENT ? "the host gives this machine's CPUs to others: use a machine of your own" : NULL,
           "%.1f %% taken by the hypervisor", steal);
}

static void check_pressure(const char *name, const char *path, const char *remedy) {
    char line[256];
    provenance_read_line(path, line, sizeof line);
    const char *at = strstr(line, "avg10=");
    if (!at) {
        report(name, NULL, "not known: the kernel keeps no pressure figures");
        return;
    }
    double percent = strtod(at + strlen("avg10="), NULL);
    report(name, percent > PRESSURE_PERCENT ? remedy : NULL, "%.1f %% of the last 10 s some task waited", percent);
}

static void check_governor(void) {
    char governor[64];
    provenance_read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor, sizeof governor);
    if (governor[0] == '\0')
        report("governor", NULL, "not visible (virtual machine or fixed frequency)");
    else
        report("governor",
               strcmp(governor, "performance") == 0 ? NULL : "cpupower frequency-set --governor performance (as root)",
               "%s", governor);
}

static void check_boost(void) {
    char no_turbo[16], boost[16];
    provenance_read_line("/sys/devices/system/cpu/intel_pstate/no_turbo", no_turbo, sizeof no_turbo);
    provenance_read_line("/sys/devices/system/cpu/cpufreq/boost", boost, sizeof boost);
    if (no_turbo[0] == '\0' && boost[0] == '\0')
        report("frequency boost", NULL, "not visible");
    else if (strcmp(no_turbo, "0") == 0 || strcmp(boost, "1") == 0)
        report("frequency boost", "frequency depends on heat: write 1 to intel_pstate/no_turbo or 0 to cpufreq/boost",
               "on");
    else
        report("frequency boost", NULL, "off");
}

static void check_clock(void) {
    char source[64];
    uint64_t begin_ns = os_now_ns();
    for (int i = 0; i < CLOCK_READS; i++)
        os_now_ns();
    double cost_ns = (double)(os_now_ns() - begin_ns) / CLOCK_READS;
    provenance_read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof source);
    report("timer",
           cost_ns > SLOW_CLOCK_NS ? "the clock is read by a system call: boot with a TSC or kvm-clock source" : NULL,
           "%.0f ns a read, clock source %s", cost_ns, source[0] ? source : "unknown");
}

static void check_memory(void) {
    char line[128];
    provenance_read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line);
    int always = strstr(line, "[always]") != NULL;
    report("transparent huge pages",
           always ? "RSS jumps in steps of 2 MiB: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" : NULL,
           "%s", line[0] ? line : "not known");
    provenance_read_line("/proc/sys/vm/overcommit_memory", line, sizeof line);
    report("overcommit",
           strcmp(line, "2") == 0 ? "reserving address space may fail: sysctl vm.overcommit_memory=0" : NULL, "%s",
           line[0] ? line : "not known");
    provenance_read_line("/proc/sys/vm/max_map_count", line, sizeof line);
    report("max_map_count",
           line[0] && strtoull(line, NULL, 10) < 65530
               ? "an allocator may run out of mappings: sysctl vm.max_map_count=65530"
               : NULL,
           "%s mappings a process", line[0] ? line : "not known");
}

static void check_available(void) {
    char line[256];
    uint64_t available_kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64, &available_kib) == 1)
            break;
    if (file)
        fclose(file);
    report("free memory",
           available_kib < 1048576 ? "below 1 GiB large working sets will swap: close other programs" : NULL,
           "%.1f GiB", (double)available_kib / 1048576);
}

static void check_aslr(void) {
    char line[32];
    provenance_read_line("/proc/sys/kernel/randomize_va_space", line, sizeof line);
    // On is right: every sample gets another layout, so no lucky one stays for a whole table.
    report("address randomisation",
           strcmp(line, "0") == 0
               ? "one layout for all samples can favour an allocator: sysctl kernel.randomize_va_space=2"
               : NULL,
           "%s", line[0] ? line : "not known");
}

static void check_cpus(const struct topology *topology) {
    char quota[64];
    provenance_read_line("/sys/fs/cgroup/cpu.max", quota, sizeof quota);
    report("CPUs",
           topology->pus < topology->machine_pus
               ? "this process may not use all of them: see taskset and the container's limits"
               : NULL,
           "%s; %u of %u hardware threads, %u cores, %u packages, %u NUMA nodes", topology->cpu_model, topology->pus,
           topology->machine_pus, topology->cores, topology->packages, topology->numa_nodes);
    if (quota[0] && strncmp(quota, "max", 3) != 0)
        report("CPU quota", "the container is throttled: run without --cpus or raise cpu.max", "%s", quota);
    else
        report("CPU quota", NULL, "none");
}

static void check_virtualisation(void) {
    char text[192];
    provenance_virtualisation(text, sizeof text);
    report("virtualisation",
           strncmp(text, "virtual", 7) == 0 ? "timings include the hypervisor: compare only within this machine" : NULL,
           "%s", text);
}

static void check_harness(const struct options *options, const struct topology *topology, const char *worker) {
    char why[512] = "", paranoid[32];
    int32_t cpu = -1;
    int with_counters = 0;
    topology_pin(topology, options->pin, 1, &cpu, why, sizeof why);
    double ns = sample_null_overhead_ns(options, worker, &cpu, &with_counters, why, sizeof why);
    provenance_read_line("/proc/sys/kernel/perf_event_paranoid", paranoid, sizeof paranoid);
    report("hardware counters",
           with_counters ? NULL
                         : "--counters gives empty cells: sysctl kernel.perf_event_paranoid=1, or no virtual machine",
           "%s (perf_event_paranoid %s)", with_counters ? "available" : "not available",
           paranoid[0] ? paranoid : "unknown");
    if (ns >= 0)
        report("harness", NULL, "%.2f ns an op over the null allocator (local, 1 thread)", ns);
    else
        report("harness", "without it no figure can be put into proportion: build everything (ninja -C BUILD)",
               "cost not measured: %s", why);
}

int doctor_run(const struct options *options, const struct topology *topology, const char *worker) {
    hurts = 0;
    check_cpus(topology);
    check_virtualisation();
    check_governor();
    check_boost();
    check_load();
    check_pressure("CPU pressure", "/proc/pressure/cpu", "stop other programs");
    check_pressure("memory pressure", "/proc/pressure/memory",
                   "free memory: RSS rows are worthless while the kernel reclaims");
    check_clock();
    check_memory();
    check_available();
    check_aslr();
    check_harness(options, topology, worker);
    printf("\n%u thing%s on this machine will hurt.\n", hurts, hurts == 1 ? "" : "s");
    return process_interrupted() ? EXIT_CODE_INTERRUPTED : EXIT_CODE_OK;
}
