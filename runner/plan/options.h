// SPDX-License-Identifier: Apache-2.0
// The command line, parsed and checked as far as it can be without looking at the machine. Layer: runner.
#ifndef HZBENCH_OPTIONS_H
#define HZBENCH_OPTIONS_H

#include "../../allocators/loader/loader.h"
#include "../../workloads/workload.h"
#include "settle.h"
#include <stdio.h>

enum exit_code { // of the runner; docs/reproducibility.md
    EXIT_CODE_OK = 0,
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_UNAVAILABLE = 3,  // an allocator, the worker, or room on the disk
    EXIT_CODE_FAILED = 4,       // a sample crashed, timed out or found corruption
    EXIT_CODE_INCONCLUSIVE = 5, // --rounds-until ended without a decision
    EXIT_CODE_INTERRUPTED = 130,
};

enum options_action {
    OPTIONS_RUN,
    OPTIONS_PLAN,
    OPTIONS_DOCTOR,
    OPTIONS_SELFTEST,
    OPTIONS_LIST_ALLOCATORS,
    OPTIONS_LIST_WORKLOADS,
    OPTIONS_SCHEMA,
    OPTIONS_HELP,
    OPTIONS_VERSION,
};

// One --workload item: `name` or `name{key=value,key=value}`.
struct options_workload {
    char text[256];
    const struct workload *workload;
    struct workload_params params; // set in the braces; the rest unset
};

#define OPTIONS_WRAPPER_BYTES 2048u

struct options {
    enum options_action action;
    struct allocator_spec *allocators;
    size_t allocator_count;
    struct options_workload *workloads;
    size_t workload_count;
    struct workload_params params; // for all workloads that have the parameter; the rest unset
    uint32_t topologies[TOPOLOGY_COUNT];
    size_t topology_count;                  // 0: each workload's own
    uint32_t threads[WORKLOAD_MAX_THREADS]; // ascending
    size_t thread_count;                    // 0: the fewest the workload can do with
    char threads_text[128];
    uint32_t runs;
    uint64_t seed;
    const char *output; // NULL: no files
    uint32_t load;      // enum allocator_load_mode
    char pin[256];
    uint64_t rss_interval_ns;
    char settle[128];                    // as in run.json and the plan's hash
    uint64_t settle_ns[SETTLE_MOST];     // ascending, then 0
    uint64_t timeout_ns;                 // 0: one minute and the expected work
    char wrapper[OPTIONS_WRAPPER_BYTES]; // command that starts the worker; empty: none
    uint32_t counters;                   // flags are 0 or 1
    uint32_t latency_every;              // 0: no timer
    uint32_t rounds_until_ppm;           // relative difference that matters; 0: --runs rounds and no more
    uint64_t budget_ns;                  // for --rounds-until
    char *const *program;                // behind `--`: its words; NULL: none
    char prepare[512];                   // runs before each sample of the program; empty: nothing
    uint32_t keep_going, quiet, fake_clock;
    char command[2048]; // as typed, quoted for a shell
};

struct context;

enum option_kind {
    OPTION_FLAG,    // uint32_t, 1 when given
    OPTION_ACTION,  // sets `action`
    OPTION_COUNT32, // uint32_t, from `least` to `most`
    OPTION_COUNT64,
    OPTION_TIME, // uint64_t, nanoseconds, from `least`
    OPTION_NAME, // uint32_t, number of one of `names`
    OPTION_TEXT, // char array, by `parse`
    OPTION_OWN,  // by `parse` alone
};

// One entry of THE table of options; those of workloads' parameters are in workloads/parameters.h.
struct option_entry {
    const char *group; // title of those that follow; NULL: as before
    const char *name, *value, *help;
    enum option_kind kind;
    enum options_action action;
    size_t offset;        // in struct options
    uint64_t least, most; // `most` and one names
    uint64_t bare;        // the value when none is given; 0: it needs one
    const char *const *names;
    int (*parse)(struct context *context, const char *text); // instead of the kind's own way
    // What the plan's hash and run.json call it: a run with another value is another plan. NULL: it changes no row.
    const char *key;
    int is_extent; // how many rows, not which: in run.json, not in the hash, so that a run can grow
};

extern const struct option_entry option_entries[];
extern const size_t option_entry_count;
extern const char *const options_load_names[];

uint64_t option_entry_number(const struct options *options, const struct option_entry *entry);
const char *option_entry_text(const struct options *options, const struct option_entry *entry); // NULL: it is a number

void options_print_help(FILE *out, const char *program);

// Returns EXIT_CODE_OK or the exit code of the one line it wrote into `why`.
int options_parse(struct options *options, int argc, char **argv, char *why, size_t why_bytes);
void options_free(struct options *options);

#endif
