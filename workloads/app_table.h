// SPDX-License-Identifier: Apache-2.0
// The programs of workloads/apps as a table that the build generates from the heads of their files. Layer: workloads.
#ifndef HZBENCH_APP_TABLE_H
#define HZBENCH_APP_TABLE_H

#include <stdint.h>

struct app {
    const char *name; // of --workload=app:NAME
    const char *summary;
    const char *packages; // Debian's
    const char *proof;    // the executable whose malloc must be the allocator's
    const char *user;     // who it runs as when we are root; empty: root
    const char *stop;     // name of the signal that ends a server, without SIG
    const char *unit;     // what an operation is, in the plural
    uint64_t ops;         // a thread, by default
    uint32_t max_threads;
    uint32_t is_server; // 0: a batch
};

extern const struct app apps[]; // ends with a NULL name
const struct app *app_find(const char *name);

#endif
