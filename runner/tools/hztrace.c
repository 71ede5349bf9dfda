// SPDX-License-Identifier: Apache-2.0
// hztrace: looks into traces and makes them. `pack` a recording, `check` a file, `info` and `profile` as tables that
// scripts/trace draws from. Layer: runner.
#include "../../workloads/recorder/pack.h"
#include "../../workloads/trace/profile.h"
#include "../../workloads/trace/walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, EXIT_BAD_INPUT = 4 };

static int bad(const char *path, const char *why) {
    fprintf(stderr, "hztrace: %s%s%s\n", path, path[0] != '\0' ? ": " : "", why);
    return EXIT_BAD_INPUT;
}

// A cut file is told and used; 0 when it cannot be.
static int walk(const char *path, struct trace_header *header, struct walk_totals *totals,
                const struct walk_visitor *visitor) {
    struct trace_source source;
    char why[512];
    if (!trace_source_open(&source, path, why, sizeof why)) {
        bad("", why);
        return 0;
    }
    const enum trace_result result = walk_trace(&source, header, totals, visitor, why, sizeof why);
    trace_source_close(&source);
    if (result == TRACE_CUT)
        fprintf(stderr, "hztrace: warning: %s: %s\n", path, why);
    else if (result != TRACE_END)
        bad(path, why);
    return result != TRACE_BAD;
}

static int check_command(char **files) {
    struct trace_header header;
    struct walk_totals totals;
    for (; *files != NULL; files++) {
        if (!walk(*files, &header, &totals, NULL))
            return EXIT_BAD_INPUT;
        printf("%s: %" PRIu64 " calls, %" PRIu64 " objects, %" PRIu32 " lanes, %" PRIu64 " frames\n", *files,
               totals.events, totals.objects, header.lanes, header.frames);
    }
    return 0;
}

static int table_command(char **files, int with_info) {
    struct trace_header header;
    struct walk_totals totals;
    struct profile *profile = profile_begin();
    int code = EXIT_BAD_INPUT;
    if (profile == NULL)
        return bad(files[0], "no memory to read it - free some");
    const struct walk_visitor visitor = profile_visitor(profile);
    if (walk(files[0], &header, &totals, &visitor)) {
        code = 0;
        if (with_info)
            profile_print_info(profile, &header, &totals, stdout);
        else if (!profile_print(profile, &header, &totals, stdout))
            code = bad(files[0], "no memory for its profile - free some");
    }
    profile_end(profile);
    return code;
}

static int info_command(char **files) {
    return table_command(files, 1);
}

static int profile_command(char **files) {
    return table_command(files, 0);
}

static int pack(char **files, int is_compressed) {
    struct pack_result result;
    char why[512];
    if (!pack_recording(files[0], files[1], is_compressed, NULL, &result, why, sizeof why))
        return bad("", why);
    printf("%s: %" PRIu64 " calls of %s, %" PRIu64 " replayed, %" PRIu64 " left out, %" PRIu64 " threads in %" PRIu32
           " lanes%s%s\n",
           files[1], result.calls, result.header.program, result.header.events, result.header.left_out,
           result.header.threads, result.header.lanes, result.is_ended ? "" : "; it did not reach its exit handlers",
           result.is_full ? "; the disk was full" : "");
    return 0;
}

static int pack_command(char **files) {
    return pack(files, 1);
}

static int pack_raw_command(char **files) {
    return pack(files, 0);
}

static const struct command {
    const char *name, *arguments, *help;
    int files; // 0: one or more
    int (*run)(char **files);
} commands[] = {
    {"check", "FILE...", "reads all of it; exit 4 and one line when it cannot be replayed", 0, check_command},
    {"info", "FILE", "tables of sizes, lifetimes, the live curve, who freed what (CSV)", 1, info_command},
    {"profile", "FILE", "what may be shared of it, docs/traces.md (CSV)", 1, profile_command},
    {"pack", "RECORDING FILE", "makes a trace of what libhzrecord.so has left", 2, pack_command},
    {"pack-raw", "RECORDING FILE", "the same, without compression", 2, pack_raw_command},
};

static int usage(FILE *out) {
    fputs("usage:\n", out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  hztrace %s %s\n      %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0 && argc > 2 &&
            (commands[i].files == 0 || argc == 2 + commands[i].files))
            return commands[i].run(argv + 2);
    return usage(stderr);
}
