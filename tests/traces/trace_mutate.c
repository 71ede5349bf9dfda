// SPDX-License-Identifier: Apache-2.0
// Deterministic damage to a trace: every bit of the header and of the first frames' headers, random changes everywhere,
// every kind of cut. Damage must be noticed unless it is a cut; with the checksums made right again nothing may crash.
// Usage: trace_mutate TRACE [COUNT]. Layer: test.
#include "trace_fuzz.h"

#include "../support/library.h"

#include <string.h>

#define BYTES_MAX (4u << 20)

static uint8_t original[BYTES_MAX], copy[BYTES_MAX];
static size_t count;
static unsigned noticed, cuts, accepted, failed;

static void expect_bad(const char *what, uint64_t number) {
    if (trace_fuzz_walk(copy, count) == TRACE_END) {
        printf("not noticed: %s %llu\n", what, (unsigned long long)number);
        failed++;
    }
    noticed++;
}

static void flip_bits(size_t from, size_t bytes) {
    for (size_t bit = from * 8; bit < (from + bytes) * 8 && bit < count * 8; bit++) {
        memcpy(copy, original, count);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        expect_bad("flipped bit", bit);
        trace_fuzz_repair(copy, count);
        accepted += trace_fuzz_walk(copy, count) == TRACE_END;
    }
}

static void damage_at_random(uint64_t rounds) {
    uint64_t random = 11;
    for (uint64_t i = 0; i < rounds; i++) {
        memcpy(copy, original, count);
        const size_t at = test_random(&random) % count;
        const size_t bytes = 1 + test_random(&random) % 8;
        int is_changed = 0;
        for (size_t k = at; k < at + bytes && k < count; k++) {
            const uint8_t value = (uint8_t)test_random(&random);
            is_changed |= copy[k] != value;
            copy[k] = value;
        }
        if (is_changed)
            expect_bad("damage", i);
        trace_fuzz_repair(copy, count);
        accepted += trace_fuzz_walk(copy, count) == TRACE_END;
    }
}

static void cut_everywhere(uint64_t rounds) {
    uint64_t random = 13;
    for (uint64_t i = 0; i < rounds; i++) {
        const size_t left = i < 200 ? (size_t)i : test_random(&random) % count;
        const enum trace_result result = trace_fuzz_walk(original, left);
        const enum trace_result wanted = left < 128 ? TRACE_BAD : TRACE_CUT;
        if (result != wanted) {
            printf("cut to %zu bytes: %d instead of %d\n", left, (int)result, (int)wanted);
            failed++;
        }
        cuts++;
    }
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: trace_mutate TRACE [COUNT]\n");
        return 2;
    }
    count = fread(original, 1, sizeof original, file);
    fclose(file);
    if (count == sizeof original || trace_fuzz_walk(original, count) != TRACE_END) {
        printf("%s: too large, or no good trace to begin with\n", argv[1]);
        return 1;
    }
    const uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;
    flip_bits(0, 128 + 24 + 64);
    damage_at_random(rounds);
    cut_everywhere(rounds);
    printf("trace damage: %u changes noticed, %u cuts told, %u accepted once their checksums were right, %u failures\n",
           noticed, cuts, accepted, failed);
    return failed != 0;
}
