// SPDX-License-Identifier: Apache-2.0
// The command line. Owns the help text and the units a user may write. Layer: runner.
#include "options.h"

#include "../../allocators/loader/edit_distance.h"
#include "sequential.h"

#include <ctype.h>
#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char options_help[] =
    "usage: runner --alloc=LIST --workload=LIST [options]\n"
    "\n"
    "What to measure (lists are separated by commas; each combination is a cell)\n"
    "  --alloc=LIST           hz5, hz5{profile=rss}, jemalloc, ./libfoo.so; the same name twice is an A/A test\n"
    "  --workload=LIST        local, 'remote{remote=50%,topology=pairs}'; braces hold parameters of one workload;\n"
    "                         NAME:INPUT for a workload that reads something, such as a file\n"
    "  --threads=LIST         1,2,4 or 1-4; default: the fewest the workload can do with\n"
    "  --runs=N               samples of each cell, each in a fresh process; default 5\n"
    "  --seed=N               of the order of samples and of the events; default 1\n"
    "  --list-allocators, --list-workloads    what there is, and why something is unavailable\n"
    "Parameters (also inside braces, without the dashes); default: each workload's own\n"
    "  --ops=N                objects each thread allocates, 500000 or 500k or 2M\n"
    "  --duration=TIME        run for a time instead of a fixed amount of work (no hash, no exact share)\n"
    "  --working-set=N        live objects of a thread\n"
    "  --sizes=MIN..MAX       16..2048, 16..64KiB, or one size; --size-distribution=uniform|log-uniform\n"
    "  --remote=SHARE         of frees done by another thread, 90%\n"
    "  --topology=LIST        who frees: ring, pairs, all, fan-in, fan-out\n"
    "  --realloc=SHARE --aligned=SHARE --calloc=SHARE    of the operations\n"
    "  --touch=none|ends|all  which payload bytes are written and verified\n"
    "  --rounds=N             generations or phases, where a workload has them\n"
    "How to measure\n"
    "  --load=dlopen|preload  how the worker gets the library; default dlopen\n"
    "  --pin=none|compact|spread|LIST    CPUs of the threads; default spread (packages and cores before siblings)\n"
    "  --rss-interval=TIME    of the memory series; default 10ms, 0 for none\n"
    "  --settle=TIME          to watch memory after the threads have ended: 0, 100ms, 1s; default 1s\n"
    "  --timeout=TIME         of one sample; default 60s and the expected work\n"
    "  --counters             hardware counters, where the machine has them\n"
    "  --latency[=N]          times one malloc and free in N (default 64): percentiles in the rows, NAME.latency.csv\n"
    "  --rounds-until=5%      more rounds until each allocator is known to be faster or slower than the first, or\n"
    "                         equal within 5%, or until --budget=10min is spent (exit 5); wrong at most 1 in 20 runs\n"
    "  --keep-going           measure the other allocators when one is unavailable (still exit 3)\n"
    "Output\n"
    "  --output=NAME.csv      rows to NAME.csv, NAME.rss.csv, NAME.run.json; the same command again resumes\n"
    "  --plan                 print cells, samples and expected time; run nothing\n"
    "  --doctor               what on this machine will hurt, and the remedy\n"
    "  selftest               measures a backend with known faults; exit 1 when one is not found\n"
    "  --quiet                results and errors only\n"
    "  --help, --version\n"
    "Exit codes: 0 ok, 1 selftest failed, 2 usage, 3 allocator or disk unavailable, 4 a sample failed, 5 undecided,\n"
    "            130 interrupted\n";

const char *const options_topology_names[TOPOLOGY_COUNT] = {"ring", "pairs", "all", "fan-in", "fan-out"};
const char *const options_sizes_names[] = {"uniform", "log-uniform", NULL};
const char *const options_touch_names[] = {"none", "ends", "all", NULL};

// Parameters by the name a user writes. `uses` says which workloads have it; 0: all.
enum parameter_kind { KIND_COUNT, KIND_SHARE, KIND_TIME, KIND_SIZES, KIND_NAME };

struct parameter {
    const char *name;
    enum parameter_kind kind;
    uint64_t uses;
    size_t offset;            // in struct workload_params
    int is_32;                // width of the field
    uint64_t max;             // of KIND_COUNT
    const char *const *names; // of KIND_NAME
    size_t name_count;
};

#define FIELD(member) offsetof(struct workload_params, member), sizeof(((struct workload_params *)0)->member) == 4

static const struct parameter parameters[] = {
    {"ops", KIND_COUNT, 0, FIELD(ops), 1000000000000u, NULL, 0},
    {"duration", KIND_TIME, WORKLOAD_USES_DURATION, FIELD(duration_ns), 0, NULL, 0},
    {"working-set", KIND_COUNT, WORKLOAD_USES_WORKING_SET, FIELD(working_set), 1000000000u, NULL, 0},
    {"sizes", KIND_SIZES, WORKLOAD_USES_SIZES, FIELD(min_bytes), 0, NULL, 0},
    {"size-distribution", KIND_NAME, WORKLOAD_USES_SIZES, FIELD(sizes), 0, options_sizes_names, 2},
    {"remote", KIND_SHARE, WORKLOAD_USES_REMOTE, FIELD(remote_ppm), 0, NULL, 0},
    {"topology", KIND_NAME, WORKLOAD_USES_TOPOLOGY, FIELD(topology), 0, options_topology_names, TOPOLOGY_COUNT},
    {"touch", KIND_NAME, 0, FIELD(touch), 0, options_touch_names, 3},
    {"realloc", KIND_SHARE, WORKLOAD_USES_REALLOC, FIELD(realloc_ppm), 0, NULL, 0},
    {"aligned", KIND_SHARE, WORKLOAD_USES_ALIGNED, FIELD(aligned_ppm), 0, NULL, 0},
    {"calloc", KIND_SHARE, WORKLOAD_USES_CALLOC, FIELD(calloc_ppm), 0, NULL, 0},
    {"rounds", KIND_COUNT, WORKLOAD_USES_ROUNDS, FIELD(rounds), 1000000u, NULL, 0},
};

#define PARAMETER_COUNT (sizeof parameters / sizeof parameters[0])

#define DEFAULT_LATENCY "64" // the probe costs tens of nanoseconds: well below one an op
#define DEFAULT_BUDGET_NS UINT64_C(600000000000)

enum option_id { // values of getopt_long; parameters take 0 to PARAMETER_COUNT - 1
    OPT_ALLOC = 256,
    OPT_WORKLOAD,
    OPT_THREADS,
    OPT_RUNS,
    OPT_SEED,
    OPT_OUTPUT,
    OPT_LOAD,
    OPT_PIN,
    OPT_RSS_INTERVAL,
    OPT_SETTLE,
    OPT_TIMEOUT,
    OPT_COUNTERS,
    OPT_LATENCY,
    OPT_ROUNDS_UNTIL,
    OPT_BUDGET,
    OPT_KEEP_GOING,
    OPT_QUIET,
    OPT_FAKE_CLOCK, // for golden tests only, so not in the help
    OPT_LIST_ALLOCATORS,
    OPT_LIST_WORKLOADS,
    OPT_PLAN,
    OPT_DOCTOR,
    OPT_HELP,
    OPT_VERSION,
};

#define PARAMETER_OPTION(index, text)                                                                                  \
    { text, required_argument, NULL, index }

static const struct option long_options[] = {
    PARAMETER_OPTION(0, "ops"),
    PARAMETER_OPTION(1, "duration"),
    PARAMETER_OPTION(2, "working-set"),
    PARAMETER_OPTION(3, "sizes"),
    PARAMETER_OPTION(4, "size-distribution"),
    PARAMETER_OPTION(5, "remote"),
    PARAMETER_OPTION(6, "topology"),
    PARAMETER_OPTION(7, "touch"),
    PARAMETER_OPTION(8, "realloc"),
    PARAMETER_OPTION(9, "aligned"),
    PARAMETER_OPTION(10, "calloc"),
    PARAMETER_OPTION(11, "rounds"),
    {"alloc", required_argument, NULL, OPT_ALLOC},
    {"workload", required_argument, NULL, OPT_WORKLOAD},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"runs", required_argument, NULL, OPT_RUNS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"load", required_argument, NULL, OPT_LOAD},
    {"pin", required_argument, NULL, OPT_PIN},
    {"rss-interval", required_argument, NULL, OPT_RSS_INTERVAL},
    {"settle", required_argument, NULL, OPT_SETTLE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"counters", no_argument, NULL, OPT_COUNTERS},
    {"latency", optional_argument, NULL, OPT_LATENCY},
    {"rounds-until", required_argument, NULL, OPT_ROUNDS_UNTIL},
    {"budget", required_argument, NULL, OPT_BUDGET},
    {"keep-going", no_argument, NULL, OPT_KEEP_GOING},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"fake-clock", no_argument, NULL, OPT_FAKE_CLOCK},
    {"list-allocators", no_argument, NULL, OPT_LIST_ALLOCATORS},
    {"list-workloads", no_argument, NULL, OPT_LIST_WORKLOADS},
    {"plan", no_argument, NULL, OPT_PLAN},
    {"doctor", no_argument, NULL, OPT_DOCTOR},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

struct context { // where a parse stands, for its one line of error
    struct options *options;
    char *why;
    size_t why_bytes;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct context *context, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->why, context->why_bytes, format, arguments);
    va_end(arguments);
    return EXIT_CODE_USAGE;
}

// Digits and nothing else, without overflow; `*end` is behind them.
static int read_digits(const char *text, uint64_t *out, const char **end) {
    uint64_t value = 0;
    if (!isdigit((unsigned char)*text))
        return 0;
    for (; isdigit((unsigned char)*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return 0;
        value = value * 10 + digit;
    }
    *out = value;
    *end = text;
    return 1;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit count_units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1},           {"B", 1},          {"KiB", 1u << 10},
                                         {"MiB", 1u << 20}, {"GiB", 1u << 30}, {NULL, 0}};
static const struct unit time_units[] = {{"ns", 1},          {"us", 1000},          {"ms", 1000000},
                                         {"s", 1000000000u}, {"min", 60000000000u}, {NULL, 0}};

// A whole number with one of `units`; 0 needs no unit.
static int read_quantity(const char *text, const struct unit *units, uint64_t *out) {
    const char *end;
    uint64_t value;
    if (!read_digits(text, &value, &end))
        return 0;
    for (const struct unit *unit = units; unit->name; unit++)
        if (strcmp(end, unit->name) == 0) {
            if (value > UINT64_MAX / 2 / unit->factor)
                return 0;
            *out = value * unit->factor;
            return 1;
        }
    *out = 0;
    return value == 0 && *end == '\0';
}

// "90%" or "12.5%" as millionths. 0: no such text; -1: out of range.
static int read_share(const char *text, uint32_t *ppm) {
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '-')
        return 0;
    double percent = strtod(text, &end);
    if (end == text || strcmp(end, "%") != 0)
        return 0;
    if (!(percent >= 0 && percent <= 100))
        return -1;
    *ppm = (uint32_t)(percent * 10000 + 0.5);
    return 1;
}

static int read_name(const char *text, const char *const *names, size_t count, uint32_t *out) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (uint32_t)i;
            return 1;
        }
    return 0;
}

static void join_names(const char *const *names, size_t count, char *out, size_t out_bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && at < out_bytes; i++)
        at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", i ? ", " : "", names[i]);
}

static int read_sizes(const char *text, uint64_t *min, uint64_t *max) {
    char first[64];
    const char *dots = strstr(text, "..");
    size_t length = dots ? (size_t)(dots - text) : strlen(text);
    if (length >= sizeof first)
        return 0;
    memcpy(first, text, length);
    first[length] = '\0';
    return read_quantity(first, size_units, min) && read_quantity(dots ? dots + 2 : first, size_units, max);
}

static void store(struct workload_params *params, const struct parameter *parameter, uint64_t value) {
    char *field = (char *)params + parameter->offset;
    uint32_t narrow = (uint32_t)value;
    if (parameter->is_32)
        memcpy(field, &narrow, sizeof narrow);
    else
        memcpy(field, &value, sizeof value);
}

static int is_set(const struct workload_params *params, const struct parameter *parameter) {
    const char *field = (const char *)params + parameter->offset;
    uint32_t narrow;
    uint64_t wide;
    memcpy(&narrow, field, sizeof narrow);
    if (parameter->is_32)
        return narrow != UINT32_MAX;
    memcpy(&wide, field, sizeof wide);
    return wide != UINT64_MAX;
}

// `label` is "--ops=5" or "workload 'local{ops=5}'": what the user reads in front of the reason.
static int set_parameter(struct context *context, struct workload_params *params, const struct parameter *parameter,
                         const char *text, const char *label) {
    char names[128];
    uint64_t value = 0;
    uint32_t number = 0;
    int share;
    switch (parameter->kind) {
    case KIND_COUNT:
        if (!read_quantity(text, count_units, &value) || value < 1 || value > parameter->max)
            return refuse(context, "%s: needs a whole number from 1 to %llu, such as 1000 or 500k", label,
                          (unsigned long long)parameter->max);
        break;
    case KIND_TIME:
        if (!read_quantity(text, time_units, &value))
            return refuse(context, "%s: needs a time with its unit, such as 500ms or 2s", label);
        break;
    case KIND_SHARE:
        share = read_share(text, &number);
        if (share < 0)
            return refuse(context, "%s: a share lies between 0%% and 100%%", label);
        if (share == 0)
            return refuse(context, "%s: needs a share in percent, such as 90%%", label);
        value = number;
        break;
    case KIND_SIZES:
        if (!read_sizes(text, &params->min_bytes, &params->max_bytes))
            return refuse(context, "%s: needs one size or MIN..MAX in bytes, KiB or MiB, such as 16..64KiB", label);
        if (params->min_bytes < 1 || params->min_bytes > params->max_bytes)
            return refuse(context, "%s: the smallest size must be at least 1 and not above the largest", label);
        return EXIT_CODE_OK;
    case KIND_NAME:
        join_names(parameter->names, parameter->name_count, names, sizeof names);
        if (!read_name(text, parameter->names, parameter->name_count, &number))
            return refuse(context, "%s: must be one of %s", label, names);
        value = number;
        break;
    }
    store(params, parameter, value);
    return EXIT_CODE_OK;
}

static int has_parameter(const struct workload *workload, const struct parameter *parameter) {
    return parameter->uses == 0 || (workload->used_params & parameter->uses) != 0;
}

static void parameter_names(const struct workload *workload, char *out, size_t out_bytes) {
    const char *names[PARAMETER_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < PARAMETER_COUNT; i++)
        if (has_parameter(workload, &parameters[i]))
            names[count++] = parameters[i].name;
    join_names(names, count, out, out_bytes);
}

// Cuts the next item off a list; commas inside braces belong to the item. Returns NULL at the end.
static char *next_item(char **list) {
    char *start = *list;
    int depth = 0;
    if (!start)
        return NULL;
    for (char *at = start;; at++) {
        depth += *at == '{';
        depth -= *at == '}';
        if (*at == '\0' || (*at == ',' && depth <= 0)) {
            *list = *at ? at + 1 : NULL;
            *at = '\0';
            return start;
        }
    }
}

static int is_contradictory(const struct workload_params *params) {
    return params->ops != UINT64_MAX && params->duration_ns != UINT64_MAX && params->duration_ns != 0;
}

static int parse_braces(struct context *context, struct options_workload *item, char *list) {
    char names[256], label[320];
    char *pair;
    while ((pair = next_item(&list)) != NULL) {
        char *value = strchr(pair, '=');
        const struct parameter *found = NULL;
        if (value)
            *value++ = '\0';
        for (size_t i = 0; i < PARAMETER_COUNT; i++)
            if (strcmp(parameters[i].name, pair) == 0)
                found = &parameters[i];
        parameter_names(item->workload, names, sizeof names);
        if (!found || !has_parameter(item->workload, found))
            return refuse(context, "workload '%s' has no parameter '%s' - it has %s", item->workload->name, pair,
                          names);
        if (!value)
            return refuse(context, "workload '%s': parameter '%s' needs a value, as in %s{%s=...}",
                          item->workload->name, pair, item->workload->name, pair);
        snprintf(label, sizeof label, "workload '%s': %s=%s", item->workload->name, pair, value);
        int code = set_parameter(context, &item->params, found, value, label);
        if (code != EXIT_CODE_OK)
            return code;
    }
    if (is_contradictory(&item->params))
        return refuse(context, "workload '%s': ops is a fixed amount of work, duration ends it by the clock - give one",
                      item->workload->name);
    return EXIT_CODE_OK;
}

static int parse_workload(struct context *context, char *text) {
    struct options *options = context->options;
    struct options_workload *grown =
        realloc(options->workloads, (options->workload_count + 1) * sizeof *options->workloads);
    if (!grown)
        return refuse(context, "out of memory");
    options->workloads = grown;
    struct options_workload *item = &grown[options->workload_count];
    memset(item, 0, sizeof *item);
    workload_params_unset(&item->params);
    if (snprintf(item->text, sizeof item->text, "%s", text) >= (int)sizeof item->text)
        return refuse(context, "workload '%.32s...': longer than %zu characters", text, sizeof item->text - 1);
    char *open = strchr(text, '{');
    size_t length = strlen(text);
    if (open && text[length - 1] != '}')
        return refuse(context, "workload '%s': the brace is not closed - write name{key=value,key=value}", item->text);
    if (open) {
        text[length - 1] = '\0';
        *open++ = '\0';
    }
    char *colon = strchr(text, ':');
    if (colon) {
        *colon++ = '\0';
        if (*colon == '\0' || strlen(colon) >= sizeof item->params.input)
            return refuse(context, "workload '%s': what follows the colon must have 1 to %zu characters", item->text,
                          sizeof item->params.input - 1);
        snprintf(item->params.input, sizeof item->params.input, "%s", colon);
    }
    item->workload = workload_find(text);
    if (!item->workload) {
        const char *close = workload_did_you_mean(text);
        if (close)
            return refuse(context, "unknown workload '%s' - did you mean '%s'? (--list-workloads)", text, close);
        return refuse(context, "unknown workload '%s' (--list-workloads)", text);
    }
    options->workload_count++;
    return open && *open ? parse_braces(context, item, open) : EXIT_CODE_OK;
}

static int parse_allocator(struct context *context, const char *text) {
    struct options *options = context->options;
    struct allocator_spec *grown =
        realloc(options->allocators, (options->allocator_count + 1) * sizeof *options->allocators);
    if (!grown)
        return refuse(context, "out of memory");
    options->allocators = grown;
    enum allocator_load_result result =
        allocator_spec_parse(text, &grown[options->allocator_count], context->why, context->why_bytes);
    if (result == ALLOCATOR_UNKNOWN)
        return EXIT_CODE_USAGE;
    if (result != ALLOCATOR_LOADED)
        return EXIT_CODE_UNAVAILABLE;
    options->allocator_count++;
    return EXIT_CODE_OK;
}

// Splits --alloc or --workload and hands each item on.
static int parse_list(struct context *context, const char *name, const char *text, int is_workload) {
    char *copy = strdup(text);
    char *rest = copy, *item;
    int code = copy ? EXIT_CODE_OK : refuse(context, "out of memory");
    while (code == EXIT_CODE_OK && (item = next_item(&rest)) != NULL) {
        if (*item == '\0')
            code = refuse(context, "--%s=%s: an item of the list is empty", name, text);
        else
            code = is_workload ? parse_workload(context, item) : parse_allocator(context, item);
    }
    free(copy);
    return code;
}

static int compare_numbers(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

size_t options_numbers(const char *text, uint32_t *out, size_t capacity) {
    size_t count = 0;
    for (;;) {
        uint64_t first, last;
        if (!read_digits(text, &first, &text))
            return 0;
        last = first;
        if (*text == '-' && !read_digits(text + 1, &last, &text))
            return 0;
        if (last < first || last > UINT32_MAX || last - first >= capacity - count)
            return 0;
        for (uint64_t value = first; value <= last; value++)
            out[count++] = (uint32_t)value;
        if (*text == '\0')
            return count;
        if (*text++ != ',' || count == capacity)
            return 0;
    }
}

static int parse_threads(struct context *context, const char *text) {
    struct options *options = context->options;
    uint32_t numbers[CELL_MAX_THREADS + 1];
    size_t count = options_numbers(text, numbers, CELL_MAX_THREADS + 1);
    qsort(numbers, count, sizeof numbers[0], compare_numbers);
    if (count == 0 || numbers[0] < 1 || numbers[count - 1] > CELL_MAX_THREADS ||
        strlen(text) >= sizeof options->threads_text)
        return refuse(context, "--threads=%s: needs counts from 1 to %d, such as 1,2,4 or 1-4", text, CELL_MAX_THREADS);
    snprintf(options->threads_text, sizeof options->threads_text, "%s", text);
    options->thread_count = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || numbers[i] != numbers[i - 1])
            options->threads[options->thread_count++] = numbers[i];
    return EXIT_CODE_OK;
}

static int parse_topologies(struct context *context, const char *text) {
    struct options *options = context->options;
    char copy[128], names[128], *rest = copy, *item;
    snprintf(copy, sizeof copy, "%s", text);
    join_names(options_topology_names, TOPOLOGY_COUNT, names, sizeof names);
    options->topology_count = 0;
    while ((item = next_item(&rest)) != NULL) {
        uint32_t topology = 0;
        int repeated = 0;
        if (!read_name(item, options_topology_names, TOPOLOGY_COUNT, &topology))
            return refuse(context, "--topology=%s: must be a list of %s", text, names);
        for (size_t i = 0; i < options->topology_count; i++)
            repeated |= options->topologies[i] == topology;
        if (!repeated)
            options->topologies[options->topology_count++] = topology;
    }
    return EXIT_CODE_OK;
}

static int parse_time(struct context *context, const char *name, const char *text, uint64_t *out) {
    if (!read_quantity(text, time_units, out))
        return refuse(context, "--%s=%s: needs a time with its unit, such as 500ms or 2s", name, text);
    return EXIT_CODE_OK;
}

static int parse_count(struct context *context, const char *name, const char *text, uint64_t min, uint64_t max,
                       uint64_t *out) {
    if (!read_quantity(text, count_units, out) || *out < min || *out > max)
        return refuse(context, "--%s=%s: needs a whole number from %llu to %llu", name, text, (unsigned long long)min,
                      (unsigned long long)max);
    return EXIT_CODE_OK;
}

static int parse_rounds_until(struct context *context, const char *text) {
    uint32_t ppm = 0;
    if (read_share(text, &ppm) != 1 || ppm == 0 || ppm > 500000)
        return refuse(context, "--rounds-until=%s: needs a difference from 0.0001%% to 50%%, such as 5%%", text);
    context->options->rounds_until = ppm / 1e6;
    return EXIT_CODE_OK;
}

static int parse_output(struct context *context, const char *text) {
    size_t length = strlen(text);
    if (length < 5 || strcmp(text + length - 4, ".csv") != 0 || text[length - 5] == '/')
        return refuse(context, "--output=%s: must be a file name that ends in .csv", text);
    if (length > 480)
        return refuse(context, "--output: the path is longer than 480 characters");
    context->options->output = text;
    return EXIT_CODE_OK;
}

static int parse_pin(struct context *context, const char *text) {
    uint32_t numbers[CELL_MAX_THREADS];
    static const char *const words[] = {"none", "compact", "spread"};
    uint32_t word;
    if ((!read_name(text, words, 3, &word) && options_numbers(text, numbers, CELL_MAX_THREADS) == 0) ||
        strlen(text) >= sizeof context->options->pin)
        return refuse(context, "--pin=%s: must be none, compact, spread or a list of CPUs such as 0,2 or 0-3", text);
    snprintf(context->options->pin, sizeof context->options->pin, "%s", text);
    return EXIT_CODE_OK;
}

static int parse_load(struct context *context, const char *text) {
    static const char *const words[] = {"dlopen", "preload"};
    uint32_t word = 0;
    if (!read_name(text, words, 2, &word))
        return refuse(context, "--load=%s: must be dlopen or preload", text);
    context->options->load = word ? ALLOCATOR_LOAD_PRELOAD : ALLOCATOR_LOAD_DLOPEN;
    return EXIT_CODE_OK;
}

static int apply(struct context *context, int id, const char *name, const char *text) {
    struct options *options = context->options;
    char label[320];
    uint64_t value = 0;
    int code = EXIT_CODE_OK;
    if (id >= 0 && (size_t)id < PARAMETER_COUNT) {
        if (strcmp(name, "topology") == 0)
            return parse_topologies(context, text);
        snprintf(label, sizeof label, "--%s=%s", name, text);
        return set_parameter(context, &options->params, &parameters[id], text, label);
    }
    switch (id) {
    case OPT_ALLOC:
        return parse_list(context, name, text, 0);
    case OPT_WORKLOAD:
        return parse_list(context, name, text, 1);
    case OPT_THREADS:
        return parse_threads(context, text);
    case OPT_RUNS:
        code = parse_count(context, name, text, 1, 100000, &value);
        options->runs = (uint32_t)value;
        return code;
    case OPT_SEED:
        return parse_count(context, name, text, 0, UINT64_MAX / 2, &options->seed);
    case OPT_OUTPUT:
        return parse_output(context, text);
    case OPT_LOAD:
        return parse_load(context, text);
    case OPT_PIN:
        return parse_pin(context, text);
    case OPT_RSS_INTERVAL:
        return parse_time(context, name, text, &options->rss_interval_ns);
    case OPT_SETTLE:
        return parse_time(context, name, text, &options->settle_ns);
    case OPT_TIMEOUT:
        code = parse_time(context, name, text, &options->timeout_ns);
        if (code == EXIT_CODE_OK && options->timeout_ns == 0)
            code = refuse(context, "--timeout=%s: must be above 0", text);
        return code;
    case OPT_COUNTERS:
        options->counters = 1;
        return code;
    case OPT_LATENCY:
        code = parse_count(context, name, text ? text : DEFAULT_LATENCY, 1, 1000000, &value);
        options->latency_every = (uint32_t)value;
        return code;
    case OPT_ROUNDS_UNTIL:
        return parse_rounds_until(context, text);
    case OPT_BUDGET:
        code = parse_time(context, name, text, &options->budget_ns);
        if (code == EXIT_CODE_OK && options->budget_ns == 0)
            code = refuse(context, "--budget=%s: must be above 0", text);
        return code;
    case OPT_KEEP_GOING:
        options->keep_going = 1;
        return code;
    case OPT_QUIET:
        options->quiet = 1;
        return code;
    case OPT_FAKE_CLOCK:
        options->fake_clock = 1;
        return code;
    case OPT_LIST_ALLOCATORS:
        options->action = OPTIONS_LIST_ALLOCATORS;
        return code;
    case OPT_LIST_WORKLOADS:
        options->action = OPTIONS_LIST_WORKLOADS;
        return code;
    case OPT_PLAN:
        options->action = OPTIONS_PLAN;
        return code;
    case OPT_DOCTOR:
        options->action = OPTIONS_DOCTOR;
        return code;
    case OPT_HELP:
        options->action = OPTIONS_HELP;
        return code;
    case OPT_VERSION:
        options->action = OPTIONS_VERSION;
        return code;
    }
    return code;
}

static int refuse_option(struct context *context, const char *argument) {
    char name[64];
    const char *close = NULL;
    unsigned best = EDIT_DISTANCE_SLIP + 1;
    const char *start = argument + strspn(argument, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(start, "="), start);
    for (const struct option *option = long_options; option->name; option++) {
        unsigned found = edit_distance(name, option->name);
        if (option->val == OPT_FAKE_CLOCK || found >= best)
            continue;
        best = found;
        close = option->name;
    }
    if (close)
        return refuse(context, "unknown option '--%s' - did you mean '--%s'? (--help)", name, close);
    return refuse(context, "unknown option '%.*s' (--help)", (int)strcspn(argument, "="), argument);
}

// What cannot be known before all options are read.
static int check_whole(struct context *context) {
    struct options *options = context->options;
    if (options->action != OPTIONS_RUN && options->action != OPTIONS_PLAN)
        return EXIT_CODE_OK;
    if (options->allocator_count == 0)
        return refuse(context, "--alloc is missing, as in runner --alloc=hz5 --workload=remote (--help)");
    if (options->workload_count == 0)
        return refuse(context, "--workload is missing, as in runner --alloc=hz5 --workload=remote (--help)");
    if (is_contradictory(&options->params))
        return refuse(context, "--ops is a fixed amount of work, --duration ends it by the clock - give one of them");
    if (options->rounds_until > 0 && options->allocator_count < 2)
        return refuse(context, "--rounds-until compares with the first of --alloc: name at least two allocators");
    if (options->rounds_until > 0)
        options->runs = SEQUENTIAL_MAX;
    for (size_t i = 0; i < PARAMETER_COUNT; i++) {
        int used = 0;
        int given = parameters[i].uses == WORKLOAD_USES_TOPOLOGY ? options->topology_count > 0
                                                                 : is_set(&options->params, &parameters[i]);
        for (size_t j = 0; given && j < options->workload_count; j++)
            used |= has_parameter(options->workloads[j].workload, &parameters[i]);
        if (given && !used)
            return refuse(context, "--%s: no workload of this run has that parameter (--list-workloads)",
                          parameters[i].name);
    }
    return EXIT_CODE_OK;
}

// What a user would have to type again, in single quotes where a shell would touch it.
static void keep_command(struct options *options, int argc, char **argv) {
    size_t at = 0;
    for (int i = 0; i < argc && at + 1 < sizeof options->command; i++) {
        int plain =
            argv[i][0] && strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=.,/:%+@") ==
                              strlen(argv[i]);
        at += (size_t)snprintf(options->command + at, sizeof options->command - at, plain ? "%s%s" : "%s'%s'",
                               i ? " " : "", argv[i]);
    }
}

int options_parse(struct options *options, int argc, char **argv, char *why, size_t why_bytes) {
    struct context context = {options, why, why_bytes};
    *options = (struct options){.runs = 5,
                                .seed = 1,
                                .load = ALLOCATOR_LOAD_DLOPEN,
                                .pin = "spread",
                                .rss_interval_ns = 10000000,
                                .settle_ns = 1000000000,
                                .budget_ns = DEFAULT_BUDGET_NS};
    workload_params_unset(&options->params);
    keep_command(options, argc, argv);
    opterr = 0;
    for (;;) {
        int index = 0;
        int before = optind;
        // The leading colon tells a missing value (':') from an unknown option ('?').
        int id = getopt_long(argc, argv, ":h", long_options, &index);
        if (id == -1)
            break;
        const char *argument = argv[before];
        if (id == ':')
            return refuse(&context, "option '%s' needs a value (--help)", argument);
        if (id == '?')
            return refuse_option(&context, argument);
        int code =
            id == 'h' ? apply(&context, OPT_HELP, "help", NULL) : apply(&context, id, long_options[index].name, optarg);
        if (code != EXIT_CODE_OK)
            return code;
    }
    if (optind + 1 == argc && strcmp(argv[optind], "selftest") == 0) {
        options->action = OPTIONS_SELFTEST;
        optind++;
    }
    if (optind < argc && edit_distance(argv[optind], "selftest") <= EDIT_DISTANCE_SLIP)
        return refuse(&context, "unexpected argument '%s' - did you mean 'selftest'? (--help)", argv[optind]);
    if (optind < argc)
        return refuse(&context, "unexpected argument '%s' - options are written --name=value (--help)", argv[optind]);
    return check_whole(&context);
}

void options_free(struct options *options) {
    free(options->allocators);
    free(options->workloads);
}
