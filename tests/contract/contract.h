// SPDX-License-Identifier: Apache-2.0
// What the contract program's files share: the known deviations of foreign backends, and the resident set.
#ifndef HZBENCH_TESTS_CONTRACT_H
#define HZBENCH_TESTS_CONTRACT_H

#include <stddef.h>
#include <stdint.h>

#define CONTRACT_DEVIATIONS_MAX 64

struct contract_deviation {
    const char *backend;
    const char *id;      // of the check in contract.c
    const char *version; // beginning of the version it was seen in; there it must show, elsewhere it may
    int only_preloaded;  // 1: shows when the whole program uses the backend, not when dlopen brings it in
    const char *reason;
};

extern const struct contract_deviation contract_deviations[];
extern const size_t contract_deviation_count; // at most CONTRACT_DEVIATIONS_MAX

uint64_t contract_rss_bytes(void); // of this process; 0 when it cannot be read

#endif
