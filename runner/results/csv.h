// SPDX-License-Identifier: Apache-2.0
// Rows of results/SCHEMA.md: NAME.csv and NAME.rss.csv as text, written and read back. Knows columns, no files.
// Layer: runner.
#ifndef HZBENCH_CSV_H
#define HZBENCH_CSV_H

#include "../sample/cell.h"

#include <stddef.h>
#include <stdint.h>

#define CSV_SCHEMA 4
#define CSV_NOT_MEASURED UINT64_MAX // an empty cell

// One sample. Texts belong to the caller and live until the row is formatted; NULL is an empty cell.
struct csv_row {
    const char *run_id;
    uint64_t sample, round, order;
    const char *platform, *allocator, *load, *workload;
    uint64_t threads, seed, ops_per_thread, duration_ns, working_set, min_bytes, max_bytes;
    const char *sizes, *topology;
    uint64_t remote_ppm, realloc_ppm, aligned_ppm, calloc_ppm, rounds;
    const char *touch, *pin, *status, *message;
    const char *library_path, *library_version, *library_build_id, *library_sha256, *contract;
    uint64_t stream_hash, elapsed_ns, ops;
    double throughput_ops_s; // negative: not measured
    uint64_t remote_frees, local_frees;
    double remote_share; // negative: not measured
    uint64_t waits, corruptions, failures;
    uint64_t user_ns, system_ns, run_delay_ns, voluntary_switches, involuntary_switches, minor_faults, major_faults;
    uint64_t rss_baseline, rss_mean, rss_p95, rss_peak, rss_work, live_work;
    uint64_t rss_freed, rss_joined, rss_100ms, rss_1s, rss_purged, live_peak;
    uint64_t reserved_bytes, committed_bytes, metadata_bytes;
    const char *rejects;
    uint64_t cycles, instructions, cache_misses, dtlb_misses;
    const char *started_at;
    const char *input;
    uint64_t latency_every, latency_probe_ns;
    struct cell_latency latency[CELL_CALL_COUNT];
    struct cell_noise noise;
    uint64_t contaminated; // 0 or 1
    const char *contamination;
    uint64_t windows_working_set_bytes, windows_peak_working_set_bytes, windows_private_usage_bytes;
    uint64_t cell_index; // in the plan: what tells two copies of an allocator apart
};

// What resume and the summary need of a row that is already in a file.
struct csv_summary {
    uint64_t sample;
    char status[16];
    char message[256];
    double throughput_ops_s; // negative: not measured
    uint64_t rss_peak, rss_1s, stream_hash, elapsed_ns;
};

const char *csv_header(void);     // with its newline
const char *csv_rss_header(void); // likewise
const char *csv_latency_header(void);

// The whole line with its newline, to be freed by the caller; NULL without memory.
char *csv_format(const struct csv_row *row, size_t *bytes);

// All points of one sample's series, one line each.
char *csv_format_rss(const struct cell *cell, const char *run_id, uint64_t sample, size_t *bytes);

// All buckets of one sample's latency histograms that are not empty, one line each; empty without the probe.
char *csv_format_latency(const struct cell *cell, const char *run_id, uint64_t sample, size_t *bytes);

// Reads one line without its newline. Returns 0 when it is no row of this schema and run.
int csv_parse(const char *line, size_t bytes, const char *run_id, struct csv_summary *out);

// Sample number of a line of NAME.rss.csv; UINT64_MAX when it is none.
uint64_t csv_parse_rss_sample(const char *line, size_t bytes, const char *run_id);

#endif
