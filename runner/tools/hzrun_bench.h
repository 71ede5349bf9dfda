// SPDX-License-Identifier: Apache-2.0
// hzrun bench: the runner on any program; and what hzrun advise takes of it. Layer: runner.
#ifndef HZBENCH_HZRUN_BENCH_H
#define HZBENCH_HZRUN_BENCH_H

struct hzrun_bench {                                                              // the command line
    const char *name;                                                             // "bench" or "advise"
    const char *setup, *prepare, *cleanup, *output, *runs, *allocators, *timeout; // NULL: not given
    char **options; // all others, for the runner; ends with NULL
    int option_count;
    char **program;
    const char *log; // of hzrun_bench_measure: hzrun_bench_start()
};

// argv[0] is the command's name. 0 or the exit code of the line on standard error. `options` is to be freed.
int hzrun_bench_parse(struct hzrun_bench *bench, int argc, char **argv);

// Whether the program can take a preloaded library. 0 or the exit code of the line on standard error.
int hzrun_bench_look(const struct hzrun_bench *bench);

// Runs a command in a shell. 0 or the exit code of the line on standard error.
int hzrun_bench_shell(const struct hzrun_bench *bench, const char *option, const char *command);

// Starts what lies beside hzrun, `words[0]`, waits, and returns its exit code; signals that end hzrun end it, too, and
// the runner keeps what it has measured. Ctrl-C ends what runs, and nothing is started after it: 130. `log` gets what
// it prints on standard error, nobody the rest; empty: standard error as hzrun; NULL: both. After `seconds` it is
// ended, which gives HZRUN_BENCH_TIMEOUT; 0: never.
enum { HZRUN_BENCH_TIMEOUT = 124 };
int hzrun_bench_start(char *const *words, const char *log, unsigned seconds);

// Whether Ctrl-C came while something ran.
int hzrun_bench_interrupted(void);

// Whether the runner takes the command line, from its plan, and can write to --output. 0 or the exit code of the line
// on standard error.
int hzrun_bench_plan(const struct hzrun_bench *bench);

// The runner on the program, as the command line says; its exit code.
int hzrun_bench_measure(const struct hzrun_bench *bench);

// argv[0] is "bench". Returns the exit code: the runner's, or 2 or 3 with one line when nothing was started.
int hzrun_bench(int argc, char **argv);

#endif
