// SPDX-License-Identifier: Apache-2.0
// memory_map.h
#include "memory_map.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OBJECTS 512u

static struct memory_object objects[MAX_OBJECTS];
static unsigned object_count;
static int is_stale = 1;

// Regions by address, disjoint; those in between are not the allocator's.
struct region {
    uint64_t begin, end;
    int by_allocator;
};

static struct region *regions;
static size_t region_count, region_room;

// Bytes of memory from the file's address 0 to the end of its last segment; 0 when it is no object file.
static uint64_t memory_bytes(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    Elf64_Ehdr header;
    uint64_t bytes = 0;
    if (fread(&header, sizeof header, 1, file) == 1 && memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
        header.e_ident[EI_CLASS] == ELFCLASS64 && fseek(file, (long)header.e_phoff, SEEK_SET) == 0) {
        Elf64_Phdr segment;
        for (unsigned i = 0; i < header.e_phnum && fread(&segment, sizeof segment, 1, file) == 1; i++)
            if (segment.p_type == PT_LOAD && segment.p_vaddr + segment.p_memsz > bytes)
                bytes = segment.p_vaddr + segment.p_memsz;
    }
    fclose(file);
    return bytes;
}

static const struct memory_object *find_object(uint64_t address) {
    for (unsigned i = 0; i < object_count; i++)
        if (address >= objects[i].base && address < objects[i].end)
            return &objects[i];
    return NULL;
}

// The first mapping of an object begins with its file, at its address 0 (programs at fixed addresses begin at their
// own).
static void read_objects(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    if (maps == NULL)
        return;
    char line[1024];
    while (fgets(line, sizeof line, maps) != NULL && object_count < MAX_OBJECTS) {
        unsigned long long begin, offset;
        int path_at = 0;
        if (sscanf(line, "%llx-%*x %*s %llx %*s %*s %n", &begin, &offset, &path_at) < 2 || line[path_at] != '/' ||
            offset != 0 || find_object(begin) != NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        uint64_t bytes = memory_bytes(line + path_at);
        if (bytes == 0)
            continue;
        struct memory_object *object = &objects[object_count++];
        object->base = bytes > begin ? 0 : begin;
        object->end = object->base + bytes;
        snprintf(object->path, sizeof object->path, "%s", line + path_at);
    }
    fclose(maps);
    is_stale = 0;
}

void memory_objects_changed(void) {
    is_stale = 1;
}

unsigned memory_object_count(void) {
    return object_count;
}

const struct memory_object *memory_object(unsigned index) {
    return &objects[index];
}

const struct memory_object *memory_object_at(uint64_t address) {
    const struct memory_object *object = find_object(address);
    if (object == NULL && is_stale) {
        read_objects();
        object = find_object(address);
    }
    return object;
}

static void append(struct region region) {
    if (region.begin >= region.end)
        return;
    if (region_count == region_room) {
        region_room = region_room == 0 ? 256 : region_room * 2;
        regions = realloc(regions, region_room * sizeof *regions);
        if (regions == NULL) {
            fputs("hzcoherence: out of memory for the list of mappings; measure a shorter run\n", stderr);
            exit(3);
        }
    }
    regions[region_count++] = region;
}

void memory_region_add(uint64_t address, uint64_t bytes, int by_allocator) {
    struct region added = {address, address + bytes, by_allocator};
    size_t old_count = region_count;
    size_t kept = 0;
    // What the new region covers of older ones goes; at most one older one is cut in two.
    for (size_t i = 0; i < old_count; i++) {
        struct region region = regions[i];
        if (region.end <= added.begin || region.begin >= added.end) {
            regions[kept++] = region;
            continue;
        }
        struct region head = {region.begin, added.begin, region.by_allocator};
        struct region tail = {added.end, region.end, region.by_allocator};
        if (head.begin < head.end)
            regions[kept++] = head;
        if (tail.begin < tail.end) {
            if (kept <= i)
                regions[kept++] = tail;
            else
                append(tail);
        }
    }
    memmove(regions + kept, regions + old_count, (region_count - old_count) * sizeof *regions);
    region_count -= old_count - kept;
    append(added);
}

int memory_region_is_allocators(uint64_t address) {
    for (size_t i = 0; i < region_count; i++)
        if (address >= regions[i].begin && address < regions[i].end)
            return regions[i].by_allocator;
    return 0;
}
