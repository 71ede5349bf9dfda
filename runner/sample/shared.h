// SPDX-License-Identifier: Apache-2.0
// The memory that runner and worker share for one sample: what to run, what came of it, and the RSS series.
// The runner creates it as a memfd, the worker maps it from file descriptor OS_SHARED_FD (Windows: a section that the
// worker inherits). Plain data, no pointers. Layer: runner.
#ifndef HZBENCH_SHARED_H
#define HZBENCH_SHARED_H

#include "../../allocators/loader/loader.h"
#include "../../workloads/workload.h"
#include "../plan/settle.h"
#include "../system/budget.h"
#include "../system/huge_pages.h"
#include "../system/measured.h"
#include "histogram.h"

#define SHARED_MAGIC 0x6c6c65637a68u // "hzcell"
#define SHARED_VERSION 5u
#define SHARED_MAX_RSS_POINTS 65536
#define SHARED_LIVE_UNKNOWN INT64_MIN // live_bytes of a program: an empty cell

enum phase {      // what the worker is doing; in every RSS point
    PHASE_START,  // allocator not loaded yet
    PHASE_LOADED, // loaded, harness memory mapped, nothing allocated: the baseline
    PHASE_WARM_UP,
    PHASE_MEASURED,
    PHASE_TEAR_DOWN, // ends with everything freed, threads alive
    PHASE_JOINED,
    PHASE_SETTLE, // waiting, as long as --settle says
    PHASE_PURGED,
    PHASE_DONE
};

enum sample_status {
    STATUS_UNFINISHED = 0, // the worker died before it could say more
    STATUS_OK,
    STATUS_UNAVAILABLE,   // the library could not be loaded or proved; message says why
    STATUS_CORRUPT,       // a payload byte was wrong
    STATUS_OUT_OF_MEMORY, // an allocation returned NULL
    STATUS_REFUSED_FREE,  // a fail-closed backend refused a valid free, or its counters rose
    STATUS_ERROR,         // the worker itself failed (threads, mmap); message says why
    STATUS_CRASHED,       // the worker, or a program under the allocator; message says how
    STATUS_TIMEOUT,       // killed by the runner after its time limit
    STATUS_COUNT
};

enum timed_call { // what the latency timer times
    CALL_MALLOC,
    CALL_FREE_LOCAL,
    CALL_FREE_REMOTE, // of an object that another thread allocated
    CALL_COUNT
};

// Of the calls that were timed; what the timer itself costs is contained.
struct latency {
    uint64_t count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns;
};

// What else the machine was doing. The reference loop is noise.h's.
struct noise {
    uint64_t reference_loop_fastest_ns; // fastest time on this machine before the run; the runner fills it in
    uint64_t reference_loop_before_ns,
        reference_loop_after_ns; // right before and after the measured part, all threads waiting
    uint64_t pressure_cpu_ns, pressure_memory_ns, pressure_io_ns; // of the measured part: some task waited for it
    uint64_t steal_ns;                                            // taken by the hypervisor, all CPUs
};

struct shared_request {
    uint64_t magic;
    uint32_t version;
    uint32_t load_mode;  // enum allocator_load_mode
    char allocator[256]; // spec text
    char workload[64];
    struct workload_params params;        // complete
    int32_t cpus[WORKLOAD_MAX_THREADS];   // operating system's index of the CPU thread i is pinned to, -1: not pinned
    uint64_t rss_interval_ns;             // 0: no series
    uint64_t settle_ns[SETTLE_MOST];      // when to read RSS after the join, ascending, then 0
    uint32_t counters;                    // 1: open hardware counters if the machine has them
    uint32_t latency_every;               // one call in so many is timed; 0: none
    char command[WORKLOAD_COMMAND_BYTES]; // of the workload `program`: words_join()
    char prepare[512];                    // a shell's command that runs before it, unmeasured; empty: none
    uint32_t huge_pages;                  // enum huge_pages_process
    struct budget budget;                 // what the sample may use
    uint32_t fake_clock;                  // 1: times are made up and equal in every run (golden tests)
};

// One point of the series. Written by the sampler; `rss_points` is stored with release after the point.
struct rss_point {
    uint64_t t_ns;      // since the worker started
    uint64_t rss_bytes; // resident set of the process
    int64_t live_bytes; // of all threads at about the same instant, at least: rss_live_bytes()
    uint32_t phase;     // enum phase
    uint32_t reserved;
};

// What the child of a sample measures: numbers and no more, each of which may be NOT_MEASURED.
struct measurement {
    uint64_t stream_hash;
    uint64_t elapsed_ns; // first thread's begin to last thread's end
    uint64_t ops;        // objects whose life lay in the measured part
    uint64_t remote_frees, local_frees, waits, corruptions, failures, in_flight_peak;
    uint64_t user_ns, system_ns; // CPU time of the measured part
    uint64_t run_delay_ns;       // runnable but not running, all threads (/proc/self/task/*/schedstat)
    uint64_t voluntary_switches, involuntary_switches;
    uint64_t minor_faults, major_faults;
    uint64_t harness_bytes; // resident from before rss_baseline to the end, contained in every rss_*
    uint64_t rss_baseline, rss_work, rss_freed, rss_joined, rss_100ms, rss_1s, rss_purged; // bytes
    uint64_t rss_settled[SETTLE_MOST];                                                     // at settle_ns
    uint64_t age_hash, age_rss, age_live;       // of the ageing, and at its end: bytes
    uint64_t live_work;                         // live bytes at rss_work
    uint64_t rss_peak;                          // VmHWM
    uint64_t anon_huge_bytes, thp_fault_allocs; // at rss_work
    // Windows' own names: at rss_work, the peak at rss_peak.
    uint64_t windows_working_set_bytes, windows_peak_working_set_bytes, windows_private_usage_bytes;
    uint64_t live_peak;                                       // largest live bytes in the series
    uint64_t reserved_bytes, committed_bytes, metadata_bytes; // allocator's own account at rss_work
    uint64_t rejects[ALLOCATOR_REJECT_COUNT];
    uint64_t latency_timer_ns; // an empty timing, median
    struct latency latency[CALL_COUNT];
    struct noise noise;
    uint64_t cycles, instructions, cache_misses, dtlb_misses; // hardware counters of the measured part
};

struct shared_result {
    uint32_t status; // enum sample_status
    char message[512];
    struct allocator_provenance proof; // of the object that holds the malloc that was called; no sha256
    struct measurement measured;
};

struct sample_shared {
    struct shared_request request;
    struct shared_result result;
    _Atomic uint32_t phase;               // enum phase
    _Atomic uint32_t ends_early;          // 1: by the runner, `duration` is over now
    _Atomic uint32_t rss_points;          // number of valid points
    struct histogram latency[CALL_COUNT]; // of all threads
    struct workload_counters counters[WORKLOAD_MAX_THREADS];
    struct rss_point rss[SHARED_MAX_RSS_POINTS];
};

void measurement_forget(struct measurement *measured); // every number NOT_MEASURED

// For the child that fills the shared memory.
void shared_forget(struct shared_result *result); // no status, and every number NOT_MEASURED
void shared_enter(struct sample_shared *shared, enum phase phase);
// Writes the status once: the first one is the cause, later ones its consequences. Always 0, to be returned.
int shared_conclude(struct sample_shared *shared, enum sample_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
