// SPDX-License-Identifier: Apache-2.0
// `program`: the command behind `--`, started under the allocator; one run of it is one op. It does not run in the
// worker: the runner starts hzbench-app instead. The input is the command as text. Layer: workloads.
#include "registry.h"

static int complete(struct workload_params *params, char *why, size_t why_bytes) {
    if (params->ops != REGISTRY_UNSET64 && params->ops != 1)
        return registry_refuse(why, why_bytes, "a program runs once a sample - leave --ops out, --runs=N repeats it");
    params->ops = 1;
    return 1;
}

const struct workload program_workload = {
    .name = "program",
    .summary = "any command: runner --alloc=LIST -- PROGRAM ARG... (hzrun bench)",
    .source = "the program itself",
    .is_program = 1,
    .min_threads = 1,
    .defaults = {.touch = TOUCH_NONE, .ops = REGISTRY_UNSET64, .min_bytes = 1, .max_bytes = 1},
    .used_params = WORKLOAD_USES_INPUT,
    .complete = complete,
};
