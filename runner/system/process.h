// SPDX-License-Identifier: Apache-2.0
// What the runner asks of the operating system about processes: a fresh worker with shared memory on its file
// descriptor 3 (Windows: a section it inherits), waiting for it with a time limit, killing it, interrupts, and where
// the executable lies. One implementation a system (process_linux.c, process_windows.c). Layer: runner.
#ifndef HZBENCH_PROCESS_H
#define HZBENCH_PROCESS_H

#include <stddef.h>
#include <stdint.h>

#define PROCESS_WRAPPER_BYTES 2048u
#define PROCESS_WRAPPER_WORDS 64u

struct process_worker {
    void *shared; // memory of the worker and the runner, zeroed
    uint64_t shared_bytes;
    int shared_fd; // these descriptors are handles on Windows, which fit into 32 bits; -1: none
    int output_fd; // what the worker prints on stdout and stderr
    int pid;       // 0: not running
    int pid_fd;    // -1: the system has none, the wait polls
};

// A worker that has not been prepared: may be released.
#define PROCESS_NONE                                                                                                   \
    { .shared_fd = -1, .output_fd = -1, .pid_fd = -1 }

enum process_end {
    PROCESS_EXITED,
    PROCESS_SIGNALLED,
    PROCESS_TIMEOUT,     // killed after the limit
    PROCESS_INTERRUPTED, // killed because the user asked to stop
};

// From here on SIGINT, SIGTERM and SIGHUP only set a flag. A full disk or a closed pipe is an error of write, no
// signal.
void process_catch_interrupts(void);
int process_interrupted(void);

// The shared memory is there when this returns 1, for the caller to fill in; errno tells why not. Always pair with
// _release.
int process_prepare(struct process_worker *worker, uint64_t shared_bytes);
void process_release(struct process_worker *worker);

// Runs `path` with `environment` in its own process group; dies with the runner. Returns 0 and sets errno on failure.
// `wrapper` is a command, its words separated by blanks, that gets `path` as its last word (PROCESS_WRAPPER_BYTES and
// PROCESS_WRAPPER_WORDS at most); empty: none.
int process_start(struct process_worker *worker, const char *path, const char *wrapper, char *const environment[]);

// What else happens while a worker is waited for.
struct process_watch {
    void (*look)(void *context); // every PROCESS_LOOK_NS
    // At an interrupt: 1 when the worker has been told to end by itself. It is then waited for, on Linux until the next
    // interrupt; else it is killed.
    int (*end_early)(void *context);
    void *context;
};

#define PROCESS_LOOK_NS UINT64_C(5000000000) // seldom enough to disturb no sample

// Waits until the worker has ended or was killed. `*code` is its exit code or the number of the signal. `watch` may be
// NULL.
enum process_end process_wait(struct process_worker *worker, uint64_t timeout_ns, const struct process_watch *watch,
                              int *code);

// First line the worker printed that says something; empty when it printed none.
void process_output_line(const struct process_worker *worker, char *out, size_t out_bytes);

// "SIGSEGV" for 11; "signal 64" for one without a name.
void process_signal_name(int number, char *out, size_t out_bytes);

// Finds the worker's executable beside the runner's own or where it is installed. Returns 0 with one line in `why`.
int process_find_worker(char *out, size_t out_bytes, char *why, size_t why_bytes);

const char *process_platform(void); // "linux", "windows", "wine"

// 1 where a library can take the place of the C library's malloc in a whole process (--load=preload).
extern const int process_can_preload;

#endif
