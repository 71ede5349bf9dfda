// SPDX-License-Identifier: Apache-2.0
// os_library.h on Linux with glibc. An object's identity is its entry in the dynamic linker's link map: two functions
// lie in one object if and only if they lead to one entry. File names are compared by device and inode, never as text.
#include "os_elf.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXECUTABLE "/proc/self/exe"

void *os_library_open(const char *name, char *why, size_t why_bytes) {
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        const char *reason = dlerror();
        snprintf(why, why_bytes, "%s", reason != NULL ? reason : "unknown reason");
    }
    return handle;
}

void *os_library_loaded(const char *path) {
    return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
}

static struct link_map *map_of_handle(void *handle) {
    struct link_map *map = NULL;
    return handle != NULL && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map : NULL;
}

static struct link_map *map_of_address(const void *address) {
    Dl_info info;
    struct link_map *map = NULL;
    return dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) != 0 ? map : NULL;
}

int os_library_holds(void *handle, const void *address) {
    struct link_map *map = map_of_handle(handle);
    return map != NULL && address != NULL && map_of_address(address) == map;
}

void *os_library_symbol_anywhere(void *handle, const char *symbol) {
    return dlsym(handle != NULL ? handle : RTLD_DEFAULT, symbol);
}

void *os_library_symbol(void *handle, const char *symbol) {
    void *address = dlsym(handle, symbol);
    return os_library_holds(handle, address) ? address : NULL;
}

int os_library_real_path(const char *name, char *path, size_t path_bytes) {
    char buffer[PATH_MAX]; // realpath() with a NULL buffer would call the allocator under test
    path[0] = '\0';
    if (realpath(name, buffer) == NULL || strlen(buffer) >= path_bytes)
        return 0;
    memcpy(path, buffer, strlen(buffer) + 1);
    return 1;
}

static int path_of_map(const struct link_map *map, char *path, size_t path_bytes) {
    path[0] = '\0';
    // The main program's entry has an empty name.
    return map != NULL && os_library_real_path(map->l_name[0] != '\0' ? map->l_name : EXECUTABLE, path, path_bytes);
}

int os_library_path_of(const void *address, char *path, size_t path_bytes) {
    return path_of_map(map_of_address(address), path, path_bytes);
}

int os_library_path(void *handle, char *path, size_t path_bytes) {
    return path_of_map(map_of_handle(handle), path, path_bytes);
}

struct note_search {
    uintptr_t inside; // an address of the wanted object
    char *hex;
};

static int search_notes(struct dl_phdr_info *object, size_t bytes, void *context) {
    (void)bytes;
    struct note_search *search = context;
    int is_wanted = 0;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
        is_wanted |= segment->p_type == PT_LOAD && search->inside - begin < segment->p_memsz;
    }
    if (!is_wanted)
        return 0;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type == PT_NOTE &&
            os_elf_build_id_of_notes((const unsigned char *)(object->dlpi_addr + segment->p_vaddr), segment->p_memsz,
                                     segment->p_align, search->hex))
            break;
    }
    return 1;
}

void os_library_build_id(void *handle, char hex[OS_BUILD_ID_BYTES]) {
    hex[0] = '\0';
    struct link_map *map = map_of_handle(handle);
    if (map != NULL) {
        // The dynamic section lies inside one of the object's loaded segments.
        struct note_search search = {.inside = (uintptr_t)map->l_ld, .hex = hex};
        dl_iterate_phdr(search_notes, &search);
    }
}

int os_library_is_loadable(const char *path) {
    return os_elf_is_loadable_here(path);
}

int os_library_build_id_of_file(const char *path, char hex[OS_BUILD_ID_BYTES]) {
    return os_elf_build_id_of_file(path, hex);
}

int os_library_same_file(const char *a, const char *b) {
    struct stat first;
    struct stat second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

int os_library_is_file(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, R_OK) == 0;
}

// One candidate of a lookup.
static int try_directory(const char *directory, size_t directory_length, const char *soname, char *path,
                         size_t path_bytes) {
    char candidate[PATH_MAX];
    int length = snprintf(candidate, sizeof candidate, "%.*s/%s", (int)directory_length, directory, soname);
    return length > 0 && (size_t)length < sizeof candidate && os_elf_is_loadable_here(candidate) &&
           os_library_real_path(candidate, path, path_bytes);
}

// The cache that ldconfig writes, in its present format.
struct cache_header {
    char magic[20]; // CACHE_MAGIC, no end
    uint32_t entries;
    uint32_t string_bytes;
    uint32_t unused[5];
};

struct cache_entry {
    int32_t flags;
    uint32_t key; // offsets of texts from the start of the file
    uint32_t value;
    uint32_t os_version;
    uint64_t hardware; // 0 for a library every machine can load
};

#define CACHE_FILE "/etc/ld.so.cache"
#define CACHE_MAGIC "glibc-ld.so.cache1.1"

static const char *cache_text(const char *image, size_t bytes, uint32_t offset) {
    return offset < bytes && memchr(image + offset, '\0', bytes - offset) != NULL ? image + offset : "";
}

static int search_cache(const char *image, size_t bytes, const char *soname, char *path, size_t path_bytes) {
    struct cache_header header;
    if (bytes < sizeof header)
        return 0;
    memcpy(&header, image, sizeof header);
    if (memcmp(header.magic, CACHE_MAGIC, sizeof header.magic) != 0 ||
        header.entries > (bytes - sizeof header) / sizeof(struct cache_entry))
        return 0;
    for (size_t i = 0; i < header.entries; i++) {
        struct cache_entry entry;
        memcpy(&entry, image + sizeof header + i * sizeof entry, sizeof entry);
        if (entry.hardware != 0 || strcmp(cache_text(image, bytes, entry.key), soname) != 0)
            continue;
        const char *file = cache_text(image, bytes, entry.value);
        if (os_elf_is_loadable_here(file) && os_library_real_path(file, path, path_bytes))
            return 1;
    }
    return 0;
}

static int find_in_cache(const char *soname, char *path, size_t path_bytes) {
    int file = open(CACHE_FILE, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    struct stat status;
    int found = 0;
    if (fstat(file, &status) == 0 && status.st_size > 0) {
        size_t bytes = (size_t)status.st_size;
        void *image = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
        if (image != MAP_FAILED) {
            found = search_cache(image, bytes, soname, path, path_bytes);
            munmap(image, bytes);
        }
    }
    close(file);
    return found;
}

static int find_in_list(const char *list, const char *soname, char *path, size_t path_bytes) {
    while (list != NULL && *list != '\0') {
        size_t length = strcspn(list, ":;");
        if (length > 0 && try_directory(list, length, soname, path, path_bytes))
            return 1;
        list += length + (list[length] != '\0');
    }
    return 0;
}

// The linker's own list of directories, which ends with the ones built into it.
static int find_in_system_directories(const char *soname, char *path, size_t path_bytes) {
    static char buffer[16384]; // callers are single-threaded; the list is short
    void *self = dlopen(NULL, RTLD_NOW);
    Dl_serinfo *list = (Dl_serinfo *)(void *)buffer;
    if (self == NULL || dlinfo(self, RTLD_DI_SERINFOSIZE, list) != 0 || list->dls_size > sizeof buffer ||
        dlinfo(self, RTLD_DI_SERINFO, list) != 0)
        return 0;
    for (unsigned i = 0; i < list->dls_cnt; i++) {
        const char *directory = list->dls_serpath[i].dls_name;
        if (try_directory(directory, strlen(directory), soname, path, path_bytes))
            return 1;
    }
    return 0;
}

int os_library_find(const char *soname, char *path, size_t path_bytes) {
    path[0] = '\0';
    if (strchr(soname, '/') != NULL)
        return os_elf_is_loadable_here(soname) && os_library_real_path(soname, path, path_bytes);
    return find_in_list(getenv("LD_LIBRARY_PATH"), soname, path, path_bytes) ||
           find_in_cache(soname, path, path_bytes) || find_in_system_directories(soname, path, path_bytes);
}

int os_library_executable_directory(char *path, size_t path_bytes) {
    if (!os_library_real_path(EXECUTABLE, path, path_bytes))
        return 0;
    *strrchr(path, '/') = '\0'; // a real path has one
    return 1;
}

int os_library_find_own(const char *backend, const char *library, char *path, size_t path_bytes) {
    char directory[OS_PATH_BYTES];
    path[0] = '\0';
    if (!os_library_executable_directory(directory, sizeof directory))
        return 0;
    // Beside the executable; then, from its directory up, the build tree's place and the installation's. Three steps up
    // are enough for build/tests/<suite>/ and for <prefix>/libexec/hzbench/.
    int found = try_directory(directory, strlen(directory), library, path, path_bytes);
    for (int level = 0; !found && level <= 3; level++) {
        char place[PATH_MAX];
        snprintf(place, sizeof place, "%s/allocators/%s", directory, backend);
        found = try_directory(place, strlen(place), library, path, path_bytes);
        if (!found) {
            snprintf(place, sizeof place, "%s/" INSTALL_OWN_LIBRARIES, directory);
            found = try_directory(place, strlen(place), library, path, path_bytes);
        }
        char *last = strrchr(directory, '/');
        if (last == NULL || last == directory)
            break;
        *last = '\0';
    }
    return found;
}

void os_environment_set(const char *name, const char *value) {
    setenv(name, value, 1);
}
