// SPDX-License-Identifier: Apache-2.0
// What hz5's options promise: every kind of bug, times small, medium and large blocks, times the thread that commits
// it, each in a process of its own. With the option the process must end by the refusal, or by the fault, that the kind
// names; under the default profile it must not, so that a case which would pass without the option is found.
// Usage: hz5_checks LIBRARY [--case NAME]. Layer: test, preloads nothing.
#include "../support/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS 20
#define NOT_NOTICED 9
#define SETUP_FAILED 10
#define HELD 100 // blocks asked for meanwhile, none of which may be the freed one

static const size_t sizes[] = {1, 16, 24, 100, 1000, 1024, 4096, 5000, 40000, 65000, 200000, 8u << 20};
#define SIZE_COUNT (sizeof sizes / sizeof *sizes)
#define SMALL 0x3ffu // bits of these
#define LARGE 0xc00u
#define ALL 0xfffu
#define ONE 0x8u
#define ROUNDED 0x7ddu // that are not a size class

static struct test_library library;
static const struct allocator *heap;
static size_t size;
static void *(*new_one)(size_t), *(*new_array)(size_t), *(*new_aligned)(size_t, size_t);
static void (*delete_one)(void *), (*delete_array)(void *), (*delete_sized)(void *, size_t);
static void (*delete_array_sized)(void *, size_t), (*delete_aligned)(void *, size_t);

static char *take(void) {
    char *block = heap->alloc(size);
    if (block == NULL)
        _exit(SETUP_FAILED);
    memset(block, 0x5a, size < 8192 ? size : 8192);
    return block;
}

static void change(char *at) {
    *(volatile char *)at = (char)(*(volatile char *)at + 1);
}

// ---- the bugs: what they do to a block of `size` bytes is noticed, or the process lives on -------------------------

static void past_end(size_t bytes) {
    char *block = take();
    for (size_t i = 0; i < bytes; i++)
        change(block + size + i);
    heap->free(block);
}

static void one_past(void) {
    past_end(1);
}

static void string_end_past(void) {
    char *block = take();
    block[size] = 0;
    heap->free(block);
}

static void many_past(void) {
    past_end(32);
}

static void one_past_realloc(void) {
    char *block = take();
    change(block + size);
    heap->free(heap->realloc(block, size + 1));
}

// In the middle of accessible memory, as far as the allocator has made none inaccessible.
static char *take_amid(void) {
    char *volatile first = heap->alloc(4u << 20);
    char *block = take();
    char *volatile last = heap->alloc(4u << 20);
    if (first == NULL || last == NULL)
        _exit(SETUP_FAILED);
    return block;
}

static void before(size_t bytes) {
    char *block = take_amid();
    for (size_t i = 1; i <= bytes; i++)
        change(block - i);
    heap->free(block);
}

static void one_before(void) {
    before(1);
}

static void many_before(void) {
    before(32);
}

static void mebibyte_past(void) {
    char *block = take_amid();
    change(block + size + (1u << 20));
}

static void mebibyte_before(void) {
    char *block = take_amid();
    change(block - (1u << 20));
}

static void empty_read(void) {
    char *volatile block = heap->alloc(0);
    (void)*(volatile char *)block;
}

static void empty_write(void) {
    char *volatile block = heap->alloc(0);
    *(volatile char *)block = 1;
}

static void empty_freed_twice(void) {
    void *volatile block = heap->alloc(0);
    void *volatile other = heap->alloc(0);
    if (other == block)
        _exit(SETUP_FAILED);
    heap->free(block);
    heap->free(block);
}

// The block comes back to malloc.
static void write_after_free_reused(void) {
    char *volatile block = take();
    heap->free(block);
    change(block + size / 2);
    for (size_t i = 0; i < (size < 1000 ? 60000 : 300 + (12u << 20) / size); i++)
        heap->free(heap->alloc(size));
}

// Others that were freed later push it out of the quarantine, and malloc asks for nothing.
static void write_after_free_released(void) {
    static char *volatile others[5000];
    size_t count = (300u << 10) / size + 20;
    count = count < 5000 ? count : 5000;
    char *volatile block = take();
    for (size_t i = 0; i < count; i++)
        others[i] = heap->alloc(size);
    heap->free(block);
    change(block + size / 2);
    for (size_t i = 0; i < count; i++)
        heap->free(others[i]);
}

static void write_after_free(void) {
    char *volatile block = take();
    heap->free(block);
    change(block);
}

// Passes when the contents are gone, or cannot be read.
static void read_after_free(void) {
    char *volatile block = take();
    heap->free(block);
    size_t bytes = size < 8192 ? size : 8192;
    for (size_t i = 0; i < bytes; i++)
        if (((volatile char *)block)[i] == 0x5a)
            return;
    raise(SIGSEGV);
}

// Passes when no block that comes from malloc, after others were used and freed, has a byte that is not 0.
static void fresh_is_not_zero(void) {
    char *blocks[64];
    int is_zero = 1;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < (size > 1u << 20 ? 2 : 64); i++) {
            blocks[i] = heap->alloc(size);
            for (size_t at = 0; at < size; at += at < 8192 ? 1 : 511)
                is_zero &= blocks[i][at] == 0;
            memset(blocks[i], 0x5a, size);
        }
        for (int i = 0; i < (size > 1u << 20 ? 2 : 64); i++)
            heap->free(blocks[i]);
    }
    if (is_zero)
        raise(SIGSEGV);
}

// Passes when a freed block does not come back for a while.
static void comes_back_soon(void) {
    char *volatile block = take();
    heap->free(block);
    int again = 0;
    for (int i = 0; i < 10; i++) {
        char *volatile other = heap->alloc(size);
        again |= other == block;
        heap->free(other);
    }
    if (!again)
        raise(SIGSEGV);
}

// Passes when realloc moves, whatever the new size, and leaves nothing behind.
static void realloc_stays(size_t bytes) {
    char *volatile block = take();
    char *volatile moved = heap->realloc(block, bytes);
    if (moved == NULL)
        _exit(SETUP_FAILED);
    if (moved == block)
        return;
    size_t same = bytes < size ? bytes : size;
    for (size_t i = 0; i < same && i < 8192; i++)
        if (moved[i] != 0x5a)
            _exit(SETUP_FAILED);
    for (size_t i = 0; i < size && i < 8192; i++)
        if (((volatile char *)block)[i] == 0x5a)
            return;
    raise(SIGSEGV);
}

static void realloc_stays_equal(void) {
    realloc_stays(size);
}

static void realloc_stays_shorter(void) {
    realloc_stays(size / 2 + 1);
}

static void realloc_stays_longer(void) {
    realloc_stays(size + size / 4 + 1);
}

static void malloc_delete(void) {
    delete_one(heap->alloc(size));
}

static void malloc_delete_array(void) {
    delete_array(heap->alloc(size));
}

static void new_free(void) {
    heap->free(new_one(size));
}

static void new_delete_array(void) {
    delete_array(new_one(size));
}

static void new_realloc(void) {
    heap->realloc(new_one(size), size + 1);
}

static void new_array_free(void) {
    heap->free(new_array(size));
}

static void new_array_delete(void) {
    delete_one(new_array(size));
}

static void new_aligned_free(void) {
    heap->free(new_aligned(size, 64));
}

static void delete_shorter(void) {
    delete_sized(new_one(size), size / 2);
}

static void delete_longer(void) {
    delete_sized(new_one(size), size + 1);
}

static void delete_array_shorter(void) {
    delete_array_sized(new_array(size), size / 2);
}

static void free_shorter(void) {
    library.free_sized(heap->alloc(size), size / 2);
}

// ---- no bug at all: must live on with every option -----------------------------------------------------------------

static void nothing_wrong(void) {
    for (int round = 0; round < 40; round++) {
        delete_one(new_one(size));
        delete_array(new_array(size));
        delete_sized(new_one(size), size);
        delete_array_sized(new_array(size), size);
        delete_aligned(new_aligned(size, 64), 64);
        delete_aligned(new_aligned(size, 128u << 10), 128u << 10);
        library.free_sized(heap->alloc(size), size);
        char *block = take();
        memset(block, 1, heap->usable_size(block));
        block = heap->realloc(block, size * 2);
        block = heap->realloc(block, size);
        memset(block, 1, heap->usable_size(block));
        heap->free(heap->realloc(block, size / 2 + 1));
        heap->free(heap->alloc(0));
        block = heap->calloc(1, size);
        for (size_t i = 0; i < size; i += 61)
            if (block[i] != 0)
                raise(SIGSEGV);
        heap->free(block);
    }
}

struct bug {
    const char *name;
    void (*commit)(void);
    const char *options; // that must notice it, beside strict
    unsigned sizes;
    const char *small, *large; // reason, or "fault"
    int default_too;           // the default profile notices it as well
};

static const struct bug bugs[] = {
    {"one_past", one_past, "canary", ALL, "overflow", "overflow", 0},
    {"string_end_past", string_end_past, "canary", ALL, "overflow", "overflow", 0},
    {"many_past", many_past, "canary", ALL, "overflow", "overflow", 0},
    {"one_past_realloc", one_past_realloc, "canary", ALL, "overflow", "overflow", 0},
    {"one_before", one_before, "canary,guard=large", ALL, "overflow", "fault", 0},
    {"many_before", many_before, "canary,guard=large", ALL & ~1u, "overflow", "fault", 0},
    {"mebibyte_past", mebibyte_past, "guard=large", LARGE, "", "fault", 0},
    {"mebibyte_before", mebibyte_before, "guard=large", LARGE, "", "fault", 0},
    {"past_guarded", mebibyte_past, "guard=every:1", SMALL, "fault", "", 0},
    {"empty_read", empty_read, "guard=large", ONE, "fault", "", 0},
    {"empty_write", empty_write, "guard=large", ONE, "fault", "", 0},
    {"empty_freed_twice", empty_freed_twice, "guard=large", ONE, "double_free", "", 1},
    {"write_after_free_reused", write_after_free_reused, "poison", SMALL, "write_after_free", "", 0},
    {"write_after_free_zero", write_after_free_reused, "zero,poison", SMALL, "write_after_free", "", 0},
    {"write_after_free_released", write_after_free_released, "poison,quarantine=64KiB", SMALL, "write_after_free", "",
     0},
    {"write_after_free_large", write_after_free, "guard=large,quarantine=1MiB", LARGE, "", "fault", 0},
    {"write_after_free_guarded", write_after_free, "guard=every:1,quarantine=1MiB", SMALL, "fault", "", 0},
    {"read_after_free", read_after_free, "zero", ALL, "fault", "fault", 0},
    {"read_after_free_poison", read_after_free, "poison", ALL, "fault", "fault", 0},
    {"fresh_is_not_zero", fresh_is_not_zero, "zero", ALL, "fault", "fault", 0},
    {"comes_back_soon", comes_back_soon, "quarantine=2MiB,guard=large", ALL, "fault", "fault", 0},
    {"realloc_stays_equal", realloc_stays_equal, "zero", ALL, "fault", "fault", 0},
    {"realloc_stays_shorter", realloc_stays_shorter, "zero", ALL & ~1u, "fault", "fault", 0},
    {"realloc_stays_longer", realloc_stays_longer, "zero", ALL, "fault", "fault", 0},
    {"malloc_delete", malloc_delete, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"malloc_delete_array", malloc_delete_array, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"new_free", new_free, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"new_delete_array", new_delete_array, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"new_realloc", new_realloc, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"new_array_free", new_array_free, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"new_array_delete", new_array_delete, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"new_aligned_free", new_aligned_free, "kind", ALL, "kind_mismatch", "kind_mismatch", 0},
    {"delete_shorter", delete_shorter, "kind", ALL, "size_mismatch", "size_mismatch", 0},
    {"delete_longer", delete_longer, "canary", ROUNDED, "size_mismatch", "size_mismatch", 0},
    {"delete_array_shorter", delete_array_shorter, "kind", ALL, "size_mismatch", "size_mismatch", 0},
    {"free_shorter", free_shorter, "kind", ALL, "size_mismatch", "size_mismatch", 0},
};
#define BUG_COUNT (sizeof bugs / sizeof *bugs)

static const char *const sound_options[] = {"profile=strict",
                                            "canary",
                                            "zero",
                                            "poison",
                                            "kind",
                                            "random",
                                            "random=3",
                                            "quarantine=64KiB",
                                            "guard=large",
                                            "guard=every:3",
                                            "guard=every:1,quarantine=1MiB,canary",
                                            "canary,poison",
                                            "zero,random",
                                            "profile=strict,canary=off",
                                            "profile=strict,zero=off",
                                            "profile=rss,canary,kind,quarantine=1MiB"};

// ---- the driver ----------------------------------------------------------------------------------------------------

static void *commit_there(void *bug) {
    ((const struct bug *)bug)->commit();
    return NULL;
}

static void *symbol(const char *name) {
    void *found = dlsym(library.handle, name);
    if (found == NULL)
        _exit(SETUP_FAILED);
    return found;
}

static void child(const char *path, const struct bug *bug, const char *options, int other_thread) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(CHILD_SECONDS);
    setenv("HZ5_OPTIONS", options, 1);
    library = test_library_open(path);
    heap = library.table;
    *(void **)&new_one = symbol("_Znwm");
    *(void **)&new_array = symbol("_Znam");
    *(void **)&new_aligned = symbol("_ZnwmSt11align_val_t");
    *(void **)&delete_one = symbol("_ZdlPv");
    *(void **)&delete_array = symbol("_ZdaPv");
    *(void **)&delete_sized = symbol("_ZdlPvm");
    *(void **)&delete_array_sized = symbol("_ZdaPvm");
    *(void **)&delete_aligned = symbol("_ZdlPvSt11align_val_t");
    if (other_thread) {
        pthread_t thread;
        heap->free(heap->alloc(16));
        if (pthread_create(&thread, NULL, commit_there, (void *)(uintptr_t)bug) != 0)
            _exit(SETUP_FAILED);
        pthread_join(thread, NULL);
    } else {
        bug->commit();
    }
    _exit(NOT_NOTICED);
}

// 1 when the child ended as `wanted` says: a reason, "fault", or NULL, not noticed.
static int run(const char *path, const struct bug *bug, size_t size_index, const char *options, int other_thread,
               const char *wanted) {
    int errors[2];
    if (pipe(errors) != 0)
        exit(2);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(errors[1], STDERR_FILENO);
        close(errors[0]);
        close(errors[1]);
        size = sizes[size_index];
        child(path, bug, options, other_thread);
    }
    close(errors[1]);
    char text[1024];
    size_t got = 0;
    for (ssize_t part; (part = read(errors[0], text + got, sizeof text - 1 - got)) > 0;)
        got += (size_t)part;
    text[got] = '\0';
    close(errors[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    char reason[64];
    snprintf(reason, sizeof reason, "): %s: ", wanted != NULL ? wanted : "");
    int good = wanted == NULL             ? WIFEXITED(status) && WEXITSTATUS(status) == NOT_NOTICED
               : !strcmp(wanted, "fault") ? WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV
                                          : WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
                                                strncmp(text, "hz5: refused ", 13) == 0 && strstr(text, reason) != NULL;
    if (!good)
        printf("FAIL %s size %zu, options %s, %s thread: wanted %s, got %s %d, said: %s\n", bug->name,
               sizes[size_index], options, other_thread ? "another" : "the calling",
               wanted != NULL ? wanted : "no notice", WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), got != 0 ? text : "nothing");
    return good;
}

// Under the default profile the bug may do anything but be noticed in the same way.
static int is_silent(const char *path, const struct bug *bug, size_t size_index, const char *wanted) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        size = sizes[size_index];
        fclose(stderr);
        child(path, bug, "profile=balanced", 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    int is_noticed = WIFSIGNALED(status) && (strcmp(wanted, "fault") == 0) == (WTERMSIG(status) == SIGSEGV);
    if (is_noticed)
        printf("FAIL %s size %zu is noticed under the default profile, too\n", bug->name, sizes[size_index]);
    return !is_noticed;
}

#define PLACES 200

// Where blocks lie, as distances from the first: of a process with these options, and of its child after a fork.
static void places(const char *path, const char *options, ptrdiff_t own[PLACES], ptrdiff_t of_child[PLACES]) {
    int report[2];
    if (pipe(report) != 0)
        exit(2);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("HZ5_OPTIONS", options, 1);
        library = test_library_open(path);
        char *first = library.table->alloc(100);
        pid_t inner = fork();
        if (inner > 0)
            waitpid(inner, NULL, 0);
        ptrdiff_t found[PLACES];
        for (int i = 0; i < PLACES; i++)
            found[i] = (char *)library.table->alloc(100) - first;
        _exit(write(report[1], found, sizeof found) != (ssize_t)sizeof found); // the child's come first
    }
    close(report[1]);
    size_t bytes = PLACES * sizeof *own;
    if (read(report[0], of_child, bytes) != (ssize_t)bytes || read(report[0], own, bytes) != (ssize_t)bytes)
        exit(2);
    close(report[0]);
    waitpid(pid, NULL, 0);
}

// That two orders of 200 blocks are drawn alike does not happen.
static unsigned placement_fails(const char *path) {
    static const struct {
        const char *options;
        int runs_differ, child_differs;
    } wanted[] = {{"profile=balanced", 0, 0}, {"random", 1, 1}, {"random=3", 0, 1}, {"profile=strict", 1, 1}};
    unsigned failed = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        ptrdiff_t own[2][PLACES], of_child[2][PLACES];
        places(path, wanted[i].options, own[0], of_child[0]);
        places(path, wanted[i].options, own[1], of_child[1]);
        int runs_differ = memcmp(own[0], own[1], sizeof own[0]) != 0;
        int child_differs = memcmp(own[0], of_child[0], sizeof own[0]) != 0;
        if (runs_differ == wanted[i].runs_differ && child_differs == wanted[i].child_differs)
            continue;
        printf("FAIL placement with %s: runs %s, parent and child %s\n", wanted[i].options,
               runs_differ ? "differ" : "are equal", child_differs ? "differ" : "are equal");
        failed++;
    }
    return failed;
}

int main(int argc, char **argv) {
    test_library_environment(argv);
    const char *only = argc == 4 && strcmp(argv[2], "--case") == 0 ? argv[3] : NULL;
    if (argc != 2 && only == NULL) {
        fprintf(stderr, "usage: hz5_checks LIBRARY [--case NAME]\n");
        return 2;
    }
    const char *path = argv[1];
    unsigned cases = 0, failed = 0;
    for (size_t b = 0; b < BUG_COUNT; b++) {
        const struct bug *bug = &bugs[b];
        if (only != NULL && strcmp(only, bug->name) != 0)
            continue;
        for (size_t s = 0; s < SIZE_COUNT; s++) {
            if ((bug->sizes >> s & 1) == 0)
                continue;
            const char *wanted = (LARGE >> s & 1) != 0 ? bug->large : bug->small;
            for (int other = 0; other <= 1; other++) {
                cases += 2;
                failed += !run(path, bug, s, bug->options, other, wanted);
                // Strict has no guards around small blocks, and a larger quarantine.
                if (strstr(bug->options, "every") == NULL && strstr(bug->options, "64KiB") == NULL)
                    failed += !run(path, bug, s, "profile=strict", other, wanted);
            }
            cases += !bug->default_too;
            failed += !bug->default_too && !is_silent(path, bug, s, wanted);
        }
    }
    const struct bug sound = {.name = "nothing_wrong", .commit = nothing_wrong};
    for (size_t o = 0; o < sizeof sound_options / sizeof *sound_options && only == NULL; o++) {
        for (size_t s = 0; s < SIZE_COUNT; s++) {
            cases++;
            failed += !run(path, &sound, s, sound_options[o], o % 2 != 0, NULL);
        }
    }
    cases += 4 * (only == NULL);
    failed += only == NULL ? placement_fails(path) : 0;
    printf("checks: %u, failed: %u\n", cases, failed);
    return failed != 0 || cases == 0;
}
