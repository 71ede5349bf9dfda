// SPDX-License-Identifier: Apache-2.0
// record.h
#include "record.h"

#include <string.h>

const char *const record_status_names[STATUS_COUNT] = {
    [STATUS_UNFINISHED] = "unfinished",
    [STATUS_OK] = "ok",
    [STATUS_UNAVAILABLE] = "unavailable",
    [STATUS_CORRUPT] = "corrupt",
    [STATUS_OUT_OF_MEMORY] = "out-of-memory",
    [STATUS_REFUSED_FREE] = "refused-free",
    [STATUS_ERROR] = "error",
    [STATUS_CRASHED] = "crashed",
    [STATUS_TIMEOUT] = "timeout",
};

static const char *const load_names[] = {[ALLOCATOR_LOAD_DLOPEN] = "dlopen", [ALLOCATOR_LOAD_PRELOAD] = "preload"};

int record_is_ok(const struct record *record) {
    return record->status == STATUS_OK;
}

uint64_t record_memory(const struct record *record, uint64_t rss_bytes) {
    const uint64_t harness_bytes = record->measured.harness_bytes;
    if (rss_bytes == NOT_MEASURED || harness_bytes == NOT_MEASURED)
        return rss_bytes;
    return rss_bytes > harness_bytes ? rss_bytes - harness_bytes : 0;
}

double record_throughput(const struct record *record) {
    const uint64_t ops = record->measured.ops, elapsed_ns = record->measured.elapsed_ns;
    return ops == NOT_MEASURED || elapsed_ns == NOT_MEASURED || elapsed_ns == 0
               ? -1
               : (double)ops * 1e9 / (double)elapsed_ns;
}

static double remote_share(const struct record *record) {
    const uint64_t remote = record->measured.remote_frees, local = record->measured.local_frees;
    return remote == NOT_MEASURED || local == NOT_MEASURED || remote + local == 0
               ? -1
               : (double)remote / (double)(remote + local);
}

static double huge_page_coverage(const struct record *record) {
    const struct measurement *measured = &record->measured;
    const uint64_t huge = measured->anon_huge_bytes, work = measured->rss_work, baseline = measured->rss_baseline;
    if (huge == NOT_MEASURED || work == NOT_MEASURED || baseline == NOT_MEASURED || work <= baseline)
        return -1;
    return huge < work - baseline ? (double)huge / (double)(work - baseline) : 1;
}

#define MEMBER(member) .offset = offsetof(struct record, member), .bytes = sizeof(((struct record *)0)->member)
#define TEXT(column, member, text)                                                                                     \
    { .name = column, .kind = RECORD_TEXT, MEMBER(member), .meaning = (text) }
#define NUMBER(column, member, text)                                                                                   \
    { .name = column, .kind = RECORD_NUMBER, MEMBER(member), .meaning = (text) }
#define REQUIRED_TEXT(column, member, text)                                                                            \
    { .name = column, .kind = RECORD_TEXT, MEMBER(member), .is_required = 1, .meaning = (text) }
#define REQUIRED(column, member, text)                                                                                 \
    { .name = column, .kind = RECORD_NUMBER, MEMBER(member), .is_required = 1, .meaning = (text) }
#define MEASURED(member, text) NUMBER(#member, measured.member, text)
#define NAME(column, member, list, count, text)                                                                        \
    {                                                                                                                  \
        .name = column, .kind = RECORD_NAME, MEMBER(member), .names = (list), .name_count = (count), .is_required = 1, \
        .meaning = (text)                                                                                              \
    }
#define TIMED(call, index, text)                                                                                       \
    NUMBER("latency_" #call "_count", measured.latency[index].count, text),                                            \
        NUMBER("latency_" #call "_p50_ns", measured.latency[index].p50_ns, NULL),                                      \
        NUMBER("latency_" #call "_p90_ns", measured.latency[index].p90_ns, NULL),                                      \
        NUMBER("latency_" #call "_p99_ns", measured.latency[index].p99_ns, NULL),                                      \
        NUMBER("latency_" #call "_p999_ns", measured.latency[index].p999_ns, NULL),                                    \
        NUMBER("latency_" #call "_max_ns", measured.latency[index].max_ns, NULL)

// Before the parameters, and behind them.
static const struct record_column head[] = {
    {.name = "schema", .kind = RECORD_VERSION, .is_required = 1, .meaning = "5"},
    REQUIRED_TEXT("run_id", run_id, "16 hex digits, equal in all files of a run"),
    REQUIRED("sample", sample, "number of the sample in the plan, from 0; key of resume and of the RSS series"),
    REQUIRED("round", round, "0-based; each round visits every cell once in a shuffled order"),
    REQUIRED("order", order, "position within the round"),
    REQUIRED("cell_index", cell_index,
             "number of the cell in the plan, from 0, as `--plan` prints it; tells the copies of an A/A test "
             "(`--alloc=hz5,hz5`) apart"),
    REQUIRED_TEXT("platform", platform, "linux, windows, wine"),
    REQUIRED_TEXT("allocator", allocator,
                  "the --alloc item as given, e.g. `hz5{profile=rss}`, or the name that NAME=ITEM gave it"),
    NAME("load", load, load_names, sizeof load_names / sizeof load_names[0], "dlopen or preload"),
    REQUIRED_TEXT("workload", workload, "its name"),
    TEXT("input", params.input,
         "what follows the colon in `NAME:INPUT`: a file of a trace or profile, a program; of `program` its command, a "
         "long one by its beginning and digest; empty for other workloads"),
};

static const struct record_column tail[] = {
    TEXT("pin", pin, "none, compact, spread, or the CPU list"),
    NAME("status", status, record_status_names, STATUS_COUNT,
         "ok, unavailable, corrupt, out-of-memory, refused-free, crashed, timeout, error"),
    TEXT("message", message,
         "one line; with status ok what the library printed, mostly nothing, or that an interrupt ended the sample "
         "early"),
    TEXT("library_path", proof.path, "proof of what was measured"),
    TEXT("library_version", proof.version, NULL),
    TEXT("library_build_id", proof.build_id, NULL),
    TEXT("library_sha256", proof.sha256, NULL),
    TEXT("contract", proof.contract, NULL),
    {.name = "stream_hash",
     .kind = RECORD_HEX,
     MEMBER(measured.stream_hash),
     .meaning = "of the events; equal for every allocator in the same cell and round"},
    MEASURED(elapsed_ns, "an op is one object's life: one alloc and its one free; of `program` one run of it, of `app` "
                         "what `units` of schema.json says"),
    MEASURED(ops, NULL),
    {.name = "throughput_ops_s", .kind = RECORD_RATE, .compute = record_throughput},
    MEASURED(remote_frees, "achieved, of the measured part"),
    MEASURED(local_frees, NULL),
    {.name = "remote_share", .kind = RECORD_SHARE, .compute = remote_share},
    MEASURED(waits, "times a thread waited for a queue; bytes found wrong; allocations that failed"),
    MEASURED(corruptions, NULL),
    MEASURED(failures, NULL),
    MEASURED(in_flight_peak,
             "objects handed over and not yet freed: the most that each thread found at one look, added up"),
    MEASURED(user_ns,
             "measured part; of user_ns and system_ns the sum is exact, the division into two is the kernel's, by "
             "its ticks"),
    MEASURED(system_ns, NULL),
    MEASURED(run_delay_ns, NULL),
    MEASURED(voluntary_switches, NULL),
    MEASURED(involuntary_switches, NULL),
    MEASURED(minor_faults, NULL),
    MEASURED(major_faults, NULL),
    MEASURED(
        harness_bytes,
        "the harness's own resident memory: events drawn ahead, rings, slots, stacks, histograms, the series; mapped "
        "and touched before rss_baseline is read and kept to the end, so each rss_* and each point of the series "
        "contains it, and each shown memory does not; of programs 0"),
    MEASURED(rss_baseline,
             "mean and p95 over the series of the measured part; peak is VmHWM (Windows: "
             "PeakWorkingSetSize), or a larger reading of the row. Of programs the series is the proportional set "
             "size of all processes; the peak of `program` is the larger of that and the VmHWM of its "
             "largest process"),
    NUMBER("rss_mean", rss_mean, NULL),
    NUMBER("rss_p95", rss_p95, NULL),
    MEASURED(rss_peak, NULL),
    MEASURED(rss_work, "at the end of the work, objects still live"),
    MEASURED(live_work, NULL),
    MEASURED(rss_freed, "all freed; threads joined; 100 ms and 1 s later; after the backend's purge"),
    MEASURED(rss_joined, NULL),
    MEASURED(rss_100ms, NULL),
    MEASURED(rss_1s, NULL),
    MEASURED(rss_purged, NULL),
    TEXT("rss_settled", rss_settled,
         "`TIME=BYTES` joined by `;`: so long after the threads were joined, for each time of `--settle`"),
    MEASURED(
        live_peak,
        "largest live bytes in the series, or `live_work`; each is what was live at that instant at least, as the "
        "threads cannot be stopped to look (at most 256 objects or 1 MiB a thread too much: what it has freed and not "
        "told)"),
    NUMBER("live_mean", live_mean,
           "mean of the live bytes over the series of the measured part; (rss_mean - rss_baseline) / live_mean is the "
           "mean "
           "fragmentation"),
    NUMBER(
        "fragmentation_worst_ppm", fragmentation_worst_ppm,
        "largest resident set above rss_baseline, in millionths of the live bytes, over the points of the series with "
        "at least 1 MiB live"),
    {.name = "age_hash",
     .kind = RECORD_HEX,
     MEMBER(measured.age_hash),
     .meaning =
         "of the events of the ageing (`age`), equal for every allocator in the same cell and round; resident and live "
         "bytes at its end"},
    MEASURED(age_rss, NULL),
    MEASURED(age_live, NULL),
    MEASURED(reserved_bytes, "the backend's own account"),
    MEASURED(committed_bytes, NULL),
    MEASURED(metadata_bytes, NULL),
    TEXT("rejects", rejects, "`reason=count` joined by `;`, only those above 0; empty for backends without counters"),
    TEXT("thp_by", thp_by, "what was changed for `thp`: prctl (of the sample), switch (of the system); empty: nothing"),
    MEASURED(anon_huge_bytes,
             "AnonHugePages of the process at the end of the work; its share of the resident set above rss_baseline, "
             "which is that of the live bytes where they lie as in all of it; faults of the whole machine that got a "
             "huge page (thp_fault_alloc) from rss_baseline to the end of the work. Empty for programs"),
    {.name = "huge_page_coverage", .kind = RECORD_SHARE, .compute = huge_page_coverage},
    MEASURED(thp_fault_allocs, NULL),
    TEXT("limited_by", limited_by,
         "what held the sample to `memory_limit_bytes` and `cpu_quota_ppm`, joined by `;`: memory=cgroup-v2, "
         "memory=cgroup-v1 (both count what is resident), memory=RLIMIT_DATA (counts what is mapped writable), "
         "cpu=cgroup-v2, cpu=cgroup-v1"),
    MEASURED(cycles, "hardware counters"),
    MEASURED(instructions, NULL),
    MEASURED(cache_misses, NULL),
    MEASURED(dtlb_misses, NULL),
    TEXT("started_at", started_at, "UTC, ISO 8601"),
    NUMBER("latency_every", latency_every,
           "one call in so many was timed (`--latency`); empty: none, and so are all columns down to the last latency"),
    MEASURED(latency_timer_ns, "median of an empty timing; contained in the latencies, not subtracted"),
    TIMED(malloc, CALL_MALLOC, "of the timed mallocs of the measured part"),
    TIMED(free_local, CALL_FREE_LOCAL, "frees by the thread that allocated"),
    TIMED(free_remote, CALL_FREE_REMOTE, "frees by another thread"),
    NUMBER("reference_loop_fastest_ns", measured.noise.reference_loop_fastest_ns,
           "a fixed computation without memory: its fastest time before the run; right before and after the measured "
           "part"),
    NUMBER("reference_loop_before_ns", measured.noise.reference_loop_before_ns, NULL),
    NUMBER("reference_loop_after_ns", measured.noise.reference_loop_after_ns, NULL),
    NUMBER("pressure_cpu_ns", measured.noise.pressure_cpu_ns,
           "of the measured part: time in which some task of the machine waited for it (/proc/pressure)"),
    NUMBER("pressure_memory_ns", measured.noise.pressure_memory_ns, NULL),
    NUMBER("pressure_io_ns", measured.noise.pressure_io_ns, NULL),
    NUMBER("steal_ns", measured.noise.steal_ns, "taken by the hypervisor from all CPUs in the measured part"),
    NUMBER("contaminated", contaminated,
           "1: the machine was doing something else, by the rule of runner/sample/noise.h, which no allocator can "
           "influence; else 0"),
    TEXT("contamination", contamination, "why, joined by `;`: run-delay, slow-cpu, steal, memory-pressure"),
    MEASURED(windows_working_set_bytes,
             "WorkingSetSize and PrivateUsage of Windows' GetProcessMemoryInfo at the end of the work, "
             "PeakWorkingSetSize at the end of the process; empty on Linux, PrivateUsage under wine, too"),
    MEASURED(windows_peak_working_set_bytes, NULL),
    MEASURED(windows_private_usage_bytes, NULL),
};

#define HEAD_COUNT (sizeof head / sizeof head[0])
#define TAIL_COUNT (sizeof tail / sizeof tail[0])
#define MOST_PARAMETERS 64

const struct record_column *record_columns(size_t *count) {
    static struct record_column all[HEAD_COUNT + MOST_PARAMETERS + TAIL_COUNT];
    static size_t used;
    for (size_t i = 0; used < HEAD_COUNT; i++)
        all[used++] = head[i];
    for (size_t i = 0; used < HEAD_COUNT + parameter_count; i++) {
        const struct parameter *parameter = &parameters[i];
        all[used++] =
            (struct record_column){.name = parameter->column,
                                   .kind = RECORD_PARAMETER,
                                   .parameter = parameter,
                                   .is_required = parameter->source == PARAMETER_PLAN,
                                   .meaning = parameter->meaning != NULL ? parameter->meaning : parameter->help};
    }
    for (size_t i = 0; used < HEAD_COUNT + parameter_count + TAIL_COUNT; i++)
        all[used++] = tail[i];
    *count = used;
    return all;
}

void record_clear(struct record *record) {
    size_t count;
    const struct record_column *columns = record_columns(&count);
    const uint64_t nothing = NOT_MEASURED;
    memset(record, 0, sizeof *record);
    workload_params_unset(&record->params);
    measurement_forget(&record->measured);
    for (size_t i = 0; i < count; i++)
        if (columns[i].kind == RECORD_NUMBER)
            memcpy((unsigned char *)record + columns[i].offset, &nothing, sizeof nothing);
}
