// SPDX-License-Identifier: Apache-2.0
// Plan, probes and rounds of an experiment in memory. Layer: runner.
#include "lab.h"

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

static int run_one(struct lab *lab, const struct sample_allocator *allocators, const struct topology *topology,
                   const char *worker, uint32_t number) {
    const struct plan *plan = &lab->plan;
    const uint32_t index = plan->visits[number];
    const struct plan_cell *cell = &plan->cells[index];
    const struct sample_allocator *allocator = &allocators[cell->allocator];
    struct sample sample = {.process = {.shared_fd = -1, .output_fd = -1, .pid_fd = -1}};
    int32_t cpus[WORKLOAD_MAX_THREADS];
    struct sample_request request = {.plan = plan,
                                     .cell = cell,
                                     .allocator = allocator,
                                     .cpus = cpus,
                                     .worker = worker,
                                     .run_id = "",
                                     .sample = number,
                                     .round = number / plan->cell_count,
                                     .order = number % plan->cell_count,
                                     .pus = topology->pus,
                                     .canary_reference_ns = UINT64_MAX};
    if (!topology_pin(topology, lab->options.pin, cell->params.threads, cpus, lab->why, sizeof lab->why))
        return EXIT_CODE_USAGE;
    int code = EXIT_CODE_OK;
    enum sample_end end = SAMPLE_DONE;
    if (allocator->is_available)
        end = sample_run(&sample, &request);
    else
        sample_unavailable(&sample, &request);
    if (end == SAMPLE_IMPOSSIBLE) {
        snprintf(lab->why, sizeof lab->why, "cannot start %s: %s - check memory and process limits", worker,
                 strerror(errno));
        code = EXIT_CODE_UNAVAILABLE;
    } else if (end == SAMPLE_INTERRUPTED) {
        code = EXIT_CODE_INTERRUPTED;
    } else {
        lab->rows[request.round * plan->cell_count + index] = sample.record;
    }
    sample_release(&sample);
    return code;
}

static int run_rounds(struct lab *lab, const struct sample_allocator *allocators, const struct topology *topology,
                      const char *worker, uint64_t limit_ns) {
    const uint64_t begin_ns = os_now_ns();
    for (uint32_t round = 0; round < lab->options.runs && os_now_ns() - begin_ns < limit_ns; round++) {
        for (uint32_t i = 0; i < lab->plan.cell_count; i++) {
            const int code = run_one(lab, allocators, topology, worker, round * lab->plan.cell_count + i);
            if (code != EXIT_CODE_OK)
                return code;
        }
        lab->rounds = round + 1;
    }
    return EXIT_CODE_OK;
}

int lab_run(struct lab *lab, const char *const *arguments, const struct topology *topology, const char *worker,
            uint64_t limit_ns) {
    char program[] = "runner";
    char *argv[MAX_ARGUMENTS] = {program};
    int argc = 1;
    *lab = (struct lab){.rounds = 0};
    for (; arguments[argc - 1] != NULL && argc < MAX_ARGUMENTS - 1; argc++)
        argv[argc] = (char *)arguments[argc - 1];
    optind = 0; // getopt starts anew
    int code = options_parse(&lab->options, argc, argv, lab->why, sizeof lab->why);
    if (code == EXIT_CODE_OK)
        code = plan_build(&lab->plan, &lab->options, no_notice, lab->why, sizeof lab->why);
    if (code != EXIT_CODE_OK)
        return code;
    lab->why[0] = '\0';
    struct sample_allocator *allocators = calloc(lab->options.allocator_count, sizeof *allocators);
    lab->rows = calloc(lab->plan.sample_count, sizeof *lab->rows);
    if (allocators == NULL || lab->rows == NULL) {
        snprintf(lab->why, sizeof lab->why, "out of memory");
        code = EXIT_CODE_UNAVAILABLE;
    }
    for (size_t i = 0; code == EXIT_CODE_OK && i < lab->options.allocator_count; i++) {
        allocators[i].spec = &lab->options.allocators[i];
        if (sample_check_load(&allocators[i], &lab->options, worker) != SAMPLE_DONE)
            code = EXIT_CODE_INTERRUPTED;
    }
    if (code == EXIT_CODE_OK)
        code = run_rounds(lab, allocators, topology, worker, limit_ns);
    free(allocators);
    return code;
}

void lab_free(struct lab *lab) {
    free(lab->rows);
    plan_free(&lab->plan);
    options_free(&lab->options);
}
