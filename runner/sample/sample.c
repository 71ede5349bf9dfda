// SPDX-License-Identifier: Apache-2.0
// The worker's environment, its request, and the row that comes of it. Layer: runner.
#include "sample.h"

#include "../system/os.h"
#include "../text/words.h"
#include "noise.h"

#include "../../allocators/loader/os_library.h"
#include "../../workloads/parameters.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof((struct options *)0)->wrapper <= PROCESS_WRAPPER_BYTES, "what --wrapper takes, a process gets");

#define LOAD_CHECK_TIMEOUT_NS UINT64_C(10000000000)
#define OVERHEAD_OPS 2000000 // some ten milliseconds: long against the clock, short for the user
#define OVERHEAD_RUNS 3
#define EARLY_LEAST_NS UINT64_C(60000000000)

extern char **environ;

static const char *const phase_texts[] = {
    [PHASE_START] = "while loading",
    [PHASE_LOADED] = "before the warm-up",
    [PHASE_WARM_UP] = "in the warm-up",
    [PHASE_MEASURED] = "in the measured part",
    [PHASE_TEAR_DOWN] = "in the tear-down",
    [PHASE_JOINED] = "after the threads had ended",
    [PHASE_SETTLE] = "after the threads had ended",
    [PHASE_PURGED] = "after the purge",
    [PHASE_DONE] = "at its end",
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
    const char *options_env = backend != NULL && allocator->spec->options[0] ? backend->options_env : NULL;
    const char *tunables = getenv(ALLOCATOR_TUNABLES_ENV);
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    environment->entries = calloc(count + 4, sizeof *environment->entries);
    if (environment->entries == NULL)
        return 0;
    for (size_t i = 0; i < count; i++)
        // A library preloaded into the runner is not part of the experiment.
        if (!is_variable(environ[i], ALLOCATOR_TUNABLES_ENV) && !is_variable(environ[i], "LD_PRELOAD") &&
            !(options_env != NULL && is_variable(environ[i], options_env)))
            environment->entries[kept++] = environ[i];
    // The last tunable of a name wins.
    snprintf(environment->tunables, sizeof environment->tunables, "%s=%s%s%s", ALLOCATOR_TUNABLES_ENV,
             tunables != NULL ? tunables : "", tunables != NULL ? ":" : "", ALLOCATOR_TUNABLES);
    environment->entries[kept++] = environment->tunables;
    if (load == ALLOCATOR_LOAD_PRELOAD) {
        snprintf(environment->preload, sizeof environment->preload, "LD_PRELOAD=%s", allocator->resolved.path);
        environment->entries[kept++] = environment->preload;
    }
    if (options_env != NULL) {
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
    if (!process_prepare(&sample->process, sizeof(struct sample_shared)))
        return 0;
    struct sample_shared *shared = sample->process.shared;
    shared->request.magic = SHARED_MAGIC;
    shared->request.version = SHARED_VERSION;
    shared->request.load_mode = (uint32_t)load;
    shared->request.params = *params;
    snprintf(shared->request.allocator, sizeof shared->request.allocator, "%s", allocator->spec->text);
    snprintf(shared->request.workload, sizeof shared->request.workload, "%s", workload->name);
    for (size_t i = 0; i < WORKLOAD_MAX_THREADS; i++)
        shared->request.cpus[i] = -1;
    // A worker that dies before its first instruction has measured nothing.
    shared_forget(&shared->result);
    return 1;
}

// A sample that runs while somebody waits for it.
struct running {
    const struct sample_request *request;
    struct sample_shared *shared;
    uint64_t begin_ns;
};

static void look(void *context) {
    const struct running *running = context;
    if (running->request->look != NULL)
        running->request->look(running->request->look_context, os_now_ns() - running->begin_ns);
}

// A long sample by the clock is worth its row when it ends early; a short one is run again.
static int end_early(void *context) {
    const struct running *running = context;
    struct sample_shared *shared = running->shared;
    if (running->request->ends_early == NULL || shared->request.params.duration_ns < EARLY_LEAST_NS ||
        running->request->cell->workload->is_program ||
        atomic_load_explicit(&shared->phase, memory_order_relaxed) != PHASE_MEASURED)
        return 0;
    atomic_store_explicit(&shared->ends_early, 1, memory_order_relaxed);
    running->request->ends_early(running->request->look_context);
    return 1;
}

static int run_process(struct sample *sample, const struct sample_allocator *allocator, enum allocator_load_mode load,
                       const char *worker, const char *wrapper, uint64_t timeout_ns, const struct process_watch *watch,
                       enum process_end *end, int *code) {
    struct environment environment;
    if (!build_environment(&environment, allocator, load)) {
        errno = ENOMEM;
        return 0;
    }
    int started = process_start(&sample->process, worker, wrapper, environment.entries);
    int error = errno;
    free(environment.entries);
    if (started)
        *end = process_wait(&sample->process, timeout_ns, watch, code);
    errno = error;
    return started;
}

static struct sample_shared *shared_of(const struct sample *sample) {
    return sample->process.shared;
}

static uint32_t phase_of(const struct sample_shared *shared) {
    // ORDER: acquire pairs with the release in shared_enter: results of earlier phases are visible.
    uint32_t phase = atomic_load_explicit(&shared->phase, memory_order_acquire);
    return phase <= PHASE_DONE ? phase : PHASE_DONE;
}

// Ends every text of the result: the memory was the worker's, and the worker may have gone mad.
static void terminate_texts(struct shared_result *result) {
    struct allocator_provenance *proof = &result->proof;
    result->message[sizeof result->message - 1] = '\0';
    proof->path[sizeof proof->path - 1] = '\0';
    proof->version[sizeof proof->version - 1] = '\0';
    proof->build_id[sizeof proof->build_id - 1] = '\0';
    proof->contract[sizeof proof->contract - 1] = '\0';
}

__attribute__((format(printf, 3, 4))) static void conclude(struct record *record, enum sample_status status,
                                                           const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(record->message, sizeof record->message, format, arguments);
    va_end(arguments);
    record->status = status;
}

// How the sample ended: the process's end first, then what the worker said.
static void take_status(struct sample *sample, const struct sample_allocator *allocator, enum process_end end, int code,
                        uint64_t timeout_ns) {
    struct shared_result *result = &shared_of(sample)->result;
    struct record *record = &sample->record;
    const char *where = phase_texts[phase_of(shared_of(sample))];
    char line[256], name[32];
    terminate_texts(result);
    process_output_line(&sample->process, line, sizeof line);
    const char *colon = line[0] ? ": " : "";
    if (end == PROCESS_TIMEOUT) {
        conclude(record, STATUS_TIMEOUT, "no end after %g s, killed %s - raise --timeout if that is too short%s%s",
                 (double)timeout_ns / 1e9, where, colon, line);
    } else if (end == PROCESS_SIGNALLED) {
        process_signal_name(code, name, sizeof name);
        conclude(record, STATUS_CRASHED, "%s %s%s%s", name, where, colon, line);
    } else if (code != 0 || result->status == STATUS_UNFINISHED || result->status >= STATUS_COUNT) {
        conclude(record, STATUS_CRASHED, "exit with code %d %s%s%s", code, where, colon, line);
    } else if (result->status == STATUS_OK && !os_library_same_file(result->proof.path, allocator->resolved.path)) {
        conclude(record, STATUS_UNAVAILABLE, "malloc was taken from %s instead of %s - not measuring it",
                 result->proof.path, allocator->resolved.path);
    } else {
        // What a library says while all goes well, such as a setting that it ignores, belongs to the row as well.
        conclude(record, result->status, "%s", result->status == STATUS_OK ? line : result->message);
    }
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

// Below this many live bytes an object's page and the thread's stack decide the ratio to the resident set.
#define LEAST_LIVE_BYTES (1 << 20)

static uint64_t fragmentation_ppm(const struct record *record, const struct rss_point *point) {
    const uint64_t baseline = record->measured.rss_baseline;
    if (baseline == NOT_MEASURED || point->live_bytes < LEAST_LIVE_BYTES)
        return 0;
    const uint64_t above = point->rss_bytes > baseline ? point->rss_bytes - baseline : 0;
    return (uint64_t)((double)above / (double)point->live_bytes * 1e6);
}

// The columns that are taken over the series of the measured part.
static void summarise_series(const struct sample_shared *shared, struct record *record) {
    // ORDER: acquire pairs with the release store of the worker's rss_append, which publishes the points before it.
    uint32_t count = atomic_load_explicit(&shared->rss_points, memory_order_acquire);
    if (count > SHARED_MAX_RSS_POINTS)
        count = SHARED_MAX_RSS_POINTS;
    uint64_t *values = malloc((count + 1) * sizeof *values);
    uint64_t sum = 0, live_sum = 0, live_count = 0, worst_ppm = 0;
    size_t used = 0;
    for (uint32_t i = 0; values != NULL && i < count; i++) {
        const struct rss_point *point = &shared->rss[i];
        if (point->phase != PHASE_MEASURED || point->rss_bytes == NOT_MEASURED)
            continue;
        values[used++] = point->rss_bytes;
        sum += point->rss_bytes;
        if (point->live_bytes == SHARED_LIVE_UNKNOWN)
            continue;
        live_count++;
        live_sum += point->live_bytes > 0 ? (uint64_t)point->live_bytes : 0;
        const uint64_t ppm = fragmentation_ppm(record, point);
        worst_ppm = ppm > worst_ppm ? ppm : worst_ppm;
    }
    if (used > 0) {
        qsort(values, used, sizeof *values, compare_u64);
        record->rss_mean = sum / used;
        record->rss_p95 = values[(used * 95 + 99) / 100 - 1];
    }
    if (live_count > 0)
        record->live_mean = live_sum / live_count;
    if (worst_ppm > 0)
        record->fragmentation_worst_ppm = worst_ppm;
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

static void list_settled(const struct shared_request *request, const struct measurement *measured, char *out,
                         size_t out_bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < SETTLE_MOST && at < out_bytes; i++)
        if (request->settle_ns[i] != 0 && measured->rss_settled[i] != NOT_MEASURED)
            at += (size_t)snprintf(out + at, out_bytes - at, "%s%gs=%" PRIu64, at ? ";" : "",
                                   (double)request->settle_ns[i] / 1e9, measured->rss_settled[i]);
}

// What is known before the sample runs.
static void describe(struct record *record, const struct sample_request *request) {
    const struct options *options = request->plan->options;
    const struct workload *workload = request->cell->workload;
    time_t now = options->fake_clock ? 0 : time(NULL);
    struct tm utc;
    record_clear(record);
    strftime(record->started_at, sizeof record->started_at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    snprintf(record->run_id, sizeof record->run_id, "%s", request->run_id);
    record->sample = request->sample;
    record->round = request->round;
    record->order = request->order;
    record->cell_index = (uint64_t)(request->cell - request->plan->cells);
    snprintf(record->platform, sizeof record->platform, "%s", process_platform());
    snprintf(record->allocator, sizeof record->allocator, "%s", request->allocator->spec->label);
    snprintf(record->workload, sizeof record->workload, "%s", workload->name);
    snprintf(record->pin, sizeof record->pin, "%s", workload->is_program ? "none" : options->pin);
    record->load = workload->is_program ? ALLOCATOR_LOAD_PRELOAD : options->load;
    record->params = request->cell->params;
    record->params.seed = plan_round_seed(options->seed, request->round);
    if (!(workload->used_params & WORKLOAD_USES_TOPOLOGY))
        record->params.topology = UINT32_MAX; // nothing is handed over: an empty cell
    record->proof = request->allocator->resolved;
}

static void take_noise(struct record *record, const struct sample_request *request) {
    struct measurement *measured = &record->measured;
    if (!request->plan->options->fake_clock)
        measured->noise.reference_loop_fastest_ns = request->reference_loop_fastest_ns;
    struct noise_sample noise = {&measured->noise, measured->elapsed_ns, measured->run_delay_ns, record->params.threads,
                                 request->pus};
    record->contaminated = noise_is_contaminated(&noise, record->contamination, sizeof record->contamination);
}

// What the worker has proved. A program proves the file only; the rest is what the load check has found.
static void take_proof(struct record *record, const struct allocator_provenance *proof) {
    char sha256[sizeof record->proof.sha256];
    memcpy(sha256, record->proof.sha256, sizeof sha256); // of the file, which the runner has read
    record->proof = *proof;
    memcpy(record->proof.sha256, sha256, sizeof sha256);
}

static void take_result(struct record *record, const struct sample_shared *shared) {
    record->measured = shared->result.measured;
    if (shared->request.latency_every != 0)
        record->latency_every = shared->request.latency_every;
    summarise_series(shared, record);
    list_rejects(record->measured.rejects, record->rejects, sizeof record->rejects);
    list_settled(&shared->request, &record->measured, record->rss_settled, sizeof record->rss_settled);
}

struct sample_request sample_request_of(const struct plan *plan, const struct sample_allocator *allocators,
                                        uint32_t number) {
    const struct plan_cell *cell = &plan->cells[plan->visits[number]];
    return (struct sample_request){.plan = plan,
                                   .cell = cell,
                                   .allocator = &allocators[cell->allocator],
                                   .run_id = "",
                                   .sample = number,
                                   .round = number / plan->cell_count,
                                   .order = number % plan->cell_count,
                                   .reference_loop_fastest_ns = NOT_MEASURED};
}

// Returns 0 with the row when the sample cannot have, or be held to, what its parameters say.
static int set_up(struct sample *sample, const struct workload_params *params) {
    struct budget *budget = &shared_of(sample)->request.budget;
    const char *by;
    char why[512];
    if (!huge_pages_set(params->thp, &shared_of(sample)->request.huge_pages, &by, why, sizeof why)) {
        conclude(&sample->record, STATUS_UNAVAILABLE, "%s", why);
        return 0;
    }
    snprintf(sample->record.thp_by, sizeof sample->record.thp_by, "%s", by);
    if (!sample_budget_open(budget, params, why, sizeof why)) {
        conclude(&sample->record, STATUS_UNAVAILABLE, "%s", why);
        return 0;
    }
    budget_text(budget, sample->record.limited_by, sizeof sample->record.limited_by);
    return 1;
}

// Whoever the system kills at the limit has run out of memory; that is how the sample ended.
static void take_kills(struct sample *sample, const struct budget *budget) {
    const uint64_t kills = budget_kills(budget);
    if (kills != 0)
        conclude(&sample->record, STATUS_OUT_OF_MEMORY,
                 "killed by the system %s: the memory limit of %" PRIu64 " KiB was used up",
                 phase_texts[phase_of(shared_of(sample))], budget->memory_bytes / 1024);
}

int sample_budget_open(struct budget *budget, const struct workload_params *params, char *why, size_t why_bytes) {
    return budget_open(budget, params->memory_limit, (uint64_t)params->cpu_quota_ppm * params->threads, why, why_bytes);
}

enum sample_end sample_run(struct sample *sample, const struct sample_request *request) {
    const struct options *options = request->plan->options;
    enum process_end end = PROCESS_EXITED;
    int code = 0;
    uint64_t timeout_ns = plan_timeout_ns(request->plan, request->cell);
    struct workload_params params = request->cell->params;
    params.seed = plan_round_seed(options->seed, request->round);
    describe(&sample->record, request);
    if (!prepare(sample, request->allocator, options->load, request->cell->workload, &params))
        return SAMPLE_IMPOSSIBLE;
    struct shared_request *order = &shared_of(sample)->request;
    memcpy(order->cpus, request->cpus, params.threads * sizeof order->cpus[0]);
    order->rss_interval_ns = options->rss_interval_ns;
    memcpy(order->settle_ns, options->settle_ns, sizeof order->settle_ns);
    if (options->program != NULL)
        words_join(options->program, order->command, sizeof order->command);
    snprintf(order->prepare, sizeof order->prepare, "%s", options->prepare);
    order->counters = (uint32_t)options->counters;
    order->latency_every = options->fake_clock ? 0 : options->latency_every;
    order->fake_clock = (uint32_t)options->fake_clock;
    // A program gets its allocator preloaded by hzbench-app, which itself runs on the C library.
    const enum allocator_load_mode load = request->cell->workload->is_program ? ALLOCATOR_LOAD_DLOPEN : options->load;
    if (!set_up(sample, &params))
        return SAMPLE_DONE;
    struct budget budget = order->budget; // the worker may write on the other
    struct running running = {request, shared_of(sample), os_now_ns()};
    const struct process_watch watch = {look, end_early, &running};
    const int is_started = run_process(sample, request->allocator, load, request->worker, options->wrapper, timeout_ns,
                                       &watch, &end, &code);
    const int error = errno;
    if (is_started && end != PROCESS_INTERRUPTED) {
        take_status(sample, request->allocator, end, code, timeout_ns);
        take_kills(sample, &budget);
    }
    budget_close(&budget);
    errno = error;
    if (!is_started || end == PROCESS_INTERRUPTED)
        return is_started ? SAMPLE_INTERRUPTED : SAMPLE_IMPOSSIBLE;
    if (record_is_ok(&sample->record) &&
        atomic_load_explicit(&shared_of(sample)->ends_early, memory_order_relaxed) != 0)
        conclude(&sample->record, STATUS_OK, "interrupted: ended after %g s instead of %g s",
                 (double)shared_of(sample)->result.measured.elapsed_ns / 1e9, (double)params.duration_ns / 1e9);
    if (!request->cell->workload->is_program)
        take_proof(&sample->record, &shared_of(sample)->result.proof);
    take_result(&sample->record, shared_of(sample));
    take_noise(&sample->record, request);
    return SAMPLE_DONE;
}

void sample_unavailable(struct sample *sample, const struct sample_request *request) {
    sample->process = (struct process_worker)PROCESS_NONE;
    describe(&sample->record, request);
    conclude(&sample->record, STATUS_UNAVAILABLE, "%s", request->allocator->why);
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
    if (workload == NULL || !workload_params_complete(workload, &params, ignored, sizeof ignored)) {
        errno = EINVAL;
        return SAMPLE_IMPOSSIBLE;
    }
    if (!prepare(sample, allocator, load, workload, &params))
        return SAMPLE_IMPOSSIBLE;
    struct shared_request *order = &shared_of(sample)->request;
    order->cpus[0] = cpu;
    order->counters = 1;
    order->fake_clock = options->fake_clock;
    if (!run_process(sample, allocator, load, worker, "", LOAD_CHECK_TIMEOUT_NS, NULL, end, code))
        return SAMPLE_IMPOSSIBLE;
    return *end == PROCESS_INTERRUPTED ? SAMPLE_INTERRUPTED : SAMPLE_DONE;
}

static void take_load_check(struct sample *sample, struct sample_allocator *allocator, enum process_end end, int code) {
    const struct shared_result *result = &shared_of(sample)->result;
    const struct record *record = &sample->record;
    uint32_t phase = phase_of(shared_of(sample));
    take_status(sample, allocator, end, code, LOAD_CHECK_TIMEOUT_NS);
    int is_unavailable = record->status == STATUS_UNAVAILABLE;
    // An allocator that loads is measured; later failures are results of its samples.
    allocator->is_available = !is_unavailable && phase >= PHASE_LOADED;
    // Ours say in one line which setting they do not know, and end the process at their first call.
    const struct allocator_spec *spec = allocator->spec;
    const int is_ours = spec->backend != NULL && spec->backend->debian_package == NULL;
    if (is_ours && spec->options[0] && end == PROCESS_EXITED && code == ALLOCATOR_EXIT_REFUSED) {
        char line[256];
        process_output_line(&sample->process, line, sizeof line);
        allocator->is_available = 0;
        snprintf(allocator->why, sizeof allocator->why, "%.180s: does not take these settings: %.250s", spec->text,
                 line);
    } else if (is_unavailable || result->status == STATUS_ERROR)
        snprintf(allocator->why, sizeof allocator->why, "%.500s", record->message);
    else
        snprintf(allocator->why, sizeof allocator->why, "%.64s: cannot be loaded: %.400s", allocator->spec->name,
                 record->message);
    snprintf(allocator->resolved.version, sizeof allocator->resolved.version, "%s", result->proof.version);
    snprintf(allocator->resolved.contract, sizeof allocator->resolved.contract, "%s", result->proof.contract);
}

enum sample_end sample_check_load(struct sample_allocator *allocator, const struct options *options,
                                  const char *worker) {
    struct sample sample = {.process = PROCESS_NONE};
    enum process_end end = PROCESS_EXITED;
    int code = 0;
    allocator->is_available = 0;
    if (allocator_resolve(allocator->spec, &allocator->resolved, allocator->why, sizeof allocator->why) !=
        ALLOCATOR_LOADED)
        return SAMPLE_DONE;
    enum sample_end result = run_small(&sample, allocator, options, options->load, worker, 1, -1, &end, &code);
    if (result == SAMPLE_DONE)
        take_load_check(&sample, allocator, end, code);
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
        struct sample sample = {.process = PROCESS_NONE};
        enum process_end end = PROCESS_EXITED;
        int code = 0;
        if (run_small(&sample, &null, options, ALLOCATOR_LOAD_DLOPEN, worker, OVERHEAD_OPS, cpus[0], &end, &code) ==
            SAMPLE_DONE) {
            const struct measurement *measured = &shared_of(&sample)->result.measured;
            take_status(&sample, &null, end, code, LOAD_CHECK_TIMEOUT_NS);
            double ns = (double)measured->elapsed_ns / (double)measured->ops;
            snprintf(why, why_bytes, "%s", sample.record.message);
            if (record_is_ok(&sample.record) && (best < 0 || ns < best))
                best = ns;
            *with_counters |= measured->instructions != NOT_MEASURED;
        }
        sample_release(&sample);
    }
    return best;
}
