// SPDX-License-Identifier: Apache-2.0
// The order in which CPUs get threads. Layer: runner.
#include "topology.h"
#include "../../workloads/workload.h"
#include "../text/quantity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void topology_free(struct topology *topology) {
    free(topology->places);
    topology->places = NULL;
}

static int compare_spread(const void *left, const void *right) {
    const struct topology_place *a = left, *b = right;
    if (a->thread_in_core != b->thread_in_core)
        return a->thread_in_core < b->thread_in_core ? -1 : 1;
    if (a->core_in_package != b->core_in_package)
        return a->core_in_package < b->core_in_package ? -1 : 1;
    return (a->package > b->package) - (a->package < b->package);
}

static int compare_cpu(const void *left, const void *right) {
    const struct topology_place *a = left, *b = right;
    return (a->cpu > b->cpu) - (a->cpu < b->cpu);
}

static struct topology_place *sorted_places(const struct topology *topology,
                                            int (*compare)(const void *left, const void *right)) {
    struct topology_place *places = calloc(topology->pus ? topology->pus : 1, sizeof *places);
    if (places == NULL)
        return NULL;
    memcpy(places, topology->places, topology->pus * sizeof *places);
    if (compare != NULL)
        qsort(places, topology->pus, sizeof *places, compare);
    return places;
}

static int is_allowed(const struct topology *topology, uint32_t cpu) {
    for (unsigned i = 0; i < topology->pus; i++)
        if ((uint32_t)topology->places[i].cpu == cpu)
            return 1;
    return 0;
}

// "0-3,8-11"
static void list_allowed(const struct topology *topology, char *out, size_t out_bytes) {
    struct topology_place *places = sorted_places(topology, compare_cpu);
    size_t at = 0;
    out[0] = '\0';
    for (unsigned from = 0, to; places != NULL && from < topology->pus && at < out_bytes; from = to + 1) {
        for (to = from; to + 1 < topology->pus && places[to + 1].cpu == places[to].cpu + 1; to++)
            continue;
        int length = snprintf(out + at, out_bytes - at, from == to ? "%s%d" : "%s%d-%d", at ? "," : "",
                              (int)places[from].cpu, (int)places[to].cpu);
        at += length > 0 ? (size_t)length : 0;
    }
    free(places);
}

static int pin_list(const struct topology *topology, const char *pin, uint32_t threads, int32_t *cpus, char *why,
                    size_t why_bytes) {
    uint32_t list[WORKLOAD_MAX_THREADS];
    size_t count = quantity_numbers(pin, list, WORKLOAD_MAX_THREADS);
    for (size_t i = 0; i < count; i++)
        if (!is_allowed(topology, list[i])) {
            char allowed[512];
            list_allowed(topology, allowed, sizeof allowed);
            snprintf(why, why_bytes, "--pin=%s: CPU %u is not one of those this process may use: %s", pin,
                     (unsigned)list[i], allowed);
            return 0;
        }
    for (uint32_t i = 0; i < threads; i++)
        cpus[i] = (int32_t)list[i % count];
    return 1;
}

int topology_pin(const struct topology *topology, const char *pin, uint32_t threads, int32_t *cpus, char *why,
                 size_t why_bytes) {
    for (uint32_t i = 0; i < threads; i++)
        cpus[i] = -1;
    if (strcmp(pin, "none") == 0)
        return 1;
    if (strcmp(pin, "compact") != 0 && strcmp(pin, "spread") != 0)
        return pin_list(topology, pin, threads, cpus, why, why_bytes);
    // The machine's own order is the compact one: a core's hardware threads, then the next core of the same cache.
    struct topology_place *places = sorted_places(topology, strcmp(pin, "spread") == 0 ? compare_spread : NULL);
    if (places == NULL || topology->pus == 0) {
        free(places);
        snprintf(why, why_bytes, "--pin=%s: this machine does not say which CPUs it has - use --pin=none", pin);
        return 0;
    }
    for (uint32_t i = 0; i < threads; i++)
        cpus[i] = places[i % topology->pus].cpu;
    free(places);
    return 1;
}
