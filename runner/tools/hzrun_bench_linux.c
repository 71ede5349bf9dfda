// SPDX-License-Identifier: Apache-2.0
// Looks at the program before anything is started, runs --setup, then the runner with all other options as they are,
// then --cleanup. Everything that is measured is the runner's. Layer: runner.
#include "hzrun_bench.h"

#include "../../allocators/loader/os_library.h"
#include "hzrun.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_UNAVAILABLE = 3 };

struct bench {
    const char *setup, *cleanup; // NULL: none
    char **arguments;            // of the runner, ends with NULL
    int count;
    char **program;
};

static volatile sig_atomic_t runner_pid;

static void hand_on(int number) {
    int saved = errno;
    if (runner_pid > 0)
        kill((pid_t)runner_pid, number);
    errno = saved;
}

__attribute__((format(printf, 2, 3))) static int fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("hzrun bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return code;
}

static int help(void) {
    puts("usage: hzrun bench --alloc=LIST [OPTION...] -- PROGRAM [ARGUMENT...]\n"
         "Measures PROGRAM on each allocator: fresh processes, the order shuffled anew in\n"
         "each round; wall and CPU time and peak memory of all its processes; proof in\n"
         "each process that the allocator took.\n\n"
         "  hzrun bench --alloc=hz5,system --output=mine.csv -- convert in.png out.jpg\n"
         "  hzrun bench --alloc=hz5,mimalloc,system --rounds-until=2% -- sh -c 'a | b'\n\n"
         "  --alloc=LIST          hz3,hz5,mimalloc,system,./libmine.so; the first is the\n"
         "                        baseline\n"
         "  --setup=COMMAND       runs once in a shell before all samples\n"
         "  --prepare=COMMAND     before each sample\n"
         "  --cleanup=COMMAND     once after the last one, interrupted or not\n"
         "  --runs=N              rounds; default 5\n"
         "  --rounds-until=P%     until each difference is decided, at most --budget=TIME\n"
         "  --timeout=TIME        of one sample; default 60s\n"
         "  --output=NAME.csv     keeps each sample; the same command resumes. Then:\n"
         "                        scripts/tables, figures, report, compare, gate NAME.csv\n"
         "All other options are the runner's (runner --help), the exit codes, too.\n"
         "PROGRAM reads nothing, what it prints is thrown away; use sh -c 'PROGRAM >FILE'.");
    return 0;
}

// "--NAME=VALUE" or NULL.
static const char *value_of(const char *argument, const char *name) {
    const size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

static int parse(struct bench *bench, int argc, char **argv) {
    int has_allocators = 0;
    bench->arguments = calloc((size_t)argc + 2, sizeof *bench->arguments);
    if (bench->arguments == NULL)
        return fail(EXIT_UNAVAILABLE, "out of memory");
    static char name[] = "runner";
    bench->arguments[bench->count++] = name;
    for (int i = 1; i < argc; i++) {
        const char *setup = value_of(argv[i], "--setup"), *cleanup = value_of(argv[i], "--cleanup");
        if (strcmp(argv[i], "--") == 0)
            bench->program = argv + i + 1;
        if (setup != NULL)
            bench->setup = setup;
        else if (cleanup != NULL)
            bench->cleanup = cleanup;
        else if (bench->program == NULL && argv[i][0] != '-')
            return fail(EXIT_USAGE, "unexpected '%s' - put -- before the program (hzrun bench --help)", argv[i]);
        else
            bench->arguments[bench->count++] = argv[i];
        has_allocators |= value_of(argv[i], "--alloc") != NULL;
        if (bench->program != NULL)
            break;
    }
    if (bench->program == NULL || bench->program[0] == NULL)
        return fail(EXIT_USAGE, "no program given - hzrun bench --alloc=hz5,system -- PROGRAM (hzrun bench --help)");
    if (!has_allocators)
        return fail(EXIT_USAGE, "--alloc is missing - hzrun bench --alloc=hz5,system -- PROGRAM (hzrun bench --help)");
    for (char **word = bench->program; *word != NULL; word++)
        bench->arguments[bench->count++] = *word;
    return 0;
}

static int run_shell(const char *name, const char *command) {
    fflush(NULL);
    const int status = system(command);
    if (status == -1)
        return fail(EXIT_UNAVAILABLE, "--%s: no process: %s", name, strerror(errno));
    if (WIFSIGNALED(status))
        return fail(EXIT_USAGE, "--%s ended by SIG%s", name, sigabbrev_np(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return fail(EXIT_USAGE, "--%s ended with code %d: %s", name, WEXITSTATUS(status), command);
    return 0;
}

int hzrun_bench_runner(char *const *arguments, int output) {
    static const int handed_on[] = {SIGTERM, SIGHUP};
    char directory[OS_PATH_BYTES], path[OS_PATH_BYTES + 8];
    int status = 0;
    if (!os_library_executable_directory(directory, sizeof directory))
        return fail(EXIT_UNAVAILABLE, "cannot tell where it lies itself - is /proc mounted?");
    snprintf(path, sizeof path, "%s/runner", directory);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        if (output >= 0)
            dup2(output, STDOUT_FILENO);
        execv(path, arguments);
        fprintf(stderr, "hzrun: %s: %s - build everything or install\n", path, strerror(errno));
        _exit(EXIT_UNAVAILABLE);
    }
    if (pid < 0)
        return fail(EXIT_UNAVAILABLE, "no process: %s", strerror(errno));
    runner_pid = (sig_atomic_t)pid;
    struct sigaction action = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
        sigaction(handed_on[i], &action, NULL);
    action.sa_handler = SIG_IGN; // the terminal sends it to the runner, too, which ends its sample and tells
    sigaction(SIGINT, &action, NULL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    runner_pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int hzrun_bench(int argc, char **argv) {
    static struct hzrun program; // to be looked at only
    struct bench bench = {0};
    char why[HZRUN_PATH_BYTES + 512];
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return help();
    int code = parse(&bench, argc, argv);
    program.program = bench.program;
    if (code == 0 && !hzrun_find_program(&program, why, sizeof why))
        code = fail(strstr(why, "nothing was started") != NULL ? EXIT_UNAVAILABLE : EXIT_USAGE, "%s", why);
    if (code == 0 && bench.setup != NULL)
        code = run_shell("setup", bench.setup);
    if (code == 0) {
        code = hzrun_bench_runner(bench.arguments, -1);
        const int cleaned = bench.cleanup != NULL ? run_shell("cleanup", bench.cleanup) : 0;
        code = code == 0 ? cleaned : code;
    }
    free(bench.arguments);
    return code;
}
