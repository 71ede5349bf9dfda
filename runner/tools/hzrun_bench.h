// SPDX-License-Identifier: Apache-2.0
// hzrun bench: the runner on any program. Layer: runner.
#ifndef HZBENCH_HZRUN_BENCH_H
#define HZBENCH_HZRUN_BENCH_H

// argv[0] is "bench". Returns the exit code: the runner's, or 2 or 3 with one line when nothing was started.
int hzrun_bench(int argc, char **argv);

// Starts `runner` with these arguments (the first one its name), waits, and returns its exit code; signals that end
// hzrun end the runner, which keeps what it has measured. `output` gets what it prints, -1: it prints as hzrun does.
int hzrun_bench_runner(char *const *arguments, int output);

#endif
