// SPDX-License-Identifier: Apache-2.0
// The profile reader: a line at a time through a small buffer. Layer: trace.
#include "profile_reader.h"

#include "format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VALUE_END (UINT64_C(1) << 53) // what every reader can hold exactly, those with doubles, too
#define LINE_BYTES 160u               // seven numbers of 16 digits, and what stands between them
#define CHUNK_BYTES 4096u
#define MAGIC "# hzbench-profile"
#define BYTE_ORDER_MARK "\xef\xbb\xbf"
#define COLUMNS "size_min,size_max,lifetime_min,lifetime_max,remote,objects,bytes"

struct input {
    const struct trace_source *source;
    uint64_t offset;
    size_t at, count; // of `chunk`
    uint64_t line_number;
    char line[LINE_BYTES];
    char chunk[CHUNK_BYTES];
};

enum line { LINE_THERE, LINE_NONE, LINE_CUT, LINE_LONG, LINE_UNREADABLE, LINE_OF_WINDOWS };

__attribute__((format(printf, 3, 4))) static int refuse(char *why, size_t why_bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return 0;
}

// The next line without its end, in input->line.
static enum line next_line(struct input *input) {
    input->line_number++;
    for (size_t length = 0; length < LINE_BYTES;) {
        if (input->at == input->count) {
            const int64_t got = input->source->read(input->source, input->offset, input->chunk, CHUNK_BYTES);
            if (got <= 0)
                return got < 0 ? LINE_UNREADABLE : length == 0 ? LINE_NONE : LINE_CUT;
            input->offset += (uint64_t)got;
            input->count = (size_t)got;
            input->at = 0;
        }
        const char c = input->chunk[input->at++];
        if (c == '\n') {
            input->line[length] = '\0';
            return length > 0 && input->line[length - 1] == '\r' ? LINE_OF_WINDOWS : LINE_THERE;
        }
        input->line[length++] = c != '\0' ? c : '?'; // none may end the line before its end
    }
    return LINE_LONG;
}

static int refuse_line(const struct input *input, enum line line, char *why, size_t why_bytes) {
    static const char *const reasons[] = {[LINE_NONE] = "the file ends too early",
                                          [LINE_CUT] = "the file is cut off in it",
                                          [LINE_LONG] = "longer than any line of a profile",
                                          [LINE_UNREADABLE] = "cannot be read",
                                          [LINE_OF_WINDOWS] = "ends with CR LF, lines of a profile with LF"};
    return refuse(why, why_bytes, "line %" PRIu64 ": %s - write it again: scripts/trace profile TRACE",
                  input->line_number, reasons[line]);
}

// A decimal number without sign or leading zeros, below 2^53; returns what follows it, or NULL.
static const char *number(const char *text, uint64_t *value) {
    const char *at = text;
    *value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        *value = *value * 10 + (uint64_t)(*at - '0');
        if (*value >= VALUE_END)
            return NULL;
    }
    return at == text || (*text == '0' && at != text + 1) ? NULL : at;
}

static int read_head(struct input *input, struct profile_head *head, char *why, size_t why_bytes) {
    uint64_t version = 0;
    const struct {
        const char *key;
        uint64_t *value, least, most;
    } keys[] = {{MAGIC, &version, 1, 1},
                {"# threads", &head->threads, 1, TRACE_LANES_MAX},
                {"# objects", &head->objects, 0, VALUE_END},
                {"# peak_live_objects", &head->peak_live_objects, 0, VALUE_END},
                {"# peak_live_bytes", &head->peak_live_bytes, 0, VALUE_END},
                {"# calloc_ppm", &head->calloc_ppm, 0, 1000000},
                {"# aligned_ppm", &head->aligned_ppm, 0, 1000000},
                {"# realloc_ppm", &head->realloc_ppm, 0, 1000000}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const enum line line = next_line(input);
        const size_t length = strlen(keys[i].key);
        const int is_key = line == LINE_THERE && strncmp(input->line, keys[i].key, length) == 0;
        if (i == 0 && strncmp(input->line, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0) {
            return refuse(why, why_bytes,
                          "begins with a byte order mark - write it again: scripts/trace profile TRACE");
        }
        if (i == 0 && !is_key && line != LINE_OF_WINDOWS)
            return refuse(why, why_bytes, "not a profile - write one: scripts/trace profile TRACE");
        if (line != LINE_THERE)
            return refuse_line(input, line, why, why_bytes);
        const char *end = is_key && input->line[length] == ' ' ? number(input->line + length + 1, keys[i].value) : NULL;
        if (end == NULL || *end != '\0')
            return refuse(why, why_bytes, "line %zu is not '%s NUMBER' - docs/traces.md", i + 1, keys[i].key);
        if (*keys[i].value < keys[i].least || *keys[i].value > keys[i].most) {
            return refuse(why, why_bytes, "line %zu: '%s' is %" PRIu64 ", %" PRIu64 " to %" PRIu64 " can be read",
                          i + 1, keys[i].key, *keys[i].value, keys[i].least, keys[i].most);
        }
    }
    const enum line line = next_line(input);
    if (line != LINE_THERE)
        return refuse_line(input, line, why, why_bytes);
    return strcmp(input->line, COLUMNS) == 0 ||
           refuse(why, why_bytes, "line %" PRIu64 " is not '%s' - docs/traces.md", input->line_number, COLUMNS);
}

static int parse_row(const char *line, struct profile_row *row) {
    uint64_t *const columns[] = {&row->size_min, &row->size_max, &row->lifetime_min, &row->lifetime_max,
                                 &row->remote,   &row->objects,  &row->bytes};
    const size_t count = sizeof columns / sizeof columns[0];
    const char *at = line;
    *row = (struct profile_row){0};
    for (size_t i = 0; i < count; i++) {
        const int is_empty = *at == ',' && (columns[i] == &row->lifetime_min || columns[i] == &row->lifetime_max);
        at = is_empty ? at : number(at, columns[i]);
        if (at == NULL || *at != (i + 1 < count ? ',' : '\0'))
            return 0;
        at++;
    }
    // A lifetime of 0 is written as nothing, and nothing else is.
    const int is_alive = strstr(line, ",,,") != NULL;
    return is_alive ? row->lifetime_max == 0 : row->lifetime_min != 0;
}

// What is wrong with a row by itself; NULL: nothing.
static const char *fault_of(const struct profile_row *row, const struct profile_head *head) {
    uint64_t least = 0;
    uint64_t most = 0;
    if (row->size_max < row->size_min || row->size_max > TRACE_SIZE_MAX)
        return "sizes run from size_min to size_max, below 2^40";
    if (row->lifetime_max < row->lifetime_min || row->lifetime_min > head->objects)
        return "lifetimes run from lifetime_min to lifetime_max and begin within the program's";
    if (row->remote > 1 || (row->remote == 1 && row->lifetime_min == 0))
        return "remote is 0 or 1, and 0 for what was still alive";
    if (row->objects == 0)
        return "a row has at least one object";
    if (__builtin_mul_overflow(row->size_min, row->objects, &least) || row->bytes < least ||
        (!__builtin_mul_overflow(row->size_max, row->objects, &most) && row->bytes > most))
        return "bytes is not the sum of so many objects of these sizes";
    return NULL;
}

// Rows are sorted, so that one that comes twice stands behind itself.
static int is_after(const struct profile_row *row, const struct profile_row *before) {
    const uint64_t pairs[][2] = {{row->size_min, before->size_min},
                                 {row->size_max, before->size_max},
                                 {row->lifetime_min - 1, before->lifetime_min - 1}, // still alive comes last
                                 {row->lifetime_max - 1, before->lifetime_max - 1},
                                 {row->remote, before->remote}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (pairs[i][0] != pairs[i][1])
            return pairs[i][0] > pairs[i][1];
    return 0;
}

int profile_reader_read(const struct trace_source *source, struct profile_head *head,
                        void (*see)(void *context, const struct profile_head *head, const struct profile_row *row),
                        void *context, char *why, size_t why_bytes) {
    struct input input = {.source = source};
    struct profile_row before = {0};
    uint64_t objects = 0;
    uint64_t alive = 0;
    if (!read_head(&input, head, why, why_bytes))
        return 0;
    for (uint32_t rows = 0;; rows++) {
        struct profile_row row;
        const enum line line = next_line(&input);
        if (line == LINE_NONE)
            break;
        if (line != LINE_THERE)
            return refuse_line(&input, line, why, why_bytes);
        if (rows == PROFILE_READER_ROWS_MAX)
            return refuse(why, why_bytes, "more than %u rows - use wider bins", PROFILE_READER_ROWS_MAX);
        const char *fault = !parse_row(input.line, &row)           ? "not seven numbers below 2^53, as " COLUMNS
                            : rows > 0 && !is_after(&row, &before) ? "rows are sorted, and each bin comes once"
                                                                   : fault_of(&row, head);
        if (fault != NULL)
            return refuse(why, why_bytes, "line %" PRIu64 ": %s - docs/traces.md", input.line_number, fault);
        objects += row.objects; // 100 000 times 2^53 fits
        alive += row.lifetime_min == 0 ? row.objects : 0;
        before = row;
        if (see != NULL)
            see(context, head, &row);
    }
    if (objects != head->objects) {
        return refuse(why, why_bytes,
                      "the rows have %" PRIu64 " objects, the head says %" PRIu64 " - a part of the file is missing",
                      objects, head->objects);
    }
    if (alive > head->peak_live_objects || head->peak_live_objects > objects) {
        return refuse(why, why_bytes, "peak_live_objects is %" PRIu64 ", with %" PRIu64 " alive at the end of %" PRIu64,
                      head->peak_live_objects, alive, objects);
    }
    return 1;
}
