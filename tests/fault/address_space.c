// SPDX-License-Identifier: Apache-2.0
// A preloaded allocator where address space is limited (RLIMIT_AS) from the start or by the program itself, and what a
// core dump of a process contains. Preloads the library and begins again; each case runs in a process of its own.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define SMALL_BYTES ((size_t)4000)
#define START_PERCENT 85u // of the limit, to be had in blocks
// In blocks of 4000 bytes of a class with room for 4160, beside what caches keep of the large blocks before them.
#define START_SMALL_PERCENT 80u

static void die(const char *what, size_t value) {
    fprintf(stderr, "address_space: %s (%zu)\n", what, value);
    _exit(1);
}

static void limit_address_space(size_t bytes) {
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        die("setrlimit failed", (size_t)errno);
}

static void *touch_heap(void *unused) {
    (void)unused;
    void **block = malloc(1000);
    if (block == NULL)
        die("a thread has no memory", 1000);
    *block = NULL;
    free(block);
    return NULL;
}

// What the program maps itself, a thread's stack among it.
static void map_and_start_thread(void) {
    void *mapping = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        die("mmap failed", MIB);
    munmap(mapping, MIB);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, touch_heap, NULL);
    if (error != 0)
        die("pthread_create failed", (size_t)error);
    pthread_join(thread, NULL);
}

// Blocks until there are no more, linked; returns their bytes and frees them.
static size_t fill(size_t bytes) {
    size_t got = 0;
    void **head = NULL;
    for (void **block; (block = malloc(bytes)) != NULL; got += bytes) {
        *block = (void *)head;
        head = block;
    }
    while (head != NULL) {
        void **next = (void **)*head;
        free(head);
        head = next;
    }
    return got;
}

static int under_limit(size_t limit) {
    if (limit > 200 * MIB) // the C library keeps the thread's stack, 8 MiB
        map_and_start_thread();
    void *block = malloc(limit / 100 * 55);
    if (block == NULL)
        die("no block of 55 % of a limit of so many MiB", limit / MIB);
    free(block);
    size_t large = fill(MIB);
    if (large < limit / 100 * START_PERCENT)
        die("too little of the limit to be had in blocks of 1 MiB, %", large * 100 / limit);
    if (limit > 1024 * MIB)
        return 0; // enough said, and small blocks would take long
    size_t small = fill(SMALL_BYTES);
    if (small < limit / 100 * START_SMALL_PERCENT)
        die("too little of the limit to be had in small blocks, %", small * 100 / limit);
    return 0;
}

static void expect_success(pid_t pid, const char *what, size_t value) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die(what, value);
}

static int run_start(char **argv) {
    static const size_t limits[] = {8192 * MIB, 1953 * MIB, 977 * MIB, 391 * MIB, 117 * MIB};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char text[24];
            snprintf(text, sizeof text, "%zu", limits[i]);
            limit_address_space(limits[i]);
            execl("/proc/self/exe", argv[0], "under", argv[2], text, (char *)NULL);
            _exit(3);
        }
        expect_success(pid, "failed under a limit of so many MiB", limits[i] / MIB);
    }
    return 0;
}

// ---- a limit that the program sets itself
// ----------------------------------------------------------------------------

static void limited_later(size_t limit) {
    char *before = malloc(SMALL_BYTES);
    char *kept = malloc(3 * MIB);
    if (before == NULL || kept == NULL)
        die("no memory", 0);
    memset(before, 7, SMALL_BYTES);
    memset(kept, 7, 3 * MIB);
    limit_address_space(limit);
    map_and_start_thread();
    char *large = malloc(limit / 4);
    if (large == NULL)
        die("no quarter of a limit of so many MiB", limit / MIB);
    memset(large, 1, limit / 4);
    map_and_start_thread();
    if (fill(SMALL_BYTES) < limit / 2)
        die("not half of the limit in small blocks beside a quarter in one, MiB", limit / MIB);
    if (before[SMALL_BYTES - 1] != 7 || kept[3 * MIB - 1] != 7)
        die("contents have changed", 0);
    free(large);
    free(before);
    free(kept);
    limit_address_space(SIZE_MAX); // no limit
    char *beyond = malloc(2 * limit);
    if (beyond == NULL)
        die("no memory beyond a limit that is no more, MiB", limit / MIB);
    beyond[2 * limit - 1] = 1;
    free(beyond);
    map_and_start_thread();
}

// Where memory of the allocator was reserved before the limit came: refused, or the end of the process by abort().
static void free_where_nothing_is(void) {
    char *block = malloc(SMALL_BYTES);
    limit_address_space(400 * MIB);
    free(block + ((size_t)20 << 30));
}

static int run_later(void) {
    static const size_t limits[] = {4096 * MIB, 400 * MIB, 200 * MIB};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            limited_later(limits[i]);
            _exit(0);
        }
        expect_success(pid, "failed after a limit of so many MiB", limits[i] / MIB);
    }
    pid_t pid = fork();
    if (pid == 0) {
        free_where_nothing_is();
        _exit(0);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || (WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT))
        die("a free of an address that was reserved ended the process by signal", (size_t)WTERMSIG(status));
    return 0;
}

// ---- dumps
// -----------------------------------------------------------------------------------------------------------

#define DUMP_BLOCKS 50000u

// Anonymous memory that a dump contains, as gdb and the kernel decide; whether `address` is in it.
static size_t dumped_bytes(const void *address, int *is_in) {
    FILE *file = fopen("/proc/self/smaps", "r");
    if (file == NULL)
        die("no /proc/self/smaps", (size_t)errno);
    size_t sum = 0;
    unsigned long from = 0, to = 0, inode = 0;
    char line[512];
    *is_in = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long low, high, file_inode;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &low, &high, &file_inode) == 3) {
            from = low;
            to = high;
            inode = file_inode;
        }
        if (strncmp(line, "VmFlags:", 8) != 0 || inode != 0 || strstr(line, " dd") != NULL ||
            strstr(line, " io") != NULL)
            continue;
        sum += to - from;
        *is_in |= (uintptr_t)address >= from && (uintptr_t)address < to;
    }
    fclose(file);
    return sum;
}

static int dump(void) {
    static char *blocks[DUMP_BLOCKS];
    for (size_t i = 0; i < DUMP_BLOCKS; i++) {
        blocks[i] = malloc(1000);
        if (blocks[i] == NULL)
            die("no memory", i);
        memset(blocks[i], 1, 1000);
    }
    int is_in;
    size_t bytes = dumped_bytes(blocks[DUMP_BLOCKS - 1], &is_in);
    if (!is_in)
        die("a block in use is not in the dump", bytes);
    printf("%zu\n", bytes);
    return 0;
}

static size_t dump_of(char **argv, const char *library) {
    char command[2048];
    snprintf(command, sizeof command, "LD_PRELOAD='%s' '%s' dump '%s' one", library, argv[0], argv[2]);
    FILE *pipe = popen(command, "r"); // NOLINT(bugprone-command-processor): the test's own paths
    size_t bytes = 0;
    if (pipe == NULL || fscanf(pipe, "%zu", &bytes) != 1 || pclose(pipe) != 0)
        die("no dump measured", 0);
    return bytes;
}

static int run_dump(char **argv) {
    size_t libc = dump_of(argv, "");
    size_t own = dump_of(argv, argv[2]);
    printf("a dump has %zu bytes, with the C library's malloc %zu\n", own, libc);
    return own > libc + libc / 2;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: address_space start|later|dump LIBRARY\n");
        return 2;
    }
    if (strcmp(argv[1], "dump") == 0)
        return argc == 4 ? dump() : run_dump(argv);
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded == NULL || strcmp(preloaded, argv[2]) != 0) {
        setenv("LD_PRELOAD", argv[2], 1);
        execv("/proc/self/exe", argv);
        return 3;
    }
    if (strcmp(argv[1], "under") == 0)
        return under_limit((size_t)strtoull(argv[3], NULL, 10));
    return strcmp(argv[1], "start") == 0 ? run_start(argv) : run_later();
}
