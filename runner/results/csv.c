// SPDX-License-Identifier: Apache-2.0
// Quoting, and a record to text and back, a column at a time. Layer: runner, results.
#include "csv.h"

#include "../../workloads/app_table.h"
#include "../text/buffer.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COLUMNS 256

static const char *const phase_names[] = {
    [PHASE_START] = "start",       [PHASE_LOADED] = "loaded",       [PHASE_WARM_UP] = "warm-up",
    [PHASE_MEASURED] = "measured", [PHASE_TEAR_DOWN] = "tear-down", [PHASE_JOINED] = "joined",
    [PHASE_SETTLE] = "settle",     [PHASE_PURGED] = "purged",       [PHASE_DONE] = "done",
};

const char *csv_header(void) {
    static char header[8192];
    size_t count, at = 0;
    const struct record_column *columns = record_columns(&count);
    for (size_t i = 0; i < count; i++)
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
    if (text == NULL)
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

static void put_number(struct buffer *out, const char *format, uint64_t number) {
    if (number != NOT_MEASURED)
        buffer_print(out, format, number);
}

static uint64_t number_at(const struct record *record, const struct record_column *column) {
    uint64_t number;
    memcpy(&number, (const char *)record + column->offset, sizeof number);
    return number;
}

static uint32_t index_at(const struct record *record, const struct record_column *column) {
    uint32_t number;
    memcpy(&number, (const char *)record + column->offset, sizeof number);
    return number;
}

static void put_parameter(struct buffer *out, const struct record *record, const struct parameter *parameter) {
    const uint64_t value = parameter_get(&record->params, parameter);
    if (parameter->kind == PARAMETER_NAME)
        put_text(out, parameter_name_of(parameter, value));
    else
        put_number(out, "%" PRIu64, value);
}

static void put_column(struct buffer *out, const struct record *record, const struct record_column *column) {
    const char *text = (const char *)record + column->offset;
    double real;
    switch (column->kind) {
    case RECORD_VERSION:
        buffer_print(out, "%d", RECORD_SCHEMA);
        break;
    case RECORD_TEXT:
        put_text(out, text);
        break;
    case RECORD_NUMBER:
        put_number(out, "%" PRIu64, number_at(record, column));
        break;
    case RECORD_HEX:
        put_number(out, "%016" PRIx64, number_at(record, column));
        break;
    case RECORD_NAME:
        put_text(out, column->names[index_at(record, column)]);
        break;
    case RECORD_PARAMETER:
        put_parameter(out, record, column->parameter);
        break;
    case RECORD_RATE:
    case RECORD_SHARE:
        real = column->compute(record);
        if (real >= 0)
            // Seldom whole below a thousand: a program that runs for two seconds does 0.5 a second.
            buffer_print(out, column->kind == RECORD_RATE && real >= 1000 ? "%.1f" : "%.6f", real);
        break;
    }
}

char *csv_format(const struct record *record, size_t *bytes) {
    struct buffer text = {0}, *out = &text;
    size_t count;
    const struct record_column *columns = record_columns(&count);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buffer_put(out, ',');
        put_column(out, record, &columns[i]);
    }
    buffer_put(out, '\n');
    return buffer_take(out, bytes);
}

char *csv_format_rss(const struct sample_shared *shared, const char *run_id, uint64_t sample, size_t *bytes) {
    struct buffer text = {0}, *out = &text;
    // ORDER: acquire pairs with the release store of the worker's rss_append, which publishes the points before it.
    uint32_t count = atomic_load_explicit(&shared->rss_points, memory_order_acquire);
    // The memory is the worker's, and the worker may have gone mad.
    if (count > SHARED_MAX_RSS_POINTS)
        count = SHARED_MAX_RSS_POINTS;
    for (uint32_t i = 0; i < count; i++) {
        const struct rss_point *point = &shared->rss[i];
        const char *phase = point->phase <= PHASE_DONE ? phase_names[point->phase] : "";
        if (point->rss_bytes == NOT_MEASURED)
            continue;
        buffer_print(out, "%d,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", RECORD_SCHEMA, run_id, sample, point->t_ns,
                     point->rss_bytes);
        if (point->live_bytes != SHARED_LIVE_UNKNOWN)
            buffer_print(out, "%" PRId64, point->live_bytes);
        buffer_print(out, ",%s\n", phase);
    }
    return buffer_take(out, bytes);
}

char *csv_format_latency(const struct sample_shared *shared, const char *run_id, uint64_t sample, size_t *bytes) {
    static const char *const calls[CALL_COUNT] = {"malloc", "free-local", "free-remote"};
    struct buffer out = {0};
    for (int call = 0; call < CALL_COUNT; call++) {
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
            uint64_t count = shared->latency[call].buckets[i];
            if (count != 0)
                buffer_print(&out, "%d,%s,%" PRIu64 ",%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", RECORD_SCHEMA, run_id,
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

// An empty field is "not measured"; anything but a number makes the row invalid.
static int take_number(const char *text, int base, uint64_t *out) {
    char *end;
    *out = NOT_MEASURED;
    if (*text == '\0')
        return 1;
    *out = strtoull(text, &end, base);
    return *end == '\0' && *text != '-' && *text != '+';
}

static int take_name(const char *text, const char *const *names, size_t count, uint64_t *out) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return 1;
        }
    *out = NOT_MEASURED;
    return *text == '\0';
}

static int take_parameter(struct record *record, const struct parameter *parameter, const char *text) {
    uint64_t value = 0;
    const int ok = parameter->kind == PARAMETER_NAME ? take_name(text, parameter->names, parameter->most + 1, &value)
                                                     : take_number(text, 10, &value);
    parameter_set(&record->params, parameter, value);
    return ok;
}

static int take_column(struct record *record, const struct record_column *column, const char *text) {
    char *field = (char *)record + column->offset;
    char version[16];
    uint64_t number = 0;
    int ok = 1;
    if (column->is_required && *text == '\0')
        return 0;
    switch (column->kind) {
    case RECORD_VERSION:
        snprintf(version, sizeof version, "%d", RECORD_SCHEMA);
        return strcmp(text, version) == 0;
    case RECORD_TEXT:
        snprintf(field, column->bytes, "%s", text);
        break;
    case RECORD_NUMBER:
    case RECORD_HEX:
        ok = take_number(text, column->kind == RECORD_HEX ? 16 : 10, &number);
        memcpy(field, &number, sizeof number);
        break;
    case RECORD_NAME:
        ok = take_name(text, column->names, column->name_count, &number);
        memcpy(field, &(uint32_t){(uint32_t)number}, sizeof(uint32_t));
        break;
    case RECORD_PARAMETER:
        return take_parameter(record, column->parameter, text);
    case RECORD_RATE:
    case RECORD_SHARE:
        break; // follows from others
    }
    return ok;
}

int csv_parse(const char *line, size_t bytes, const char *run_id, struct record *out) {
    char *fields[MOST_COLUMNS + 1];
    size_t count;
    const struct record_column *columns = record_columns(&count);
    char *copy = malloc(bytes + 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, line, bytes);
    copy[bytes] = '\0';
    record_clear(out);
    int ok = memchr(line, '\0', bytes) == NULL && count <= MOST_COLUMNS && split(copy, fields, count + 1) == count;
    for (size_t i = 0; ok && i < count; i++)
        ok = take_column(out, &columns[i], fields[i]);
    free(copy);
    return ok && strcmp(out->run_id, run_id) == 0;
}

uint64_t csv_parse_rss_sample(const char *line, size_t bytes, const char *run_id) {
    char expected[64];
    int length = snprintf(expected, sizeof expected, "%d,%s,", RECORD_SCHEMA, run_id);
    if (length < 0 || bytes <= (size_t)length || memcmp(line, expected, (size_t)length) != 0)
        return UINT64_MAX;
    char *end;
    uint64_t sample = strtoull(line + length, &end, 10);
    return *end == ',' && end < line + bytes && end > line + length ? sample : UINT64_MAX;
}

// ---- the description -----------------------------------------------------------------------------------------------

static void put_json_text(struct buffer *out, const char *key, const char *text) {
    buffer_print(out, ", \"%s\": \"", key);
    for (; *text; text++)
        buffer_print(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    buffer_put(out, '"');
}

static void put_json_names(struct buffer *out, const char *const *names, size_t count) {
    buffer_print(out, ", \"values\": [");
    for (size_t i = 0; i < count; i++)
        buffer_print(out, "%s\"%s\"", i ? ", " : "", names[i]);
    buffer_print(out, "]");
}

static const char *type_of(const struct record_column *column) {
    switch (column->kind) {
    case RECORD_VERSION:
    case RECORD_NUMBER:
        return "integer";
    case RECORD_RATE:
    case RECORD_SHARE:
        return "number";
    case RECORD_PARAMETER:
        return column->parameter->kind == PARAMETER_NAME ? "text" : "integer";
    case RECORD_TEXT:
    case RECORD_HEX:
    case RECORD_NAME:
        break;
    }
    return "text";
}

char *csv_schema_json(size_t *bytes) {
    static const char *const kinds[] = {
        [PARAMETER_COUNT] = "count", [PARAMETER_TIME] = "time",  [PARAMETER_SHARE] = "share",
        [PARAMETER_BYTES] = "bytes", [PARAMETER_SIZE] = "bytes", [PARAMETER_NAME] = "name"};
    struct buffer text = {0}, *out = &text;
    size_t count;
    const struct record_column *columns = record_columns(&count);
    buffer_print(out, "{\"schema\": %d, \"columns\": [", RECORD_SCHEMA);
    for (size_t i = 0; i < count; i++) {
        const struct record_column *column = &columns[i];
        const struct parameter *parameter = column->parameter;
        buffer_print(out, "%s\n  {\"name\": \"%s\"", i ? "," : "", column->name);
        put_json_text(out, "type", type_of(column));
        buffer_print(out, ", \"required\": %s", column->is_required ? "true" : "false");
        if (parameter != NULL) {
            put_json_text(out, "parameter", parameter->name);
            put_json_text(out, "kind", kinds[parameter->kind]);
            if (parameter->usual != 0)
                buffer_print(out, ", \"usual\": %" PRIu64, parameter->usual);
        }
        if (column->kind == RECORD_NAME)
            put_json_names(out, column->names, column->name_count);
        else if (parameter != NULL && parameter->names != NULL)
            put_json_names(out, parameter->names, parameter->most + 1);
        if (column->meaning != NULL)
            put_json_text(out, "meaning", column->meaning);
        buffer_print(out, "}");
    }
    buffer_print(out, "\n], \"units\": {");
    for (const struct app *app = apps; app->name != NULL; app++)
        buffer_print(out, "%s\"%s\": \"%s\"", app == apps ? "" : ", ", app->name, app->unit);
    buffer_print(out, "}}\n");
    return buffer_take(out, bytes);
}
