// SPDX-License-Identifier: Apache-2.0
// Reads the machine and writes run.json. Layer: runner.
#include "provenance.h"

#include "../system/costs.h"
#include "../system/machine.h"
#include "../system/process.h"
#include "build_commit.h"
#include "build_config.h"
#include "file.h"

#include "../../allocators/loader/digest.h"
#include "../../workloads/parameters.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GENERATOR "hzbench"

extern char **environ;

const char provenance_version_text[] =
    GENERATOR " " BUILD_VERSION " (commit " BUILD_COMMIT ", " BUILD_COMPILER ", " BUILD_FLAGS ")";

// Variables that allocators or the loader read, by how their names begin.
static const char *const variable_prefixes[] = {
    "MALLOC_",        "MIMALLOC_",  "TCMALLOC_",       "JE_MALLOC_", "RPMALLOC_", "SNMALLOC_", "SCUDO_",
    "GLIBC_TUNABLES", "LD_PRELOAD", "LD_LIBRARY_PATH", "HZ3_",       "HZ4_",      "HZ5_",
};

static void utc_now(char *out, size_t out_bytes, int fake_clock) {
    time_t now = fake_clock ? 0 : time(NULL);
    struct tm utc;
    strftime(out, out_bytes, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
}

void provenance_identify(struct provenance *provenance) {
    char machine[272], text[1024], hex[DIGEST_BYTES];
    struct timespec now = {0};
    machine_identity(machine, sizeof machine);
    int length = snprintf(text, sizeof text, "%s\n%s\n%u", machine, provenance->topology->cpu_model,
                          provenance->topology->machine_pus);
    digest_of_bytes(text, (size_t)length, hex);
    snprintf(provenance->host_id, sizeof provenance->host_id, "%.16s", hex);
    if (!provenance->plan->options->fake_clock)
        clock_gettime(CLOCK_REALTIME, &now);
    length = snprintf(text, sizeof text, "%s\n%s\n%lld.%09ld", provenance->plan->hash, provenance->host_id,
                      (long long)now.tv_sec, now.tv_nsec);
    digest_of_bytes(text, (size_t)length, hex);
    snprintf(provenance->run_id, sizeof provenance->run_id, "%.16s", hex);
}

// Texts of libraries and of the environment need not be UTF-8, which JSON has to be.
static json_t *text_of(const char *text) {
    json_t *value = json_string(text);
    char *clean = value != NULL ? NULL : strdup(text);
    for (char *at = clean; at != NULL && *at; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    if (clean != NULL)
        value = json_string(clean);
    free(clean);
    return value;
}

static json_t *text_or_null(const char *text) {
    return text[0] ? text_of(text) : json_null();
}

// A number of a parameter or its name; null where the workload has no such parameter and no default for it.
static json_t *parameter_json(const struct plan_cell *cell, const struct parameter *parameter) {
    const uint64_t value = parameter_get(&cell->params, parameter);
    const char *name = parameter_name_of(parameter, value);
    if (value == PARAMETER_UNSET ||
        (parameter->kind == PARAMETER_NAME && !parameter_is_used(parameter, cell->workload) &&
         parameter->uses == WORKLOAD_USES_TOPOLOGY))
        return json_null();
    return name != NULL ? json_string(name) : json_integer((json_int_t)value);
}

static json_t *cell_json(const struct plan *plan, const struct plan_cell *cell) {
    json_t *object = json_pack("{s:o, s:s}", "allocator", text_of(plan->options->allocators[cell->allocator].label),
                               "workload", cell->workload->name);
    for (size_t i = 0; i < parameter_count; i++)
        if (strcmp(parameters[i].name, "seed") != 0) // another in each round
            json_object_set_new(object, parameters[i].column, parameter_json(cell, &parameters[i]));
    json_object_set_new(object, "input", text_or_null(cell->params.input));
    return object;
}

static json_t *plan_json(const struct plan *plan) {
    const struct options *options = plan->options;
    json_t *cells = json_array();
    for (uint32_t i = 0; i < plan->cell_count; i++)
        json_array_append_new(cells, cell_json(plan, &plan->cells[i]));
    json_t *object = json_pack("{s:s, s:i}", "hash", plan->hash, "samples", (int)plan->sample_count);
    for (size_t i = 0; i < option_entry_count; i++) {
        const struct option_entry *entry = &option_entries[i];
        const char *text = entry->key != NULL ? option_entry_text(options, entry) : NULL;
        const uint64_t number = entry->key != NULL ? option_entry_number(options, entry) : 0;
        if (entry->key != NULL)
            json_object_set_new(object, entry->key,
                                text != NULL                 ? json_string(text)
                                : entry->kind == OPTION_FLAG ? json_boolean(number != 0)
                                                             : json_integer((json_int_t)number));
    }
    json_object_set_new(object, "cells", cells);
    return object;
}

// The program that runs the workloads; null when it cannot be read.
static json_t *worker_json(void) {
    char path[4096], why[256], hex[DIGEST_BYTES];
    return process_find_worker(path, sizeof path, why, sizeof why) && digest_of_file(path, hex) ? json_string(hex)
                                                                                                : json_null();
}

static json_t *cost_json(double ns) {
    return ns < 0 ? json_null() : json_real(ns);
}

static json_t *costs_json(const struct provenance *provenance) {
    struct costs costs = {-1, -1};
    if (!provenance->plan->options->fake_clock)
        costs_measure(provenance->topology, &costs);
    return json_pack("{s:o, s:o}", "first_touch_ns", cost_json(costs.first_touch_ns), "line_transfer_ns",
                     cost_json(costs.line_transfer_ns));
}

static json_t *machine_json(const struct provenance *provenance) {
    const struct topology *topology = provenance->topology;
    char line[256];
    json_t *caches = json_array();
    for (size_t i = 0; i < topology->cache_count; i++) {
        const struct topology_cache *cache = &topology->caches[i];
        const char *type = cache->type == 'u' ? "unified" : cache->type == 'd' ? "data" : "instruction";
        json_array_append_new(caches, json_pack("{s:i, s:s, s:I, s:i, s:i}", "level", (int)cache->level, "type", type,
                                                "bytes", (json_int_t)cache->bytes, "line_bytes", (int)cache->line_bytes,
                                                "count", (int)cache->count));
    }
    json_t *machine =
        json_pack("{s:s, s:o, s:i, s:i, s:i, s:i, s:i, s:o, s:s}", "host_id", provenance->host_id, "cpu_model",
                  text_of(topology->cpu_model), "packages", (int)topology->packages, "cores", (int)topology->cores,
                  "pus", (int)topology->pus, "machine_pus", (int)topology->machine_pus, "numa_nodes",
                  (int)topology->numa_nodes, "caches", caches, "platform", process_platform());
    for (size_t i = 0; machine_facts[i] != NULL; i++) {
        machine_read(machine_facts[i], line, sizeof line);
        json_object_set_new(machine, machine_facts[i], text_or_null(line));
    }
    machine_virtualisation(line, sizeof line);
    json_object_set_new(machine, "virtualisation", text_of(line));
    json_object_set_new(machine, "costs", costs_json(provenance));
    return machine;
}

static int is_recorded(const char *entry) {
    for (size_t i = 0; i < sizeof variable_prefixes / sizeof variable_prefixes[0]; i++)
        if (strncmp(entry, variable_prefixes[i], strlen(variable_prefixes[i])) == 0)
            return 1;
    for (size_t i = 0; i < allocator_backend_count; i++) {
        const char *name = allocator_backends[i].options_env;
        if (name != NULL && strncmp(entry, name, strlen(name)) == 0 && entry[strlen(name)] == '=')
            return 1;
    }
    return 0;
}

static json_t *environment_json(void) {
    json_t *environment = json_object();
    for (char **entry = environ; *entry != NULL; entry++) {
        char name[128];
        size_t length = strcspn(*entry, "=");
        if (!is_recorded(*entry) || (*entry)[length] != '=' || length >= sizeof name)
            continue;
        memcpy(name, *entry, length);
        name[length] = '\0';
        json_object_set_new(environment, name, text_of(*entry + length + 1));
    }
    return environment;
}

static json_t *allocators_json(const struct provenance *provenance) {
    json_t *allocators = json_array();
    for (size_t i = 0; i < provenance->plan->options->allocator_count; i++) {
        const struct sample_allocator *allocator = &provenance->allocators[i];
        const struct allocator_provenance *found = &allocator->resolved;
        json_array_append_new(
            allocators,
            json_pack("{s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "allocator", text_of(allocator->spec->label),
                      "item", text_of(allocator->spec->text), "available", allocator->is_available, "why",
                      text_or_null(allocator->is_available ? "" : allocator->why), "path", text_or_null(found->path),
                      "version", text_or_null(found->version), "build_id", text_or_null(found->build_id), "sha256",
                      text_or_null(found->sha256), "contract", text_or_null(found->contract)));
    }
    return allocators;
}

static json_t *session_json(const struct provenance *provenance, uint32_t samples_before) {
    char now[24];
    const struct options *options = provenance->plan->options;
    utc_now(now, sizeof now, options->fake_clock);
    return json_pack("{s:s, s:o, s:i, s:o}", "started_at", now, "command", text_of(options->command), "samples_before",
                     (int)samples_before, "null_overhead_ns_per_op",
                     provenance->null_overhead_ns < 0 ? json_null() : json_real(provenance->null_overhead_ns));
}

static int save(json_t *document, const char *path) {
    char *text = document != NULL ? json_dumps(document, JSON_INDENT(2)) : NULL;
    size_t length = text != NULL ? strlen(text) : 0;
    int ok = 0;
    errno = ENOMEM;
    if (text != NULL) {
        text[length] = '\n'; // over the terminator: the length is passed on
        ok = file_replace(path, text, length + 1);
    }
    int error = errno;
    free(text);
    errno = error;
    return ok;
}

int provenance_write(const struct provenance *provenance, const char *path) {
    const struct options *options = provenance->plan->options;
    const char *dirty = strstr(BUILD_COMMIT, "-dirty");
    char commit[64];
    snprintf(commit, sizeof commit, "%.*s", dirty != NULL ? (int)(dirty - BUILD_COMMIT) : (int)strlen(BUILD_COMMIT),
             BUILD_COMMIT);
    json_t *document = json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:I, s:{s:s, s:s, s:b, s:s, s:s, s:o}, s:o, s:o, s:o, s:[o]}", "schema",
        RECORD_SCHEMA, "generator", GENERATOR, "run_id", provenance->run_id, "command", text_of(options->command),
        "plan", plan_json(provenance->plan), "seed", (json_int_t)options->seed, "build", "version", BUILD_VERSION,
        "commit", commit, "dirty", dirty != NULL, "compiler", BUILD_COMPILER, "flags", BUILD_FLAGS, "worker_sha256",
        worker_json(), "machine", machine_json(provenance), "environment", environment_json(), "allocators",
        allocators_json(provenance), "sessions", session_json(provenance, 0));
    int ok = save(document, path);
    int error = errno;
    json_decref(document);
    errno = error;
    return ok;
}

int provenance_add_session(const struct provenance *provenance, const char *path, uint32_t samples_before) {
    json_t *document = json_load_file(path, 0, NULL);
    json_t *sessions = json_object_get(document, "sessions"), *plan = json_object_get(document, "plan");
    errno = EINVAL;
    // The run may have grown.
    int ok = sessions != NULL && plan != NULL &&
             json_object_set_new(plan, "samples", json_integer((json_int_t)provenance->plan->sample_count)) == 0 &&
             json_object_set_new(plan, "runs", json_integer((json_int_t)provenance->plan->options->runs)) == 0 &&
             json_array_append_new(sessions, session_json(provenance, samples_before)) == 0 && save(document, path);
    int error = errno;
    json_decref(document);
    errno = error;
    return ok;
}

static const char *text_at(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static enum provenance_match compare(struct provenance *provenance, const json_t *document, char *detail,
                                     size_t detail_bytes) {
    const json_t *schema = json_object_get(document, "schema");
    if (strcmp(text_at(document, "generator"), GENERATOR) != 0 || !json_is_integer(schema) ||
        strlen(text_at(document, "run_id")) != PROVENANCE_RUN_ID_BYTES - 1)
        return PROVENANCE_UNREADABLE;
    snprintf(detail, detail_bytes, "%" JSON_INTEGER_FORMAT, json_integer_value(schema));
    if (json_integer_value(schema) != RECORD_SCHEMA)
        return PROVENANCE_OTHER_SCHEMA;
    snprintf(detail, detail_bytes, "%s", text_at(document, "command"));
    if (strcmp(text_at(json_object_get(document, "plan"), "hash"), provenance->plan->hash) != 0)
        return PROVENANCE_OTHER_PLAN;
    if (strcmp(text_at(json_object_get(document, "machine"), "host_id"), provenance->host_id) != 0)
        return PROVENANCE_OTHER_HOST;
    const json_t *allocators = json_object_get(document, "allocators");
    for (size_t i = 0; i < provenance->plan->options->allocator_count; i++) {
        snprintf(detail, detail_bytes, "%s", provenance->allocators[i].spec->label);
        const char *before = text_at(json_array_get(allocators, i), "sha256");
        // One that was not there before has no rows it could contradict.
        if (before[0] && strcmp(before, provenance->allocators[i].resolved.sha256) != 0)
            return PROVENANCE_OTHER_LIBRARY;
    }
    snprintf(provenance->run_id, sizeof provenance->run_id, "%s", text_at(document, "run_id"));
    return PROVENANCE_SAME;
}

enum provenance_match provenance_compare(struct provenance *provenance, const char *path, char *detail,
                                         size_t detail_bytes) {
    detail[0] = '\0';
    if (!file_exists(path))
        return PROVENANCE_ABSENT;
    json_t *document = json_load_file(path, 0, NULL);
    enum provenance_match match = compare(provenance, document, detail, detail_bytes);
    json_decref(document);
    return match;
}
