// SPDX-License-Identifier: Apache-2.0
// What machine this is and in which order its CPUs get threads. topology.c knows the order; what the machine has is
// read by topology_hwloc.c, or topology_windows.c where there is no hwloc. Layer: runner.
#ifndef HZBENCH_TOPOLOGY_H
#define HZBENCH_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

#define TOPOLOGY_MAX_CACHES 16

struct topology_cache {
    unsigned level;
    char type; // 'u'nified, 'd'ata, 'i'nstructions
    uint64_t bytes;
    unsigned line_bytes;
    unsigned count; // how many of them the machine has
};

struct topology_place { // of one hardware thread this process may run on, in the machine's own order
    int32_t cpu;        // operating system's index
    unsigned package, core_in_package, thread_in_core;
};

struct topology {
    struct topology_place *places; // as many as `pus`
    char cpu_model[128];
    unsigned packages, cores, numa_nodes;
    unsigned pus;         // hardware threads this process may run on
    unsigned machine_pus; // of the whole machine
    struct topology_cache caches[TOPOLOGY_MAX_CACHES];
    size_t cache_count;
};

// Returns 0 when the machine cannot be read.
int topology_load(struct topology *topology);
void topology_free(struct topology *topology);

// CPU of each of `threads` threads for --pin=`pin`; -1 is not pinned. More threads than CPUs start over.
// compact fills a core's hardware threads, then the next core of the same cache and package; spread takes packages in
// turn, then cores, and a core's second hardware thread only when every core has one thread.
// Returns 0 with one line in `why` when `pin` names a CPU this process may not use.
int topology_pin(const struct topology *topology, const char *pin, uint32_t threads, int32_t *cpus, char *why,
                 size_t why_bytes);

#endif
