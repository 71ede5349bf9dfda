// SPDX-License-Identifier: Apache-2.0
// Resume and append. Layer: runner.
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 4, 5))) static int refuse(int code, char *why, size_t why_bytes, const char *format,
                                                        ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return code;
}

static int refuse_write(const char *path, char *why, size_t why_bytes) {
    return refuse(EXIT_CODE_UNAVAILABLE, why, why_bytes,
                  "%s: %s - make room or fix the path, then resume with the same command", path, strerror(errno));
}

static int refuse_match(enum provenance_match match, const char *csv_path, const char *json_path, const char *detail,
                        char *why, size_t why_bytes) {
    switch (match) {
    case PROVENANCE_SAME:
        break;
    case PROVENANCE_ABSENT:
        return refuse(EXIT_CODE_USAGE, why, why_bytes, "%s: cannot be resumed without its %s - choose another --output",
                      csv_path, json_path);
    case PROVENANCE_UNREADABLE:
        return refuse(EXIT_CODE_USAGE, why, why_bytes, "%s: not a run of hzbench - choose another --output", json_path);
    case PROVENANCE_OTHER_SCHEMA:
        return refuse(EXIT_CODE_USAGE, why, why_bytes,
                      "%s: holds rows of schema %s, this runner writes schema %d - choose another --output", csv_path,
                      detail, RECORD_SCHEMA);
    case PROVENANCE_OTHER_PLAN:
        return refuse(EXIT_CODE_USAGE, why, why_bytes,
                      "%s: belongs to another plan (%s) - repeat that command or choose another --output", csv_path,
                      detail);
    case PROVENANCE_OTHER_HOST:
        return refuse(EXIT_CODE_USAGE, why, why_bytes, "%s: was measured on another host - choose another --output",
                      csv_path);
    case PROVENANCE_OTHER_LIBRARY:
        return refuse(EXIT_CODE_USAGE, why, why_bytes,
                      "%s: the library of '%s' has changed since - choose another --output", csv_path, detail);
    }
    return EXIT_CODE_OK;
}

static int take_record(struct output *output, const struct record *record, uint32_t sample_count) {
    if (record->sample >= sample_count || output->is_present[record->sample])
        return 0;
    output->records[record->sample] = *record;
    output->is_present[record->sample] = 1;
    output->present_count++;
    return 1;
}

// Reads all whole rows behind the header. `*end` gets the length without a cut row.
static int read_rows(struct output *output, const struct provenance *provenance, const char *text, size_t bytes,
                     size_t *end, char *why, size_t why_bytes) {
    size_t at = strlen(csv_header());
    uint64_t rounds = 0;
    for (size_t line = 2; at < bytes; line++) {
        const char *newline = memchr(text + at, '\n', bytes - at);
        struct record record;
        if (newline == NULL)
            break;
        size_t length = (size_t)(newline - (text + at));
        const int is_row = csv_parse(text + at, length, provenance->run_id, &record);
        rounds = is_row && record.round >= rounds ? record.round + 1 : rounds;
        if (!is_row || (record.round < provenance->plan->options->runs &&
                        !take_record(output, &record, provenance->plan->sample_count)))
            return refuse(EXIT_CODE_USAGE, why, why_bytes,
                          "%s: line %zu is no row of this run - restore the file or choose another --output",
                          output->rows.path, line);
        at += length + 1;
    }
    if (rounds > provenance->plan->options->runs)
        return refuse(EXIT_CODE_USAGE, why, why_bytes,
                      "%s: has %" PRIu64 " rounds already, --runs=%" PRIu32
                      " would be fewer - give at least as many, or choose another --output",
                      output->rows.path, rounds, provenance->plan->options->runs);
    *end = at;
    return EXIT_CODE_OK;
}

static int load_rows(struct output *output, struct provenance *provenance, char *why, size_t why_bytes) {
    const char *header = csv_header();
    char detail[2048];
    size_t bytes, end = 0;
    char *text = file_read(&output->rows, &bytes);
    if (text == NULL)
        return refuse(EXIT_CODE_UNAVAILABLE, why, why_bytes, "%s: %s - check the file", output->rows.path,
                      strerror(errno));
    size_t compared = bytes < strlen(header) ? bytes : strlen(header);
    int code = EXIT_CODE_OK;
    enum provenance_match match = provenance_compare(provenance, output->json_path, detail, sizeof detail);
    if (strncmp(text, header, compared) != 0 && match != PROVENANCE_OTHER_SCHEMA)
        code = refuse(EXIT_CODE_USAGE, why, why_bytes,
                      "%s: not a result file of schema %d, its header differs - choose another --output",
                      output->rows.path, RECORD_SCHEMA);
    else if (bytes > 0 || match != PROVENANCE_ABSENT)
        code = refuse_match(match, output->rows.path, output->json_path, detail, why, why_bytes);
    if (code == EXIT_CODE_OK && compared == strlen(header))
        code = read_rows(output, provenance, text, bytes, &end, why, why_bytes);
    free(text);
    if (code != EXIT_CODE_OK)
        return code;
    output->repaired_bytes = bytes - end;
    if (end < bytes && !file_cut(&output->rows, end))
        return refuse_write(output->rows.path, why, why_bytes);
    return EXIT_CODE_OK;
}

// Cuts a last line that is not whole and series without a row; both can only stand at the end.
static int repair_series(struct output *output, struct file *file, const char *header,
                         const struct provenance *provenance, char *why, size_t why_bytes) {
    size_t bytes;
    char *text = file_read(file, &bytes);
    if (text == NULL)
        return refuse(EXIT_CODE_UNAVAILABLE, why, why_bytes, "%s: %s - check the file", file->path, strerror(errno));
    size_t compared = bytes < strlen(header) ? bytes : strlen(header);
    size_t end = compared == strlen(header) ? compared : 0;
    int is_ours = strncmp(text, header, compared) == 0;
    for (size_t at = end; is_ours && at > 0 && at < bytes;) {
        const char *newline = memchr(text + at, '\n', bytes - at);
        if (newline == NULL)
            break;
        size_t length = (size_t)(newline - (text + at));
        uint64_t sample = csv_parse_rss_sample(text + at, length, provenance->run_id);
        at += length + 1;
        if (sample < provenance->plan->sample_count && output->is_present[sample])
            end = at;
    }
    free(text);
    if (!is_ours)
        return refuse(EXIT_CODE_USAGE, why, why_bytes, "%s: not the series of this run - choose another --output",
                      file->path);
    if (end < bytes && !file_cut(file, end))
        return refuse_write(file->path, why, why_bytes);
    return EXIT_CODE_OK;
}

static int open_one(struct file *file, const char *path, char *why, size_t why_bytes) {
    switch (file_open(file, path)) {
    case FILE_OPEN_OK:
        return EXIT_CODE_OK;
    case FILE_OPEN_BUSY:
        return refuse(EXIT_CODE_USAGE, why, why_bytes,
                      "%s: another runner is writing it - wait for it or choose another --output", path);
    case FILE_OPEN_FAILED:
        break;
    }
    return refuse(EXIT_CODE_UNAVAILABLE, why, why_bytes, "%s: %s - choose another --output", path, strerror(errno));
}

static int open_files(struct output *output, struct provenance *provenance, char *why, size_t why_bytes) {
    const char *path = provenance->plan->options->output;
    char detail[2048];
    int stem = (int)strlen(path) - 4;
    snprintf(output->rss_path, sizeof output->rss_path, "%.*s.rss.csv", stem, path);
    snprintf(output->latency_path, sizeof output->latency_path, "%.*s.latency.csv", stem, path);
    snprintf(output->json_path, sizeof output->json_path, "%.*s.run.json", stem, path);
    // A file that does not exist is not created only to be refused.
    enum provenance_match match = provenance_compare(provenance, output->json_path, detail, sizeof detail);
    if (!file_exists(path) && match != PROVENANCE_ABSENT && match != PROVENANCE_SAME)
        return refuse_match(match, path, output->json_path, detail, why, why_bytes);
    int code = open_one(&output->rows, path, why, why_bytes);
    if (code == EXIT_CODE_OK)
        code = load_rows(output, provenance, why, why_bytes);
    if (code == EXIT_CODE_OK)
        code = open_one(&output->rss, output->rss_path, why, why_bytes);
    if (code == EXIT_CODE_OK)
        code = repair_series(output, &output->rss, csv_rss_header(), provenance, why, why_bytes);
    if (code == EXIT_CODE_OK && provenance->plan->options->latency_every != 0)
        code = open_one(&output->latency, output->latency_path, why, why_bytes);
    if (code == EXIT_CODE_OK && provenance->plan->options->latency_every != 0)
        code = repair_series(output, &output->latency, csv_latency_header(), provenance, why, why_bytes);
    if (code != EXIT_CODE_OK)
        return code;
    // Provenance first: a file with rows is never without it.
    int is_complete = output->present_count == provenance->plan->sample_count;
    int is_written = match != PROVENANCE_SAME
                         ? provenance_write(provenance, output->json_path)
                         : is_complete || provenance_add_session(provenance, output->json_path, output->present_count);
    if (!is_written)
        return refuse_write(output->json_path, why, why_bytes);
    if (output->rows.bytes == 0 && !file_append(&output->rows, csv_header(), strlen(csv_header())))
        return refuse_write(output->rows.path, why, why_bytes);
    if (output->rss.bytes == 0 && !file_append(&output->rss, csv_rss_header(), strlen(csv_rss_header())))
        return refuse_write(output->rss.path, why, why_bytes);
    if (output->latency.fd >= 0 && output->latency.bytes == 0 &&
        !file_append(&output->latency, csv_latency_header(), strlen(csv_latency_header())))
        return refuse_write(output->latency.path, why, why_bytes);
    output->is_open = 1;
    return EXIT_CODE_OK;
}

int output_open(struct output *output, struct provenance *provenance, char *why, size_t why_bytes) {
    uint32_t count = provenance->plan->sample_count;
    *output = (struct output){.rows = {.fd = -1}, .rss = {.fd = -1}, .latency = {.fd = -1}};
    output->records = calloc(count, sizeof *output->records);
    output->is_present = calloc(count, sizeof *output->is_present);
    if (output->records == NULL || output->is_present == NULL)
        return refuse(EXIT_CODE_UNAVAILABLE, why, why_bytes, "out of memory");
    return provenance->plan->options->output != NULL ? open_files(output, provenance, why, why_bytes) : EXIT_CODE_OK;
}

int output_append(struct output *output, const struct record *record, const struct sample_shared *shared, char *why,
                  size_t why_bytes) {
    output->records[record->sample] = *record;
    if (output->is_open) {
        size_t bytes = 0, rss_bytes = 0, latency_bytes = 0;
        char *text = csv_format(record, &bytes);
        char *series = shared != NULL ? csv_format_rss(shared, record->run_id, record->sample, &rss_bytes) : NULL;
        char *latency = shared != NULL && output->latency.fd >= 0
                            ? csv_format_latency(shared, record->run_id, record->sample, &latency_bytes)
                            : NULL;
        uint64_t rss_before = output->rss.bytes, latency_before = output->latency.bytes;
        struct file *failed = NULL;
        errno = ENOMEM;
        if (rss_bytes > 0 && !file_append(&output->rss, series, rss_bytes))
            failed = &output->rss;
        else if (latency_bytes > 0 && !file_append(&output->latency, latency, latency_bytes))
            failed = &output->latency;
        else if (text == NULL || !file_append(&output->rows, text, bytes))
            failed = &output->rows;
        int error = errno;
        free(text);
        free(series);
        free(latency);
        if (failed != NULL) {
            if (output->latency.fd >= 0)
                (void)file_cut(&output->latency, latency_before);
            (void)file_cut(&output->rss, rss_before);
            errno = error;
            return refuse_write(failed->path, why, why_bytes);
        }
    }
    output->is_present[record->sample] = 1;
    output->present_count++;
    return EXIT_CODE_OK;
}

int output_close(struct output *output, char *why, size_t why_bytes) {
    int code = EXIT_CODE_OK;
    if (output->is_open && !file_sync(&output->rss))
        code = refuse_write(output->rss.path, why, why_bytes);
    if (output->is_open && !file_sync(&output->rows))
        code = refuse_write(output->rows.path, why, why_bytes);
    if (output->latency.fd >= 0 && output->is_open && !file_sync(&output->latency))
        code = refuse_write(output->latency.path, why, why_bytes);
    if (output->latency.fd >= 0 && !file_close(&output->latency))
        code = refuse_write(output->latency_path, why, why_bytes);
    if (!file_close(&output->rss) && output->is_open)
        code = refuse_write(output->rss_path, why, why_bytes);
    if (!file_close(&output->rows) && output->is_open)
        code = refuse_write(output->rows.path, why, why_bytes);
    output->is_open = 0;
    return code;
}

void output_free(struct output *output) {
    free(output->records);
    free(output->is_present);
    *output = (struct output){.rows = {.fd = -1}, .rss = {.fd = -1}, .latency = {.fd = -1}};
}
