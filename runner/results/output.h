// SPDX-License-Identifier: Apache-2.0
// The three files of a run: opened new or resumed, repaired when a row was cut, refused when they belong to something
// else. A row in NAME.csv implies its whole series in NAME.rss.csv. Layer: runner.
#ifndef HZBENCH_OUTPUT_H
#define HZBENCH_OUTPUT_H

#include "csv.h"
#include "file.h"
#include "provenance.h"

struct output {
    struct file rows, rss, latency; // latency: only with --latency
    char json_path[512], rss_path[512], latency_path[512];
    struct record *records; // one a sample of the plan
    uint8_t *is_present;    // likewise
    uint32_t present_count;
    uint64_t repaired_bytes; // of a cut row, removed
    int is_open;             // 0: no --output; records are kept all the same
};

// Opens the files of options->output, or none when that is NULL. `provenance` gets the run id of a resumed run.
// Returns EXIT_CODE_OK or the exit code of the line in `why`; then nothing was changed.
int output_open(struct output *output, struct provenance *provenance, char *why, size_t why_bytes);

// Appends the series, then the row, and keeps the record.
int output_append(struct output *output, const struct record *record, const struct sample_shared *shared, char *why,
                  size_t why_bytes);

// Makes all rows durable and closes the files. Returns EXIT_CODE_OK or that of the line in `why`.
int output_close(struct output *output, char *why, size_t why_bytes);
void output_free(struct output *output); // the records, needed until the table is printed

#endif
