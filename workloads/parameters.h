// SPDX-License-Identifier: Apache-2.0
// THE table of what a user can set of a workload: one entry a field of struct workload_params. The command line, its
// help, the braces of --workload, defaults and ranges, the plan's hash, run.json, the columns of the CSV and, through
// `runner --schema`, those that the scripts read follow from it. A new parameter is a field in workload.h and an entry
// in parameters.c. Layer: workloads.
#ifndef HZBENCH_PARAMETERS_H
#define HZBENCH_PARAMETERS_H

#include "workload.h"

#define PARAMETER_UNSET UINT64_MAX // of a field of either width

enum parameter_kind {
    PARAMETER_COUNT, // a whole number; the user may write 500k, 2M, 1G
    PARAMETER_TIME,  // nanoseconds; written with its unit
    PARAMETER_SHARE, // millionths; written in percent
    PARAMETER_BYTES, // one end of MIN..MAX; the entry that follows is the other
    PARAMETER_SIZE,  // one size in bytes
    PARAMETER_NAME,  // number of one of `names`
};

enum parameter_source { // who sets it, and where its default comes from
    PARAMETER_OPTION,   // --NAME=, or NAME= in the braces of a workload; default: the workload's own
    PARAMETER_UPPER,    // the option of the entry before
    PARAMETER_PLAN,     // the plan: a cell's thread count, a round's seed
};

enum parameter_tell { // when the text of a cell names it, of a workload that has it
    PARAMETER_TELL_ALWAYS,
    PARAMETER_TELL_ABOVE_ZERO,
    PARAMETER_TELL_CHANGED, // from the workload's own default
};

struct parameter {
    const char *name;   // as a user writes it
    const char *column; // in the CSV and in run.json, with its unit
    enum parameter_kind kind;
    enum parameter_source source;
    uint32_t uses;            // WORKLOAD_USES_* of the workloads that have it; 0: all have
    uint32_t is_of_worker;    // 1: not of a workload that is a program
    uint32_t field_bytes;     // 4 or 8
    size_t offset;            // in struct workload_params
    uint64_t least, most;     // what it may be in a workload that has it
    const char *const *names; // of PARAMETER_NAME, as many as `most` and one
    uint64_t usual;           // other than 0, and the default of each workload that has it: meant where a row lacks it
    enum parameter_tell tell;
    const char *value;   // what stands behind `=` in the help
    const char *help;    // one line; NULL: another entry tells it
    const char *meaning; // of the column; NULL: `help`
};

extern const struct parameter parameters[];
extern const size_t parameter_count;

// The options and columns that a user finds under another entry's name are those of the entry itself.
uint64_t parameter_get(const struct workload_params *params, const struct parameter *parameter);
void parameter_set(struct workload_params *params, const struct parameter *parameter, uint64_t value);

const struct parameter *parameter_named(const char *name); // of an option; NULL: there is none
int parameter_is_used(const struct parameter *parameter, const struct workload *workload);

// "ring" of a PARAMETER_NAME; NULL when it is unset or no name's number.
const char *parameter_name_of(const struct parameter *parameter, uint64_t value);

#endif
