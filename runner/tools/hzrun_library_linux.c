// SPDX-License-Identifier: Apache-2.0
// libhzrun.so, preloaded behind an allocator: proves before main that malloc is the allocator's, in every process of
// the program, and reports what it held at exit. Uses no memory of the heap it reports on. Layer: runner; inside a
// foreign program, so it needs nothing but the C library and leaves no descriptor, thread or handler behind.
#include "hzrun_report.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char report_path[512]; // copied: a program may clear its environment
static char library_path[512];
static int is_silent; // the program has ended its report, or there is none to write

static void copy_text(char *to, size_t to_bytes, const char *from) {
    size_t bytes = strnlen(from, to_bytes - 1);
    memcpy(to, from, bytes);
    to[bytes] = '\0';
}

static void append(const struct hzrun_report *report) {
    int fd = open(report_path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return; // hzrun has ended before this process, or the program may not write there; hzrun says what is missing
    ssize_t ignored = write(fd, report, sizeof *report);
    (void)ignored;
    close(fd);
}

// The object whose definition of `symbol` calls reach. A program that is not position-independent and takes the
// address of an undefined function has an entry for it in its own symbol table, which stands for the next definition in
// the order of the search.
static const char *object_of(const char *symbol) {
    Dl_info info;
    const ElfW(Sym) *entry = NULL;
    struct link_map *map = NULL;
    void *address = dlsym(RTLD_DEFAULT, symbol);
    if (address == NULL || dladdr1(address, &info, (void **)&entry, RTLD_DL_SYMENT) == 0 ||
        dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) == 0)
        return "no library";
    if (entry == NULL || entry->st_shndx != SHN_UNDEF)
        return info.dli_fname;
    for (map = map->l_next; map != NULL; map = map->l_next) {
        struct link_map *found = NULL;
        void *handle = dlopen(map->l_name, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
        address = handle != NULL ? dlsym(handle, symbol) : NULL;
        if (address != NULL && dladdr1(address, &info, (void **)&found, RTLD_DL_LINKMAP) != 0 && found == map)
            return map->l_name;
    }
    return "no library";
}

static int is_library(const char *object) {
    struct stat wanted, found;
    return stat(library_path, &wanted) == 0 && stat(object, &found) == 0 && wanted.st_dev == found.st_dev &&
           wanted.st_ino == found.st_ino;
}

static uint64_t peak_bytes(void) {
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *line = strstr(text, "VmHWM:");
    return line != NULL ? strtoull(line + strlen("VmHWM:"), NULL, 10) << 10 : 0;
}

static struct hzrun_report report_of(enum hzrun_event event) {
    struct hzrun_report report = {.event = event, .pid = (int32_t)getpid()};
    copy_text(report.program, sizeof report.program, program_invocation_short_name);
    return report;
}

// Why malloc is not the library's.
static const char *reason(void) {
    void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    struct link_map *own = NULL, *map = NULL;
    Dl_info info;
    if (library == NULL)
        return "the linker could not load the library (it says why above)";
    void *address = dlsym(library, "malloc");
    if (address == NULL || dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 ||
        dlinfo(library, RTLD_DI_LINKMAP, &own) != 0 || map != own)
        return "the library exports no malloc";
    return "it brings a malloc of its own, which a preloaded one cannot replace";
}

// The program itself must not run on a heap that nobody asked for; a descendant with a malloc of its own is its
// program's business and only told.
static void other_heap(const char *object) {
    const char *pid = secure_getenv(HZRUN_PID_ENV);
    struct hzrun_report report = report_of(HZRUN_OTHER);
    copy_text(report.other, sizeof report.other, object);
    append(&report);
    if (pid == NULL || strtol(pid, NULL, 10) != (long)getpid())
        return;
    char line[512];
    int bytes = snprintf(line, sizeof line, "hzrun: %s would take malloc from %s, not from %s: %s - not started\n",
                         report.program, object, library_path, reason());
    ssize_t ignored = write(STDERR_FILENO, line, bytes < (int)sizeof line ? (size_t)bytes : sizeof line - 1);
    (void)ignored;
    _exit(3);
}

// The recorder of hzrun --record stands in front of the allocator: the object behind it. NULL: there is none.
static const char *object_behind_recorder(const char *symbol) {
    Dl_info info;
    void *(*real)(const char *name) = NULL;
    *(void **)(void *)&real = dlsym(RTLD_DEFAULT, "hzrecord_real");
    void *address = real != NULL ? real(symbol) : NULL;
    return address != NULL && dladdr(address, &info) != 0 ? info.dli_fname : NULL;
}

__attribute__((constructor)) static void begin(void) {
    // secure_getenv: a program with privileges that its caller lacks writes to no path that the caller names.
    const char *path = secure_getenv(HZRUN_REPORT_ENV);
    const char *library = secure_getenv(HZRUN_LIBRARY_ENV);
    if (path == NULL || library == NULL) {
        is_silent = 1;
        return;
    }
    int saved = errno;
    copy_text(report_path, sizeof report_path, path);
    copy_text(library_path, sizeof library_path, library);
    is_silent = secure_getenv(HZRUN_STATS_ENV) == NULL;
    static const char *const symbols[] = {"malloc", "free", "realloc"};
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        const char *behind = object_behind_recorder(symbols[i]);
        const char *object = behind != NULL ? behind : object_of(symbols[i]);
        if (!is_library(object)) {
            is_silent = 1;
            other_heap(object);
            errno = saved;
            return;
        }
    }
    struct hzrun_report report = report_of(HZRUN_TOOK);
    append(&report);
    errno = saved;
}

// After the program's own exit handlers: what it still holds then is what it never gave back.
__attribute__((destructor)) static void end(void) {
    if (is_silent)
        return;
    int saved = errno;
    struct hzrun_report report = report_of(HZRUN_ENDED);
    report.peak_bytes = peak_bytes();
    memset(&report.stats, 0xff, sizeof report.stats); // ALLOCATOR_NOT_TOLD
    const struct allocator *table = dlsym(RTLD_DEFAULT, ALLOCATOR_TABLE_SYMBOL);
    if (table != NULL && table->abi_version == ALLOCATOR_ABI_VERSION && table->stats != NULL)
        table->stats(&report.stats);
    append(&report);
    errno = saved;
}
