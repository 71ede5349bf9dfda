// SPDX-License-Identifier: Apache-2.0
// Which memory the kernel may back with transparent huge pages in a sample (--thp). The sample's own process is told
// where that suffices; else the system's switch is set for the time of the samples, where it may be changed. A guardian
// process sets the switch back when the runner has ended, however it ended. One implementation a system
// (huge_pages_linux.c, huge_pages_windows.c). Layer: runner, system.
#ifndef HZBENCH_HUGE_PAGES_H
#define HZBENCH_HUGE_PAGES_H

#include <stddef.h>
#include <stdint.h>

enum huge_pages_process { // what a process asks of the kernel for itself and its children
    HUGE_PAGES_AS_IS,
    HUGE_PAGES_DISABLED,
    HUGE_PAGES_ADVISED_ONLY,
};

// Prepares the system for a sample with `mode` (enum workload_thp). `process` is what the sample's process must ask
// for; `by` says what was changed: "prctl", "switch" or nothing. Returns 0 with one line in `why` when it cannot be
// done.
int huge_pages_set(uint32_t mode, uint32_t *process, const char **by, char *why, size_t why_bytes);

// The switch is as it was before the first huge_pages_set. Returns 0 with one line in `why` when it is not.
int huge_pages_restore(char *why, size_t why_bytes);

// For the sample's process. Returns 0 or an errno value.
int huge_pages_ask(uint32_t process);

#endif
