// SPDX-License-Identifier: Apache-2.0
// How many single letters (inserted, deleted or changed; Levenshtein) two names are apart, to tell a slip of the finger
// from another word. Layer: allocators, no dependencies.
#ifndef HZBENCH_EDIT_DISTANCE_H
#define HZBENCH_EDIT_DISTANCE_H

#include <limits.h>
#include <string.h>

#define EDIT_DISTANCE_SLIP 2u     // so many are a slip, one more is another word
#define EDIT_DISTANCE_LONGEST 63u // of the names there are; a longer text is far from all of them

static inline unsigned edit_distance(const char *left, const char *right) {
    const size_t left_length = strlen(left);
    const size_t right_length = strlen(right);
    if (left_length > EDIT_DISTANCE_LONGEST || right_length > EDIT_DISTANCE_LONGEST)
        return UINT_MAX;
    unsigned row[EDIT_DISTANCE_LONGEST + 1];
    for (size_t j = 0; j <= right_length; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= left_length; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= right_length; j++) {
            const unsigned changed = diagonal + (left[i - 1] != right[j - 1]);
            const unsigned shifted = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = changed < shifted ? changed : shifted;
        }
    }
    return row[right_length];
}

#endif
