// SPDX-License-Identifier: Apache-2.0
// hzrun advise: records the program once, replays that to learn what malloc and free cost it, measures it on all
// allocators, and says what follows. Each step is a command that a user could type. Layer: runner.
#include "hzrun_advise.h"
#include "hzrun_bench.h"

#include "../../allocators/loader/loader.h"
#include "../text/quantity.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_UNAVAILABLE = 3, EXIT_FAILED = 4, EXIT_INTERRUPTED = 130 };

#define DEFAULT_RUNS "12"     // the fewest that can decide between nine allocators
#define DEFAULT_TIMEOUT "60s" // the runner's
#define MOST_WORDS 32768

static char directory[4096];

__attribute__((format(printf, 2, 3))) static int fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("hzrun advise: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return code;
}

static int help(void) {
    puts("usage: hzrun advise [OPTION...] -- PROGRAM [ARGUMENT...]\n"
         "Which allocator for PROGRAM: records it once, measures it on each allocator\n"
         "there is, and says in at most twelve lines what the data supports.\n\n"
         "  --alloc=LIST          default: all that are there, beside system\n"
         "  --runs=N              rounds; default " DEFAULT_RUNS "\n"
         "  --setup, --prepare, --cleanup=COMMAND, --timeout=TIME, --output=NAME.csv\n"
         "                        as of hzrun bench (hzrun bench --help)\n"
         "  --from=NAME.csv       says what the rows of a bench support; measures nothing");
    return 0;
}

static const char *in_directory(const char *name) {
    static char paths[8][4500];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static int make_directory(void) {
    const char *temporary = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%.4000s/hzrun-XXXXXX",
             temporary != NULL && *temporary != '\0' ? temporary : "/tmp");
    return mkdtemp(directory) != NULL ? 0
                                      : fail(EXIT_UNAVAILABLE, "%s: %s - set TMPDIR to a directory that can be written",
                                             directory, strerror(errno));
}

static void remove_directory(void) {
    DIR *folder = opendir(directory);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.')
            unlink(in_directory(entry->d_name));
    if (folder != NULL)
        closedir(folder);
    rmdir(directory);
}

// All that are here, the C library first; not those that store nothing or fail on purpose.
static const char *list_allocators(void) {
    static char list[1024] = "system";
    for (size_t i = 0; i < allocator_backend_count; i++) {
        const char *name = allocator_backends[i].name;
        struct allocator_spec spec;
        struct allocator_provenance found;
        char why[512];
        if (strcmp(name, "null") == 0 || strcmp(name, "system") == 0 || strncmp(name, "faulty", strlen("faulty")) == 0)
            continue;
        if (allocator_spec_parse(name, &spec, why, sizeof why) == ALLOCATOR_LOADED &&
            allocator_resolve(&spec, &found, why, sizeof why) == ALLOCATOR_LOADED)
            snprintf(list + strlen(list), sizeof list - strlen(list), ",%s", name);
    }
    return list;
}

// The last line of a log.
static const char *last_line(const char *log) {
    static char line[4096];
    char next[4096];
    FILE *file = fopen(log, "r");
    line[0] = '\0';
    while (file != NULL && fgets(next, sizeof next, file) != NULL)
        if (next[strspn(next, " \t\r\n")] != '\0')
            memcpy(line, next, sizeof line);
    if (file != NULL)
        fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

static uint64_t recorded_calls(const char *log, const char *trace) {
    char line[8192], start[4300];
    uint64_t calls = 0;
    const int length = snprintf(start, sizeof start, "hzrun: %s: ", trace);
    FILE *file = fopen(log, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, start, (size_t)length) == 0)
            calls = strtoull(line + length, NULL, 10);
    if (file != NULL)
        fclose(file);
    return calls;
}

static const char *timeout_of(const struct hzrun_bench *bench) {
    return bench->timeout != NULL ? bench->timeout : DEFAULT_TIMEOUT;
}

// The runner has read the time when it made its plan.
static unsigned seconds_of(const struct hzrun_bench *bench) {
    uint64_t ns = 0;
    return quantity_time(timeout_of(bench), &ns) ? (unsigned)(ns / 1000000000) + 1 : 0;
}

static int record(const struct hzrun_bench *bench, struct advice_facts *facts) {
    static char *words[MOST_WORDS];
    static char hzrun[] = "hzrun", system_name[] = "system", dashes[] = "--";
    char option[4300], start[4400];
    const char *trace = in_directory("trace"), *log = in_directory("record.log");
    int count = 0;
    snprintf(option, sizeof option, "--record=%s", trace);
    words[count++] = hzrun;
    words[count++] = option;
    words[count++] = system_name;
    words[count++] = dashes;
    for (char **word = bench->program; *word != NULL && count + 1 < MOST_WORDS; word++)
        words[count++] = *word;
    const int prepared = hzrun_bench_shell(bench, "prepare", bench->prepare);
    const int code = prepared != 0 ? prepared : hzrun_bench_start(words, log, seconds_of(bench));
    facts->calls = recorded_calls(log, trace);
    if (prepared != 0)
        return prepared;
    if (hzrun_bench_interrupted())
        return fail(EXIT_INTERRUPTED, "interrupted while it recorded %s - nothing is measured yet", bench->program[0]);
    if (code == 0)
        return 0;
    if (code == HZRUN_BENCH_TIMEOUT)
        return fail(EXIT_FAILED, "%s did not end within %s - raise --timeout, or give a command that ends",
                    bench->program[0], timeout_of(bench));
    snprintf(start, sizeof start, "hzrun: --%s: ", option + strlen("--")); // of a file that no user has named
    if (strncmp(last_line(log), start, strlen(start)) == 0 && facts->calls == 0)
        return fail(EXIT_UNAVAILABLE, "%s: %s", bench->program[0], last_line(log) + strlen(start));
    if (strncmp(last_line(log), "hzrun: ", strlen("hzrun: ")) == 0 && facts->calls == 0)
        return fail(EXIT_UNAVAILABLE, "%s", last_line(log) + strlen("hzrun: "));
    return fail(EXIT_FAILED, "%s ended with code %d on the C library - give a command that succeeds", bench->program[0],
                code);
}

// What the recorded calls take of a CPU: on the C library without what the replay itself takes, which `null` shows.
static double replay(void) {
    char workload[4300], output[4300];
    const char *rows = in_directory("replay.csv");
    static char runner[] = "runner", allocators[] = "--alloc=system,null", runs[] = "--runs=5", settle[] = "--settle=0",
                interval[] = "--rss-interval=0", touch[] = "--touch=none", timeout[] = "--timeout=60s";
    snprintf(workload, sizeof workload, "--workload=trace:%s", in_directory("trace"));
    snprintf(output, sizeof output, "--output=%s", rows);
    char *const words[] = {runner, allocators, workload, runs, settle, interval, touch, timeout, output, NULL};
    if (hzrun_bench_start(words, in_directory("replay.log"), 0) != 0)
        return -1;
    const double with = advice_cpu(rows, "system"), without = advice_cpu(rows, "null");
    return with < 0 || without < 0 ? -1 : with > without ? with - without : 0;
}

// What the finished rounds support is told; rows of a file that the user has named are kept.
static int tell_of_interrupt(const struct hzrun_bench *bench, const struct advice_facts *facts) {
    char why[1024];
    const int is_kept = strncmp(bench->output, directory, strlen(directory)) != 0;
    const int has_rows = access(bench->output, F_OK) == 0;
    const int is_told = has_rows && advice_print(bench->output, facts, why, sizeof why);
    if (is_kept && has_rows)
        return fail(EXIT_INTERRUPTED, "interrupted: the finished samples are in %s, and the same command goes on",
                    bench->output);
    if (is_told)
        return fail(EXIT_INTERRUPTED, "interrupted: these are the finished rounds; --output=NAME.csv would keep them");
    return fail(EXIT_INTERRUPTED, "interrupted before a round was finished - nothing can be said");
}

static int measure_and_tell(struct hzrun_bench *bench) {
    struct advice_facts facts = {.allocator_cpu = -1};
    char why[1024];
    int code = record(bench, &facts);
    if (code != 0)
        return code;
    facts.allocator_cpu = replay();
    bench->log = "";
    code = hzrun_bench_measure(bench);
    if (code == EXIT_INTERRUPTED)
        return tell_of_interrupt(bench, &facts);
    if ((code != 0 && code != EXIT_FAILED && code != EXIT_UNAVAILABLE) ||
        (code != 0 && access(bench->output, F_OK) != 0))
        return code; // the runner has said why
    if (!advice_print(bench->output, &facts, why, sizeof why))
        return fail(code != 0 ? code : EXIT_FAILED, "%s", why);
    return code;
}

static int tell_from(const char *file) {
    char why[1024];
    const struct advice_facts facts = {.allocator_cpu = -1};
    return advice_print(file, &facts, why, sizeof why) ? 0 : fail(EXIT_USAGE, "%s", why);
}

int hzrun_advise(int argc, char **argv) {
    struct hzrun_bench bench;
    char output[4300];
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return help();
        if (strncmp(argv[i], "--from=", strlen("--from=")) == 0)
            return tell_from(argv[i] + strlen("--from="));
    }
    int code = hzrun_bench_parse(&bench, argc, argv);
    if (code == 0)
        code = hzrun_bench_look(&bench);
    if (code == 0)
        code = make_directory();
    if (code == 0) {
        snprintf(output, sizeof output, "%s", in_directory("bench.csv"));
        bench.output = bench.output != NULL ? bench.output : output;
        bench.allocators = bench.allocators != NULL ? bench.allocators : list_allocators();
        bench.runs = bench.runs != NULL ? bench.runs : DEFAULT_RUNS;
        code = hzrun_bench_plan(&bench);
        if (code == 0)
            code = hzrun_bench_shell(&bench, "setup", bench.setup);
        if (code == 0) {
            code = measure_and_tell(&bench);
            const int cleaned = hzrun_bench_shell(&bench, "cleanup", bench.cleanup);
            code = code == 0 ? cleaned : code;
        }
        remove_directory();
    }
    free(bench.options);
    return code;
}
