// SPDX-License-Identifier: Apache-2.0
// Machine description and pinning order. Layer: runner.
#include "topology.h"
#include "options.h"

#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned count_of(hwloc_topology_t machine, hwloc_obj_type_t type) {
    int count = hwloc_get_nbobjs_by_type(machine, type);
    return count > 0 ? (unsigned)count : 0;
}

static void read_caches(struct topology *topology) {
    hwloc_topology_t machine = topology->hwloc;
    int depth = hwloc_topology_get_depth(machine);
    for (int level = depth - 1; level >= 0; level--) {
        hwloc_obj_t object = hwloc_get_obj_by_depth(machine, level, 0);
        if (!object || !hwloc_obj_type_is_cache(object->type) || topology->cache_count == TOPOLOGY_MAX_CACHES)
            continue;
        char type = object->attr->cache.type == HWLOC_OBJ_CACHE_UNIFIED ? 'u'
                    : object->attr->cache.type == HWLOC_OBJ_CACHE_DATA  ? 'd'
                                                                        : 'i';
        topology->caches[topology->cache_count++] =
            (struct topology_cache){.level = object->attr->cache.depth,
                                    .type = type,
                                    .bytes = object->attr->cache.size,
                                    .line_bytes = object->attr->cache.linesize,
                                    .count = hwloc_get_nbobjs_by_depth(machine, level)};
    }
}

int topology_load(struct topology *topology) {
    hwloc_topology_t machine;
    *topology = (struct topology){0};
    if (hwloc_topology_init(&machine) != 0)
        return 0;
    hwloc_topology_set_icache_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(machine) != 0) {
        hwloc_topology_destroy(machine);
        return 0;
    }
    topology->hwloc = machine;
    topology->packages = count_of(machine, HWLOC_OBJ_PACKAGE);
    topology->cores = count_of(machine, HWLOC_OBJ_CORE);
    topology->pus = count_of(machine, HWLOC_OBJ_PU);
    topology->numa_nodes = count_of(machine, HWLOC_OBJ_NUMANODE);
    int whole = hwloc_bitmap_weight(hwloc_topology_get_complete_cpuset(machine));
    topology->machine_pus = whole > 0 ? (unsigned)whole : topology->pus;
    hwloc_obj_t package = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    snprintf(topology->cpu_model, sizeof topology->cpu_model, "%s", model ? model : "unknown");
    // Hypervisors pad the model with blanks.
    for (size_t end = strlen(topology->cpu_model); end > 0 && topology->cpu_model[end - 1] == ' '; end--)
        topology->cpu_model[end - 1] = '\0';
    read_caches(topology);
    return 1;
}

void topology_free(struct topology *topology) {
    if (topology->hwloc)
        hwloc_topology_destroy(topology->hwloc);
    topology->hwloc = NULL;
}

struct place { // of one hardware thread in the machine
    int32_t cpu;
    unsigned package, core_in_package, thread_in_core, logical;
};

static int compare_compact(const void *left, const void *right) {
    const struct place *a = left, *b = right;
    return (a->logical > b->logical) - (a->logical < b->logical);
}

static int compare_spread(const void *left, const void *right) {
    const struct place *a = left, *b = right;
    if (a->thread_in_core != b->thread_in_core)
        return a->thread_in_core < b->thread_in_core ? -1 : 1;
    if (a->core_in_package != b->core_in_package)
        return a->core_in_package < b->core_in_package ? -1 : 1;
    if (a->package != b->package)
        return a->package < b->package ? -1 : 1;
    return compare_compact(left, right);
}

// Position of `object` among those of its kind below `ancestor`.
static unsigned index_below(hwloc_topology_t machine, hwloc_obj_t ancestor, hwloc_obj_t object) {
    unsigned index = 0;
    hwloc_obj_t each = NULL;
    if (!ancestor || !object)
        return object ? object->logical_index : 0;
    while ((each = hwloc_get_next_obj_inside_cpuset_by_type(machine, ancestor->cpuset, object->type, each)) != NULL &&
           each != object)
        index++;
    return index;
}

static struct place *find_places(const struct topology *topology) {
    hwloc_topology_t machine = topology->hwloc;
    struct place *places = calloc(topology->pus ? topology->pus : 1, sizeof *places);
    for (unsigned i = 0; places && i < topology->pus; i++) {
        hwloc_obj_t pu = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PU, i);
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_CORE, pu);
        hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_PACKAGE, pu);
        places[i] = (struct place){.cpu = (int32_t)pu->os_index,
                                   .package = package ? package->logical_index : 0,
                                   .core_in_package = index_below(machine, package, core),
                                   .thread_in_core = core ? index_below(machine, core, pu) : 0,
                                   .logical = i};
    }
    return places;
}

static int pin_list(const struct topology *topology, const char *pin, uint32_t threads, int32_t *cpus, char *why,
                    size_t why_bytes) {
    uint32_t list[CELL_MAX_THREADS];
    size_t count = options_numbers(pin, list, CELL_MAX_THREADS);
    for (size_t i = 0; i < count; i++)
        if (!hwloc_bitmap_isset(hwloc_topology_get_allowed_cpuset(topology->hwloc), list[i])) {
            char *allowed = NULL;
            hwloc_bitmap_list_asprintf(&allowed, hwloc_topology_get_allowed_cpuset(topology->hwloc));
            snprintf(why, why_bytes, "--pin=%s: CPU %u is not one of those this process may use: %s", pin, list[i],
                     allowed ? allowed : "");
            free(allowed);
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
    struct place *places = find_places(topology);
    if (!places || topology->pus == 0) {
        free(places);
        snprintf(why, why_bytes, "--pin=%s: this machine does not say which CPUs it has - use --pin=none", pin);
        return 0;
    }
    qsort(places, topology->pus, sizeof *places, strcmp(pin, "compact") == 0 ? compare_compact : compare_spread);
    for (uint32_t i = 0; i < threads; i++)
        cpus[i] = places[i % topology->pus].cpu;
    free(places);
    return 1;
}
