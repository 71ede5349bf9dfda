// SPDX-License-Identifier: Apache-2.0
// hzrun: runs a program on an allocator of one's choice, proves that it did, and says at exit what the program held.
// The command line, the summary and the exit code; everything of the operating system is behind hzrun.h. Layer: runner.
#include "hzrun_advise.h"
#include "hzrun_bench.h"
#include "hzrun_record.h"

#include "../../allocators/loader/edit_distance.h"
#include "../../allocators/loader/loader.h"
#include "../../allocators/loader/os_elf.h"
#include "../../allocators/loader/os_library.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_BYTES 8192

enum { EXIT_USAGE = 2, EXIT_UNAVAILABLE = 3 };

// What an option sets; --stats is one flag and one optional file.
struct request {
    int wants_stats;
    const char *stats_file;
    const char *record_file; // NULL: not recorded
    const char *record_only; // NULL: all programs
};

struct option {
    const char *name;
    const char *value; // NULL: takes none; "=WHAT"; "[=WHAT]": may be left out
    const char *help;
    void (*apply)(struct hzrun *run, struct request *request, const char *value);
};

static void want_stats(struct hzrun *run, struct request *request, const char *value) {
    request->wants_stats = 1;
    request->stats_file = value;
    hzrun_set(run, HZRUN_STATS_ENV, "1");
}

static void want_record(struct hzrun *run, struct request *request, const char *value) {
    (void)run; // once the allocator is known
    request->record_file = value;
}

static void want_record_only(struct hzrun *run, struct request *request, const char *value) {
    (void)run;
    request->record_only = value;
}

// THE list of options; the help and the parser follow from it.
static const struct option options[] = {
    {"stats", "[=FILE]", "at the end print what the program held (FILE: there)", want_stats},
    {"record", "=FILE", "record all allocations, for the workload trace:FILE", want_record},
    {"record-only", "=NAME", "with --record: of programs of that name only", want_record_only},
};
#define OPTION_COUNT (sizeof options / sizeof options[0])

__attribute__((format(printf, 2, 3))) _Noreturn static void fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("hzrun: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

static void list_allocators(void) {
    for (size_t i = 0; i < allocator_backend_count; i++)
        if (strcmp(allocator_backends[i].name, "null") != 0) // exports no malloc
            printf("  %-10s %s\n", allocator_backends[i].name, allocator_backends[i].summary);
    puts("  ./NAME.so  any library that exports malloc, by its path");
}

static void help(void) {
    puts("usage: hzrun [OPTION...] ALLOCATOR [SETTINGS] -- PROGRAM [ARGUMENT...]\n"
         "       hzrun bench --alloc=LIST [OPTION...] -- PROGRAM [ARGUMENT...]\n"
         "       hzrun advise [OPTION...] -- PROGRAM [ARGUMENT...]\n"
         "Runs PROGRAM with ALLOCATOR preloaded, proves that it took, and ends as PROGRAM\n"
         "does. hzrun bench --help, hzrun advise --help: of the other two.\n\n"
         "  hzrun hz5 -- python3 script.py\n"
         "  hzrun --stats hz5 profile=rss -- make\n\n"
         "SETTINGS go to the allocator as in the runner's braces: hz5 rss,\n"
         "hz5 profile=strict,reject=report.\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char text[64];
        snprintf(text, sizeof text, "--%s%s", options[i].name, options[i].value != NULL ? options[i].value : "");
        printf("  %-19s %s\n", text, options[i].help);
    }
    puts("  --list-allocators   what there is\n  --help              this\n\nAllocators:");
    list_allocators();
    puts("\nExit codes of hzrun itself: 2 bad command line or no such program, 3 the\n"
         "allocator is not there or cannot take part in the program. All others are the\n"
         "program's.");
}

static void parse_option(struct hzrun *run, struct request *request, const char *text) {
    const char *name = text + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    if (strcmp(name, "help") == 0) {
        help();
        exit(0);
    }
    if (strcmp(name, "list-allocators") == 0) {
        list_allocators();
        exit(0);
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &options[i];
        if (strlen(option->name) != length || strncmp(option->name, name, length) != 0)
            continue;
        int may_be_bare = option->value == NULL || option->value[0] == '[';
        if (value != NULL && (option->value == NULL || *value == '\0'))
            fail(EXIT_USAGE, "--%s%s (hzrun --help)", option->name,
                 option->value == NULL ? " takes no value" : "= is followed by nothing");
        if (value == NULL && !may_be_bare)
            fail(EXIT_USAGE, "--%s needs a value: --%s%s", option->name, option->name, option->value);
        option->apply(run, request, value);
        return;
    }
    fail(EXIT_USAGE, "unknown option '%s' (hzrun --help)", text);
}

// Everything before `--`: options anywhere, the allocator, its settings.
static void parse(int argc, char **argv, struct hzrun *run, struct request *request, char *spec, size_t spec_bytes) {
    const char *allocator = NULL, *settings = NULL;
    int at = 1;
    for (; at < argc && strcmp(argv[at], "--") != 0; at++)
        if (strncmp(argv[at], "--", 2) == 0)
            parse_option(run, request, argv[at]);
        else if (argv[at][0] == '-')
            fail(EXIT_USAGE, "unknown option '%s' (hzrun --help)", argv[at]);
        else if (allocator == NULL)
            allocator = argv[at];
        else if (settings == NULL)
            settings = argv[at];
        else
            fail(EXIT_USAGE, "'%s' is one word too many - put -- before the program", argv[at]);
    if (allocator == NULL)
        fail(EXIT_USAGE, "no allocator given - hzrun hz5 -- PROGRAM (hzrun --help lists them)");
    if (at + 1 >= argc)
        fail(EXIT_USAGE, "no program given - put it behind --: hzrun %s -- PROGRAM", allocator);
    run->program = argv + at + 1;
    if (snprintf(spec, spec_bytes, settings != NULL ? "%s{%s}" : "%s", allocator, settings) >= (int)spec_bytes)
        fail(EXIT_USAGE, "'%.40s...' is too long", allocator);
}

// ---- the summary ---------------------------------------------------------------------------------------------------

struct summary {
    int pid;                                  // of the program
    unsigned took, other, ended;              // processes
    int program_took;                         // the proof
    struct hzrun_report program;              // its last report
    uint64_t rejects[ALLOCATOR_REJECT_COUNT]; // of all processes
    char other_program[32], other_object[96];
};

static void count_report(const struct hzrun_report *report, void *context) {
    struct summary *summary = context;
    int is_program = report->pid == summary->pid;
    if (report->event == HZRUN_TOOK) {
        summary->took++;
        summary->program_took |= is_program;
    } else if (report->event == HZRUN_OTHER) {
        summary->other++;
        summary->program_took |= is_program; // it has said so itself and exited
        snprintf(summary->other_program, sizeof summary->other_program, "%s", report->program);
        snprintf(summary->other_object, sizeof summary->other_object, "%s", report->other);
    } else if (report->event == HZRUN_ENDED) {
        summary->ended++;
        if (is_program)
            summary->program = *report;
        for (int i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
            summary->rejects[i] += report->stats.rejects[i] != ALLOCATOR_NOT_TOLD ? report->stats.rejects[i] : 0;
    }
}

static const char *amount(uint64_t bytes, char *text, size_t text_bytes) {
    if (bytes == ALLOCATOR_NOT_TOLD)
        snprintf(text, text_bytes, "not told");
    else
        snprintf(text, text_bytes, "%.2f MiB", (double)bytes / (1 << 20));
    return text;
}

static void print_rejects(FILE *out, const uint64_t *rejects) {
    const char *separator = "  rejects: ";
    int any = 0;
    for (int i = 0; i < ALLOCATOR_REJECT_COUNT; i++) {
        if (rejects[i] == 0)
            continue;
        fprintf(out, "%s%s %" PRIu64, separator, allocator_reject_names[i], rejects[i]);
        separator = ", ";
        any = 1;
    }
    fputs(any ? "\n" : "  rejects: none\n", out);
}

static void print_summary(FILE *out, const struct allocator_spec *spec, const char *library, const struct hzrun *run,
                          const struct summary *summary, const struct hzrun_end *end) {
    char peak[32], committed[32], live[32], metadata[32];
    const struct allocator_stats *stats = &summary->program.stats;
    fprintf(out, "hzrun: %s took in %u process image%s of %s (%s)\n", spec->text, summary->took,
            summary->took == 1 ? "" : "s", run->program[0], library);
    fprintf(out, "  peak RSS of the largest process %s\n", amount(end->peak_bytes, peak, sizeof peak));
    if (summary->program.event == HZRUN_ENDED)
        fprintf(out, "  the program: peak RSS %s; at exit committed %s, live %s, metadata %s\n",
                amount(summary->program.peak_bytes, peak, sizeof peak),
                amount(stats->committed_bytes, committed, sizeof committed),
                amount(stats->live_bytes, live, sizeof live), amount(stats->metadata_bytes, metadata, sizeof metadata));
    else
        fputs("  the program left without exit handlers (a signal or _exit), so what it held is not told\n", out);
    if (summary->ended > 1)
        fprintf(out, "  %u processes reported at exit\n", summary->ended);
    if (stats->rejects[0] != ALLOCATOR_NOT_TOLD && summary->ended != 0)
        print_rejects(out, summary->rejects);
    if (summary->other != 0)
        fprintf(out, "  not in %u: the last was %s, with malloc from %s\n", summary->other, summary->other_program,
                summary->other_object);
}

// ---- main ----------------------------------------------------------------------------------------------------------

static void find_library(const struct allocator_spec *spec, char *path, size_t path_bytes) {
    char why[WHY_BYTES], given[HZRUN_PATH_BYTES];
    enum allocator_load_result result = allocator_find(spec, given, sizeof given, why, sizeof why);
    if (result != ALLOCATOR_LOADED)
        fail(result == ALLOCATOR_UNKNOWN ? EXIT_USAGE : EXIT_UNAVAILABLE, "%s", why);
    if (!os_elf_is_loadable_here(given))
        fail(EXIT_UNAVAILABLE, "%s: not a shared library for this machine - give another file", given);
    if (!os_library_real_path(given, path, path_bytes)) // the program may change its directory
        fail(EXIT_UNAVAILABLE, "%s: cannot be resolved - give a shorter path", given);
}

// An allocator's name is never that close to a command's.
static void refuse_misspelt(const char *word) {
    static const char *const commands[] = {"bench", "advise"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (edit_distance(word, commands[i]) <= 2)
            fail(EXIT_USAGE, "unknown command '%s' - did you mean '%s'? (hzrun --help)", word, commands[i]);
}

int main(int argc, char **argv) {
    static struct hzrun run;
    static char library[OS_PATH_BYTES], companion[OS_PATH_BYTES], why[WHY_BYTES], text[256];
    static char given[ALLOCATOR_OPTIONS_BYTES]; // settings, until the program is started
    struct request request = {0};
    struct allocator_spec spec;
    struct hzrun_end end = {0};
    if (argc > 1 && strcmp(argv[1], "bench") == 0)
        return hzrun_bench(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "advise") == 0)
        return hzrun_advise(argc - 1, argv + 1);
    if (argc > 1)
        refuse_misspelt(argv[1]);
    parse(argc, argv, &run, &request, text, sizeof text);
    if (allocator_spec_parse(text, &spec, why, sizeof why) != ALLOCATOR_LOADED)
        fail(EXIT_USAGE, "%s", why);
    if (!os_library_executable_directory(library, sizeof library))
        fail(EXIT_UNAVAILABLE, "cannot tell where it lies itself - is /proc mounted?");
    find_library(&spec, library, sizeof library);
    if (!os_library_find_own("hzrun", "libhzrun.so", companion, sizeof companion))
        fail(EXIT_UNAVAILABLE,
             "libhzrun.so is not beside hzrun nor where it is installed - build everything or install");
    if (request.record_only != NULL && request.record_file == NULL)
        fail(EXIT_USAGE, "--record-only=%s says which program --record=FILE is to take - give both",
             request.record_only);
    if (request.record_file != NULL) {
        // The others bring operators new and delete of their own, which do not come by malloc.
        if (spec.backend == NULL || strcmp(spec.backend->name, "system") != 0)
            fail(EXIT_USAGE, "--record= records on the C library's malloc only - hzrun --record=%s system -- %s",
                 request.record_file, run.program[0]);
        const enum hzrun_record_result result = hzrun_record_prepare(&run, request.record_file, why, sizeof why);
        if (result != HZRUN_RECORD_READY)
            fail(result == HZRUN_RECORD_USAGE ? EXIT_USAGE : EXIT_UNAVAILABLE, "%s", why);
    }
    hzrun_preload(&run, library); // the C library, too: a program may be linked with another malloc
    hzrun_preload(&run, companion);
    hzrun_set(&run, HZRUN_LIBRARY_ENV, library);
    allocator_options_text(&spec, given);
    if (given[0] != '\0')
        hzrun_set(&run, spec.backend->options_env, given);
    if (!hzrun_find_program(&run, why, sizeof why))
        fail(strstr(why, "nothing was started") != NULL ? EXIT_UNAVAILABLE : EXIT_USAGE, "%s", why);
    FILE *out = request.stats_file != NULL ? fopen(request.stats_file, "w") : stderr;
    if (out == NULL)
        fail(EXIT_USAGE, "--stats=%s: cannot be written - give another file", request.stats_file);

    if (!hzrun_start(&run, &end, why, sizeof why)) {
        hzrun_forget(&run);
        fail(EXIT_UNAVAILABLE, "%s", why);
    }
    struct summary summary = {.pid = end.pid};
    int was_read = hzrun_reports(&run, count_report, &summary);
    hzrun_forget(&run);
    if (request.wants_stats)
        print_summary(out, &spec, library, &run, &summary, &end);
    if (out != stderr && fclose(out) != 0)
        fail(EXIT_UNAVAILABLE, "--stats=%s: cannot be written to its end", request.stats_file);
    if (!was_read || !summary.program_took)
        fail(
            EXIT_UNAVAILABLE,
            "%s ran, but nothing proves that %s took part in it: its linker ignored LD_PRELOAD, or it died before main",
            run.program[0], spec.name);
    if (request.record_file != NULL && !hzrun_record_finish(request.record_only, why, sizeof why))
        fail(EXIT_UNAVAILABLE, "%s", why);
    if (end.signal != 0)
        hzrun_die_of(end.signal);
    return end.code;
}
