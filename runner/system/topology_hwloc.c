// SPDX-License-Identifier: Apache-2.0
// topology_load() by hwloc. Layer: runner.
#include "topology.h"

#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned count_of(hwloc_topology_t machine, hwloc_obj_type_t type) {
    int count = hwloc_get_nbobjs_by_type(machine, type);
    return count > 0 ? (unsigned)count : 0;
}

static void read_caches(hwloc_topology_t machine, struct topology *topology) {
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

// hwloc counts what the control group allows; whoever started the runner may have left it fewer CPUs (taskset).
static int is_bound_elsewhere(hwloc_const_cpuset_t bound, hwloc_obj_t pu) {
    return bound && !hwloc_bitmap_isset(bound, pu->os_index);
}

// Fills in topology->places and their number.
static void find_places(hwloc_topology_t machine, struct topology *topology) {
    const unsigned machine_pus = count_of(machine, HWLOC_OBJ_PU);
    struct topology_place *places = calloc(machine_pus ? machine_pus : 1, sizeof *places);
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    if (bound && hwloc_get_cpubind(machine, bound, HWLOC_CPUBIND_THREAD) != 0) {
        hwloc_bitmap_free(bound);
        bound = NULL;
    }
    for (unsigned i = 0; places != NULL && i < machine_pus; i++) {
        hwloc_obj_t pu = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PU, i);
        if (is_bound_elsewhere(bound, pu))
            continue;
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_CORE, pu);
        hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_PACKAGE, pu);
        places[topology->pus++] = (struct topology_place){.cpu = (int32_t)pu->os_index,
                                                          .package = package ? package->logical_index : 0,
                                                          .core_in_package = index_below(machine, package, core),
                                                          .thread_in_core = core ? index_below(machine, core, pu) : 0};
    }
    hwloc_bitmap_free(bound);
    topology->places = places;
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
    topology->packages = count_of(machine, HWLOC_OBJ_PACKAGE);
    topology->cores = count_of(machine, HWLOC_OBJ_CORE);
    topology->numa_nodes = count_of(machine, HWLOC_OBJ_NUMANODE);
    int whole = hwloc_bitmap_weight(hwloc_topology_get_complete_cpuset(machine));
    topology->machine_pus = whole > 0 ? (unsigned)whole : count_of(machine, HWLOC_OBJ_PU);
    hwloc_obj_t package = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    snprintf(topology->cpu_model, sizeof topology->cpu_model, "%s", model != NULL ? model : "unknown");
    // Hypervisors pad the model with blanks.
    for (size_t end = strlen(topology->cpu_model); end > 0 && topology->cpu_model[end - 1] == ' '; end--)
        topology->cpu_model[end - 1] = '\0';
    read_caches(machine, topology);
    find_places(machine, topology);
    hwloc_topology_destroy(machine);
    return topology->places != NULL;
}
