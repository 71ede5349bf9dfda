// SPDX-License-Identifier: Apache-2.0
// What a workload is: one access pattern, a pure function of its parameters and seed.
//
// A workload never calls malloc: its objects come from the allocator under test through `struct workload_run`, its
// own memory straight from the operating system (harness memory, os.h). The event stream (size, slot, thread, remote or
// not) must not depend on time, addresses or what the allocator returns; its hash is in the row and equal for all.
#ifndef HZBENCH_WORKLOAD_H
#define HZBENCH_WORKLOAD_H

#include "../allocators/allocator.h"

#include <stddef.h>
#include <stdint.h>

enum workload_topology { // who frees what was handed over
    TOPOLOGY_RING,       // thread t hands to t + 1
    TOPOLOGY_PAIRS,      // t and t ^ 1 exchange; needs an even thread count
    TOPOLOGY_ALL,        // a random other thread
    TOPOLOGY_FAN_IN,     // all to thread 0, which only frees
    TOPOLOGY_FAN_OUT,    // thread 0 to all others in turn, which only free
    TOPOLOGY_COUNT
};

enum workload_sizes { SIZES_UNIFORM, SIZES_LOG_UNIFORM };
enum workload_touch {
    TOUCH_NONE,
    TOUCH_ENDS,
    TOUCH_ALL,
    TOUCH_COLD_ENDS, // no parameter's value: the loops of a run with FREE_COLD are specialised by them
    TOUCH_COLD_ALL
};
enum workload_free { // of an object that its own thread frees, from a working set
    FREE_WARM,       // reads and verifies it just before
    FREE_COLD,       // frees it unread; verifies one live object for OBJECT_SAMPLE allocations
    FREE_COUNT
};
enum workload_receiver { // of an object that was handed over
    RECEIVER_READS,      // reads and verifies what was written, then frees: its lines have come before the free
    RECEIVER_FREES,      // frees only; verifies one object in OBJECT_SAMPLE
    RECEIVER_COUNT
};
enum workload_age { // what happens to the heap before the measured part (age.h)
    AGE_NONE,
    AGE_CHURN, // objects are replaced at random, ten times as many bytes as are live
    AGE_HOLES, // filled once
    AGE_DRIFT, // as churn, from small sizes to large ones
    AGE_COUNT
};

enum workload_thp { THP_DEFAULT, THP_NEVER, THP_MADVISE, THP_ALWAYS, THP_COUNT }; // what the kernel may do unasked

enum workload_settle_work { SETTLE_WORK_NONE, SETTLE_WORK_LIGHT, SETTLE_WORK_COUNT };

#define WORKLOAD_INPUT_BYTES 256
#define WORKLOAD_COMMAND_BYTES 16384 // of `program`
#define WORKLOAD_MAX_THREADS 256     // counters and hand-over rings are laid out for so many

// Everything a user can set, an entry of parameters.c each. Unset fields (workload_params_unset) take the workload's
// defaults.
struct workload_params {
    uint64_t seed;
    uint32_t threads;
    uint32_t topology;     // enum workload_topology
    uint32_t sizes;        // enum workload_sizes
    uint32_t touch;        // enum workload_touch
    uint64_t ops;          // objects a thread allocates in the measured part; some workloads derive it
    uint64_t duration_ns;  // 0: fixed work. Otherwise threads stop at this time and `ops` is ignored (no hash, no exact
                           // share)
    uint64_t working_set;  // live objects a thread
    uint64_t min_bytes;    // inclusive
    uint64_t max_bytes;    // inclusive
    uint32_t remote_ppm;   // share of frees done by another thread, in millionths
    uint32_t realloc_ppm;  // share of ops that also resize their object
    uint32_t aligned_ppm;  // share of allocations with an alignment of 64..4096
    uint32_t calloc_ppm;   // share of allocations through calloc
    uint32_t rounds;       // generations of threads or phases, where the workload has them
    uint32_t age;          // enum workload_age
    uint32_t age_live_ppm; // share of the aged objects that lives on to the tear-down
    uint32_t receiver;     // enum workload_receiver
    uint32_t own_free;     // enum workload_free
    uint32_t handover_batch;          // words that a thread hands over before it publishes them
    uint32_t settle_work;             // enum workload_settle_work
    uint64_t age_bytes;               // live bytes a thread while the heap is aged
    uint64_t memory_limit;            // bytes that the sample may use beside the harness's own; 0: no limit
    uint32_t thp;                     // enum workload_thp
    uint32_t cpu_quota_ppm;           // share of a CPU a thread; 0: no limit
    char input[WORKLOAD_INPUT_BYTES]; // what follows the colon in NAME:INPUT, a file mostly; empty: none
};

// What one thread has done; lives in memory shared with the runner, one cache line pair a thread.
// owner: the thread writes with relaxed stores; any: sampler and runner read with relaxed loads.
struct workload_counters {
    // Bytes asked for by this thread's allocations, and of the objects that it freed. They only grow, so whoever adds
    // up the allocations of all threads and then their frees never finds more than was live, but for the bytes of a
    // step (core.h) that a thread has freed and not published.
    _Alignas(128) _Atomic uint64_t allocated_bytes;
    _Atomic uint64_t freed_bytes;
    _Atomic uint64_t drained_bytes; // freed as well: what other threads had handed over
    _Atomic uint64_t allocs;
    _Atomic uint64_t frees_local;
    _Atomic uint64_t frees_remote;   // freed here, allocated by another thread
    _Atomic uint64_t corruptions;    // payload bytes found wrong
    _Atomic uint64_t failures;       // allocations that returned NULL
    _Atomic uint64_t waits;          // times a full or empty hand-over queue made the thread wait
    _Atomic uint64_t in_flight_peak; // most words of handed-over objects that the thread found waiting at one look
    _Atomic uint64_t stream_hash;    // hash of the events executed
    _Atomic uint64_t begin_ns;       // when this thread's measured part began and ended, CLOCK_MONOTONIC
    _Atomic uint64_t end_ns;
};

struct core_shape;
struct workload;
struct workload_run;

// What a workload needs of the system; the worker supplies it, so that this layer includes no OS header.
struct workload_host {
    uint64_t (*now_ns)(void); // CLOCK_MONOTONIC
    void (*yield)(void);      // gives the CPU to another thread
    // Runs body(run, thread, generation) on a newly born thread and returns when that thread has exited.
    // Returns 0 when no thread could be created; the caller then stops.
    int (*generation)(struct workload_run *run, uint32_t thread, uint32_t generation,
                      void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation));
};

// Optional members may be NULL. The stages of a run are called through workload_prepare and its likes, which know what
// stands for a NULL.
struct workload {
    const char *name;    // as in --workload=
    const char *summary; // one line, no full stop
    const char *source;  // where the pattern comes from
    uint32_t min_threads;
    uint32_t even_threads; // 1: only even thread counts
    uint32_t is_program;   // 1: the runner starts hzbench-app for it; none of the functions below remote_frees
    struct workload_params defaults; // seed and threads unused
    uint64_t used_params;            // bit mask of WORKLOAD_USES_*; others are usage errors when set
    // Optional, with WORKLOAD_USES_INPUT: reads the input through, once, before anything is planned. 0: unusable, one
    // line in `why`; 1: usable, and `why` is empty or a warning.
    int (*check_input)(const struct workload_params *params, char *why, size_t why_bytes);
    // Optional: the thread count when the user names none. NULL: min_threads.
    uint32_t (*own_threads)(const struct workload_params *params);
    // Optional: changes in `defaults` what follows from the input; `params` has input and threads.
    void (*own_defaults)(const struct workload_params *params, struct workload_params *defaults);
    // Optional: derives what depends on other parameters and checks what only this workload knows. Idempotent.
    int (*complete)(struct workload_params *params, char *why, size_t why_bytes);
    // Optional: the op count where other parameters decide it, and which ones do, for whoever asks for another count.
    // defaults.ops is then REGISTRY_UNSET64.
    uint64_t (*derived_ops)(const struct workload_params *params);
    const char *derived_from;
    // Optional: how many remote frees the measured part of fixed work must make, exactly. NULL: not promised.
    uint64_t (*remote_frees)(const struct workload_params *params);
    // What core.h lays out in harness memory. NULL: memory_bytes and prepare do it; only then are they looked at.
    struct core_shape (*shape)(const struct workload_params *params);
    // Bytes of harness memory the run needs for itself; mapped and touched before the RSS baseline is read.
    uint64_t (*memory_bytes)(const struct workload_params *params);
    // Lays out run->memory; single-threaded.
    void (*prepare)(struct workload_run *run);
    // Optional: before the barrier, brings the heap to its steady state. NULL: growing from nothing is measured, too.
    void (*warm_up)(struct workload_run *run, uint32_t thread);
    // The timed part.
    void (*measured)(struct workload_run *run, uint32_t thread);
    // Optional: frees all that is left; every thread, after a barrier. NULL: core_tear_down.
    void (*tear_down)(struct workload_run *run, uint32_t thread);
};

#define WORKLOAD_USES_TOPOLOGY (1u << 0)
#define WORKLOAD_USES_SIZES (1u << 1)
#define WORKLOAD_USES_WORKING_SET (1u << 2)
#define WORKLOAD_USES_REMOTE (1u << 3)
#define WORKLOAD_USES_REALLOC (1u << 4)
#define WORKLOAD_USES_ALIGNED (1u << 5)
#define WORKLOAD_USES_CALLOC (1u << 6)
#define WORKLOAD_USES_ROUNDS (1u << 7)
#define WORKLOAD_USES_DURATION (1u << 8)
#define WORKLOAD_USES_INPUT (1u << 9) // and cannot do without
#define WORKLOAD_USES_HANDOVER (1u << 10)

// One run in the worker process.
struct workload_run {
    const struct workload *workload;
    struct workload_params params; // complete, no unset field
    struct allocator allocator;    // complete table of the backend under test
    // The allocator's free, for an object that another thread allocated; NULL: allocator.free. The latency timer tells
    // the two apart, so whoever frees remotely calls this one (core_env_of).
    void (*free_remote)(void *block);
    const struct workload_host *host;
    struct workload_counters *counters; // params.threads of them
    void *memory;                       // workload_memory_bytes(), zeroed and resident
    void *age_memory;                   // age_memory_bytes() of it
    uint64_t deadline_ns;               // for duration_ns
    uint8_t payload_mask;  // 0xff, or 0 for a backend without ALLOCATOR_STORES: same code, nothing compared
    char trouble[512];     // empty, or one line why a workload cannot go on; written in prepare or by who sets `stop`
    _Atomic uint32_t stop; // set by the worker when a thread failed; loops that wait must look at it
};

extern const struct workload *const workloads[]; // ends with NULL
const struct workload *workload_find(const char *name);
const char *workload_did_you_mean(const char *name);

// Every number unset, no input.
void workload_params_unset(struct workload_params *params);

// Fills unset fields and checks the rest; on failure writes one line (what, why, what to do) into `why` and returns 0.
int workload_params_complete(const struct workload *workload, struct workload_params *params, char *why,
                             size_t why_bytes);

// The stages of a run around `measured`.
uint64_t workload_memory_bytes(const struct workload *workload, const struct workload_params *params);
void workload_prepare(struct workload_run *run);
void workload_age(struct workload_run *run, uint32_t thread);
void workload_warm_up(struct workload_run *run, uint32_t thread);
void workload_measured(struct workload_run *run, uint32_t thread); // a name for callgrind: what is in here is measured
void workload_tear_down(struct workload_run *run, uint32_t thread);

#endif
