// SPDX-License-Identifier: Apache-2.0
// The injected truths, how each shows, and the error that is stated with it. CPU time and memory only: a machine that
// is busy with something else slows everything down and changes neither much. Layer: runner.
#include "selftest.h"

#include "memory_run.h"
#include "plan/sequential.h"
#include "progress.h"
#include "system/process.h"

#include "../allocators/loader/loader.h"
#include "../allocators/loader/os_library.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_CODE_NOT_FOUND 1
#define LIMIT_NS UINT64_C(60000000000) // of one line
#define ERROR_OF_RANK_INTERVAL 0.02    // its share of wrong intervals
#define ROUNDS "15"

struct check {
    const char *name;
    const char *unit;
    double injected;        // in that unit
    double own_error;       // of the injection itself: calibration, rounding to size classes; a share of it
    const char *allocators; // without the fault, with it
    const char *workload;
    const char *more; // one more argument
    // What a row shows in that unit; the difference of two rows is the recovered value.
    double (*figure)(const struct record *row);
};

struct refusal {
    const char *name;
    const char *allocator;
    const char *load;
    const char *expected[3]; // statuses that are right
};

static double cpu_ns(const struct record *row) {
    return (double)(row->measured.user_ns + row->measured.system_ns);
}

static double cpu_ns_per_op(const struct record *row) {
    return cpu_ns(row) / (double)row->measured.ops;
}

static double cpu_ns_per_remote_free(const struct record *row) {
    return cpu_ns(row) / (double)row->measured.remote_frees;
}

static double rss_percent_of_live(const struct record *row) {
    return 100 * (double)record_memory(row, row->measured.rss_work) / (double)row->measured.live_work;
}

static double rss_per_op(const struct record *row) {
    return (double)record_memory(row, row->measured.rss_work) / (double)row->measured.ops;
}

static double malloc_p999_us(const struct record *row) {
    return (double)row->measured.latency[CALL_MALLOC].p999_ns / 1000;
}

// The injected time is CPU time of a chain calibrated when the library is loaded, by the best of many; clock frequency
// and neighbours on the host make it longer afterwards, by 16 to 30 % with a load of ten on two cores. Memory: blocks
// of 1 KiB are rounded to 16 bytes, the working set to pages.
static const struct check checks[] = {
    {"slow=200ns", "ns a malloc", 200, 0.25, "--alloc=faulty{slow=0ns},faulty{slow=200ns}",
     "--workload=local{ops=300k}", NULL, cpu_ns_per_op},
    {"slow-remote=500ns", "ns a remote free", 500, 0.25, "--alloc=faulty{slow-remote=0ns},faulty{slow-remote=500ns}",
     "--workload=churn", "--threads=1", cpu_ns_per_remote_free},
    {"waste=25%", "% of live bytes", 25, 0.10, "--alloc=faulty,faulty{waste=25%}",
     "--workload=local{ops=100k,working-set=20k,sizes=1024}", NULL, rss_percent_of_live},
    {"leak=64", "bytes a malloc", 64, 0.10, "--alloc=faulty,faulty{leak=64}",
     "--workload=local{ops=300k,working-set=1000}", NULL, rss_per_op},
    {"spike=200us/500", "us at p99.9 of malloc", 200, 0.25, "--alloc=faulty,faulty{spike=200us/500}",
     "--workload=local{ops=100k}", "--latency=1", malloc_p999_us},
};

static const struct refusal refusals[] = {
    {"corrupt=1000", "--alloc=faulty{corrupt=1000}", "--load=dlopen", {"corrupt", NULL}},
    {"overlap=1000", "--alloc=faulty{overlap=1000}", "--load=dlopen", {"corrupt", "crashed", NULL}},
    {"fallback to libc", "--alloc=faulty{fallback}", "--load=dlopen", {"unavailable", NULL}},
};

static void line(const char *name, const char *injected, const char *recovered, const char *error, int is_found) {
    printf("%-18s %-26s %-12s %-14s %s\n", name, injected, recovered, error, is_found ? "ok" : "NOT FOUND");
}

static int recover(const struct check *check, const struct topology *topology, const char *worker) {
    const char *arguments[] = {
        check->allocators, check->workload, "--runs=" ROUNDS, "--settle=0", "--rss-interval=0", check->more, NULL};
    struct memory_run run;
    char injected[64], recovered[32] = "-", error[32] = "-";
    int is_found = 0;
    int code = memory_run_perform(&run, arguments, topology, worker, LIMIT_NS);
    snprintf(injected, sizeof injected, "%g %s", check->injected, check->unit);
    double *differences = calloc(run.rounds + 1, sizeof *differences);
    uint32_t used = 0;
    for (uint32_t round = 0; differences != NULL && code == EXIT_CODE_OK && round < run.rounds; round++) {
        const struct record *without = memory_run_record(&run, round, 0), *with = memory_run_record(&run, round, 1);
        if (record_is_ok(without) && record_is_ok(with))
            differences[used++] = check->figure(with) - check->figure(without);
        else
            snprintf(run.why, sizeof run.why, "%s: %.900s", record_status_names[with->status], with->message);
    }
    double low, high;
    if (used > 0 && sequential_interval(differences, used, ERROR_OF_RANK_INTERVAL, &low, &high)) {
        double middle = (low + high) / 2;
        double half = (high - low) / 2 + check->own_error * check->injected;
        snprintf(recovered, sizeof recovered, "%.1f", middle);
        snprintf(error, sizeof error, "+-%.1f", half);
        // An error as large as the fault itself would find anything.
        is_found = fabs(middle - check->injected) <= half && half < check->injected;
    }
    line(check->name, injected, recovered, error, is_found);
    if (!is_found && run.why[0])
        printf("%18s %s\n", "", run.why);
    free(differences);
    memory_run_free(&run);
    return code == EXIT_CODE_INTERRUPTED ? code : is_found ? EXIT_CODE_OK : EXIT_CODE_NOT_FOUND;
}

static int refuse(const struct refusal *refusal, const struct topology *topology, const char *worker) {
    const char *arguments[] = {refusal->allocator,
                               "--workload=local{ops=100k}",
                               "--runs=1",
                               "--settle=0",
                               "--rss-interval=0",
                               refusal->load,
                               NULL};
    struct memory_run run;
    int code = memory_run_perform(&run, arguments, topology, worker, LIMIT_NS);
    int is_refused = 0;
    const char *status = code == EXIT_CODE_OK ? record_status_names[memory_run_record(&run, 0, 0)->status] : "not run";
    for (size_t i = 0; refusal->expected[i] != NULL; i++)
        is_refused |= strcmp(refusal->expected[i], status) == 0;
    line(refusal->name, "to be refused", status, "-", is_refused);
    if (code == EXIT_CODE_OK)
        printf("%18s %s\n", "", memory_run_record(&run, 0, 0)->message);
    memory_run_free(&run);
    return code == EXIT_CODE_INTERRUPTED ? code : is_refused ? EXIT_CODE_OK : EXIT_CODE_NOT_FOUND;
}

int selftest_run(const struct topology *topology, const char *worker) {
    int worst = EXIT_CODE_OK;
    struct allocator_spec faulty;
    char path[OS_PATH_BYTES], why[OS_PATH_BYTES + 256];
    if (allocator_spec_parse("faulty", &faulty, why, sizeof why) != ALLOCATOR_LOADED ||
        allocator_find(&faulty, path, sizeof path, why, sizeof why) != ALLOCATOR_LOADED) {
        fprintf(stderr,
                "%s: selftest needs %s, which lies in the build directory and is not installed - run the "
                "selftest there (ninja -C build && build/runner selftest)\n",
                progress_program(), faulty.backend != NULL ? faulty.backend->library : "faulty");
        return EXIT_CODE_UNAVAILABLE;
    }
    printf("%-18s %-26s %-12s %-14s %s\n", "fault", "injected", "recovered", "stated error", "verdict");
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && worst != EXIT_CODE_INTERRUPTED; i++) {
        int code = recover(&checks[i], topology, worker);
        worst = code > worst ? code : worst;
        fflush(stdout);
    }
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0] && worst != EXIT_CODE_INTERRUPTED; i++) {
        int code = refuse(&refusals[i], topology, worker);
        worst = code > worst ? code : worst;
    }
    return worst;
}
