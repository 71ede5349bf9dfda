// SPDX-License-Identifier: Apache-2.0
// The command line, parsed and checked as far as it can be without looking at the machine. Layer: runner.
#ifndef HZBENCH_OPTIONS_H
#define HZBENCH_OPTIONS_H

#include "../../allocators/loader/loader.h"
#include "../../workloads/workload.h"
#include "../sample/cell.h"

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
    OPTIONS_HELP,
    OPTIONS_VERSION,
};

// One --workload item: `name` or `name{key=value,key=value}`.
struct options_workload {
    char text[256];
    const struct workload *workload;
    struct workload_params params; // set in the braces; the rest unset
};

struct options {
    enum options_action action;
    struct allocator_spec *allocators;
    size_t allocator_count;
    struct options_workload *workloads;
    size_t workload_count;
    struct workload_params params; // for all workloads that have the parameter; the rest unset
    uint32_t topologies[TOPOLOGY_COUNT];
    size_t topology_count;              // 0: each workload's own
    uint32_t threads[CELL_MAX_THREADS]; // ascending
    size_t thread_count;                // 0: the fewest the workload can do with
    char threads_text[128];
    uint32_t runs;
    uint64_t seed;
    const char *output; // NULL: no files
    enum allocator_load_mode load;
    char pin[256];
    uint64_t rss_interval_ns;
    uint64_t settle_ns;
    uint64_t timeout_ns; // 0: one minute and the expected work
    int counters;
    uint32_t latency_every; // 0: no probe
    double rounds_until;    // relative difference that matters; 0: --runs rounds and no more
    uint64_t budget_ns;     // for --rounds-until
    int keep_going;
    int quiet;
    int fake_clock;
    char command[2048]; // as typed, quoted for a shell
};

extern const char options_help[];
extern const char *const options_topology_names[TOPOLOGY_COUNT];
extern const char *const options_sizes_names[];
extern const char *const options_touch_names[];

// Returns EXIT_CODE_OK or the exit code of the one line it wrote into `why`.
int options_parse(struct options *options, int argc, char **argv, char *why, size_t why_bytes);
void options_free(struct options *options);

// A list of CPUs or counts such as "1,2,4" or "0-3,8". Returns how many, 0 when the text is no such list.
size_t options_numbers(const char *text, uint32_t *out, size_t capacity);

#endif
