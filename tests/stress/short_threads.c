// SPDX-License-Identifier: Apache-2.0
// Threads one after another, each of which allocates and frees a little of every size three times and ends: what is
// resident in the end, and how often memory had to be faulted in. Run with the library preloaded. Usage: short_threads
// KIB FAULTS; exit 1 when more than KIB stay or a thread, in the mean, causes more than FAULTS minor faults. Layer:
// test, preload.
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREADS 400u
#define REQUESTS 3
#define BLOCKS 300u

static void *live(void *number) {
    uint32_t random = *(const uint32_t *)number * 2654435761u + 1;
    char *blocks[BLOCKS];
    for (int request = 0; request < REQUESTS; request++) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            random = random * 1664525 + 1013904223;
            size_t bytes = 16 + (random >> 8) % (1u << (4 + (random >> 20) % 12)); // small ones more often
            blocks[i] = malloc(bytes);
            if (blocks[i] == NULL)
                exit(3);
            memset(blocks[i], 1, bytes);
        }
        for (unsigned i = BLOCKS; i-- > 0;)
            free(blocks[i]);
    }
    return NULL;
}

static long resident_kib(void) {
    char text[64] = "";
    int file = open("/proc/self/statm", O_RDONLY);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0 || close(file) != 0)
        exit(3);
    return strtol(strchr(text, ' '), NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
}

static long minor_faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: short_threads KIB FAULTS\n");
        return 2;
    }
    long before = minor_faults();
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, &i) != 0 || pthread_join(thread, NULL) != 0)
            return 3;
    }
    long kib = resident_kib();
    long faults = (minor_faults() - before) / (long)THREADS;
    printf("%ld KiB resident (at most %s), %ld faults a thread (at most %s)\n", kib, argv[1], faults, argv[2]);
    return kib > strtol(argv[1], NULL, 10) || faults > strtol(argv[2], NULL, 10);
}
