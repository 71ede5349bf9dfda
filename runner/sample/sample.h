// SPDX-License-Identifier: Apache-2.0
// One sample: starts one worker process and turns what it left in its cell into a row. Also the check that loads each
// allocator once before anything is measured. Layer: runner.
#ifndef HZBENCH_SAMPLE_H
#define HZBENCH_SAMPLE_H

#include "../plan/plan.h"
#include "../system/process.h"
#include "record.h"

// One item of --alloc on this machine.
struct sample_allocator {
    const struct allocator_spec *spec;
    struct allocator_provenance resolved; // of the file; version and contract as a worker reported them
    int is_available;
    char why[512]; // why it is not
};

struct sample_request {
    const struct plan *plan;
    const struct plan_cell *cell;
    const struct sample_allocator *allocator;
    const int32_t *cpus;                              // of the cell's threads
    const char *worker;                               // executable
    void (*look)(void *context, uint64_t elapsed_ns); // while the sample runs; NULL: never
    void (*ends_early)(void *context); // told that an interrupt ends the sample early; NULL: it is killed
    void *look_context;
    const char *run_id;
    uint32_t sample, round, order;
    uint32_t pus;                       // of the machine
    uint64_t reference_loop_fastest_ns; // noise.h
};

struct sample {
    struct record record;
    struct process_worker process; // its memory is a struct sample_shared
};

enum sample_end {
    SAMPLE_DONE,        // the row is there, whatever its status
    SAMPLE_INTERRUPTED, // no row
    SAMPLE_IMPOSSIBLE,  // no process could be started; errno says why
};

// Sample `number` of the plan; worker, CPUs, run and machine are the caller's.
struct sample_request sample_request_of(const struct plan *plan, const struct sample_allocator *allocators,
                                        uint32_t number);

// To be paired with sample_release whatever it returns.
enum sample_end sample_run(struct sample *sample, const struct sample_request *request);
void sample_release(struct sample *sample);

// budget_open of what a cell may use.
int sample_budget_open(struct budget *budget, const struct workload_params *params, char *why, size_t why_bytes);

// The row of an allocator that could not be loaded, without a process.
void sample_unavailable(struct sample *sample, const struct sample_request *request);

// Resolves and loads one allocator in a worker of its own. Fills `allocator`.
enum sample_end sample_check_load(struct sample_allocator *allocator, const struct options *options,
                                  const char *worker);

// What the harness itself costs: nanoseconds an operation of `local` on one thread over the null allocator, negative
// with the reason when that could not be measured. `with_counters` gets 1 when hardware counters counted.
double sample_null_overhead_ns(const struct options *options, const char *worker, const int32_t *cpus,
                               int *with_counters, char *why, size_t why_bytes);

#endif
