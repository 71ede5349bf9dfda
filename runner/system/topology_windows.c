// SPDX-License-Identifier: Apache-2.0
// topology_load() by GetLogicalProcessorInformationEx. A CPU's index is its group times 64 and its number in the group.
// Layer: runner.
#include "topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define CPUS_PER_GROUP 64
#define CPU_KEY "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0"

// Calls `visit` for each record of a kind, in the system's order. Returns 0 when the system tells nothing.
static int each(LOGICAL_PROCESSOR_RELATIONSHIP kind,
                void (*visit)(struct topology *topology, const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *record),
                struct topology *topology) {
    DWORD bytes = 0;
    GetLogicalProcessorInformationEx(kind, NULL, &bytes);
    char *records = bytes > 0 ? malloc(bytes) : NULL;
    int ok = records && GetLogicalProcessorInformationEx(kind, (void *)records, &bytes);
    for (DWORD at = 0; ok && at < bytes;) {
        const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *record = (const void *)(records + at);
        visit(topology, record);
        at += record->Size;
    }
    free(records);
    return ok;
}

static struct topology_place *place_of(const struct topology *topology, int32_t cpu) {
    for (unsigned i = 0; i < topology->pus; i++)
        if (topology->places[i].cpu == cpu)
            return &topology->places[i];
    return NULL;
}

// Threads of a process run in one group unless it asks for more, so its affinity mask is that group's.
static int is_allowed(int32_t cpu) {
    DWORD_PTR process, system;
    USHORT groups[4], count = 4;
    if (GetProcessGroupAffinity(GetCurrentProcess(), &count, groups) && count == 1 &&
        groups[0] == cpu / CPUS_PER_GROUP && GetProcessAffinityMask(GetCurrentProcess(), &process, &system))
        return (int)(process >> cpu % CPUS_PER_GROUP & 1);
    return 1;
}

static void add_core(struct topology *topology, const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *record) {
    const PROCESSOR_RELATIONSHIP *core = &record->Processor;
    unsigned thread = 0;
    for (int number = 0; number < CPUS_PER_GROUP; number++) {
        if (!(core->GroupMask[0].Mask >> number & 1))
            continue;
        const int32_t cpu = core->GroupMask[0].Group * CPUS_PER_GROUP + number;
        topology->machine_pus++;
        struct topology_place *more =
            is_allowed(cpu) ? realloc(topology->places, (topology->pus + 1) * sizeof *more) : NULL;
        if (!more)
            continue;
        topology->places = more;
        topology->places[topology->pus++] =
            (struct topology_place){.cpu = cpu, .core_in_package = topology->cores, .thread_in_core = thread++};
    }
    topology->cores++;
}

static void add_package(struct topology *topology, const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *record) {
    const PROCESSOR_RELATIONSHIP *package = &record->Processor;
    unsigned first_core = topology->cores;
    for (int pass = 0; pass < 2; pass++) // the package's lowest core first, then the rest counts from it
        for (WORD group = 0; group < package->GroupCount; group++)
            for (int number = 0; number < CPUS_PER_GROUP; number++) {
                if (!(package->GroupMask[group].Mask >> number & 1))
                    continue;
                struct topology_place *place =
                    place_of(topology, package->GroupMask[group].Group * CPUS_PER_GROUP + number);
                if (place && pass == 0 && place->core_in_package < first_core)
                    first_core = place->core_in_package;
                if (place && pass == 1) {
                    place->package = topology->packages;
                    place->core_in_package -= first_core;
                }
            }
    topology->packages++;
}

static void add_cache(struct topology *topology, const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *record) {
    const CACHE_RELATIONSHIP *cache = &record->Cache;
    const char type = cache->Type == CacheUnified ? 'u' : cache->Type == CacheData ? 'd' : 'i';
    for (size_t i = 0; i < topology->cache_count; i++)
        if (topology->caches[i].level == cache->Level && topology->caches[i].type == type) {
            topology->caches[i].count++;
            return;
        }
    if (topology->cache_count < TOPOLOGY_MAX_CACHES)
        topology->caches[topology->cache_count++] = (struct topology_cache){
            .level = cache->Level, .type = type, .bytes = cache->CacheSize, .line_bytes = cache->LineSize, .count = 1};
}

static void add_node(struct topology *topology, const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *record) {
    (void)record;
    topology->numa_nodes++;
}

int topology_load(struct topology *topology) {
    *topology = (struct topology){0};
    if (!each(RelationProcessorCore, add_core, topology) || topology->pus == 0) {
        topology_free(topology);
        return 0;
    }
    each(RelationProcessorPackage, add_package, topology);
    each(RelationNumaNode, add_node, topology);
    each(RelationCache, add_cache, topology);
    DWORD bytes = sizeof topology->cpu_model;
    if (RegGetValueA(HKEY_LOCAL_MACHINE, CPU_KEY, "ProcessorNameString", RRF_RT_REG_SZ, NULL, topology->cpu_model,
                     &bytes) != ERROR_SUCCESS)
        snprintf(topology->cpu_model, sizeof topology->cpu_model, "unknown");
    for (size_t end = strlen(topology->cpu_model); end > 0 && topology->cpu_model[end - 1] == ' '; end--)
        topology->cpu_model[end - 1] = '\0';
    return 1;
}
