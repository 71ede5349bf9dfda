// SPDX-License-Identifier: Apache-2.0
// The command line. Owns THE table of options; parser, help, the plan's hash and run.json follow from it and from the
// table of parameters. Layer: runner, plan.
#include "options.h"

#include "../../allocators/loader/digest.h"
#include "../../allocators/loader/edit_distance.h"
#include "../../workloads/parameters.h"
#include "../text/quantity.h"
#include "../text/words.h"
#include "sequential.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_LATENCY 64 // the timer costs tens of nanoseconds: well below one an op
#define DEFAULT_BUDGET_NS UINT64_C(600000000000)
#define MAX_RUNS 100000
#define MAX_NAME 40 // of an item of --alloc
#define MAX_LATENCY 1000000

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

static void join_names(const char *const *names, size_t count, char *out, size_t out_bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && at < out_bytes; i++)
        at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", i ? ", " : "", names[i]);
}

// ---- parameters of workloads ---------------------------------------------------------------------------------------

// `label` is "--ops=5" or "workload 'local{ops=5}'": what the user reads in front of the reason.
static int set_parameter(struct context *context, struct workload_params *params, const struct parameter *parameter,
                         const char *text, const char *label) {
    char names[128];
    uint64_t value = 0, most = 0;
    uint32_t ppm = 0;
    int found = 0;
    switch (parameter->kind) {
    case PARAMETER_COUNT:
        if (!quantity_count(text, &value) || value < parameter->least || value > parameter->most)
            return refuse(context, "%s: needs a whole number from %" PRIu64 " to %" PRIu64 ", such as 1000 or 500k",
                          label, parameter->least, parameter->most);
        break;
    case PARAMETER_TIME:
        if (!quantity_time(text, &value))
            return refuse(context, "%s: needs a time with its unit, such as 500ms or 2s", label);
        break;
    case PARAMETER_SHARE:
        found = quantity_share(text, &ppm);
        if (found < 0)
            return refuse(context, "%s: a share lies between 0%% and 100%%", label);
        if (found == 0)
            return refuse(context, "%s: needs a share in percent, such as 90%%", label);
        value = ppm;
        break;
    case PARAMETER_BYTES:
        if (!quantity_sizes(text, &value, &most))
            return refuse(context, "%s: needs one size or MIN..MAX in bytes, KiB or MiB, such as 16..64KiB", label);
        if (value < 1 || value > most)
            return refuse(context, "%s: the smallest size must be at least 1 and not above the largest", label);
        parameter_set(params, parameter + 1, most);
        break;
    case PARAMETER_SIZE:
        if (!quantity_sizes(text, &value, &most) || value != most || value > parameter->most)
            return refuse(context, "%s: needs one size in bytes, KiB or MiB, such as 64MiB", label);
        break;
    case PARAMETER_NAME:
        found = quantity_name(text, parameter->names, parameter->most + 1);
        join_names(parameter->names, parameter->most + 1, names, sizeof names);
        if (found < 0)
            return refuse(context, "%s: must be one of %s", label, names);
        value = (uint64_t)found;
        break;
    }
    parameter_set(params, parameter, value);
    return EXIT_CODE_OK;
}

static void parameter_names(const struct workload *workload, char *out, size_t out_bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < parameter_count && at < out_bytes; i++)
        if (parameters[i].source == PARAMETER_OPTION && parameter_is_used(&parameters[i], workload))
            at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", at ? ", " : "", parameters[i].name);
}

// Work and a time at once: which of them ends the run?
static int is_contradictory(const struct workload_params *params) {
    return params->ops != UINT64_MAX && params->duration_ns != UINT64_MAX && params->duration_ns != 0;
}

static int parse_braces(struct context *context, struct options_workload *item, char *list) {
    char names[256], label[320];
    char *pair;
    while ((pair = quantity_next_item(&list)) != NULL) {
        char *value = strchr(pair, '=');
        if (value != NULL)
            *value++ = '\0';
        const struct parameter *found = parameter_named(pair);
        parameter_names(item->workload, names, sizeof names);
        if (found == NULL || !parameter_is_used(found, item->workload))
            return refuse(context, "workload '%s' has no parameter '%s' - it has %s", item->workload->name, pair,
                          names);
        if (value == NULL)
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

// ---- what to measure -----------------------------------------------------------------------------------------------

static int parse_workload(struct context *context, char *text) {
    struct options *options = context->options;
    struct options_workload *grown =
        realloc(options->workloads, (options->workload_count + 1) * sizeof *options->workloads);
    if (grown == NULL)
        return refuse(context, "out of memory");
    options->workloads = grown;
    struct options_workload *item = &grown[options->workload_count];
    memset(item, 0, sizeof *item);
    workload_params_unset(&item->params);
    if (snprintf(item->text, sizeof item->text, "%s", text) >= (int)sizeof item->text)
        return refuse(context, "workload '%.32s...': longer than %zu characters", text, sizeof item->text - 1);
    char *open = strchr(text, '{');
    size_t length = strlen(text);
    if (open != NULL && text[length - 1] != '}')
        return refuse(context, "workload '%s': the brace is not closed - write name{key=value,key=value}", item->text);
    if (open != NULL) {
        text[length - 1] = '\0';
        *open++ = '\0';
    }
    char *colon = strchr(text, ':');
    if (colon != NULL) {
        *colon++ = '\0';
        if (*colon == '\0' || strlen(colon) >= sizeof item->params.input)
            return refuse(context, "workload '%s': what follows the colon must have 1 to %zu characters", item->text,
                          sizeof item->params.input - 1);
        snprintf(item->params.input, sizeof item->params.input, "%s", colon);
    }
    item->workload = workload_find(text);
    if (item->workload == NULL) {
        const char *close = workload_did_you_mean(text);
        if (close != NULL)
            return refuse(context, "unknown workload '%s' - did you mean '%s'? (--list-workloads)", text, close);
        return refuse(context, "unknown workload '%s' (--list-workloads)", text);
    }
    options->workload_count++;
    return open != NULL && *open ? parse_braces(context, item, open) : EXIT_CODE_OK;
}

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-"

// NAME=ITEM: where the item begins; `text` itself without a name. A path may hold the sign, and so do settings.
static const char *item_behind_name(const char *text) {
    const size_t length = strcspn(text, "={/");
    return length > 0 && text[length] == '=' ? text + length + 1 : text;
}

static int check_name(struct context *context, const char *text, size_t length) {
    if (length == 0 || length > MAX_NAME || strspn(text, NAME_CHARACTERS) < length)
        return refuse(context, "--alloc=%s: a name has 1 to %d letters, digits or one of _ . + -", text, MAX_NAME);
    for (size_t i = 0; i < allocator_backend_count; i++)
        if (strlen(allocator_backends[i].name) == length && strncmp(allocator_backends[i].name, text, length) == 0)
            return refuse(context, "--alloc=%s: '%.*s' is an allocator's own name - choose another", text, (int)length,
                          text);
    return EXIT_CODE_OK;
}

// One name for two items, or two items under one name, would be one row in every table.
static int check_clash(struct context *context, const struct allocator_spec *spec) {
    const struct options *options = context->options;
    const int is_named = strcmp(spec->label, spec->text) != 0;
    for (size_t i = 0; i < options->allocator_count; i++) {
        const struct allocator_spec *other = &options->allocators[i];
        if (strcmp(other->label, spec->label) == 0 && (is_named || strcmp(other->text, spec->text) != 0))
            return refuse(context, "--alloc: two items are called '%s' - give each a name of its own", spec->label);
    }
    return EXIT_CODE_OK;
}

static int parse_allocator(struct context *context, const char *text) {
    struct options *options = context->options;
    struct allocator_spec *grown =
        realloc(options->allocators, (options->allocator_count + 1) * sizeof *options->allocators);
    if (grown == NULL)
        return refuse(context, "out of memory");
    options->allocators = grown;
    struct allocator_spec *spec = &grown[options->allocator_count];
    const char *item = item_behind_name(text);
    const size_t name_length = item == text ? 0 : (size_t)(item - text) - 1;
    int code = item == text ? EXIT_CODE_OK : check_name(context, text, name_length);
    if (code != EXIT_CODE_OK)
        return code;
    enum allocator_load_result result = allocator_spec_parse(item, spec, context->why, context->why_bytes);
    if (result == ALLOCATOR_UNKNOWN)
        return EXIT_CODE_USAGE;
    if (result != ALLOCATOR_LOADED)
        return EXIT_CODE_UNAVAILABLE;
    if (item != text)
        snprintf(spec->label, sizeof spec->label, "%.*s", (int)name_length, text);
    code = check_clash(context, spec);
    options->allocator_count += code == EXIT_CODE_OK;
    return code;
}

// Splits --alloc or --workload and hands each item on.
static int parse_list(struct context *context, const char *name, const char *text, int is_workload) {
    char *copy = strdup(text);
    char *rest = copy, *item;
    int code = copy != NULL ? EXIT_CODE_OK : refuse(context, "out of memory");
    while (code == EXIT_CODE_OK && (item = quantity_next_item(&rest)) != NULL)
        if (*item == '\0')
            code = refuse(context, "--%s=%s: an item of the list is empty", name, text);
        else
            code = is_workload ? parse_workload(context, item) : parse_allocator(context, item);
    free(copy);
    return code;
}

static int compare_numbers(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static int parse_threads(struct context *context, const char *text) {
    struct options *options = context->options;
    uint32_t numbers[WORKLOAD_MAX_THREADS + 1];
    size_t count = quantity_numbers(text, numbers, WORKLOAD_MAX_THREADS + 1);
    qsort(numbers, count, sizeof numbers[0], compare_numbers);
    if (count == 0 || numbers[0] < 1 || numbers[count - 1] > WORKLOAD_MAX_THREADS ||
        strlen(text) >= sizeof options->threads_text)
        return refuse(context, "--threads=%s: needs counts from 1 to %d, such as 1,2,4 or 1-4", text,
                      WORKLOAD_MAX_THREADS);
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
    const struct parameter *parameter = parameter_named("topology");
    join_names(parameter->names, TOPOLOGY_COUNT, names, sizeof names);
    options->topology_count = 0;
    while ((item = quantity_next_item(&rest)) != NULL) {
        const int topology = quantity_name(item, parameter->names, TOPOLOGY_COUNT);
        int repeated = 0;
        if (topology < 0)
            return refuse(context, "--topology=%s: must be a list of %s", text, names);
        for (size_t i = 0; i < options->topology_count; i++)
            repeated |= options->topologies[i] == (uint32_t)topology;
        if (!repeated)
            options->topologies[options->topology_count++] = (uint32_t)topology;
    }
    return EXIT_CODE_OK;
}

static int parse_alloc(struct context *context, const char *text) {
    return parse_list(context, "alloc", text, 0);
}

static int parse_workloads(struct context *context, const char *text) {
    return parse_list(context, "workload", text, 1);
}

static int parse_rounds_until(struct context *context, const char *text) {
    uint32_t ppm = 0;
    if (quantity_share(text, &ppm) != 1 || ppm == 0 || ppm > 500000)
        return refuse(context, "--rounds-until=%s: needs a difference from 0.0001%% to 50%%, such as 5%%", text);
    context->options->rounds_until_ppm = ppm;
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
    uint32_t numbers[WORKLOAD_MAX_THREADS];
    static const char *const words[] = {"none", "compact", "spread"};
    if ((quantity_name(text, words, 3) < 0 && quantity_numbers(text, numbers, WORKLOAD_MAX_THREADS) == 0) ||
        strlen(text) >= sizeof context->options->pin)
        return refuse(context, "--pin=%s: must be none, compact, spread or a list of CPUs such as 0,2 or 0-3", text);
    snprintf(context->options->pin, sizeof context->options->pin, "%s", text);
    return EXIT_CODE_OK;
}

static int parse_prepare(struct context *context, const char *text) {
    char *out = context->options->prepare;
    if (snprintf(out, sizeof context->options->prepare, "%s", text) >= (int)sizeof context->options->prepare)
        return refuse(context, "--prepare: longer than %zu characters - put it into a script",
                      sizeof context->options->prepare - 1);
    return EXIT_CODE_OK;
}

static int set_settle(struct context *context, const uint64_t *times_ns, size_t count) {
    struct options *options = context->options;
    size_t at = 0;
    memset(options->settle_ns, 0, sizeof options->settle_ns);
    for (size_t i = 0; i < count && at < sizeof options->settle; i++) {
        options->settle_ns[i] = times_ns[i];
        at += (size_t)snprintf(options->settle + at, sizeof options->settle - at, "%s%gs", at != 0 ? "," : "",
                               (double)times_ns[i] / 1e9);
    }
    return EXIT_CODE_OK;
}

static int parse_settle(struct context *context, const char *text) {
    uint64_t times_ns[SETTLE_MOST];
    char copy[128], *rest = copy, *item;
    size_t count = 0;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return refuse(context, "--settle: longer than %zu characters", sizeof copy - 1);
    while ((item = quantity_next_item(&rest)) != NULL) {
        uint64_t time_ns = 0;
        if (!quantity_time(item, &time_ns))
            return refuse(context, "--settle=%s: needs a time with its unit, such as 500ms or 2s", text);
        if (count == SETTLE_MOST)
            return refuse(context, "--settle=%s: names more than %d times", text, SETTLE_MOST);
        if (count > 0 && time_ns <= times_ns[count - 1])
            return refuse(context, "--settle=%s: the times must ascend, as in 100ms,1s,10s", text);
        times_ns[count++] = time_ns;
    }
    return set_settle(context, times_ns, count);
}

static int parse_wrapper(struct context *context, const char *text) {
    if (*text == '\0' || *text == ' ' || strlen(text) >= sizeof context->options->wrapper)
        return refuse(context, "--wrapper=%.32s: needs a command of at most %zu characters, such as 'valgrind -q'",
                      text, sizeof context->options->wrapper - 1);
    snprintf(context->options->wrapper, sizeof context->options->wrapper, "%s", text);
    return EXIT_CODE_OK;
}

// ---- the table -----------------------------------------------------------------------------------------------------

const char *const options_load_names[] = {[ALLOCATOR_LOAD_DLOPEN] = "dlopen", [ALLOCATOR_LOAD_PRELOAD] = "preload"};

#define OFFSET(member) .offset = offsetof(struct options, member)

const struct option_entry option_entries[] = {
    {.group = "What to measure (lists are separated by commas; each combination is a cell)",
     .name = "alloc",
     .value = "LIST",
     .help = "hz5, hz5{profile=rss}, ./libfoo.so, NAME=ITEM; the first is the baseline, one item twice an A/A test",
     .kind = OPTION_OWN,
     .parse = parse_alloc},
    {.name = "workload",
     .value = "LIST",
     .help = "local, 'remote{remote=50%,topology=pairs}': braces hold parameters of one workload; NAME:INPUT for a "
             "workload that reads something, such as a file",
     .kind = OPTION_OWN,
     .parse = parse_workloads},
    {.name = "threads",
     .value = "LIST",
     .help = "1,2,4 or 1-4; default: the fewest the workload can do with",
     .kind = OPTION_OWN,
     .parse = parse_threads},
    {.name = "runs",
     .value = "N",
     .help = "samples of each cell, each in a fresh process; default 5",
     .kind = OPTION_COUNT32,
     OFFSET(runs),
     .least = 1,
     .most = MAX_RUNS,
     .key = "runs",
     .is_extent = 1},
    {.name = "seed",
     .value = "N",
     .help = "of the order of samples and of the events; default 1",
     .kind = OPTION_COUNT64,
     OFFSET(seed),
     .most = UINT64_MAX / 2,
     .key = "seed"},
    {.name = "list-allocators",
     .help = "what there is, and why something is unavailable",
     .kind = OPTION_ACTION,
     .action = OPTIONS_LIST_ALLOCATORS},
    {.name = "list-workloads", .help = "likewise", .kind = OPTION_ACTION, .action = OPTIONS_LIST_WORKLOADS},
    {.group = "How to measure",
     .name = "load",
     .value = "dlopen|preload",
     .help = "how the worker gets the library; default dlopen",
     .kind = OPTION_NAME,
     OFFSET(load),
     .names = options_load_names,
     .most = 1,
     .key = "load"},
    {.name = "pin",
     .value = "WHERE",
     .help =
         "CPUs of the threads: none, compact, spread or a list; default spread (packages and cores before siblings)",
     .kind = OPTION_TEXT,
     OFFSET(pin),
     .parse = parse_pin,
     .key = "pin"},
    {.name = "rss-interval",
     .value = "TIME",
     .help = "of the memory series; default 10ms, 0 for none",
     .kind = OPTION_TIME,
     OFFSET(rss_interval_ns),
     .key = "rss_interval_ns"},
    {.name = "settle",
     .value = "LIST",
     .help = "when memory is read after the threads have ended: 0 (never) or a list such as 100ms,1s,10s; default 1s",
     .kind = OPTION_TEXT,
     OFFSET(settle),
     .parse = parse_settle,
     .key = "settle"},
    {.name = "timeout",
     .value = "TIME",
     .help = "of one sample; default 60s and the expected work",
     .kind = OPTION_TIME,
     OFFSET(timeout_ns),
     .least = 1},
    {.name = "prepare",
     .value = "COMMAND",
     .help = "runs in a shell before each sample of a program",
     .kind = OPTION_TEXT,
     OFFSET(prepare),
     .parse = parse_prepare,
     .key = "prepare"},
    {.name = "wrapper",
     .value = "COMMAND",
     .help = "starts the workers: a command such as 'nice -n 5'",
     .kind = OPTION_TEXT,
     OFFSET(wrapper),
     .parse = parse_wrapper,
     .key = "wrapper"},
    {.name = "counters",
     .help = "hardware counters, where the machine has them",
     .kind = OPTION_FLAG,
     OFFSET(counters),
     .key = "counters"},
    {.name = "latency",
     .value = "N",
     .help = "time one malloc and free in N (default 64): percentiles in the rows, NAME.latency.csv",
     .kind = OPTION_COUNT32,
     OFFSET(latency_every),
     .least = 1,
     .most = MAX_LATENCY,
     .bare = DEFAULT_LATENCY,
     .key = "latency_every"},
    {.name = "rounds-until",
     .value = "5%",
     .help = "more rounds until each allocator is known to be faster or slower than the first, or equal within 5%, or "
             "until --budget is spent (exit 5); wrong at most 1 in 20 runs",
     .kind = OPTION_COUNT32,
     OFFSET(rounds_until_ppm),
     .parse = parse_rounds_until,
     .key = "rounds_until_ppm"},
    {.name = "budget",
     .value = "TIME",
     .help = "of --rounds-until; default 10min",
     .kind = OPTION_TIME,
     OFFSET(budget_ns),
     .least = 1},
    {.name = "keep-going",
     .help = "measure the others when one is unavailable (exit 3)",
     .kind = OPTION_FLAG,
     OFFSET(keep_going)},
    {.group = "Output",
     .name = "output",
     .value = "NAME.csv",
     .help = "rows to NAME.csv, NAME.rss.csv, NAME.run.json; the same command again resumes",
     .kind = OPTION_OWN,
     .parse = parse_output},
    {.name = "plan",
     .help = "print cells, samples and expected time; run nothing",
     .kind = OPTION_ACTION,
     .action = OPTIONS_PLAN},
    {.name = "doctor",
     .help = "what on this machine will hurt, and the remedy",
     .kind = OPTION_ACTION,
     .action = OPTIONS_DOCTOR},
    {.name = "schema",
     .help = "the columns of NAME.csv as JSON (results/schema.json)",
     .kind = OPTION_ACTION,
     .action = OPTIONS_SCHEMA},
    {.name = "quiet", .help = "results and errors only", .kind = OPTION_FLAG, OFFSET(quiet)},
    {.name = "help", .help = "this", .kind = OPTION_ACTION, .action = OPTIONS_HELP},
    {.name = "version", .help = "of the runner and its build", .kind = OPTION_ACTION, .action = OPTIONS_VERSION},
    // For golden tests only, so not in the help.
    {.name = "fake-clock", .kind = OPTION_FLAG, OFFSET(fake_clock), .key = "fake_clock"},
};

const size_t option_entry_count = sizeof option_entries / sizeof option_entries[0];

#define ENTRY_COUNT (sizeof option_entries / sizeof option_entries[0])

static void *field_of(struct options *options, const struct option_entry *entry) {
    return (char *)options + entry->offset;
}

static int set_number(struct context *context, const struct option_entry *entry, const char *text) {
    uint64_t value = entry->bare;
    if (text != NULL && (!quantity_count(text, &value) || value < entry->least || value > entry->most))
        return refuse(context, "--%s=%s: needs a whole number from %" PRIu64 " to %" PRIu64, entry->name, text,
                      entry->least, entry->most);
    if (entry->kind == OPTION_COUNT64)
        *(uint64_t *)field_of(context->options, entry) = value;
    else
        *(uint32_t *)field_of(context->options, entry) = (uint32_t)value;
    return EXIT_CODE_OK;
}

static int set_time(struct context *context, const struct option_entry *entry, const char *text) {
    uint64_t *field = field_of(context->options, entry);
    if (!quantity_time(text, field))
        return refuse(context, "--%s=%s: needs a time with its unit, such as 500ms or 2s", entry->name, text);
    if (*field < entry->least)
        return refuse(context, "--%s=%s: must be above 0", entry->name, text);
    return EXIT_CODE_OK;
}

static int set_name(struct context *context, const struct option_entry *entry, const char *text) {
    const int found = quantity_name(text, entry->names, entry->most + 1);
    char names[128];
    join_names(entry->names, entry->most + 1, names, sizeof names);
    if (found < 0)
        return refuse(context, "--%s=%s: must be one of %s", entry->name, text, names);
    *(uint32_t *)field_of(context->options, entry) = (uint32_t)found;
    return EXIT_CODE_OK;
}

static int apply(struct context *context, const struct option_entry *entry, const char *text) {
    if (entry->parse != NULL)
        return entry->parse(context, text);
    switch (entry->kind) {
    case OPTION_FLAG:
        *(uint32_t *)field_of(context->options, entry) = 1;
        break;
    case OPTION_ACTION:
        context->options->action = entry->action;
        break;
    case OPTION_COUNT32:
    case OPTION_COUNT64:
        return set_number(context, entry, text);
    case OPTION_TIME:
        return set_time(context, entry, text);
    case OPTION_NAME:
        return set_name(context, entry, text);
    case OPTION_TEXT:
    case OPTION_OWN:
        break; // they parse themselves
    }
    return EXIT_CODE_OK;
}

// --NAME of a parameter, for all workloads of the run that have it.
static int apply_parameter(struct context *context, const struct parameter *parameter, const char *text) {
    char label[320];
    snprintf(label, sizeof label, "--%s=%s", parameter->name, text);
    return strcmp(parameter->name, "topology") == 0
               ? parse_topologies(context, text)
               : set_parameter(context, &context->options->params, parameter, text, label);
}

uint64_t option_entry_number(const struct options *options, const struct option_entry *entry) {
    const char *field = (const char *)options + entry->offset;
    uint32_t narrow;
    uint64_t wide;
    memcpy(&narrow, field, sizeof narrow);
    if (entry->kind != OPTION_COUNT64 && entry->kind != OPTION_TIME)
        return narrow;
    memcpy(&wide, field, sizeof wide);
    return wide;
}

const char *option_entry_text(const struct options *options, const struct option_entry *entry) {
    return entry->kind == OPTION_TEXT   ? (const char *)options + entry->offset
           : entry->kind == OPTION_NAME ? entry->names[option_entry_number(options, entry)]
                                        : NULL;
}

// ---- the help ------------------------------------------------------------------------------------------------------

#define HELP_COLUMN 24
#define HELP_WIDTH 80

// Words of `text` from the help's column on; the cursor stands at `at`.
static void print_wrapped(FILE *out, int at, const char *text) {
    int column = at;
    if (column >= HELP_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    column = HELP_COLUMN;
    for (const char *word = text; *word;) {
        const int length = (int)strcspn(word, " ");
        if (column > HELP_COLUMN && column + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", length, word);
        column += length;
        word += length + (word[length] == ' ');
    }
    fputc('\n', out);
}

static void print_option(FILE *out, const char *name, const char *value, int is_bare, const char *help) {
    const int at = value == NULL ? fprintf(out, "  --%s", name)
                   : is_bare     ? fprintf(out, "  --%s[=%s]", name, value)
                                 : fprintf(out, "  --%s=%s", name, value);
    print_wrapped(out, at, help);
}

static void print_parameters(FILE *out) {
    fputs("Parameters (also inside braces, without dashes); default: the workload's own\n", out);
    for (size_t i = 0; i < parameter_count; i++)
        if (parameters[i].source == PARAMETER_OPTION)
            print_option(out, parameters[i].name, parameters[i].value, 0, parameters[i].help);
}

void options_print_help(FILE *out, const char *program) {
    fprintf(out, "usage: %s --alloc=LIST --workload=LIST [options]\n\n", program);
    for (size_t i = 0; i < option_entry_count; i++) {
        const struct option_entry *entry = &option_entries[i];
        if (entry->group != NULL && i > 0 && strcmp(entry->group, "How to measure") == 0)
            print_parameters(out);
        if (entry->group != NULL)
            fprintf(out, "%s\n", entry->group);
        if (entry->help != NULL)
            print_option(out, entry->name, entry->value, entry->bare != 0, entry->help);
    }
    print_wrapped(out, fprintf(out, "  -- PROGRAM ARG..."),
                  "instead of a workload: any command, each run of it an op (hzrun bench)");
    print_wrapped(out, fprintf(out, "  selftest"),
                  "measures a backend with known faults; exit 1 when one is not found");
    fputs("Exit codes: 0 ok, 1 selftest failed, 2 usage or unusable input, 3 allocator or\n"
          "disk unavailable, 4 a sample failed, 5 undecided, 130 interrupted\n",
          out);
}

// ---- the whole -----------------------------------------------------------------------------------------------------

static int refuse_option(struct context *context, const char *argument, const struct option *known) {
    char name[64];
    const char *close = NULL;
    unsigned best = EDIT_DISTANCE_SLIP + 1;
    const char *start = argument + strspn(argument, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(start, "="), start);
    for (; known->name != NULL; known++) {
        unsigned found = edit_distance(name, known->name);
        if (strcmp(known->name, "fake-clock") == 0 || found >= best)
            continue;
        best = found;
        close = known->name;
    }
    if (close != NULL)
        return refuse(context, "unknown option '--%s' - did you mean '--%s'? (--help)", name, close);
    return refuse(context, "unknown option '%.*s' (--help)", (int)strcspn(argument, "="), argument);
}

static int is_given(const struct options *options, const struct parameter *parameter) {
    return parameter->uses == WORKLOAD_USES_TOPOLOGY ? options->topology_count > 0
                                                     : parameter_get(&options->params, parameter) != PARAMETER_UNSET;
}

// The words behind `--` are the workload `program`, and its input is what they are: a long command by its beginning and
// its digest.
static int add_program(struct context *context) {
    struct options *options = context->options;
    char name[] = "program", text[WORKLOAD_COMMAND_BYTES], hex[DIGEST_BYTES];
    if (options->program[0] == NULL)
        return refuse(context, "no program behind --, as in runner --alloc=hz5,system -- PROGRAM ARGUMENT... (--help)");
    if (options->workload_count > 0)
        return refuse(context, "--workload and a program behind -- are two things to measure - give one of them");
    if (!words_join(options->program, text, sizeof text))
        return refuse(context, "the command is longer than %d characters - put it into a script",
                      WORKLOAD_COMMAND_BYTES - 1);
    const int code = parse_workload(context, name);
    if (code != EXIT_CODE_OK)
        return code;
    struct workload_params *params = &options->workloads[0].params;
    digest_of_bytes(text, strlen(text), hex);
    if (strlen(text) < sizeof params->input)
        memcpy(params->input, text, strlen(text) + 1);
    else
        snprintf(params->input, sizeof params->input, "%.200s... %.16s", text, hex);
    return EXIT_CODE_OK;
}

static int check_program(struct context *context) {
    const struct options *options = context->options;
    if (options->prepare[0] && options->program == NULL)
        return refuse(context, "--prepare belongs to a program: runner --alloc=LIST --prepare=COMMAND -- PROGRAM");
    for (size_t i = 0; i < options->workload_count && options->program == NULL; i++)
        if (strcmp(options->workloads[i].workload->name, "program") == 0)
            return refuse(context, "workload 'program' is the command behind --: runner --alloc=LIST -- PROGRAM");
    if (options->program != NULL && options->thread_count > 0)
        return refuse(context, "--threads: a program has the threads that it starts - leave it out");
    return options->program != NULL ? add_program(context) : EXIT_CODE_OK;
}

// What cannot be known before all options are read.
static int check_whole(struct context *context) {
    struct options *options = context->options;
    if (options->action != OPTIONS_RUN && options->action != OPTIONS_PLAN)
        return EXIT_CODE_OK;
    if (options->allocator_count == 0)
        return refuse(context, "--alloc is missing, as in runner --alloc=hz5 --workload=remote (--help)");
    const int code = check_program(context);
    if (code != EXIT_CODE_OK)
        return code;
    if (options->workload_count == 0)
        return refuse(context, "--workload is missing, as in runner --alloc=hz5 --workload=remote (--help)");
    if (is_contradictory(&options->params))
        return refuse(context, "--ops is a fixed amount of work, --duration ends it by the clock - give one of them");
    if (options->rounds_until_ppm > 0 && options->allocator_count < 2)
        return refuse(context, "--rounds-until compares with the first of --alloc: name at least two allocators");
    if (options->rounds_until_ppm > 0)
        options->runs = SEQUENTIAL_MAX;
    for (size_t i = 0; i < parameter_count; i++) {
        int used = !is_given(options, &parameters[i]);
        for (size_t j = 0; j < options->workload_count; j++)
            used |= parameter_is_used(&parameters[i], options->workloads[j].workload);
        if (!used)
            return refuse(context, "--%s: no workload of this run has that parameter (--list-workloads)",
                          parameters[i].name);
    }
    return EXIT_CODE_OK;
}

// getopt's table: an option's number is that of its entry; parameters follow behind.
static const struct option *known_options(void) {
    static struct option known[ENTRY_COUNT + 64];
    size_t count = 0;
    for (size_t i = 0; i < option_entry_count; i++) {
        const struct option_entry *entry = &option_entries[i];
        const int argument = entry->value == NULL ? no_argument : entry->bare ? optional_argument : required_argument;
        known[count++] = (struct option){entry->name, argument, NULL, (int)i};
    }
    for (size_t i = 0; i < parameter_count && count + 1 < sizeof known / sizeof known[0]; i++)
        if (parameters[i].source == PARAMETER_OPTION)
            known[count++] =
                (struct option){parameters[i].name, required_argument, NULL, (int)(option_entry_count + i)};
    known[count] = (struct option){NULL, 0, NULL, 0};
    return known;
}

static int parse_arguments(struct context *context, int argc, char **argv) {
    const struct option *known = known_options();
    opterr = 0;
    for (;;) {
        int before = optind;
        // The leading colon tells a missing value (':') from an unknown option ('?').
        int id = getopt_long(argc, argv, ":h", known, NULL);
        if (id == -1)
            return EXIT_CODE_OK;
        const char *argument = argv[before];
        if (id == ':')
            return refuse(context, "option '%s' needs a value (--help)", argument);
        if (id == '?')
            return refuse_option(context, argument, known);
        int code = EXIT_CODE_OK;
        if (id == 'h')
            context->options->action = OPTIONS_HELP;
        else if ((size_t)id < option_entry_count)
            code = apply(context, &option_entries[id], optarg);
        else
            code = apply_parameter(context, &parameters[(size_t)id - option_entry_count], optarg);
        if (code != EXIT_CODE_OK)
            return code;
    }
}

int options_parse(struct options *options, int argc, char **argv, char *why, size_t why_bytes) {
    struct context context = {options, why, why_bytes};
    *options = (struct options){.runs = 5,
                                .seed = 1,
                                .load = ALLOCATOR_LOAD_DLOPEN,
                                .pin = "spread",
                                .rss_interval_ns = 10000000,
                                .budget_ns = DEFAULT_BUDGET_NS};
    const uint64_t settle_ns = SETTLE_LONG_NS;
    set_settle(&context, &settle_ns, 1);
    workload_params_unset(&options->params);
    words_join(argv, options->command, sizeof options->command); // what a user would have to type again
    for (int i = 1; i < argc && options->program == NULL; i++)
        if (strcmp(argv[i], "--") == 0) {
            options->program = argv + i + 1;
            argc = i;
        }
    const int code = parse_arguments(&context, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
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
