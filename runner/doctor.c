// SPDX-License-Identifier: Apache-2.0
// The doctor's frame, and what can be said of any system: CPUs, virtualisation, clock and the harness itself. What only
// one system has to tell is in doctor_linux.c and doctor_windows.c. Layer: runner.
#include "doctor.h"

#include "memory_run.h"
#include "plan/sequential.h"
#include "sample/sample.h"
#include "system/machine.h"
#include "system/os.h"
#include "system/process.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CLOCK_READS 200000
#define FLOOR_ROUNDS 30 // some 20 s on two cores
#define FLOOR_ROUNDS_TEXT "30"
#define FLOOR_NS UINT64_C(40000000000)
#define VISIBLE_PERCENT 5.0
#define FOUR_IN_FIVE 1.43 // half intervals: an effect that large excludes 0 in four of five repetitions
#define SLOW_CLOCK_NS 100 // a system call instead of a read in user space

static unsigned hurts;

void doctor_report(const char *name, const char *remedy, const char *format, ...) {
    va_list arguments;
    printf("%-5s %-22s ", remedy != NULL ? "HURTS" : "ok", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    if (remedy != NULL)
        printf("\n%29s-> %s", "", remedy);
    putchar('\n');
    hurts += remedy != NULL;
}

static void check_clock(void) {
    char source[64];
    uint64_t begin_ns = os_now_ns();
    for (int i = 0; i < CLOCK_READS; i++)
        os_now_ns();
    double cost_ns = (double)(os_now_ns() - begin_ns) / CLOCK_READS;
    machine_read("clocksource", source, sizeof source);
    doctor_report("timer",
                  cost_ns > SLOW_CLOCK_NS ? "the clock is read by a system call: boot with a TSC or kvm-clock source"
                                          : NULL,
                  "%.0f ns a read, clock source %s", cost_ns, source[0] ? source : "unknown");
}

static void check_cpus(const struct topology *topology) {
    doctor_report("CPUs",
                  topology->pus < topology->machine_pus
                      ? "this process may not use all of them: see taskset and the container's limits"
                      : NULL,
                  "%s; %u of %u hardware threads, %u cores, %u packages, %u NUMA nodes", topology->cpu_model,
                  topology->pus, topology->machine_pus, topology->cores, topology->packages, topology->numa_nodes);
}

static void check_virtualisation(void) {
    char text[192];
    machine_virtualisation(text, sizeof text);
    doctor_report("virtualisation",
                  strncmp(text, "virtual", 7) == 0 ? "timings include the hypervisor: compare only within this machine"
                                                   : NULL,
                  "%s", text);
}

static void check_harness(const struct options *options, const struct topology *topology, const char *worker) {
    char why[512] = "", paranoid[32];
    int32_t cpu = -1;
    int with_counters = 0;
    topology_pin(topology, options->pin, 1, &cpu, why, sizeof why);
    double ns = sample_null_overhead_ns(options, worker, &cpu, &with_counters, why, sizeof why);
    machine_read("perf_event_paranoid", paranoid, sizeof paranoid);
    doctor_report("hardware counters",
                  with_counters
                      ? NULL
                      : "--counters gives empty cells: sysctl kernel.perf_event_paranoid=1, or no virtual machine",
                  "%s (perf_event_paranoid %s)", with_counters ? "available" : "not available",
                  paranoid[0] ? paranoid : "unknown");
    if (ns >= 0)
        doctor_report("harness", NULL, "%.2f ns an op over the null allocator (local, 1 thread)", ns);
    else
        doctor_report("harness", "without it no figure can be put into proportion: build everything (ninja -C BUILD)",
                      "cost not measured: %s", why);
}

// Two copies of one allocator: what differs between them is the machine's, and the width of the interval is what a real
// difference would have to exceed.
static void report_floor(const struct memory_run *run, uint32_t cell) {
    double differences[FLOOR_ROUNDS], low, high;
    char name[64];
    uint32_t used = 0;
    for (uint32_t round = 0; round < run->rounds; round++) {
        const struct record *one = memory_run_record(run, round, cell),
                            *other = memory_run_record(run, round, cell + 1);
        if (record_throughput(one) > 0 && record_throughput(other) > 0)
            differences[used++] = log(record_throughput(one) / record_throughput(other));
    }
    snprintf(name, sizeof name, "A/A %.40s", run->plan.cells[cell].workload->name);
    if (!sequential_interval(differences, used, 0.05, &low, &high)) {
        doctor_report(name, NULL, "not known: %" PRIu32 " rounds in the time there was", used);
        return;
    }
    double visible = 100 * expm1(FOUR_IN_FIVE * (high - low) / 2);
    doctor_report(name, visible > VISIBLE_PERCENT ? "smaller differences need more rounds: --rounds-until=5%" : NULL,
                  "two copies differ by %+.1f %%%s; %" PRIu32 " rounds see a difference from %.1f %% on",
                  100 * expm1((low + high) / 2), low > 0 || high < 0 ? " (by chance, as one pair in 20)" : "", used,
                  visible);
}

static void check_floor(const struct topology *topology, const char *worker) {
    static const char *const arguments[] = {
        "--alloc=system,system",     "--workload=local{ops=400k},remote{ops=20k},mixed{ops=1k}",
        "--runs=" FLOOR_ROUNDS_TEXT, "--settle=0",
        "--rss-interval=0",          NULL};
    struct memory_run run;
    int code = memory_run_perform(&run, arguments, topology, worker, FLOOR_NS);
    for (uint32_t cell = 0; code == EXIT_CODE_OK && cell + 1 < run.plan.cell_count; cell += 2)
        report_floor(&run, cell);
    if (code != EXIT_CODE_OK && code != EXIT_CODE_INTERRUPTED)
        doctor_report("A/A floor", "no difference can be put into proportion", "not measured: %s", run.why);
    memory_run_free(&run);
}

int doctor_run(const struct options *options, const struct topology *topology, const char *worker) {
    hurts = 0;
    check_cpus(topology);
    check_virtualisation();
    doctor_check_system();
    check_clock();
    check_harness(options, topology, worker);
    check_floor(topology, worker);
    printf("\n%u thing%s on this machine will hurt.\n", hurts, hurts == 1 ? "" : "s");
    return process_interrupted() ? EXIT_CODE_INTERRUPTED : EXIT_CODE_OK;
}
