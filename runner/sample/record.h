// SPDX-License-Identifier: Apache-2.0
// One sample as a row: all that is known of it, as plain data, and THE table of its columns. What a worker measures is
// part of it as it is (struct measurement), and so are the parameters; CSV, resume, summary, self-test,
// results/SCHEMA.md and the scripts follow from the table. A new number is a member of struct measurement and an entry
// in record.c. Layer: runner, sample.
#ifndef HZBENCH_RECORD_H
#define HZBENCH_RECORD_H

#include "../../workloads/parameters.h"
#include "shared.h"

#define RECORD_SCHEMA 5
#define RECORD_RUN_ID_BYTES 17

struct record {
    char run_id[RECORD_RUN_ID_BYTES];
    uint64_t sample, round, order;
    uint64_t cell_index; // in the plan: what tells two copies of an allocator apart
    char platform[16], allocator[256], workload[64], pin[256];
    uint32_t load; // enum allocator_load_mode
    struct workload_params params;
    uint32_t status; // enum sample_status
    char message[1280];
    struct allocator_provenance proof;
    struct measurement measured;
    // Over the series of the measured part.
    uint64_t rss_mean, rss_p95, live_mean, fragmentation_worst_ppm;
    char rejects[512];
    char rss_settled[256];
    char limited_by[64], thp_by[16];
    char started_at[24];
    uint64_t latency_every;
    uint64_t contaminated; // 0 or 1
    char contamination[128];
};

enum record_kind {
    RECORD_VERSION,   // of the schema: the same in each row
    RECORD_TEXT,      // a char array; empty: an empty cell
    RECORD_NUMBER,    // uint64_t
    RECORD_HEX,       // uint64_t, 16 digits
    RECORD_NAME,      // uint32_t, number of one of `names`
    RECORD_PARAMETER, // of struct workload_params
    RECORD_RATE,      // computed from other columns; not read back
    RECORD_SHARE,     // likewise, 0 to 1
};

struct record_column {
    const char *name;
    enum record_kind kind;
    size_t offset, bytes;     // in struct record; bytes of a text
    const char *const *names; // of RECORD_NAME
    size_t name_count;
    const struct parameter *parameter;              // of RECORD_PARAMETER
    double (*compute)(const struct record *record); // of RECORD_RATE and RECORD_SHARE; negative: not measured
    int is_required;                                // never an empty cell
    const char *meaning;                            // one line of results/SCHEMA.md; NULL: that of the column before
};

// In the order of the file; as many as *count.
const struct record_column *record_columns(size_t *count);

extern const char *const record_status_names[STATUS_COUNT];

// Every number NOT_MEASURED, every text empty, parameters unset.
void record_clear(struct record *record);

int record_is_ok(const struct record *record);
uint64_t record_memory(const struct record *record, uint64_t rss_bytes); // what is not the harness's of an rss_*
double record_throughput(const struct record *record);                   // operations a second; negative: not measured

#endif
