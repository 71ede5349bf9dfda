// SPDX-License-Identifier: Apache-2.0
// Looks at the program before anything is started, runs --setup, then the runner with all other options as they are,
// then --cleanup. Everything that is measured is the runner's. Layer: runner.
#include "hzrun_bench.h"

#include "../../allocators/loader/os_library.h"
#include "hzrun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_UNAVAILABLE = 3, EXIT_INTERRUPTED = 130 };

#define OWN_WORDS 10 // of the runner's command line, beside the user's

#define GRACE_SECONDS 5 // to end after SIGTERM

static volatile sig_atomic_t started_pid, is_late, was_interrupted;

static void hand_on(int number) {
    int saved = errno;
    if (started_pid > 0)
        kill((pid_t)started_pid, number);
    errno = saved;
}

// The terminal sends SIGINT to what was started, too, which ends by it and tells.
static void note_interrupt(int number) {
    (void)number;
    was_interrupted = 1;
}

int hzrun_bench_interrupted(void) {
    return was_interrupted;
}

static void end_late(int number) {
    int saved = errno;
    (void)number;
    if (started_pid > 0)
        kill((pid_t)started_pid, is_late ? SIGKILL : SIGTERM);
    is_late = 1;
    alarm(GRACE_SECONDS);
    errno = saved;
}

__attribute__((format(printf, 3, 4))) static int fail(const char *name, int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "hzrun %s: ", name);
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
         "  hzrun bench --alloc=system,hz5 --output=mine.csv -- convert in.png out.jpg\n"
         "  hzrun bench --alloc=system,hz5,mimalloc --rounds-until=2% -- sh -c 'a | b'\n\n"
         "  --alloc=LIST          hz3,hz5,mimalloc,system,./libmine.so,mine=./libmine.so;\n"
         "                        the first is the baseline\n"
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

// Takes "--NAME=VALUE".
static int take(const char *argument, const char *name, const char **value) {
    const size_t length = strlen(name);
    if (strncmp(argument, name, length) != 0 || argument[length] != '=')
        return 0;
    *value = argument + length + 1;
    return 1;
}

int hzrun_bench_parse(struct hzrun_bench *bench, int argc, char **argv) {
    *bench = (struct hzrun_bench){.name = argv[0]};
    bench->options = calloc((size_t)argc + 1, sizeof *bench->options);
    if (bench->options == NULL)
        return fail(bench->name, EXIT_UNAVAILABLE, "out of memory");
    for (int i = 1; i < argc && bench->program == NULL; i++)
        if (strcmp(argv[i], "--") == 0)
            bench->program = argv + i + 1;
        else if (argv[i][0] != '-')
            return fail(bench->name, EXIT_USAGE, "unexpected '%s' - put -- before the program (hzrun %s --help)",
                        argv[i], bench->name);
        else if (!take(argv[i], "--setup", &bench->setup) && !take(argv[i], "--prepare", &bench->prepare) &&
                 !take(argv[i], "--cleanup", &bench->cleanup) && !take(argv[i], "--alloc", &bench->allocators) &&
                 !take(argv[i], "--runs", &bench->runs) && !take(argv[i], "--output", &bench->output) &&
                 !take(argv[i], "--timeout", &bench->timeout))
            bench->options[bench->option_count++] = argv[i];
    if (bench->program == NULL || bench->program[0] == NULL)
        return fail(bench->name, EXIT_USAGE, "no program given - put it behind -- (hzrun %s --help)", bench->name);
    return 0;
}

int hzrun_bench_look(const struct hzrun_bench *bench) {
    static struct hzrun program; // to be looked at only
    char why[HZRUN_PATH_BYTES + 512];
    program.program = bench->program;
    if (hzrun_find_program(&program, why, sizeof why))
        return 0;
    return fail(bench->name, strstr(why, "nothing was started") != NULL ? EXIT_UNAVAILABLE : EXIT_USAGE, "%s", why);
}

int hzrun_bench_shell(const struct hzrun_bench *bench, const char *option, const char *command) {
    if (command == NULL)
        return 0;
    fflush(NULL);
    const int status = system(command);
    if (status == -1)
        return fail(bench->name, EXIT_UNAVAILABLE, "--%s: no process: %s", option, strerror(errno));
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT)
        return fail(bench->name, EXIT_INTERRUPTED, "interrupted in --%s", option);
    if (WIFSIGNALED(status))
        return fail(bench->name, EXIT_USAGE, "--%s ended by SIG%s", option, sigabbrev_np(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return fail(bench->name, EXIT_USAGE, "--%s ended with code %d: %s", option, WEXITSTATUS(status), command);
    return 0;
}

_Noreturn static void become(const char *path, char *const *words, const char *log) {
    const int nowhere = log != NULL ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    const int fd = log != NULL && log[0] != '\0' ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (nowhere >= 0)
        dup2(nowhere, STDOUT_FILENO);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
    signal(SIGINT, SIG_DFL);
    if (was_interrupted) // since the fork
        raise(SIGINT);
    execv(path, words);
    fprintf(stderr, "hzrun: %s: %s - build everything or install\n", path, strerror(errno));
    _exit(EXIT_UNAVAILABLE);
}

static int wait_for(pid_t pid, unsigned seconds) {
    static const int handed_on[] = {SIGTERM, SIGHUP};
    int status = 0;
    struct sigaction action = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    started_pid = (sig_atomic_t)pid;
    for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
        sigaction(handed_on[i], &action, NULL);
    action.sa_handler = end_late;
    sigaction(SIGALRM, &action, NULL);
    is_late = 0;
    alarm(seconds);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    alarm(0);
    started_pid = 0;
    if (is_late)
        return HZRUN_BENCH_TIMEOUT;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int hzrun_bench_start(char *const *words, const char *log, unsigned seconds) {
    char directory[OS_PATH_BYTES], path[OS_PATH_BYTES + 64];
    if (!os_library_executable_directory(directory, sizeof directory)) {
        fputs("hzrun: cannot tell where it lies itself - is /proc mounted?\n", stderr);
        return EXIT_UNAVAILABLE;
    }
    snprintf(path, sizeof path, "%s/%s", directory, words[0]);
    if (!os_library_is_file(path)) // the runner is no program of /usr/bin
        snprintf(path, sizeof path, "%s/../" INSTALL_LIBEXEC "/hzbench/%s", directory, words[0]);
    if (was_interrupted)
        return EXIT_INTERRUPTED;
    fflush(NULL);
    struct sigaction action = {.sa_handler = note_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    const pid_t pid = fork();
    if (pid == 0)
        become(path, words, log);
    if (pid > 0)
        return wait_for(pid, seconds);
    fprintf(stderr, "hzrun: no process: %s\n", strerror(errno));
    return EXIT_UNAVAILABLE;
}

// "--NAME=VALUE" in memory of its own, where there is a value.
static char *option_of(const char *name, const char *value) {
    char *text = NULL;
    return value != NULL && asprintf(&text, "--%s=%s", name, value) >= 0 ? text : NULL;
}

// The runner's command line and `more` of it; its exit code.
static int run(const struct hzrun_bench *bench, char *more, const char *log) {
    static char runner[] = "runner", dashes[] = "--";
    char *const own[] = {option_of("alloc", bench->allocators), option_of("runs", bench->runs),
                         option_of("output", bench->output), option_of("prepare", bench->prepare),
                         option_of("timeout", bench->timeout)};
    int program_words = 0, count = 0;
    while (bench->program[program_words] != NULL)
        program_words++;
    char **words = calloc((size_t)bench->option_count + (size_t)program_words + OWN_WORDS, sizeof *words);
    if (words == NULL)
        return fail(bench->name, EXIT_UNAVAILABLE, "out of memory");
    words[count++] = runner;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i] != NULL)
            words[count++] = own[i];
    for (int i = 0; i < bench->option_count; i++)
        words[count++] = bench->options[i];
    if (more != NULL)
        words[count++] = more;
    words[count++] = dashes;
    for (int i = 0; i < program_words; i++)
        words[count++] = bench->program[i];
    const int code = hzrun_bench_start(words, log, 0);
    free(words);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        free(own[i]);
    return code;
}

int hzrun_bench_measure(const struct hzrun_bench *bench) {
    return run(bench, NULL, bench->log);
}

// Whether it is there and of something else, or cannot be made: the runner looks closer when it goes on with it.
static int look_at_output(const struct hzrun_bench *bench) {
    char start[sizeof "schema,"] = "schema,", directory[PATH_MAX];
    FILE *file = fopen(bench->output, "r");
    const int is_foreign = file != NULL && fgets(start, sizeof start, file) != NULL && strcmp(start, "schema,") != 0;
    const char *slash = strrchr(bench->output, '/');
    if (file != NULL)
        fclose(file);
    if (is_foreign)
        return fail(bench->name, EXIT_USAGE, "%s: not a result file - choose another --output", bench->output);
    snprintf(directory, sizeof directory, "%.*s/", slash != NULL ? (int)(slash - bench->output) : 1,
             slash != NULL ? bench->output : ".");
    if (access(directory, W_OK | X_OK) != 0)
        return fail(bench->name, EXIT_USAGE, "%s: %s - choose another --output", bench->output, strerror(errno));
    return 0;
}

int hzrun_bench_plan(const struct hzrun_bench *bench) {
    static char plan[] = "--plan";
    const int code = bench->output != NULL ? look_at_output(bench) : 0;
    return code != 0 ? code : run(bench, plan, "");
}

int hzrun_bench(int argc, char **argv) {
    struct hzrun_bench bench;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return help();
    int code = hzrun_bench_parse(&bench, argc, argv);
    if (code == 0 && bench.allocators == NULL)
        code = fail(bench.name, EXIT_USAGE, "--alloc is missing - hzrun bench --alloc=system,hz5 -- PROGRAM");
    if (code == 0)
        code = hzrun_bench_look(&bench);
    if (code == 0 && bench.setup != NULL) // which may take long, or change what is there
        code = hzrun_bench_plan(&bench);
    if (code == 0)
        code = hzrun_bench_shell(&bench, "setup", bench.setup);
    if (code == 0) {
        code = hzrun_bench_measure(&bench);
        const int cleaned = hzrun_bench_shell(&bench, "cleanup", bench.cleanup);
        code = code == 0 ? cleaned : code;
    }
    free(bench.options);
    return code;
}
