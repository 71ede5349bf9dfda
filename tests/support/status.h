// SPDX-License-Identifier: Apache-2.0
// What /proc/self/status says of this process. Layer: test support, header only, Linux.
#ifndef TESTS_SUPPORT_STATUS_H
#define TESTS_SUPPORT_STATUS_H

#include <stdio.h>
#include <string.h>

// A line of memory such as "VmHWM" or "RssAnon", in KiB; -1 when there is none.
static inline long test_status_kib(const char *name) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    const size_t length = strlen(name);
    while (file != NULL && kib < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            sscanf(line + length + 1, "%ld kB", &kib);
    if (file != NULL)
        fclose(file);
    return kib;
}

#endif
