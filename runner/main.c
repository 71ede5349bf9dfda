// SPDX-License-Identifier: Apache-2.0
// The runner: from the command line through load checks, rounds of samples and rows to a table and an exit code.
// Layer: runner, the top.
#include "doctor.h"
#include "estimate.h"
#include "failures.h"
#include "plan/options.h"
#include "plan/plan.h"
#include "progress.h"
#include "results/output.h"
#include "results/provenance.h"
#include "results/summary.h"
#include "rounds.h"
#include "sample/noise.h"
#include "sample/sample.h"
#include "selftest.h"
#include "system/os.h"
#include "system/process.h"
#include "system/topology.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_BYTES 4096

// All that one run holds.
struct run {
    struct options options;
    struct plan plan;
    struct topology topology;
    struct sample_allocator *allocators;
    struct provenance provenance;
    struct output output;
    struct rounds rounds;
    struct estimate estimate;
    char worker[2048];
    char app_worker[2048]; // for workloads that are programs
    uint64_t reference_loop_fastest_ns;
    double null_overhead_ns;
    char null_why[512];
    char why[WHY_BYTES];
    struct failures failures;
};

static int fail(struct run *run, int code) {
    progress_error("%s", run->why);
    return code;
}

static void notice(const char *line) {
    progress_notice("%s", line);
}

static int list_allocators(void) {
    for (size_t i = 0; i < allocator_backend_count; i++) {
        const struct allocator_backend *backend = &allocator_backends[i];
        struct allocator_spec spec;
        struct allocator_provenance found;
        char why[512] = "";
        int is_there = allocator_spec_parse(backend->name, &spec, why, sizeof why) == ALLOCATOR_LOADED &&
                       allocator_resolve(&spec, &found, why, sizeof why) == ALLOCATOR_LOADED;
        printf("%-12s %s\n", backend->name, backend->summary);
        if (is_there)
            printf("%-12s   %s%s%s\n", "", found.path,
                   backend->options_env != NULL ? "; options in braces become " : "",
                   backend->options_env != NULL ? backend->options_env : "");
        else
            printf("%-12s   unavailable: %s\n", "", why);
    }
    printf("%-12s any library by its path\n", "./NAME.so");
    return EXIT_CODE_OK;
}

static int list_workloads(const struct topology *topology) {
    for (size_t i = 0; workloads[i] != NULL; i++) {
        const struct workload *workload = workloads[i];
        printf("%-12s %s\n", workload->name, workload->summary);
        printf("%-12s   %s; %" PRIu32 " thread%s or more%s\n", "", workload->source, workload->min_threads,
               workload->min_threads == 1 ? "" : "s", workload->even_threads ? ", even counts only" : "");
        if (workload->min_threads > topology->pus)
            printf("%-12s   its threads will share the %u CPUs of this machine\n", "", topology->pus);
    }
    return EXIT_CODE_OK;
}

static int print_schema(void) {
    size_t bytes;
    char *text = csv_schema_json(&bytes);
    fputs(text != NULL ? text : "", stdout);
    free(text);
    return text != NULL ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

static int print_plan(const struct run *run) {
    const struct plan *plan = &run->plan;
    char text[512], time_text[32];
    uint64_t round_ns = 0;
    for (uint32_t i = 0; i < plan->cell_count; i++) {
        plan_cell_text(plan, &plan->cells[i], 1, text, sizeof text);
        printf("cell %" PRIu32 ": %s\n", i, text);
        round_ns += plan_sample_ns(plan, &plan->cells[i]);
    }
    if (run->options.rounds_until_ppm > 0) {
        progress_time_text(run->options.budget_ns, time_text, sizeof time_text);
        printf("%" PRIu32 " cells in rounds until all pairs are decided, at most %s (--budget)\n", plan->cell_count,
               time_text);
        return EXIT_CODE_OK;
    }
    progress_time_text(round_ns * run->options.runs, time_text, sizeof time_text);
    printf("%" PRIu32 " cells x %" PRIu32 " runs = %" PRIu32 " samples, about %s (a guess)\n", plan->cell_count,
           run->options.runs, plan->sample_count, time_text);
    return EXIT_CODE_OK;
}

static int no_process(struct run *run) {
    snprintf(run->why, sizeof run->why, "cannot start %s: %s - check memory and process limits", run->worker,
             strerror(errno));
    return fail(run, EXIT_CODE_UNAVAILABLE);
}

// Every allocator is resolved and loaded once before anything is measured: better to fail now than in an hour.
static int check_allocators(struct run *run) {
    int code = EXIT_CODE_OK;
    run->allocators = calloc(run->options.allocator_count, sizeof *run->allocators);
    if (run->allocators == NULL) {
        snprintf(run->why, sizeof run->why, "out of memory");
        return fail(run, EXIT_CODE_UNAVAILABLE);
    }
    for (size_t i = 0; i < run->options.allocator_count; i++) {
        struct sample_allocator *allocator = &run->allocators[i];
        allocator->spec = &run->options.allocators[i];
        enum sample_end end = sample_check_load(allocator, &run->options, run->worker);
        if (end == SAMPLE_INTERRUPTED)
            return EXIT_CODE_INTERRUPTED;
        if (end == SAMPLE_IMPOSSIBLE)
            return no_process(run);
        if (allocator->is_available)
            continue;
        progress_error("%s", allocator->why);
        code = EXIT_CODE_UNAVAILABLE;
    }
    return run->options.keep_going ? EXIT_CODE_OK : code;
}

static void measure_harness(struct run *run) {
    int32_t cpu = -1;
    int with_counters;
    run->reference_loop_fastest_ns = noise_fastest_loop_ns();
    run->null_overhead_ns = -1;
    if (topology_pin(&run->topology, run->options.pin, 1, &cpu, run->null_why, sizeof run->null_why))
        run->null_overhead_ns = sample_null_overhead_ns(&run->options, run->worker, &cpu, &with_counters, run->null_why,
                                                        sizeof run->null_why);
}

// Event streams of one round and group must not differ between allocators: else somebody did not do the same work.
static void check_stream(const struct run *run, struct sample *sample, uint32_t number, uint32_t group) {
    const struct plan *plan = &run->plan;
    uint32_t first = number - number % plan->cell_count;
    struct record *ours = &sample->record;
    if (!record_is_ok(ours) || ours->measured.stream_hash == NOT_MEASURED)
        return;
    for (uint32_t other = first; other < first + plan->cell_count; other++) {
        const struct record *row = &run->output.records[other];
        if (!run->output.is_present[other] || plan->cells[plan->visits[other]].group != group || !record_is_ok(row) ||
            row->measured.stream_hash == ours->measured.stream_hash)
            continue;
        snprintf(ours->message, sizeof ours->message,
                 "its event stream %016" PRIx64 " differs from %016" PRIx64 " of sample %" PRIu32
                 ", which did other work - a bug of the harness, do not use this round",
                 ours->measured.stream_hash, row->measured.stream_hash, other);
        ours->status = STATUS_ERROR;
        return;
    }
}

static void show_progress(const struct run *run, uint32_t number, const char *cell_text, uint64_t elapsed_ns) {
    const uint64_t expected_ns = estimate_left_ns(&run->estimate, run->output.is_present, number);
    const uint64_t left_ns = expected_ns > elapsed_ns ? expected_ns - elapsed_ns : 0;
    const uint64_t budget_ns = rounds_budget_left_ns(&run->rounds);
    const struct progress_state state = {.done = run->output.present_count,
                                         .all = run->options.rounds_until_ppm > 0 ? 0 : run->plan.sample_count,
                                         .left_ns = left_ns < budget_ns ? left_ns : budget_ns,
                                         .what = cell_text};
    progress_show(&state);
}

struct shown { // what the progress of a sample that runs is told with
    const struct run *run;
    uint32_t number;
    const char *cell_text;
};

static void look(void *context, uint64_t elapsed_ns) {
    const struct shown *shown = context;
    show_progress(shown->run, shown->number, shown->cell_text, elapsed_ns);
}

static void ends_early(void *context) {
    (void)context;
    progress_notice("interrupted: this sample ends now and is kept - interrupt again to drop it");
}

static int run_sample(struct run *run, uint32_t number) {
    const struct plan *plan = &run->plan;
    const struct plan_cell *cell = &plan->cells[plan->visits[number]];
    struct sample_allocator *allocator = &run->allocators[cell->allocator];
    struct sample sample = {.process = PROCESS_NONE};
    int32_t cpus[WORKLOAD_MAX_THREADS];
    char text[512];
    int code = EXIT_CODE_OK;
    struct sample_request request = sample_request_of(plan, run->allocators, number);
    request.cpus = cpus;
    request.worker = cell->workload->is_program ? run->app_worker : run->worker;
    request.run_id = run->provenance.run_id;
    request.pus = run->topology.pus;
    request.reference_loop_fastest_ns = run->reference_loop_fastest_ns;
    plan_cell_text(plan, cell, 1, text, sizeof text);
    if (!topology_pin(&run->topology, run->options.pin, cell->params.threads, cpus, run->why, sizeof run->why))
        return fail(run, EXIT_CODE_USAGE);
    show_progress(run, number, text, 0);
    struct shown shown = {run, number, text};
    request.look = look;
    request.ends_early = ends_early;
    request.look_context = &shown;
    const uint64_t begin_ns = os_now_ns();
    enum sample_end end = SAMPLE_DONE;
    if (allocator->is_available)
        end = sample_run(&sample, &request);
    else
        sample_unavailable(&sample, &request);
    if (end == SAMPLE_DONE) {
        estimate_learn(&run->estimate, plan->visits[number], os_now_ns() - begin_ns);
        check_stream(run, &sample, number, cell->group);
        code = output_append(&run->output, &sample.record, sample.process.shared, run->why, sizeof run->why);
        if (code != EXIT_CODE_OK)
            fail(run, code);
        else if (allocator->is_available)
            failures_tell(&run->failures, &sample.record, text);
    } else if (end == SAMPLE_IMPOSSIBLE) {
        code = no_process(run);
    } else {
        code = EXIT_CODE_INTERRUPTED;
    }
    sample_release(&sample);
    return code;
}

static int run_samples(struct run *run) {
    int code = EXIT_CODE_OK;
    if (!rounds_start(&run->rounds, &run->plan, &run->output) || !estimate_start(&run->estimate, &run->plan)) {
        snprintf(run->why, sizeof run->why, "out of memory");
        return fail(run, EXIT_CODE_UNAVAILABLE);
    }
    for (uint32_t number = 0; number < run->plan.sample_count && code == EXIT_CODE_OK; number++) {
        if (number % run->plan.cell_count == 0 && rounds_are_enough(&run->rounds, number / run->plan.cell_count))
            break;
        if (process_interrupted())
            code = EXIT_CODE_INTERRUPTED;
        else if (!run->output.is_present[number])
            code = run_sample(run, number);
    }
    progress_clear();
    failures_count(&run->failures);
    return code == EXIT_CODE_OK ? rounds_report(&run->rounds) : code;
}

// Whether the limits of the cells can be set here: better to say so now than in each row.
static int check_budgets(struct run *run) {
    int is_told = 0;
    for (uint32_t i = 0; i < run->plan.cell_count; i++) {
        struct budget budget;
        if (run->plan.cells[i].allocator != 0) // the others have the same cells
            continue;
        const int is_there = sample_budget_open(&budget, &run->plan.cells[i].params, run->why, sizeof run->why);
        budget_close(&budget);
        if (!is_there)
            return fail(run, EXIT_CODE_UNAVAILABLE);
        if (run->why[0] != '\0' && !is_told)
            progress_notice("%s", run->why);
        is_told |= run->why[0] != '\0';
    }
    return EXIT_CODE_OK;
}

static void tell_resumed(const struct run *run) {
    const struct output *output = &run->output;
    if (output->repaired_bytes > 0)
        progress_notice("%s: a row cut in the middle was removed (%" PRIu64 " bytes), its sample is run again",
                        run->options.output, output->repaired_bytes);
    if (output->present_count > 0)
        progress_notice("%s: %" PRIu32 " of %" PRIu32 " samples are there already", run->options.output,
                        output->present_count, run->plan.sample_count);
}

static int measure(struct run *run) {
    int32_t cpus[WORKLOAD_MAX_THREADS];
    if (run->options.load == ALLOCATOR_LOAD_PRELOAD && !process_can_preload) {
        snprintf(run->why, sizeof run->why,
                 "--load=preload: this system cannot put a library in the place of malloc - leave it out");
        return fail(run, EXIT_CODE_USAGE);
    }
    if (!topology_pin(&run->topology, run->options.pin, 1, cpus, run->why, sizeof run->why))
        return fail(run, EXIT_CODE_USAGE);
    int code = check_budgets(run);
    if (code == EXIT_CODE_OK)
        code = check_allocators(run);
    if (code != EXIT_CODE_OK)
        return code;
    measure_harness(run);
    if (process_interrupted())
        return EXIT_CODE_INTERRUPTED;
    run->provenance = (struct provenance){.plan = &run->plan,
                                          .topology = &run->topology,
                                          .allocators = run->allocators,
                                          .null_overhead_ns = run->null_overhead_ns};
    provenance_identify(&run->provenance);
    code = output_open(&run->output, &run->provenance, run->why, sizeof run->why);
    if (code == EXIT_CODE_OK) {
        tell_resumed(run);
        code = run_samples(run);
        if (!huge_pages_restore(run->why, sizeof run->why))
            progress_error("%s", run->why);
        const int is_ended = code == EXIT_CODE_OK || code == EXIT_CODE_INCONCLUSIVE;
        struct summary_note note = {.null_overhead_ns = run->null_overhead_ns,
                                    .why = run->null_why,
                                    .decided = run->rounds.ratios,
                                    .is_finished = is_ended};
        if (run->output.present_count > 0)
            summary_print(&run->plan, &run->output, &note);
        int summary_code = summary_exit_code(&run->plan, &run->output);
        if (code == EXIT_CODE_OK || (code == EXIT_CODE_INCONCLUSIVE && summary_code != EXIT_CODE_OK))
            code = summary_code;
    } else {
        fail(run, code);
    }
    int close_code = output_close(&run->output, run->why, sizeof run->why);
    if (close_code != EXIT_CODE_OK)
        code = fail(run, close_code);
    output_free(&run->output);
    rounds_free(&run->rounds);
    estimate_free(&run->estimate);
    return code;
}

// hzbench-app lies beside hzbench-worker.
static void find_app_worker(struct run *run) {
    const char *name = strstr(run->worker, "hzbench-worker");
    for (const char *next = name; next != NULL && (next = strstr(next + 1, "hzbench-worker")) != NULL;)
        name = next;
    snprintf(run->app_worker, sizeof run->app_worker, "%.*shzbench-app%s", name != NULL ? (int)(name - run->worker) : 0,
             run->worker, name != NULL ? name + strlen("hzbench-worker") : "");
}

// Actions that look at the machine.
static int act(struct run *run) {
    if (!topology_load(&run->topology)) {
        snprintf(run->why, sizeof run->why, "the CPUs of this machine cannot be read - try lstopo to see why");
        return fail(run, EXIT_CODE_UNAVAILABLE);
    }
    if (run->options.action == OPTIONS_LIST_WORKLOADS)
        return list_workloads(&run->topology);
    if (!process_find_worker(run->worker, sizeof run->worker, run->why, sizeof run->why))
        return fail(run, EXIT_CODE_UNAVAILABLE);
    find_app_worker(run);
    process_catch_interrupts();
    if (run->options.action == OPTIONS_DOCTOR)
        return doctor_run(&run->options, &run->topology, run->worker);
    if (run->options.action == OPTIONS_SELFTEST)
        return selftest_run(&run->topology, run->worker);
    return measure(run);
}

static int perform(struct run *run) {
    int code;
    switch (run->options.action) {
    case OPTIONS_HELP:
        options_print_help(stdout, progress_program());
        return EXIT_CODE_OK;
    case OPTIONS_VERSION:
        printf("%s\n", provenance_version_text);
        return EXIT_CODE_OK;
    case OPTIONS_SCHEMA:
        return print_schema();
    case OPTIONS_LIST_ALLOCATORS:
        return list_allocators();
    case OPTIONS_LIST_WORKLOADS:
    case OPTIONS_DOCTOR:
    case OPTIONS_SELFTEST:
        return act(run);
    case OPTIONS_RUN:
    case OPTIONS_PLAN:
        break;
    }
    code = plan_build(&run->plan, &run->options, notice, run->why, sizeof run->why);
    if (code != EXIT_CODE_OK)
        return fail(run, code);
    return run->options.action == OPTIONS_PLAN ? print_plan(run) : act(run);
}

int main(int argc, char **argv) {
    static struct run run;
    progress_init(0);
    progress_name(argc > 0 ? argv[0] : "");
    int code = options_parse(&run.options, argc, argv, run.why, sizeof run.why);
    progress_init(run.options.quiet);
    code = code == EXIT_CODE_OK ? perform(&run) : fail(&run, code);
    // A full disk behind a redirected table is no success.
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_CODE_OK) {
        snprintf(run.why, sizeof run.why, "standard output: %s - the rows of --output are complete all the same",
                 strerror(errno));
        code = fail(&run, EXIT_CODE_UNAVAILABLE);
    }
    topology_free(&run.topology);
    plan_free(&run.plan);
    free(run.allocators);
    options_free(&run.options);
    return code;
}
