// SPDX-License-Identifier: Apache-2.0
// What is told of samples that fail: the first of each kind at once, how many were like it at the end. A program that
// is missing or a --prepare that fails must not print a line a sample. Layer: runner.
#ifndef HZBENCH_FAILURES_H
#define HZBENCH_FAILURES_H

#include "sample/record.h"

#define FAILURE_KINDS 64 // of which repetitions are counted; samples of any other are each told

struct failures {
    struct {
        uint32_t status;
        uint64_t cell_index;
        uint64_t sample; // that was told
        uint64_t more;   // like it
        char message[512];
    } kinds[FAILURE_KINDS];
    size_t count;
};

// `cell_text` names the sample's cell.
void failures_tell(struct failures *failures, const struct record *record, const char *cell_text);

void failures_count(const struct failures *failures);

#endif
