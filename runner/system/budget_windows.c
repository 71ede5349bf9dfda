// SPDX-License-Identifier: Apache-2.0
// budget.h on Windows, where the harness limits nothing. Layer: runner, system.
#include "budget.h"

#include <stdio.h>

int budget_open(struct budget *budget, uint64_t memory_bytes, uint64_t cpu_ppm, char *why, size_t why_bytes) {
    *budget = (struct budget){.memory_bytes = memory_bytes};
    snprintf(why, why_bytes, "%s",
             memory_bytes != 0 || cpu_ppm != 0
                 ? "--memory-limit and --cpu-quota: there are no control groups on this system - leave them out"
                 : "");
    return why[0] == '\0';
}

int budget_enter(const struct budget *budget, int becomes_program) {
    (void)budget;
    (void)becomes_program;
    return 0;
}

uint64_t budget_kills(const struct budget *budget) {
    (void)budget;
    return 0;
}

void budget_close(struct budget *budget) {
    (void)budget;
}

void budget_text(const struct budget *budget, char *out, size_t out_bytes) {
    (void)budget;
    snprintf(out, out_bytes, "%s", "");
}
