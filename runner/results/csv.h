// SPDX-License-Identifier: Apache-2.0
// NAME.csv and NAME.rss.csv as text: records written and read back by the table of columns. Knows no files.
// Layer: runner, results.
#ifndef HZBENCH_CSV_H
#define HZBENCH_CSV_H

#include "../sample/record.h"

#include <stddef.h>
#include <stdint.h>

const char *csv_header(void);     // with its newline
const char *csv_rss_header(void); // likewise
const char *csv_latency_header(void);

// The whole line with its newline, to be freed by the caller; NULL without memory.
char *csv_format(const struct record *record, size_t *bytes);

// All points of one sample's series, one line each.
char *csv_format_rss(const struct sample_shared *shared, const char *run_id, uint64_t sample, size_t *bytes);

// All buckets of one sample's latency histograms that are not empty, one line each; empty without the timer.
char *csv_format_latency(const struct sample_shared *shared, const char *run_id, uint64_t sample, size_t *bytes);

// Reads one line without its newline. Returns 0 when it is no row of this schema and run.
int csv_parse(const char *line, size_t bytes, const char *run_id, struct record *out);

// Sample number of a line of NAME.rss.csv; UINT64_MAX when it is none.
uint64_t csv_parse_rss_sample(const char *line, size_t bytes, const char *run_id);

// The columns, and what an op of each app is, for readers in other languages: results/schema.json. To be freed by the
// caller; NULL without memory.
char *csv_schema_json(size_t *bytes);

#endif
