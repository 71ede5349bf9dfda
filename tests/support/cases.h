// SPDX-License-Identifier: Apache-2.0
// Test programs of many cases, a function each, that run preloaded: what a case expects, and a process of its own for
// each case. Layer: test support, header only.
#ifndef TESTS_SUPPORT_CASES_H
#define TESTS_SUPPORT_CASES_H

#include "../../allocators/allocator.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SKIP_CODE 77 // the exit code of a case that cannot be made here

// Ends the process: the case has failed. Needs no memory.
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            dprintf(STDOUT_FILENO, "  %s, line %d\n", #condition, __LINE__);                                           \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

struct test_case {
    const char *name;
    void (*run)(void);
};

// The table of the preloaded library.
static inline const struct allocator *test_table(void) {
    const struct allocator *found = dlsym(RTLD_DEFAULT, ALLOCATOR_TABLE_SYMBOL);
    EXPECT(found != NULL);
    return found;
}

// Without memory.
static inline long test_resident_kib(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *second = strchr(text, ' ');
    EXPECT(second != NULL);
    return strtol(second, NULL, 10) * 4;
}

static inline void test_no_core(void) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
}

// The exit code of a case's process; 1 if a signal ended it.
static inline int test_case_result(pid_t pid) {
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    if (WIFSIGNALED(status))
        printf("  ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

// In a child of this process.
static inline int test_case_forked(const struct test_case *chosen, unsigned seconds) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        test_no_core();
        alarm(seconds);
        chosen->run();
        fflush(stdout);
        _exit(0);
    }
    return test_case_result(pid);
}

// In this program, started anew: `PROGRAM NAME`, whose main() calls test_case_named().
static inline int test_case_fresh(const struct test_case *chosen) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        test_no_core();
        execl("/proc/self/exe", "cases", chosen->name, (char *)NULL);
        _exit(2);
    }
    return test_case_result(pid);
}

// Runs the case of this name; 0 if there is none.
static inline int test_case_named(const struct test_case *cases, size_t count, const char *name, unsigned seconds) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cases[i].name, name) != 0)
            continue;
        alarm(seconds);
        cases[i].run();
        return 1;
    }
    return 0;
}

#endif
