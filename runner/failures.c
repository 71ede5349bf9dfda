// SPDX-License-Identifier: Apache-2.0
// failures.h
#include "failures.h"

#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// A kind is a status with a message in a cell; what keeps samples from being measured, such as a program that is not
// there, is of no cell. How many were unavailable is not counted: nothing ran, and the first line says why.
static int is_known(struct failures *failures, const struct record *record) {
    const int is_of_all = record->status == STATUS_ERROR || record->status == STATUS_UNAVAILABLE;
    for (size_t i = 0; i < failures->count; i++)
        if (failures->kinds[i].status == record->status &&
            (is_of_all || failures->kinds[i].cell_index == record->cell_index) &&
            strncmp(failures->kinds[i].message, record->message, sizeof failures->kinds[i].message - 1) == 0) {
            failures->kinds[i].more += record->status != STATUS_UNAVAILABLE;
            return 1;
        }
    return 0;
}

void failures_tell(struct failures *failures, const struct record *record, const char *cell_text) {
    if (record_is_ok(record) || is_known(failures, record))
        return;
    progress_error("sample %" PRIu64 " (%s): %s: %s", record->sample, cell_text, record_status_names[record->status],
                   record->message);
    if (failures->count == FAILURE_KINDS)
        return;
    failures->kinds[failures->count].status = record->status;
    failures->kinds[failures->count].sample = record->sample;
    failures->kinds[failures->count].cell_index = record->cell_index;
    snprintf(failures->kinds[failures->count].message, sizeof failures->kinds[0].message, "%.*s",
             (int)sizeof failures->kinds[0].message - 1, record->message);
    failures->count++;
}

void failures_count(const struct failures *failures) {
    for (size_t i = 0; i < failures->count; i++)
        if (failures->kinds[i].more > 0)
            progress_error("%" PRIu64 " more sample%s failed as sample %" PRIu64 " did", failures->kinds[i].more,
                           failures->kinds[i].more == 1 ? "" : "s", failures->kinds[i].sample);
}
