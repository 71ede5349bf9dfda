// SPDX-License-Identifier: Apache-2.0
// What backends are known to do otherwise than allocator.h says. Each line was seen in the named version.
#include "contract.h"

const struct contract_deviation contract_deviations[] = {
    {"null", "alloc.large", "0.", 0,
     "one scratch block of 64 MiB a thread serves all requests; larger ones are refused"},

    {"jemalloc", "aligned.alignment-of-0", "5.3.", 0,
     "memalign(n, 0) takes the smallest size class whatever n; aligned_alloc(n, 0) does not"},
    {"jemalloc", "impossible.aligned-errno", "5.3.", 0, "memalign leaves errno alone when it fails"},
    {"jemalloc", "impossible.realloc-errno", "5.3.", 0, "realloc beyond the largest size class leaves errno alone"},

    {"mimalloc", "impossible.alloc-errno", "2.0.9", 0, "malloc leaves errno alone when the size exceeds PTRDIFF_MAX"},
    {"mimalloc", "impossible.calloc-errno", "2.0.9", 0, "calloc leaves errno alone when the size exceeds PTRDIFF_MAX"},
    {"mimalloc", "impossible.realloc-errno", "2.0.9", 0,
     "realloc leaves errno alone when the size exceeds PTRDIFF_MAX"},
    {"mimalloc", "impossible.aligned-errno", "2.0.9", 0, "memalign leaves errno alone when the size is impossible"},
    {"mimalloc", "calloc.overflow-errno", "2.0.9", 0, "calloc leaves errno alone when the product wraps"},
    {"mimalloc", "realloc.zero-frees", "2.0.9", 0, "realloc(p, 0) returns a block of size 0"},
    {"mimalloc", "purge.lowers-rss", "2.0.9", 1, "mi_collect keeps about half of the memory of a just emptied heap"},

    {"tcmalloc", "calloc.overflow-errno", "gperftools 2.10", 0, "calloc leaves errno alone when the product wraps"},

    {"tbbmalloc", "aligned.block-of-0", "unknown", 0, "memalign(n, 0) returns NULL"},

    {"scudo", "impossible.aligned-errno", "unknown", 0, "memalign leaves errno alone when the size is impossible"},

    {"system", "impossible.calloc-errno", "7.0.2600.2180", 0, "wine's msvcrt: calloc leaves errno alone when it fails"},
    {"system", "impossible.realloc-errno", "7.0.2600.2180", 0,
     "wine's msvcrt: realloc leaves errno alone when it fails"},
};

const size_t contract_deviation_count = sizeof contract_deviations / sizeof contract_deviations[0];

_Static_assert(sizeof contract_deviations / sizeof contract_deviations[0] <= CONTRACT_DEVIATIONS_MAX,
               "the program counts each of them");
