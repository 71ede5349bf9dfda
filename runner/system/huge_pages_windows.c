// SPDX-License-Identifier: Apache-2.0
// huge_pages.h on Windows, which has no transparent huge pages. Layer: runner, system.
#include "huge_pages.h"

#include "../../workloads/workload.h"

#include <stdio.h>

int huge_pages_set(uint32_t mode, uint32_t *process, const char **by, char *why, size_t why_bytes) {
    *process = HUGE_PAGES_AS_IS;
    *by = "";
    snprintf(why, why_bytes, "%s",
             mode != THP_DEFAULT ? "--thp: this system has no transparent huge pages - leave it out" : "");
    return mode == THP_DEFAULT;
}

int huge_pages_restore(char *why, size_t why_bytes) {
    (void)why;
    (void)why_bytes;
    return 1;
}

int huge_pages_ask(uint32_t process) {
    (void)process;
    return 0;
}
