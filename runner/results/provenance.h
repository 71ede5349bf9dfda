// SPDX-License-Identifier: Apache-2.0
// NAME.run.json: what was run, by which build, on which machine, with which libraries and environment; and what of it
// a resumed run must find unchanged. Layer: runner.
#ifndef HZBENCH_PROVENANCE_H
#define HZBENCH_PROVENANCE_H

#include "../plan/plan.h"
#include "../sample/sample.h"
#include "../system/topology.h"

#define PROVENANCE_RUN_ID_BYTES 17
#define PROVENANCE_HOST_ID_BYTES 17

struct provenance {
    char run_id[PROVENANCE_RUN_ID_BYTES];
    char host_id[PROVENANCE_HOST_ID_BYTES]; // hash of machine id, host name and CPU model; names none of them
    const struct plan *plan;
    const struct topology *topology;
    const struct sample_allocator *allocators; // as many as the options have
    double null_overhead_ns;                   // negative: not measured
};

enum provenance_match {
    PROVENANCE_SAME, // run_id is filled in
    PROVENANCE_ABSENT,
    PROVENANCE_UNREADABLE, // no JSON, or not of hzbench
    PROVENANCE_OTHER_SCHEMA,
    PROVENANCE_OTHER_PLAN,
    PROVENANCE_OTHER_HOST,
    PROVENANCE_OTHER_LIBRARY,
};

// Fills run_id and host_id of a new run.
void provenance_identify(struct provenance *provenance);

// Compares an existing file with this run. `detail` gets what differs: a schema, a command or an allocator.
enum provenance_match provenance_compare(struct provenance *provenance, const char *path, char *detail,
                                         size_t detail_bytes);

// Writes the file of a new run, or adds a session to the file of a resumed one. Returns 0 with errno set.
int provenance_write(const struct provenance *provenance, const char *path);
int provenance_add_session(const struct provenance *provenance, const char *path, uint32_t samples_before);

extern const char provenance_version_text[]; // "hzbench 0.1.0 (commit, compiler, flags)"

#endif
