// SPDX-License-Identifier: Apache-2.0
// Columns and quoting. Layer: runner.
#include "csv.h"

#include "../text/buffer.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_SCHEMA, KIND_TEXT, KIND_NUMBER, KIND_HEX, KIND_RATE, KIND_SHARE };

struct column {
    const char *name;
    enum kind kind;
    size_t offset; // in struct csv_row
};

#define TEXT(name)                                                                                                     \
    { #name, KIND_TEXT, offsetof(struct csv_row, name) }
#define NUMBER(name)                                                                                                   \
    { #name, KIND_NUMBER, offsetof(struct csv_row, name) }

#define NOISE(name)                                                                                                    \
    { #name, KIND_NUMBER, offsetof(struct csv_row, noise.name) }
#define LATENCY_FIELD(call, index, field)                                                                              \
    { "latency_" #call "_" #field, KIND_NUMBER, offsetof(struct csv_row, latency[index].field) }
#define LATENCY(call, index)                                                                                           \
    LATENCY_FIELD(call, index, count), LATENCY_FIELD(call, index, p50_ns), LATENCY_FIELD(call, index, p90_ns),         \
        LATENCY_FIELD(call, index, p99_ns), LATENCY_FIELD(call, index, p999_ns), LATENCY_FIELD(call, index, max_ns)

// The order of results/SCHEMA.md.
static const struct column columns[] = {
    {"schema", KIND_SCHEMA, 0},
    TEXT(run_id),
    NUMBER(sample),
    NUMBER(round),
    NUMBER(order),
    TEXT(platform),
    TEXT(allocator),
    TEXT(load),
    TEXT(workload),
    NUMBER(threads),
    NUMBER(seed),
    NUMBER(ops_per_thread),
    NUMBER(duration_ns),
    NUMBER(working_set),
    NUMBER(min_bytes),
    NUMBER(max_bytes),
    TEXT(sizes),
    TEXT(topology),
    NUMBER(remote_ppm),
    NUMBER(realloc_ppm),
    NUMBER(aligned_ppm),
    NUMBER(calloc_ppm),
    NUMBER(rounds),
    TEXT(touch),
    TEXT(pin),
    TEXT(status),
    TEXT(message),
    TEXT(library_path),
    TEXT(library_version),
    TEXT(library_build_id),
    TEXT(library_sha256),
    TEXT(contract),
    {"stream_hash", KIND_HEX, offsetof(struct csv_row, stream_hash)},
    NUMBER(elapsed_ns),
    NUMBER(ops),
    {"throughput_ops_s", KIND_RATE, offsetof(struct csv_row, throughput_ops_s)},
    NUMBER(remote_frees),
    NUMBER(local_frees),
    {"remote_share", KIND_SHARE, offsetof(struct csv_row, remote_share)},
    NUMBER(waits),
    NUMBER(corruptions),
    NUMBER(failures),
    NUMBER(user_ns),
    NUMBER(system_ns),
    NUMBER(run_delay_ns),
    NUMBER(voluntary_switches),
    NUMBER(involuntary_switches),
    NUMBER(minor_faults),
    NUMBER(major_faults),
    NUMBER(rss_baseline),
    NUMBER(rss_mean),
    NUMBER(rss_p95),
    NUMBER(rss_peak),
    NUMBER(rss_work),
    NUMBER(live_work),
    NUMBER(rss_freed),
    NUMBER(rss_joined),
    NUMBER(rss_100ms),
    NUMBER(rss_1s),
    NUMBER(rss_purged),
    NUMBER(live_peak),
    NUMBER(reserved_bytes),
    NUMBER(committed_bytes),
    NUMBER(metadata_bytes),
    TEXT(rejects),
    NUMBER(cycles),
    NUMBER(instructions),
    NUMBER(cache_misses),
    NUMBER(dtlb_misses),
    TEXT(started_at),
    TEXT(input),
    NUMBER(latency_every),
    NUMBER(latency_probe_ns),
    LATENCY(malloc, CELL_CALL_MALLOC),
    LATENCY(free_local, CELL_CALL_FREE_LOCAL),
    LATENCY(free_remote, CELL_CALL_FREE_REMOTE),
    NOISE(canary_reference_ns),
    NOISE(canary_before_ns),
    NOISE(canary_after_ns),
    NOISE(pressure_cpu_ns),
    NOISE(pressure_memory_ns),
    NOISE(pressure_io_ns),
    NOISE(steal_ns),
    NUMBER(contaminated),
    TEXT(contamination),
    NUMBER(windows_working_set_bytes),
    NUMBER(windows_peak_working_set_bytes),
    NUMBER(windows_private_usage_bytes),
    NUMBER(cell_index),
};

#define COLUMN_COUNT (sizeof columns / sizeof columns[0])

static const char *const phase_names[] = {
    [CELL_PHASE_START] = "start",       [CELL_PHASE_LOADED] = "loaded",       [CELL_PHASE_WARM_UP] = "warm-up",
    [CELL_PHASE_MEASURED] = "measured", [CELL_PHASE_TEAR_DOWN] = "tear-down", [CELL_PHASE_JOINED] = "joined",
    [CELL_PHASE_SETTLE] = "settle",     [CELL_PHASE_PURGED] = "purged",       [CELL_PHASE_DONE] = "done",
};

const char *csv_header(void) {
    static char header[4096];
    size_t at = 0;
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        at += (size_t)snprintf(header + at, sizeof header - at, "%s%s", i ? "," : "", columns[i].name);
    snprintf(header + at, sizeof header - at, "\n");
    return header;
}

const char *csv_rss_header(void) {
    return "schema,run_id,sample,t_ns,rss_bytes,live_bytes,phase\n";
}

const char *csv_latency_header(void) {
    return "schema,run_id,sample,call,low_ns,high_ns,count\n";
}

// A row is a line: line ends inside a text become blanks, so that a cut row is always the last.
static void put_text(struct buffer *out, const char *text) {
    if (!text)
        return;
    int quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted)
        buffer_put(out, '"');
    for (; *text; text++) {
        if (*text == '"')
            buffer_put(out, '"');
        buffer_put(out, (unsigned char)*text < ' ' ? ' ' : *text);
    }
    if (quoted)
        buffer_put(out, '"');
}

static void put_column(struct buffer *out, const struct csv_row *row, const struct column *column) {
    const char *field = (const char *)row + column->offset;
    uint64_t number;
    const char *text;
    double real;
    switch (column->kind) {
    case KIND_SCHEMA:
        buffer_print(out, "%d", CSV_SCHEMA);
        break;
    case KIND_TEXT:
        memcpy(&text, field, sizeof text);
        put_text(out, text);
        break;
    case KIND_NUMBER:
    case KIND_HEX:
        memcpy(&number, field, sizeof number);
        if (number != CSV_NOT_MEASURED)
            buffer_print(out, column->kind == KIND_HEX ? "%016" PRIx64 : "%" PRIu64, number);
        break;
    case KIND_RATE:
    case KIND_SHARE:
        memcpy(&real, field, sizeof real);
        if (real >= 0)
            buffer_print(out, column->kind == KIND_RATE ? "%.1f" : "%.6f", real);
        break;
    }
}

char *csv_format(const struct csv_row *row, size_t *bytes) {
    struct buffer text = {0}, *out = &text;
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if (i)
            buffer_put(out, ',');
        put_column(out, row, &columns[i]);
    }
    buffer_put(out, '\n');
    return buffer_take(out, bytes);
}

char *csv_format_rss(const struct cell *cell, const char *run_id, uint64_t sample, size_t *bytes) {
    struct buffer text = {0}, *out = &text;
    // ORDER: acquire pairs with the release store of the worker's rss_append, which publishes the points before it.
    uint32_t count = atomic_load_explicit(&cell->rss_points, memory_order_acquire);
    // The memory is the worker's, and the worker may have gone mad.
    if (count > CELL_MAX_RSS_POINTS)
        count = CELL_MAX_RSS_POINTS;
    for (uint32_t i = 0; i < count; i++) {
        const struct cell_rss_point *point = &cell->rss[i];
        const char *phase = point->phase <= CELL_PHASE_DONE ? phase_names[point->phase] : "";
        buffer_print(out, "%d,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", CSV_SCHEMA, run_id, sample, point->t_ns,
                     point->rss_bytes);
        if (point->live_bytes != CELL_LIVE_UNKNOWN)
            buffer_print(out, "%" PRId64, point->live_bytes);
        buffer_print(out, ",%s\n", phase);
    }
    return buffer_take(out, bytes);
}

char *csv_format_latency(const struct cell *cell, const char *run_id, uint64_t sample, size_t *bytes) {
    static const char *const calls[CELL_CALL_COUNT] = {"malloc", "free-local", "free-remote"};
    struct buffer out = {0};
    for (int call = 0; call < CELL_CALL_COUNT; call++) {
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            uint64_t count = cell->latency[call].buckets[i];
            if (count != 0)
                buffer_print(&out, "%d,%s,%" PRIu64 ",%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", CSV_SCHEMA, run_id,
                             sample, calls[call], histogram_low(i), histogram_high(i), count);
        }
    }
    return buffer_take(&out, bytes);
}

// Cuts `line` into unquoted fields in place. Returns their number, 0 when the quoting is broken or there are too many.
static size_t split(char *line, char **fields, size_t capacity) {
    size_t count = 0;
    char *from = line, *to = line;
    while (count < capacity) {
        int quoted = *from == '"';
        fields[count++] = to;
        from += quoted;
        while (*from && (quoted || *from != ',')) {
            if (quoted && *from == '"') {
                if (from[1] != '"')
                    break;
                from++;
            }
            *to++ = *from++;
        }
        if (quoted && *from++ != '"')
            return 0;
        char end = *from++;
        *to++ = '\0';
        if (end == '\0')
            return count;
        if (end != ',')
            return 0;
    }
    return 0;
}

static size_t column_index(const char *name) {
    size_t i = 0;
    while (i + 1 < COLUMN_COUNT && strcmp(columns[i].name, name) != 0)
        i++;
    return i;
}

// An empty field is "not measured"; anything but a number makes the row invalid.
static int number_of(char *const *fields, const char *name, int base, uint64_t *out) {
    const char *text = fields[column_index(name)];
    char *end;
    *out = CSV_NOT_MEASURED;
    if (*text == '\0')
        return 1;
    *out = strtoull(text, &end, base);
    return *end == '\0' && *text != '-' && *text != '+';
}

int csv_parse(const char *line, size_t bytes, const char *run_id, struct csv_summary *out) {
    char *fields[COLUMN_COUNT + 1];
    char *copy = malloc(bytes + 1);
    int ok = 0;
    if (!copy)
        return 0;
    memcpy(copy, line, bytes);
    copy[bytes] = '\0';
    char schema[16];
    snprintf(schema, sizeof schema, "%d", CSV_SCHEMA);
    if (memchr(line, '\0', bytes) == NULL && split(copy, fields, COLUMN_COUNT + 1) == COLUMN_COUNT &&
        strcmp(fields[0], schema) == 0 && strcmp(fields[1], run_id) == 0) {
        const char *rate = fields[column_index("throughput_ops_s")];
        char *end = NULL;
        out->throughput_ops_s = *rate ? strtod(rate, &end) : -1;
        ok = (*rate == '\0' || *end == '\0') && number_of(fields, "sample", 10, &out->sample) &&
             out->sample != CSV_NOT_MEASURED && number_of(fields, "rss_peak", 10, &out->rss_peak) &&
             number_of(fields, "rss_1s", 10, &out->rss_1s) && number_of(fields, "elapsed_ns", 10, &out->elapsed_ns) &&
             number_of(fields, "stream_hash", 16, &out->stream_hash);
        snprintf(out->status, sizeof out->status, "%s", fields[column_index("status")]);
        snprintf(out->message, sizeof out->message, "%s", fields[column_index("message")]);
    }
    free(copy);
    return ok;
}

uint64_t csv_parse_rss_sample(const char *line, size_t bytes, const char *run_id) {
    char expected[64];
    int length = snprintf(expected, sizeof expected, "%d,%s,", CSV_SCHEMA, run_id);
    if (length < 0 || bytes <= (size_t)length || memcmp(line, expected, (size_t)length) != 0)
        return UINT64_MAX;
    char *end;
    uint64_t sample = strtoull(line + length, &end, 10);
    return *end == ',' && end < line + bytes && end > line + length ? sample : UINT64_MAX;
}
