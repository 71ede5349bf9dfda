// SPDX-License-Identifier: Apache-2.0
// The memory that runner and worker share for one sample: what to run, what came of it, and the RSS series.
// The runner creates it as a memfd, the worker maps it from file descriptor CELL_FD (Windows: a section that the worker
// inherits). Plain data, no pointers. Layer: runner.
#ifndef HZBENCH_CELL_H
#define HZBENCH_CELL_H

#include "../../workloads/workload.h"
#include "histogram.h"

#define CELL_MAGIC 0x6c6c65637a68u // "hzcell"
#define CELL_VERSION 3u
#define CELL_FD 3
#define CELL_MAX_THREADS 256
#define CELL_MAX_RSS_POINTS 65536
#define CELL_LIVE_UNKNOWN INT64_MIN // live_bytes of a program: an empty cell

enum cell_phase {      // what the worker is doing; in every RSS point
    CELL_PHASE_START,  // allocator not loaded yet
    CELL_PHASE_LOADED, // loaded, harness memory mapped, nothing allocated: the baseline
    CELL_PHASE_WARM_UP,
    CELL_PHASE_MEASURED,
    CELL_PHASE_TEAR_DOWN, // ends with everything freed, threads alive
    CELL_PHASE_JOINED,
    CELL_PHASE_SETTLE, // waiting 100 ms and 1 s
    CELL_PHASE_PURGED,
    CELL_PHASE_DONE
};

enum cell_status {
    CELL_UNFINISHED = 0, // the worker died before it could say more
    CELL_OK,
    CELL_UNAVAILABLE,   // the library could not be loaded or proved; message says why
    CELL_CORRUPT,       // a payload byte was wrong
    CELL_OUT_OF_MEMORY, // an allocation returned NULL
    CELL_REFUSED_FREE,  // a fail-closed backend refused a valid free, or its counters rose
    CELL_ERROR,         // the worker itself failed (threads, mmap); message says why
    CELL_CRASHED        // a program under the allocator did; message says how
};

enum cell_call { // what the latency probe times
    CELL_CALL_MALLOC,
    CELL_CALL_FREE_LOCAL,
    CELL_CALL_FREE_REMOTE, // of an object that another thread allocated
    CELL_CALL_COUNT
};

// Of the calls that were timed; what the probe itself costs is contained.
struct cell_latency {
    uint64_t count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns;
};

// What else the machine was doing. The canary is a fixed computation without memory: only the machine changes its time.
struct cell_noise {
    uint64_t canary_reference_ns;               // best time on this machine before the run; the runner fills it in
    uint64_t canary_before_ns, canary_after_ns; // right before and after the measured part, all threads waiting
    uint64_t pressure_cpu_ns, pressure_memory_ns, pressure_io_ns; // of the measured part: some task waited for it
    uint64_t steal_ns;                                            // taken by the hypervisor, all CPUs
};

struct cell_request {
    uint64_t magic;
    uint32_t version;
    uint32_t load_mode;  // enum allocator_load_mode
    char allocator[256]; // spec text
    char workload[64];
    struct workload_params params;  // complete
    int32_t cpus[CELL_MAX_THREADS]; // operating system's index of the CPU thread i is pinned to, -1: not pinned
    uint64_t rss_interval_ns;       // 0: no series
    uint64_t settle_ns;             // how long to watch RSS after the join: 0, 100 ms or 1 s and more
    uint32_t counters;              // 1: open hardware counters if the machine has them
    uint32_t latency_every;         // one call in so many is timed; 0: none
    uint32_t fake_clock;            // 1: times are made up and equal in every run (golden tests)
};

// One point of the series. Written by the sampler; `rss_points` is stored with release after the point.
struct cell_rss_point {
    uint64_t t_ns;      // since the worker started
    uint64_t rss_bytes; // resident set of the process
    int64_t live_bytes; // of all threads at about the same instant, at least: rss_live_bytes()
    uint32_t phase;     // enum cell_phase
    uint32_t reserved;
};

// UINT64_MAX means "not measured" everywhere here: an empty cell in the CSV, never 0.
struct cell_result {
    uint32_t status; // enum cell_status
    char message[512];
    char library_path[512]; // proof: object that holds the malloc that was called
    char library_version[64];
    char library_build_id[41];
    char contract[256];
    uint64_t elapsed_ns; // first thread's begin to last thread's end
    uint64_t ops;        // objects whose life lay in the measured part
    uint64_t stream_hash;
    uint64_t remote_frees, local_frees, waits, corruptions, failures;
    uint64_t user_ns, system_ns; // CPU time of the measured part
    uint64_t run_delay_ns;       // runnable but not running, all threads (/proc/self/task/*/schedstat)
    uint64_t voluntary_switches, involuntary_switches;
    uint64_t minor_faults, major_faults;
    uint64_t rss_baseline, rss_work, rss_freed, rss_joined, rss_100ms, rss_1s, rss_purged; // bytes
    uint64_t live_work;                                                                    // live bytes at rss_work
    uint64_t rss_peak;                                                                     // VmHWM
    // Windows' own names: at rss_work, the peak at rss_peak.
    uint64_t windows_working_set_bytes, windows_peak_working_set_bytes, windows_private_usage_bytes;
    uint64_t live_peak;                                       // largest live bytes in the series
    uint64_t reserved_bytes, committed_bytes, metadata_bytes; // allocator's own account at rss_work
    uint64_t rejects[ALLOCATOR_REJECT_COUNT];
    uint64_t latency_probe_ns; // an empty probe, median
    struct cell_latency latency[CELL_CALL_COUNT];
    struct cell_noise noise;
    uint64_t cycles, instructions, cache_misses, dtlb_misses; // hardware counters of the measured part
};

struct cell {
    struct cell_request request;
    struct cell_result result;
    _Atomic uint32_t phase;                    // enum cell_phase
    _Atomic uint32_t rss_points;               // number of valid points
    struct histogram latency[CELL_CALL_COUNT]; // of all threads
    struct workload_counters counters[CELL_MAX_THREADS];
    struct cell_rss_point rss[CELL_MAX_RSS_POINTS];
};

// For the child that fills the cell.
void cell_forget(struct cell_result *result); // no verdict, and every number "not measured"
void cell_enter(struct cell *cell, enum cell_phase phase);
// Writes the verdict once: the first one is the cause, later ones its consequences. Always 0, to be returned.
int cell_conclude(struct cell *cell, enum cell_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
