// SPDX-License-Identifier: Apache-2.0
// Plan, load checks and rounds of an experiment in memory. Layer: runner.
#include "memory_run.h"

#include "sample/sample.h"
#include "system/os.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGUMENTS 16

static void no_notice(const char *line) {
    (void)line;
}

static int run_one(struct memory_run *run, const struct sample_allocator *allocators, const struct topology *topology,
                   const char *worker, uint32_t number) {
    const struct plan *plan = &run->plan;
    struct sample sample = {.process = PROCESS_NONE};
    int32_t cpus[WORKLOAD_MAX_THREADS];
    struct sample_request request = sample_request_of(plan, allocators, number);
    request.cpus = cpus;
    request.worker = worker;
    request.pus = topology->pus;
    if (!topology_pin(topology, run->options.pin, request.cell->params.threads, cpus, run->why, sizeof run->why))
        return EXIT_CODE_USAGE;
    int code = EXIT_CODE_OK;
    enum sample_end end = SAMPLE_DONE;
    if (request.allocator->is_available)
        end = sample_run(&sample, &request);
    else
        sample_unavailable(&sample, &request);
    if (end == SAMPLE_IMPOSSIBLE) {
        snprintf(run->why, sizeof run->why, "cannot start %s: %s - check memory and process limits", worker,
                 strerror(errno));
        code = EXIT_CODE_UNAVAILABLE;
    } else if (end == SAMPLE_INTERRUPTED) {
        code = EXIT_CODE_INTERRUPTED;
    } else {
        run->rows[request.round * plan->cell_count + sample.record.cell_index] = sample.record;
    }
    sample_release(&sample);
    return code;
}

static int run_rounds(struct memory_run *run, const struct sample_allocator *allocators,
                      const struct topology *topology, const char *worker, uint64_t limit_ns) {
    const uint64_t begin_ns = os_now_ns();
    for (uint32_t round = 0; round < run->options.runs && os_now_ns() - begin_ns < limit_ns; round++) {
        for (uint32_t i = 0; i < run->plan.cell_count; i++) {
            const int code = run_one(run, allocators, topology, worker, round * run->plan.cell_count + i);
            if (code != EXIT_CODE_OK)
                return code;
        }
        run->rounds = round + 1;
    }
    return EXIT_CODE_OK;
}

int memory_run_perform(struct memory_run *run, const char *const *arguments, const struct topology *topology,
                       const char *worker, uint64_t limit_ns) {
    char program[] = "runner";
    char *argv[MAX_ARGUMENTS] = {program};
    int argc = 1;
    *run = (struct memory_run){.rounds = 0};
    for (; arguments[argc - 1] != NULL && argc < MAX_ARGUMENTS - 1; argc++)
        argv[argc] = (char *)arguments[argc - 1];
    optind = 0; // getopt starts anew
    int code = options_parse(&run->options, argc, argv, run->why, sizeof run->why);
    if (code == EXIT_CODE_OK)
        code = plan_build(&run->plan, &run->options, no_notice, run->why, sizeof run->why);
    if (code != EXIT_CODE_OK)
        return code;
    run->why[0] = '\0';
    struct sample_allocator *allocators = calloc(run->options.allocator_count, sizeof *allocators);
    run->rows = calloc(run->plan.sample_count, sizeof *run->rows);
    if (allocators == NULL || run->rows == NULL) {
        snprintf(run->why, sizeof run->why, "out of memory");
        code = EXIT_CODE_UNAVAILABLE;
    }
    for (size_t i = 0; code == EXIT_CODE_OK && i < run->options.allocator_count; i++) {
        allocators[i].spec = &run->options.allocators[i];
        if (sample_check_load(&allocators[i], &run->options, worker) != SAMPLE_DONE)
            code = EXIT_CODE_INTERRUPTED;
    }
    if (code == EXIT_CODE_OK)
        code = run_rounds(run, allocators, topology, worker, limit_ns);
    free(allocators);
    return code;
}

void memory_run_free(struct memory_run *run) {
    free(run->rows);
    plan_free(&run->plan);
    options_free(&run->options);
}
