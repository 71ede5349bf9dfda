// SPDX-License-Identifier: Apache-2.0
// What a library costs a process that hardly uses it: one thread, 100 live blocks of 16 B..4 KiB, anonymous resident
// memory with the library preloaded against the same process without. Pages of the library's file are left out: how
// many of them the kernel maps at once depends on its page cache. Usage: idle_process LIBRARY KIB; exit 1 when the
// difference is above KIB. Layer: test, preload.
#include "../support/status.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 100
#define RUNS 15

// The inner process: prints what is resident while the blocks live.
static int live(void) {
    static char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t bytes = 16 + i * i * 4084 / (BLOCKS * BLOCKS);
        blocks[i] = malloc(bytes);
        if (blocks[i] == NULL)
            return 3;
        memset(blocks[i], 1, bytes);
    }
    printf("%ld\n", test_status_kib("RssAnon"));
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return 0;
}

// The least of a few runs: where the kernel places the stack adds a page or two.
static long measure(const char *library) {
    if (library != NULL)
        setenv("LD_PRELOAD", library, 1);
    else
        unsetenv("LD_PRELOAD");
    long least = -1;
    for (int run = 0; run < RUNS; run++) {
        long kib = -1;
        FILE *pipe = popen("exec \"$IDLE_PROCESS\" live", "r");
        if (pipe == NULL || fscanf(pipe, "%ld", &kib) != 1 || pclose(pipe) != 0 || kib <= 0) {
            fprintf(stderr, "idle_process: the inner process failed\n");
            exit(3);
        }
        least = least < 0 || kib < least ? kib : least;
    }
    return least;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "live") == 0)
        return live();
    if (argc != 3) {
        fprintf(stderr, "usage: idle_process LIBRARY KIB\n");
        return 2;
    }
    long bound = strtol(argv[2], NULL, 10);
    setenv("IDLE_PROCESS", argv[0], 1);
    long without = measure(NULL);
    long with = measure(argv[1]);
    printf("anonymous: %ld KiB with the library, %ld KiB without, difference %ld KiB, bound %ld KiB\n", with, without,
           with - without, bound);
    return with - without > bound;
}
