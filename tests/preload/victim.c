// SPDX-License-Identifier: Apache-2.0
// A program for the tests of hzrun: does what its first argument says. Layer: test.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// Taken in a program at a fixed address, it gives the function an entry in the program's own symbol table.
static void *(*volatile victim_malloc)(size_t) = malloc;

static int bad_free(void) {
    char *volatile block = malloc(100);
    free(block + 8); // interior and not on a multiple of 16
    free(block);
    return 0;
}

static int foreign_free(void) {
    static char own[64];
    char *volatile block = own + 16;
    free(malloc(100));
    free(block);
    return 0;
}

static int hold(void) {
    size_t bytes = (size_t)64 << 20;
    char *volatile block = victim_malloc(bytes);
    if (block == NULL)
        return 1;
    memset(block, 1, bytes);
    return 0; // held until the end
}

static int wait_for_signal(void) {
    sigset_t set;
    int got = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    puts("ready");
    fflush(stdout);
    sigwait(&set, &got);
    return got == SIGTERM ? 42 : 1;
}

static int family(char **argv) {
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", argv[0], "exit", "5", (char *)NULL);
        _exit(9);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "exit") == 0)
        return argc > 2 ? atoi(argv[2]) : 0;
    if (strcmp(what, "bad-free") == 0)
        return bad_free();
    if (strcmp(what, "foreign-free") == 0)
        return foreign_free();
    if (strcmp(what, "hold") == 0)
        return hold();
    if (strcmp(what, "signal") == 0)
        return wait_for_signal();
    if (strcmp(what, "family") == 0)
        return family(argv);
    if (strcmp(what, "die") == 0)
        raise(SIGSEGV);
    return 2;
}
