// SPDX-License-Identifier: Apache-2.0
// The child process of one sample: maps the memory that the runner made, loads one allocator, runs one workload and
// writes what it saw back into it memory. The main thread only watches: once the allocator is loaded it allocates
// nothing itself. Harness memory and all thread stacks are resident before the RSS baseline is read. Layer: runner.
#include "../system/counters.h"
#include "../system/os.h"
#include "latency.h"
#include "noise.h"
#include "rss.h"
#include "shared.h"

#include "../../allocators/loader/loader.h"
#include "../../workloads/age.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2
#define PAGE_BYTES 4096u
// The same in every run; fits 16 KiB of optional static TLS. TSan keeps more than that in TLS of its own.
#if defined(__SANITIZE_THREAD__)
#define STACK_BYTES (UINT64_C(2) << 20)
#else
#define STACK_BYTES (UINT64_C(256) << 10)
#endif
#define STACK_TOUCHED_BYTES (UINT64_C(32) << 10) // what threads use of it, with thread descriptor and TLS

// Made-up values of the fake clock: any constants do, so long as they are told apart in a table.
#define FAKE_NS_PER_OP 10u
#define FAKE_LOOP_NS 1000u
#define FAKE_BASELINE_BYTES (UINT64_C(1) << 20)
#define FAKE_OVERHEAD_BYTES (UINT64_C(256) << 10)
#define FAKE_HARNESS_BYTES (UINT64_C(128) << 10)

// An idle server's: one object a millisecond, of 100 to 3000 bytes in steps that visit all size classes.
#define LIGHT_PAUSE_NS UINT64_C(1000000)
#define LIGHT_LEAST_BYTES 100u
#define LIGHT_RANGE_BYTES 2900u
#define LIGHT_STEP_BYTES 37u

// What one thread's measured part has cost. owner until it has been joined or has passed the barrier after it.
struct account {
    _Alignas(128) struct os_usage used;
    uint64_t hardware[COUNTERS_COUNT];
    int pin_error;
};

static struct sample_shared *shared;
static struct loaded_allocator loaded;
static struct workload_run run;
static struct os_huge_pages huge_at_baseline;
static struct account accounts[WORKLOAD_MAX_THREADS];
static pthread_barrier_t barrier;
static unsigned char *stacks; // two a thread: its own and its generations', then the sampler's
static _Atomic int light_work_ends;
static _Atomic int generation_error; // errno of a birth that failed; 0: none

static unsigned char *stack_of(uint32_t index) {
    return stacks + index * STACK_BYTES;
}

static int start_thread(pthread_t *thread, uint32_t stack_index, void *(*body)(void *), void *argument) {
    return os_thread_start(thread, stack_of(stack_index), STACK_BYTES, body, argument);
}

static uint64_t add_measured(uint64_t sum, uint64_t value) {
    return sum == NOT_MEASURED || value == NOT_MEASURED ? NOT_MEASURED : sum + value;
}

static uint64_t measured_since(uint64_t now, uint64_t then) {
    return now == NOT_MEASURED || then == NOT_MEASURED ? NOT_MEASURED : now - then;
}

static void usage_add(struct os_usage *sum, const struct os_usage *part) {
    sum->user_ns += part->user_ns;
    sum->system_ns += part->system_ns;
    sum->run_delay_ns = add_measured(sum->run_delay_ns, part->run_delay_ns);
    sum->voluntary_switches = add_measured(sum->voluntary_switches, part->voluntary_switches);
    sum->involuntary_switches = add_measured(sum->involuntary_switches, part->involuntary_switches);
    sum->minor_faults = add_measured(sum->minor_faults, part->minor_faults);
    sum->major_faults = add_measured(sum->major_faults, part->major_faults);
}

static void usage_since(struct os_usage *now, const struct os_usage *then) {
    // Only the sum is exact: the kernel may count time as user time first and as system time at a later tick.
    const uint64_t cpu_ns = now->user_ns + now->system_ns - then->user_ns - then->system_ns;
    const uint64_t system_ns = now->system_ns - then->system_ns;
    now->system_ns = system_ns < cpu_ns ? system_ns : cpu_ns;
    now->user_ns = cpu_ns - now->system_ns;
    now->run_delay_ns = measured_since(now->run_delay_ns, then->run_delay_ns);
    now->voluntary_switches = measured_since(now->voluntary_switches, then->voluntary_switches);
    now->involuntary_switches = measured_since(now->involuntary_switches, then->involuntary_switches);
    now->minor_faults = measured_since(now->minor_faults, then->minor_faults);
    now->major_faults = measured_since(now->major_faults, then->major_faults);
}

// A generation: a thread that lives for one call of `body`. Its whole use is the measured part's.
struct generation {
    uint32_t thread, number;
    void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation);
};

static void *generation_main(void *argument) {
    const struct generation *generation = argument;
    latency_begin(generation->thread);
    generation->body(&run, generation->thread, generation->number);
    latency_end();
    struct os_usage used;
    const int usage_fd = os_usage_open();
    os_usage_read(usage_fd, &used);
    os_usage_close(usage_fd);
    usage_add(&accounts[generation->thread].used, &used); // the parent only waits meanwhile
    return NULL;
}

static int host_generation(struct workload_run *of, uint32_t thread, uint32_t number,
                           void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation)) {
    struct generation generation = {thread, number, body};
    pthread_t child;
    const int error = start_thread(&child, of->params.threads + thread, generation_main, &generation);
    if (error != 0) {
        atomic_store_explicit(&generation_error, error, memory_order_relaxed);
        return 0;
    }
    pthread_join(child, NULL);
    return 1;
}

// The clock by which a workload with a duration ends.
static uint64_t host_now_ns(void) {
    return atomic_load_explicit(&shared->ends_early, memory_order_relaxed) ? UINT64_MAX : os_now_ns();
}

static const struct workload_host host = {host_now_ns, os_yield, host_generation};

static void measure(uint32_t index) {
    struct workload_counters *counters = &run.counters[index];
    struct account *account = &accounts[index];
    struct counters hardware;
    const int with_hardware = shared->request.counters && !shared->request.fake_clock;
    struct os_usage before;
    struct os_usage after;

    if (with_hardware)
        counters_open(&hardware);
    const int usage_fd = os_usage_open();
    memset(&account->used, 0, sizeof account->used); // births during the warm-up were counted, too
    pthread_barrier_wait(&barrier);                  // all are warm: the main thread sets deadline and phase
    pthread_barrier_wait(&barrier);                  // go
    os_usage_read(usage_fd, &before);
    if (with_hardware)
        counters_start(&hardware);
    atomic_store_explicit(&counters->begin_ns, os_now_ns(), memory_order_relaxed);
    latency_begin(index);
    workload_measured(&run, index);
    latency_end();
    atomic_store_explicit(&counters->end_ns, os_now_ns(), memory_order_relaxed);
    if (with_hardware)
        counters_stop(&hardware);
    os_usage_read(usage_fd, &after);
    os_usage_close(usage_fd);
    usage_since(&after, &before);
    usage_add(&account->used, &after);
    if (with_hardware) {
        counters_read(&hardware, account->hardware);
        counters_close(&hardware);
    }
}

static void *thread_main(void *argument) {
    const uint32_t index = (uint32_t)(uintptr_t)argument;
    const int32_t cpu = shared->request.cpus[index];
    if (cpu >= 0)
        accounts[index].pin_error = os_pin_thread(cpu);
    if (run.params.age != AGE_NONE) {
        workload_age(&run, index);
        pthread_barrier_wait(&barrier); // all have aged their part: the main thread reads memory
        pthread_barrier_wait(&barrier);
    }
    workload_warm_up(&run, index);
    measure(index);
    pthread_barrier_wait(&barrier); // all have measured: the main thread reads RSS and counters
    pthread_barrier_wait(&barrier);
    workload_tear_down(&run, index);
    pthread_barrier_wait(&barrier); // all is freed: RSS with threads alive
    pthread_barrier_wait(&barrier);
    return NULL;
}

static int load(void) {
    const struct shared_request *request = &shared->request;
    struct allocator_spec spec;
    char why[sizeof shared->result.message];
    if (allocator_spec_parse(request->allocator, &spec, why, sizeof why) != ALLOCATOR_LOADED ||
        allocator_load(&spec, (enum allocator_load_mode)request->load_mode, &loaded, why, sizeof why) !=
            ALLOCATOR_LOADED)
        return shared_conclude(shared, STATUS_UNAVAILABLE, "%s", why);
    shared->result.proof = loaded.provenance;
    return 1;
}

static uint64_t whole_pages(uint64_t bytes) {
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

// All of it is touched when it is mapped and stays to the end; the allocator under test has no part in it.
static uint64_t harness_bytes(uint64_t workload_bytes, uint32_t stack_count) {
    return whole_pages(sizeof *shared) + whole_pages(workload_bytes) +
           whole_pages(latency_bytes(run.params.threads, shared->request.latency_every)) +
           os_stacks_resident_bytes(stack_count, STACK_TOUCHED_BYTES);
}

static int prepare(void) {
    const struct shared_request *request = &shared->request;
    char why[sizeof shared->result.message];
    run.workload = workload_find(request->workload);
    run.params = request->params;
    if (run.workload == NULL) {
        return shared_conclude(shared, STATUS_ERROR,
                               "unknown workload '%s' - runner and worker are of different builds", request->workload);
    }
    if (!workload_params_complete(run.workload, &run.params, why, sizeof why))
        return shared_conclude(shared, STATUS_ERROR, "%s", why);
    if (run.params.aligned_ppm != 0 && !(loaded.table.capabilities & ALLOCATOR_ALIGNED)) {
        return shared_conclude(shared, STATUS_UNAVAILABLE,
                               "%s has no aligned allocation, which workload '%s' needs - set --aligned=0",
                               request->allocator, request->workload);
    }
    const uint32_t threads = run.params.threads;
    const uint64_t memory_bytes = workload_memory_bytes(run.workload, &run.params);
    run.allocator = loaded.table;
    if (request->latency_every != 0 && !latency_install(&run, request->latency_every)) {
        return shared_conclude(shared, STATUS_ERROR, "cannot map the histograms of the latency timer: %s",
                               strerror(errno));
    }
    run.host = &host;
    run.counters = shared->counters;
    run.payload_mask = loaded.table.capabilities & ALLOCATOR_STORES ? 0xff : 0;
    run.memory = os_memory_map(memory_bytes);
    stacks = os_stacks_map(2 * threads + 1, STACK_BYTES, STACK_TOUCHED_BYTES);
    if (run.memory == NULL || stacks == NULL) {
        return shared_conclude(shared, STATUS_ERROR,
                               "cannot map %" PRIu64 " bytes of harness memory and %" PRIu32 " stacks: %s",
                               memory_bytes, threads, strerror(errno));
    }
    shared->result.measured.harness_bytes = harness_bytes(memory_bytes, 2 * threads + 1);
    for (uint32_t i = 0; i < threads; i++)
        for (int k = 0; k < COUNTERS_COUNT; k++)
            accounts[i].hardware[k] = NOT_MEASURED;
    workload_prepare(&run);
    if (run.trouble[0] != '\0')
        return shared_conclude(shared, STATUS_ERROR, "workload '%s': %s", run.workload->name, run.trouble);
    return 1;
}

static void read_stats(void) {
    struct measurement *result = &shared->result.measured;
    if (loaded.table.capabilities & ALLOCATOR_STATS) {
        struct allocator_stats stats;
        memset(&stats, 0, sizeof stats);
        loaded.table.stats(&stats);
        result->reserved_bytes = stats.reserved_bytes;
        result->committed_bytes = stats.committed_bytes;
        result->metadata_bytes = stats.metadata_bytes;
        memcpy(result->rejects, stats.rejects, sizeof result->rejects);
    }
}

// Refusals count to the very end; the byte accounts stay those of rss_work.
static void read_rejects(void) {
    if (loaded.table.capabilities & ALLOCATOR_STATS) {
        struct allocator_stats stats;
        memset(&stats, 0, sizeof stats);
        loaded.table.stats(&stats);
        memcpy(shared->result.measured.rejects, stats.rejects, sizeof shared->result.measured.rejects);
    }
}

static uint64_t counter(const _Atomic uint64_t *value) {
    return atomic_load_explicit(value, memory_order_relaxed);
}

// Between the barriers after the ageing.
static void read_aged(int rss_fd) {
    struct measurement *result = &shared->result.measured;
    result->age_hash = age_hash(&run);
    result->age_hash -= result->age_hash == NOT_MEASURED;
    result->age_live = (uint64_t)rss_live_bytes(shared);
    result->age_rss = shared->request.fake_clock ? FAKE_BASELINE_BYTES + result->age_live : os_rss_bytes(rss_fd);
}

// Between the barriers after the measured part: all threads wait, nothing moves.
static void read_measured(int rss_fd) {
    struct measurement *result = &shared->result.measured;
    struct os_usage used = {0};
    uint64_t begin_ns = UINT64_MAX;
    uint64_t end_ns = 0;
    uint64_t hash = 0;
    uint64_t hardware[COUNTERS_COUNT] = {0};

    result->rss_work = os_rss_bytes(rss_fd);
    struct os_huge_pages huge;
    os_huge_pages_read(&huge);
    result->anon_huge_bytes = huge.anon_bytes;
    result->thp_fault_allocs = measured_since(huge.fault_allocs, huge_at_baseline.fault_allocs);
    struct os_windows_memory windows;
    os_windows_memory_read(&windows);
    result->windows_working_set_bytes = windows.working_set_bytes;
    result->windows_private_usage_bytes = windows.private_usage_bytes;
    result->live_work = (uint64_t)rss_live_bytes(shared);
    result->remote_frees = 0;
    result->local_frees = 0;
    result->waits = 0;
    result->in_flight_peak = 0;
    for (uint32_t i = 0; i < run.params.threads; i++) {
        const struct workload_counters *counters = &run.counters[i];
        const uint64_t began_ns = counter(&counters->begin_ns);
        const uint64_t ended_ns = counter(&counters->end_ns);
        begin_ns = began_ns < begin_ns ? began_ns : begin_ns;
        end_ns = ended_ns > end_ns ? ended_ns : end_ns;
        result->remote_frees += counter(&counters->frees_remote);
        result->local_frees += counter(&counters->frees_local);
        result->waits += counter(&counters->waits);
        result->in_flight_peak += counter(&counters->in_flight_peak);
        hash = (hash ^ counter(&counters->stream_hash)) * UINT64_C(0x9e3779b97f4a7c15); // threads in order
        hash ^= hash >> 32;
        usage_add(&used, &accounts[i].used);
        for (int k = 0; k < COUNTERS_COUNT; k++)
            hardware[k] = add_measured(hardware[k], accounts[i].hardware[k]);
    }
    result->ops = result->remote_frees + result->local_frees;
    result->elapsed_ns = end_ns - begin_ns;
    // All ones would read as "not measured". By the clock the stream's length depends on speed, so it has no hash.
    result->stream_hash = run.params.duration_ns != 0 ? NOT_MEASURED : hash - (hash == NOT_MEASURED);
    result->user_ns = used.user_ns;
    result->system_ns = used.system_ns;
    result->run_delay_ns = used.run_delay_ns;
    result->voluntary_switches = used.voluntary_switches;
    result->involuntary_switches = used.involuntary_switches;
    result->minor_faults = used.minor_faults;
    result->major_faults = used.major_faults;
    result->cycles = hardware[COUNTERS_CYCLES];
    result->instructions = hardware[COUNTERS_INSTRUCTIONS];
    result->cache_misses = hardware[COUNTERS_CACHE_MISSES];
    result->dtlb_misses = hardware[COUNTERS_DTLB_MISSES];
    read_stats();
}

static void read_noise(const struct os_machine *before) {
    struct noise *noise = &shared->result.measured.noise;
    struct os_machine after;
    os_machine_read(&after);
    noise->pressure_cpu_ns = measured_since(after.pressure_cpu_ns, before->pressure_cpu_ns);
    noise->pressure_memory_ns = measured_since(after.pressure_memory_ns, before->pressure_memory_ns);
    noise->pressure_io_ns = measured_since(after.pressure_io_ns, before->pressure_io_ns);
    noise->steal_ns = measured_since(after.steal_ns, before->steal_ns);
    noise->reference_loop_after_ns = noise_loop_ns();
}

// The light work of --settle-work: what a server does while nobody asks much of it. Not counted anywhere.
static void *work_lightly(void *argument) {
    (void)argument;
    for (uint64_t i = 0; !atomic_load_explicit(&light_work_ends, memory_order_relaxed); i++) {
        const size_t bytes = LIGHT_LEAST_BYTES + (size_t)(i * LIGHT_STEP_BYTES % LIGHT_RANGE_BYTES);
        unsigned char *block = run.allocator.alloc(bytes);
        if (block != NULL)
            block[0] = block[bytes - 1] = (unsigned char)i;
        run.allocator.free(block);
        os_sleep_ns(LIGHT_PAUSE_NS);
    }
    return NULL;
}

static uint64_t read_rss_at(void *rss_fd, uint64_t until_ns) {
    const uint64_t now_ns = os_now_ns();
    if (until_ns > now_ns)
        os_sleep_ns(until_ns - now_ns);
    return os_rss_bytes(*(const int *)rss_fd);
}

static void settle(int rss_fd) {
    struct measurement *result = &shared->result.measured;
    const int with_work = run.params.settle_work == SETTLE_WORK_LIGHT && !shared->request.fake_clock &&
                          settle_end_ns(shared->request.settle_ns) != 0;
    pthread_t worker;
    shared_enter(shared, PHASE_SETTLE);
    const int error = with_work ? start_thread(&worker, 0, work_lightly, NULL) : 0; // the stack's own thread has ended
    if (error != 0)
        shared_conclude(shared, STATUS_ERROR, "cannot start the thread of --settle-work: %s", strerror(error));
    if (!shared->request.fake_clock)
        rss_settle(shared, read_rss_at, &rss_fd);
    if (with_work && error == 0) {
        atomic_store_explicit(&light_work_ends, 1, memory_order_relaxed);
        pthread_join(worker, NULL);
    }
    shared_enter(shared, PHASE_PURGED); // the drop belongs to the purge, not to the wait before it
    if (loaded.table.capabilities & ALLOCATOR_PURGE) {
        loaded.table.purge();
        result->rss_purged = os_rss_bytes(rss_fd);
    }
}

static void take_status(void) {
    struct measurement *result = &shared->result.measured;
    result->corruptions = 0;
    result->failures = 0;
    for (uint32_t i = 0; i < run.params.threads; i++) {
        result->corruptions += counter(&run.counters[i].corruptions);
        result->failures += counter(&run.counters[i].failures);
        if (accounts[i].pin_error != 0) {
            shared_conclude(shared, STATUS_ERROR, "cannot pin thread %" PRIu32 " to CPU %" PRId32 ": %s", i,
                            shared->request.cpus[i], strerror(accounts[i].pin_error));
        }
    }
    const int birth_error = atomic_load_explicit(&generation_error, memory_order_relaxed);
    if (run.trouble[0] != '\0')
        shared_conclude(shared, STATUS_ERROR, "workload '%s': %s", run.workload->name, run.trouble);
    if (birth_error != 0) {
        shared_conclude(shared, STATUS_ERROR, "workload '%s' could not start a thread: %s", run.workload->name,
                        strerror(birth_error));
    }
    if (result->corruptions != 0) {
        shared_conclude(shared, STATUS_CORRUPT,
                        "%" PRIu64 " objects of workload '%s' had a wrong byte or a wrong alignment",
                        result->corruptions, run.workload->name);
    }
    for (int i = 0; i < ALLOCATOR_REJECT_COUNT && (loaded.table.capabilities & ALLOCATOR_FAIL_CLOSED); i++) {
        if (result->rejects[i] != 0 && result->rejects[i] != ALLOCATOR_NOT_TOLD) {
            shared_conclude(shared, STATUS_REFUSED_FREE, "%" PRIu64 " valid calls were refused as %s",
                            result->rejects[i], allocator_reject_names[i]);
        }
    }
    if (result->failures != 0) {
        shared_conclude(shared, STATUS_OUT_OF_MEMORY,
                        "an allocation returned NULL with %" PRIu64 " bytes live in workload '%s'", result->live_work,
                        run.workload->name);
    }
    if (run.workload->remote_frees != NULL && run.params.duration_ns == 0) {
        const uint64_t wanted = run.workload->remote_frees(&run.params);
        if (result->remote_frees != wanted) {
            shared_conclude(shared, STATUS_ERROR,
                            "%" PRIu64 " objects were freed remotely, not %" PRIu64 " - a bug of the harness",
                            result->remote_frees, wanted);
        }
    }
    shared_conclude(shared, STATUS_OK, "%s", "");
}

// Makes up every value that depends on time, place or the machine, from those that do not.
static void fake(void) {
    struct measurement *result = &shared->result.measured;
    const uint64_t live = result->live_work;
    const uint64_t settle_ns = settle_end_ns(shared->request.settle_ns);
    result->elapsed_ns = result->ops * FAKE_NS_PER_OP;
    result->user_ns = result->elapsed_ns;
    result->system_ns = 0;
    result->run_delay_ns = 0;
    result->waits = 0;
    result->in_flight_peak = 0;
    result->voluntary_switches = 0;
    result->involuntary_switches = 0;
    result->minor_faults = 0;
    result->major_faults = 0;
    result->noise = (struct noise){.reference_loop_fastest_ns = NOT_MEASURED,
                                   .reference_loop_before_ns = FAKE_LOOP_NS,
                                   .reference_loop_after_ns = FAKE_LOOP_NS};
    result->harness_bytes = FAKE_HARNESS_BYTES;
    result->rss_baseline = FAKE_BASELINE_BYTES;
    result->rss_work = FAKE_BASELINE_BYTES + FAKE_OVERHEAD_BYTES + live;
    result->rss_peak = result->rss_work + FAKE_OVERHEAD_BYTES;
    result->rss_freed = FAKE_BASELINE_BYTES + FAKE_OVERHEAD_BYTES;
    result->rss_joined = FAKE_BASELINE_BYTES + FAKE_OVERHEAD_BYTES / 2;
    result->rss_100ms = settle_ns >= SETTLE_SHORT_NS ? result->rss_joined : NOT_MEASURED;
    result->rss_1s = settle_ns >= SETTLE_LONG_NS ? result->rss_joined : NOT_MEASURED;
    for (int i = 0; i < SETTLE_MOST; i++)
        result->rss_settled[i] = shared->request.settle_ns[i] != 0 ? result->rss_joined : NOT_MEASURED;
    result->rss_purged = FAKE_BASELINE_BYTES;
    result->anon_huge_bytes = NOT_MEASURED;
    result->thp_fault_allocs = NOT_MEASURED;
    result->windows_working_set_bytes = NOT_MEASURED;
    result->windows_peak_working_set_bytes = NOT_MEASURED;
    result->windows_private_usage_bytes = NOT_MEASURED;
    result->live_peak = live;
    result->reserved_bytes = NOT_MEASURED;
    result->committed_bytes = NOT_MEASURED;
    result->metadata_bytes = NOT_MEASURED;
    for (uint32_t i = 0; i < run.params.threads; i++) {
        atomic_store_explicit(&run.counters[i].begin_ns, 0, memory_order_relaxed);
        atomic_store_explicit(&run.counters[i].end_ns, result->elapsed_ns, memory_order_relaxed);
        atomic_store_explicit(&run.counters[i].waits, 0, memory_order_relaxed);
        atomic_store_explicit(&run.counters[i].in_flight_peak, 0, memory_order_relaxed);
    }
    const struct rss_point points[] = {
        {.t_ns = 0, .rss_bytes = result->rss_baseline, .phase = PHASE_LOADED},
        {.t_ns = result->elapsed_ns,
         .rss_bytes = result->rss_work,
         .live_bytes = (int64_t)live,
         .phase = PHASE_MEASURED},
        {.t_ns = 2 * result->elapsed_ns, .rss_bytes = result->rss_purged, .phase = PHASE_DONE},
    };
    for (size_t i = 0; i < sizeof points / sizeof points[0] && shared->request.rss_interval_ns != 0; i++)
        rss_append(shared, &points[i]);
}

static uint64_t larger_measured(uint64_t peak, uint64_t value) {
    return value != NOT_MEASURED && (peak == NOT_MEASURED || value > peak) ? value : peak;
}

static void find_peaks(void) {
    struct measurement *result = &shared->result.measured;
    // ORDER: acquire pairs with the release in rss_append; the sampler has been joined besides.
    const uint32_t points = atomic_load_explicit(&shared->rss_points, memory_order_acquire);
    int64_t live = 0;
    // The kernel keeps VmHWM from per-CPU counters that may lag by dozens of pages a CPU, so that it can stand below
    // what statm has shown. A peak below a value of its own row would be nonsense: the largest reading wins.
    uint64_t peak = os_rss_peak_bytes();
    const uint64_t readings[] = {result->rss_baseline, result->rss_work, result->rss_freed, result->rss_joined};
    for (size_t i = 0; i < sizeof readings / sizeof readings[0]; i++)
        peak = larger_measured(peak, readings[i]);
    for (uint32_t i = 0; i < points; i++) {
        live = shared->rss[i].live_bytes > live ? shared->rss[i].live_bytes : live;
        peak = larger_measured(peak, shared->rss[i].rss_bytes);
    }
    result->rss_peak = peak;
    struct os_windows_memory windows;
    os_windows_memory_read(&windows);
    result->windows_peak_working_set_bytes = windows.peak_working_set_bytes;
    if (points != 0)
        result->live_peak = (uint64_t)live > result->live_work ? (uint64_t)live : result->live_work;
}

// Returns 0 when not all threads could be started; those that run wait for ever, so the process has to end.
static int start_threads(pthread_t *threads) {
    const uint32_t count = run.params.threads;
    int error = pthread_barrier_init(&barrier, NULL, count + 1);
    for (uint32_t i = 0; i < count && error == 0; i++)
        error = start_thread(&threads[i], i, thread_main, (void *)(uintptr_t)i);
    if (error != 0)
        shared_conclude(shared, STATUS_ERROR, "cannot start %" PRIu32 " threads: %s", count, strerror(error));
    return error == 0;
}

static int run_cell(uint64_t started_ns) {
    static pthread_t threads[WORKLOAD_MAX_THREADS];
    struct measurement *result = &shared->result.measured;
    const struct shared_request *request = &shared->request;
    const int thp_error = huge_pages_ask(request->huge_pages);
    if (thp_error != 0)
        return shared_conclude(shared, STATUS_ERROR, "cannot set --thp for this process: %s", strerror(thp_error));
    if (!load() || !prepare())
        return 0;
    const int rss_fd = os_rss_open();
    shared_enter(shared, PHASE_LOADED);
    result->rss_baseline = os_rss_bytes(rss_fd);
    os_huge_pages_read(&huge_at_baseline);
    const int budget_error = budget_enter(&request->budget, 0);
    if (budget_error != 0)
        return shared_conclude(shared, STATUS_ERROR, "cannot enter the control group of the limits: %s",
                               strerror(budget_error));

    struct rss_sampler sampler;
    const int with_series = request->rss_interval_ns != 0 && !request->fake_clock;
    if (with_series) {
        const int error =
            rss_start(&sampler, shared, rss_fd, started_ns, stack_of(2 * run.params.threads), STACK_BYTES);
        if (error != 0)
            return shared_conclude(shared, STATUS_ERROR, "cannot start the RSS sampler: %s", strerror(error));
    }
    shared_enter(shared, PHASE_WARM_UP);
    if (!start_threads(threads))
        return 0;
    if (run.params.age != AGE_NONE) {
        pthread_barrier_wait(&barrier);
        read_aged(rss_fd);
        pthread_barrier_wait(&barrier);
    }
    pthread_barrier_wait(&barrier);
    struct os_machine machine;
    result->noise.reference_loop_before_ns = noise_loop_ns();
    os_machine_read(&machine);
    run.deadline_ns = os_now_ns() + run.params.duration_ns;
    shared_enter(shared, PHASE_MEASURED);
    pthread_barrier_wait(&barrier);

    pthread_barrier_wait(&barrier);
    read_measured(rss_fd);
    read_noise(&machine);
    latency_collect(shared, run.params.threads);
    shared_enter(shared, PHASE_TEAR_DOWN);
    pthread_barrier_wait(&barrier);

    pthread_barrier_wait(&barrier);
    result->rss_freed = os_rss_bytes(rss_fd);
    pthread_barrier_wait(&barrier);

    for (uint32_t i = 0; i < run.params.threads; i++)
        pthread_join(threads[i], NULL);
    shared_enter(shared, PHASE_JOINED);
    result->rss_joined = os_rss_bytes(rss_fd);
    settle(rss_fd);
    read_rejects();
    if (with_series)
        rss_stop(&sampler);
    find_peaks();
    if (request->fake_clock)
        fake();
    take_status();
    return 1;
}

int main(void) {
    const uint64_t started_ns = os_now_ns();
    shared = os_shared_map(OS_SHARED_FD, sizeof *shared);
    if (shared == NULL || shared->request.magic != SHARED_MAGIC) {
        fprintf(stderr,
                "hzbench-worker: file descriptor %d is not a sample's memory - this program is started by runner, run "
                "that\n",
                OS_SHARED_FD);
        return EXIT_USAGE;
    }
    shared_forget(&shared->result);
    shared_enter(shared, PHASE_START);
    if (shared->request.version != SHARED_VERSION) {
        shared_conclude(shared, STATUS_ERROR,
                        "the sample's memory has version %" PRIu32 ", this worker knows %u - rebuild both",
                        shared->request.version, SHARED_VERSION);
    } else if (shared->request.params.threads > WORKLOAD_MAX_THREADS) {
        shared_conclude(shared, STATUS_ERROR, "%" PRIu32 " threads are more than %d", shared->request.params.threads,
                        WORKLOAD_MAX_THREADS);
    } else {
        run_cell(started_ns);
    }
    shared_enter(shared, PHASE_DONE);
    // Not exit(): destructors of the allocator under test are no part of the sample, and threads may still wait.
    fflush(NULL);
    _Exit(EXIT_SUCCESS);
}
