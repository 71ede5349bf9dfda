// SPDX-License-Identifier: Apache-2.0
// Memory after strings that grew by realloc: some sizes, each a few rounds of growth in equal steps, then a free. What
// stays resident afterwards, and the page faults it took, do not depend on the number of rounds. Run with the library
// preloaded. Usage: realloc_growth KIB; exit 1 when more than KIB are kept beyond the start after any of the sizes.
// Layer: test, preload.
#include "../support/status.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 40

static const struct growth {
    size_t most, step;
} growths[] = {{512u << 10, 4096}, {512u << 10, 16384}, {1u << 20, 65536}, {300u << 10, 1000}, {128u << 10, 4096}};

static void grow_and_free(const struct growth *growth) {
    char *string = NULL;
    for (size_t bytes = growth->step; bytes <= growth->most; bytes += growth->step) {
        char *longer = realloc(string, bytes);
        if (longer == NULL || (string != NULL && longer[0] != 1)) {
            printf("realloc failed or lost what the string held\n");
            exit(3);
        }
        string = longer;
        memset(string + bytes - growth->step, 1, growth->step);
    }
    free(string);
}

int main(int argc, char **argv) {
    long bound = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (bound <= 0) {
        fprintf(stderr, "usage: realloc_growth KIB\n");
        return 2;
    }
    int bad = 0;
    for (size_t i = 0; i < sizeof growths / sizeof *growths; i++) {
        malloc_trim(0);
        long before = test_status_kib("RssAnon");
        for (int round = 0; round < ROUNDS; round++)
            grow_and_free(&growths[i]);
        long kept = test_status_kib("RssAnon") - before;
        printf("up to %zu KiB in steps of %zu bytes: %ld KiB kept, bound %ld KiB\n", growths[i].most >> 10,
               growths[i].step, kept, bound);
        bad |= kept > bound;
    }
    return bad;
}
