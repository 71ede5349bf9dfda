// SPDX-License-Identifier: Apache-2.0
// The worker's environment, its request, and the row that comes of it. Layer: runner.
#include "sample.h"

#include "noise.h"

#include "../../allocators/loader/os_library.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROBE_TIMEOUT_NS UINT64_C(10000000000)
#define OVERHEAD_OPS 2000000 // some ten milliseconds: long against the clock, short for the user
#define OVERHEAD_RUNS 3

extern char **environ;

static const char *const status_names[] = {
    [CELL_UNFINISHED] = "crashed",
    [CELL_OK] = "ok",
    [CELL_UNAVAILABLE] = "unavailable",
    [CELL_CORRUPT] = "corrupt",
    [CELL_OUT_OF_MEMORY] = "out-of-memory",
    [CELL_REFUSED_FREE] = "refused-free",
    [CELL_ERROR] = "error",
    [CELL_CRASHED] = "crashed",
};

static const char *const phase_texts[] = {
    [CELL_PHASE_START] = "while loading",
    [CELL_PHASE_LOADED] = "before the warm-up",
    [CELL_PHASE_WARM_UP] = "in the warm-up",
    [CELL_PHASE_MEASURED] = "in the measured part",
    [CELL_PHASE_TEAR_DOWN] = "in the tear-down",
    [CELL_PHASE_JOINED] = "after the threads had ended",
    [CELL_PHASE_SETTLE] = "after the threads had ended",
    [CELL_PHASE_PURGED] = "after the purge",
    [CELL_PHASE_DONE] = "at its end",
};

// The user's environment without what would change the process image, and with what this allocator needs.
struct environment {
    char **entries; // environ's own strings and those below, then NULL
    char tunables[512], preload[640], options[64 + ALLOCATOR_OPTIONS_BYTES];
};

static int is_variable(const char *entry, const char *name) {
    size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

static int build_environment(struct environment *environment, const struct sample_allocator *allocator,
                             enum allocator_load_mode load) {
    const struct allocator_backend *backend = allocator->spec->backend;
    const char *options_env = backend && allocator->spec->options[0] ? backend->options_env : NULL;
    const char *tunables = getenv(ALLOCATOR_TUNABLES_ENV);
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    environment->entries = calloc(count + 4, sizeof *environment->entries);
    if (!environment->entries)
        return 0;
    for (size_t i = 0; i < count; i++)
        // A library preloaded into the runner is not part of the experiment.
        if (!is_variable(environ[i], ALLOCATOR_TUNABLES_ENV) && !is_variable(environ[i], "LD_PRELOAD") &&
            !(options_env && is_variable(environ[i], options_env)))
            environment->entries[kept++] = environ[i];
    // The last tunable of a name wins.
    snprintf(environment->tunables, sizeof environment->tunables, "%s=%s%s%s", ALLOCATOR_TUNABLES_ENV,
             tunables ? tunables : "", tunables ? ":" : "", ALLOCATOR_TUNABLES);
    environment->entries[kept++] = environment->tunables;
    if (load == ALLOCATOR_LOAD_PRELOAD) {
        snprintf(environment->preload, sizeof environment->preload, "LD_PRELOAD=%s", allocator->resolved.path);
        environment->entries[kept++] = environment->preload;
    }
    if (options_env) {
        char text[ALLOCATOR_OPTIONS_BYTES];
        allocator_options_text(allocator->spec, text);
        snprintf(environment->options, sizeof environment->options, "%s=%s", options_env, text);
        environment->entries[kept++] = environment->options;
    }
    return 1;
}

// Prepares the process and its request; CPUs and sampling are the caller's.
static int prepare(struct sample *sample, const struct sample_allocator *allocator, enum allocator_load_mode load,
                   const struct workload *workload, const struct workload_params *params) {
    if (!process_prepare(&sample->process))
        return 0;
    struct cell *cell = sample->process.cell;
    cell->request.magic = CELL_MAGIC;
    cell->request.version = CELL_VERSION;
    cell->request.load_mode = (uint32_t)load;
    cell->request.params = *params;
    snprintf(cell->request.allocator, sizeof cell->request.allocator, "%s", allocator->spec->text);
    snprintf(cell->request.workload, sizeof cell->request.workload, "%s", workload->name);
    for (size_t i = 0; i < CELL_MAX_THREADS; i++)
        cell->request.cpus[i] = -1;
    // A worker that dies before its first instruction has measured nothing.
    memset(&cell->result.elapsed_ns, 0xff, sizeof cell->result - offsetof(struct cell_result, elapsed_ns));
    memset(cell->result.rejects, 0, sizeof cell->result.rejects);
    return 1;
}

static int run_process(struct sample *sample, const struct sample_allocator *allocator, enum allocator_load_mode load,
                       const char *worker, uint64_t timeout_ns, enum process_end *end, int *code) {
    struct environment environment;
    if (!build_environment(&environment, allocator, load)) {
        errno = ENOMEM;
        return 0;
    }
    int started = process_start(&sample->process, worker, environment.entries);
    int error = errno;
    free(environment.entries);
    if (started)
        *end = process_wait(&sample->process, timeout_ns, code);
    errno = error;
    return started;
}

static uint32_t phase_of(const struct cell *cell) {
    // ORDER: acquire pairs with the release in cell_enter: results of earlier phases are visible.
    uint32_t phase = atomic_load_explicit(&cell->phase, memory_order_acquire);
    return phase <= CELL_PHASE_DONE ? phase : CELL_PHASE_DONE;
}

// Ends every text of the result: the memory was the worker's, and the worker may have gone mad.
static void terminate_texts(struct cell_result *result) {
    result->message[sizeof result->message - 1] = '\0';
    result->library_path[sizeof result->library_path - 1] = '\0';
    result->library_version[sizeof result->library_version - 1] = '\0';
    result->library_build_id[sizeof result->library_build_id - 1] = '\0';
    result->contract[sizeof result->contract - 1] = '\0';
}

static void conclude(struct sample *sample, const char *status) {
    sample->row.status = status;
    sample->row.message = sample->message;
}

// How the sample ended: the process's end first, then what the worker said.
static void judge(struct sample *sample, const struct sample_allocator *allocator, enum process_end end, int code,
                  uint64_t timeout_ns) {
    struct cell_result *result = &sample->process.cell->result;
    const char *where = phase_texts[phase_of(sample->process.cell)];
    char line[256], name[32];
    terminate_texts(result);
    process_output_line(&sample->process, line, sizeof line);
    const char *colon = line[0] ? ": " : "";
    if (end == PROCESS_TIMEOUT) {
        snprintf(sample->message, sizeof sample->message,
                 "no end after %g s, killed %s - raise --timeout if that is too short%s%s", (double)timeout_ns / 1e9,
                 where, colon, line);
        conclude(sample, "timeout");
    } else if (end == PROCESS_SIGNALLED) {
        process_signal_name(code, name, sizeof name);
        snprintf(sample->message, sizeof sample->message, "%s %s%s%s", name, where, colon, line);
        conclude(sample, "crashed");
    } else if (code != 0 || result->status == CELL_UNFINISHED || result->status > CELL_CRASHED) {
        snprintf(sample->message, sizeof sample->message, "exit with code %d %s%s%s", code, where, colon, line);
        conclude(sample, "crashed");
    } else if (result->status == CELL_OK && !os_library_same_file(result->library_path, allocator->resolved.path)) {
        snprintf(sample->message, sizeof sample->message, "malloc was taken from %s instead of %s - not measuring it",
                 result->library_path, allocator->resolved.path);
        conclude(sample, status_names[CELL_UNAVAILABLE]);
    } else {
        // What a library says while all goes well, such as a setting that it ignores, belongs to the row as well.
        snprintf(sample->message, sizeof sample->message, "%s", result->status == CELL_OK ? line : result->message);
        conclude(sample, status_names[result->status]);
    }
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

// Mean and 95th percentile of the resident set over the measured part.
static void summarise_rss(const struct cell *cell, uint64_t *mean, uint64_t *p95) {
    // ORDER: acquire pairs with the release store of the worker's rss_append, which publishes the points before it.
    uint32_t count = atomic_load_explicit(&cell->rss_points, memory_order_acquire);
    *mean = *p95 = CSV_NOT_MEASURED;
    if (count > CELL_MAX_RSS_POINTS)
        count = CELL_MAX_RSS_POINTS;
    uint64_t *values = malloc((count + 1) * sizeof *values);
    uint64_t sum = 0;
    size_t used = 0;
    for (uint32_t i = 0; values && i < count; i++)
        if (cell->rss[i].phase == CELL_PHASE_MEASURED && cell->rss[i].rss_bytes != CSV_NOT_MEASURED) {
            values[used++] = cell->rss[i].rss_bytes;
            sum += cell->rss[i].rss_bytes;
        }
    if (used > 0) {
        qsort(values, used, sizeof *values, compare_u64);
        *mean = sum / used;
        *p95 = values[(used * 95 + 99) / 100 - 1];
    }
    free(values);
}

static void list_rejects(const uint64_t *rejects, char *out, size_t out_bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ALLOCATOR_REJECT_COUNT && at < out_bytes; i++)
        if (rejects[i] != 0 && rejects[i] != ALLOCATOR_NOT_TOLD)
            at += (size_t)snprintf(out + at, out_bytes - at, "%s%s=%" PRIu64, at ? ";" : "", allocator_reject_names[i],
                                   rejects[i]);
}

static void describe(struct sample *sample, const struct sample_request *request) {
    const struct options *options = request->plan->options;
    const struct workload_params *params = &request->cell->params;
    const struct workload *workload = request->cell->workload;
    const struct allocator_provenance *resolved = &request->allocator->resolved;
    struct csv_row *row = &sample->row;
    time_t now = options->fake_clock ? 0 : time(NULL);
    struct tm utc;
    // Every number starts as "not measured".
    memset(row, 0xff, sizeof *row);
    strftime(sample->started_at, sizeof sample->started_at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    row->run_id = request->run_id;
    row->sample = request->sample;
    row->round = request->round;
    row->order = request->order;
    row->cell_index = (uint64_t)(request->cell - request->plan->cells);
    row->platform = process_platform();
    row->allocator = request->allocator->spec->text;
    row->load = options->load == ALLOCATOR_LOAD_PRELOAD || workload->is_program ? "preload" : "dlopen";
    row->workload = workload->name;
    row->threads = params->threads;
    row->seed = plan_round_seed(options->seed, request->round);
    row->ops_per_thread = params->ops;
    row->duration_ns = params->duration_ns;
    row->working_set = params->working_set;
    row->min_bytes = params->min_bytes;
    row->max_bytes = params->max_bytes;
    row->sizes = options_sizes_names[params->sizes];
    row->topology = workload->used_params & WORKLOAD_USES_TOPOLOGY ? options_topology_names[params->topology] : NULL;
    row->remote_ppm = params->remote_ppm;
    row->realloc_ppm = params->realloc_ppm;
    row->aligned_ppm = params->aligned_ppm;
    row->calloc_ppm = params->calloc_ppm;
    row->rounds = params->rounds;
    row->touch = options_touch_names[params->touch];
    row->input = params->input;
    row->pin = workload->is_program ? "none" : options->pin;
    row->status = row->message = NULL;
    row->library_path = resolved->path;
    row->library_version = resolved->version;
    row->library_build_id = resolved->build_id;
    row->library_sha256 = resolved->sha256;
    row->contract = resolved->contract;
    row->throughput_ops_s = row->remote_share = -1;
    row->rejects = sample->rejects;
    row->started_at = sample->started_at;
    row->contamination = sample->contamination;
    sample->rejects[0] = sample->message[0] = sample->contamination[0] = '\0';
}

static void take_noise(struct sample *sample, const struct sample_request *request) {
    struct csv_row *row = &sample->row;
    row->noise = sample->process.cell->result.noise;
    if (!request->plan->options->fake_clock)
        row->noise.canary_reference_ns = request->canary_reference_ns;
    struct noise_sample noise = {&row->noise, row->elapsed_ns, row->run_delay_ns, (uint32_t)row->threads, request->pus};
    row->contaminated = noise_judge(&noise, sample->contamination, sizeof sample->contamination);
}

// What the worker has proved. A program proves the file only; the rest is what the probe has found.
static void take_library(struct sample *sample) {
    const struct cell_result *result = &sample->process.cell->result;
    struct csv_row *row = &sample->row;
    row->library_path = result->library_path;
    row->library_version = result->library_version;
    row->library_build_id = result->library_build_id;
    row->contract = result->contract;
}

static void take_result(struct sample *sample) {
    const struct cell_result *result = &sample->process.cell->result;
    struct csv_row *row = &sample->row;
    row->stream_hash = result->stream_hash;
    row->elapsed_ns = result->elapsed_ns;
    row->ops = result->ops;
    row->remote_frees = result->remote_frees;
    row->local_frees = result->local_frees;
    row->waits = result->waits;
    row->corruptions = result->corruptions;
    row->failures = result->failures;
    row->user_ns = result->user_ns;
    row->system_ns = result->system_ns;
    row->run_delay_ns = result->run_delay_ns;
    row->voluntary_switches = result->voluntary_switches;
    row->involuntary_switches = result->involuntary_switches;
    row->minor_faults = result->minor_faults;
    row->major_faults = result->major_faults;
    row->rss_baseline = result->rss_baseline;
    row->rss_peak = result->rss_peak;
    row->windows_working_set_bytes = result->windows_working_set_bytes;
    row->windows_peak_working_set_bytes = result->windows_peak_working_set_bytes;
    row->windows_private_usage_bytes = result->windows_private_usage_bytes;
    row->rss_work = result->rss_work;
    row->live_work = result->live_work;
    row->rss_freed = result->rss_freed;
    row->rss_joined = result->rss_joined;
    row->rss_100ms = result->rss_100ms;
    row->rss_1s = result->rss_1s;
    row->rss_purged = result->rss_purged;
    row->live_peak = result->live_peak;
    row->reserved_bytes = result->reserved_bytes;
    row->committed_bytes = result->committed_bytes;
    row->metadata_bytes = result->metadata_bytes;
    if (sample->process.cell->request.latency_every != 0)
        row->latency_every = sample->process.cell->request.latency_every;
    row->latency_probe_ns = result->latency_probe_ns;
    memcpy(row->latency, result->latency, sizeof row->latency);
    row->cycles = result->cycles;
    row->instructions = result->instructions;
    row->cache_misses = result->cache_misses;
    row->dtlb_misses = result->dtlb_misses;
    if (row->ops != CSV_NOT_MEASURED && row->elapsed_ns != CSV_NOT_MEASURED && row->elapsed_ns > 0)
        row->throughput_ops_s = (double)row->ops * 1e9 / (double)row->elapsed_ns;
    if (row->remote_frees != CSV_NOT_MEASURED && row->local_frees != CSV_NOT_MEASURED) {
        uint64_t frees = row->remote_frees + row->local_frees;
        row->remote_share = frees > 0 ? (double)row->remote_frees / (double)frees : -1;
    }
    summarise_rss(sample->process.cell, &row->rss_mean, &row->rss_p95);
    list_rejects(result->rejects, sample->rejects, sizeof sample->rejects);
}

enum sample_end sample_run(struct sample *sample, const struct sample_request *request) {
    const struct options *options = request->plan->options;
    enum process_end end = PROCESS_EXITED;
    int code = 0;
    uint64_t timeout_ns = plan_timeout_ns(request->plan, request->cell);
    struct workload_params params = request->cell->params;
    params.seed = plan_round_seed(options->seed, request->round);
    describe(sample, request);
    if (!prepare(sample, request->allocator, options->load, request->cell->workload, &params))
        return SAMPLE_IMPOSSIBLE;
    struct cell_request *cell = &sample->process.cell->request;
    memcpy(cell->cpus, request->cpus, params.threads * sizeof cell->cpus[0]);
    cell->rss_interval_ns = options->rss_interval_ns;
    cell->settle_ns = options->settle_ns;
    cell->counters = (uint32_t)options->counters;
    cell->latency_every = options->fake_clock ? 0 : options->latency_every;
    cell->fake_clock = (uint32_t)options->fake_clock;
    // A program gets its allocator preloaded by hzbench-app, which itself runs on the C library.
    const enum allocator_load_mode load = request->cell->workload->is_program ? ALLOCATOR_LOAD_DLOPEN : options->load;
    if (!run_process(sample, request->allocator, load, request->worker, timeout_ns, &end, &code))
        return SAMPLE_IMPOSSIBLE;
    if (end == PROCESS_INTERRUPTED)
        return SAMPLE_INTERRUPTED;
    judge(sample, request->allocator, end, code, timeout_ns);
    if (!request->cell->workload->is_program)
        take_library(sample);
    take_result(sample);
    take_noise(sample, request);
    return SAMPLE_DONE;
}

void sample_unavailable(struct sample *sample, const struct sample_request *request) {
    sample->process = (struct process_worker){.cell_fd = -1, .output_fd = -1, .pid_fd = -1};
    describe(sample, request);
    snprintf(sample->message, sizeof sample->message, "%s", request->allocator->why);
    conclude(sample, status_names[CELL_UNAVAILABLE]);
}

void sample_release(struct sample *sample) {
    process_release(&sample->process);
}

// A few objects of `local`: enough to make a library show that it can be loaded and called.
static enum sample_end run_small(struct sample *sample, const struct sample_allocator *allocator,
                                 const struct options *options, enum allocator_load_mode load, const char *worker,
                                 uint64_t ops, int32_t cpu, enum process_end *end, int *code) {
    const struct workload *workload = workload_find("local");
    struct workload_params params;
    char ignored[512];
    workload_params_unset(&params);
    params.threads = 1;
    params.ops = ops;
    if (!workload || !workload_params_complete(workload, &params, ignored, sizeof ignored)) {
        errno = EINVAL;
        return SAMPLE_IMPOSSIBLE;
    }
    if (!prepare(sample, allocator, load, workload, &params))
        return SAMPLE_IMPOSSIBLE;
    sample->process.cell->request.cpus[0] = cpu;
    sample->process.cell->request.counters = 1;
    sample->process.cell->request.fake_clock = (uint32_t)options->fake_clock;
    if (!run_process(sample, allocator, load, worker, PROBE_TIMEOUT_NS, end, code))
        return SAMPLE_IMPOSSIBLE;
    return *end == PROCESS_INTERRUPTED ? SAMPLE_INTERRUPTED : SAMPLE_DONE;
}

static void take_probe(struct sample *sample, struct sample_allocator *allocator, enum process_end end, int code) {
    const struct cell *cell = sample->process.cell;
    uint32_t phase = phase_of(cell);
    judge(sample, allocator, end, code, PROBE_TIMEOUT_NS);
    int is_unavailable = strcmp(sample->row.status, status_names[CELL_UNAVAILABLE]) == 0;
    // Whoever comes past loading is measured; what goes wrong then is a result and not for the probe to judge.
    allocator->is_available = !is_unavailable && phase >= CELL_PHASE_LOADED;
    // Ours say in one line which setting they do not know, and run without it: under a name that promises it.
    const struct allocator_spec *spec = allocator->spec;
    const int is_ours = spec->backend && spec->backend->debian_package == NULL;
    if (allocator->is_available && is_ours && spec->options[0] && sample->message[0] &&
        strcmp(sample->row.status, "ok") == 0) {
        allocator->is_available = 0;
        snprintf(allocator->why, sizeof allocator->why, "%.180s: does not take these settings: %.250s", spec->text,
                 sample->message);
    } else if (is_unavailable || cell->result.status == CELL_ERROR)
        snprintf(allocator->why, sizeof allocator->why, "%.500s", sample->message);
    else
        snprintf(allocator->why, sizeof allocator->why, "%.64s: cannot be loaded: %.400s", allocator->spec->name,
                 sample->message);
    snprintf(allocator->resolved.version, sizeof allocator->resolved.version, "%s", cell->result.library_version);
    snprintf(allocator->resolved.contract, sizeof allocator->resolved.contract, "%s", cell->result.contract);
}

enum sample_end sample_probe(struct sample_allocator *allocator, const struct options *options, const char *worker) {
    struct sample sample = {.process = {.cell_fd = -1, .output_fd = -1, .pid_fd = -1}};
    enum process_end end = PROCESS_EXITED;
    int code = 0;
    allocator->is_available = 0;
    if (allocator_resolve(allocator->spec, &allocator->resolved, allocator->why, sizeof allocator->why) !=
        ALLOCATOR_LOADED)
        return SAMPLE_DONE;
    enum sample_end result = run_small(&sample, allocator, options, options->load, worker, 1, -1, &end, &code);
    if (result == SAMPLE_DONE)
        take_probe(&sample, allocator, end, code);
    int error = errno;
    sample_release(&sample);
    errno = error;
    return result;
}

double sample_null_overhead_ns(const struct options *options, const char *worker, const int32_t *cpus,
                               int *with_counters, char *why, size_t why_bytes) {
    struct allocator_spec spec;
    struct sample_allocator null = {.spec = &spec};
    double best = -1;
    *with_counters = 0;
    if (allocator_spec_parse("null", &spec, why, why_bytes) != ALLOCATOR_LOADED ||
        allocator_resolve(&spec, &null.resolved, why, why_bytes) != ALLOCATOR_LOADED)
        return -1;
    // The best of a few: whatever disturbs a measurement of the harness makes it longer.
    for (int i = 0; i < OVERHEAD_RUNS && !process_interrupted(); i++) {
        struct sample sample = {.process = {.cell_fd = -1, .output_fd = -1, .pid_fd = -1}};
        enum process_end end = PROCESS_EXITED;
        int code = 0;
        if (run_small(&sample, &null, options, ALLOCATOR_LOAD_DLOPEN, worker, OVERHEAD_OPS, cpus[0], &end, &code) ==
            SAMPLE_DONE) {
            const struct cell_result *result = &sample.process.cell->result;
            judge(&sample, &null, end, code, PROBE_TIMEOUT_NS);
            double ns = (double)result->elapsed_ns / (double)result->ops;
            snprintf(why, why_bytes, "%s", sample.message);
            if (strcmp(sample.row.status, "ok") == 0 && (best < 0 || ns < best))
                best = ns;
            *with_counters |= result->instructions != CSV_NOT_MEASURED;
        }
        sample_release(&sample);
    }
    return best;
}
