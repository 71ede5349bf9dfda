// SPDX-License-Identifier: Apache-2.0
// A store whose values grow from generation to generation: the classes of old sizes are only freed into, and what their
// caches hold must not keep their runs alive. Run with the library preloaded. Usage: size_drift FACTOR; exit 1 when the
// resident memory was ever above FACTOR times what was live. Layer: test, preload.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIVE_BYTES (40u << 20)
#define ENTRIES 1000000u
#define GENERATIONS 32

static struct {
    char *block;
    size_t bytes;
} store[ENTRIES];

static unsigned random_next(unsigned *state) {
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static long resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long all = 0;
    long resident = 0;
    if (file == NULL || fscanf(file, "%ld %ld", &all, &resident) != 2 || fclose(file) != 0)
        exit(3);
    return resident * sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: size_drift FACTOR\n");
        return 2;
    }
    double bound = strtod(argv[1], NULL);
    unsigned state = 5;
    size_t live = 0;
    size_t count = 0;
    double typical = 48;
    memset(store, 0, sizeof store);
    memset(&store[0], 1, sizeof store); // resident before the first measurement
    long first = resident_bytes();
    long most = 0;
    for (int generation = 0; generation < GENERATIONS; generation++, typical *= 1.14) {
        for (size_t put = 0; put < LIVE_BYTES * 2 / 3;) {
            size_t bytes = (size_t)(typical * (0.7 + random_next(&state) % 1000 / 1600.0));
            while (live + bytes > LIVE_BYTES || count == ENTRIES) {
                size_t victim = random_next(&state) % count;
                live -= store[victim].bytes;
                free(store[victim].block);
                store[victim] = store[--count];
            }
            store[count].block = malloc(bytes);
            store[count].bytes = bytes;
            if (store[count].block == NULL)
                return 3;
            memset(store[count++].block, 1, bytes);
            live += bytes;
            put += bytes;
        }
        long resident = resident_bytes() - first;
        most = resident > most ? resident : most;
    }
    double factor = (double)most / LIVE_BYTES;
    printf("live %u MiB, resident at most %ld MiB: %.2f, bound %.2f\n", LIVE_BYTES >> 20, most >> 20, factor, bound);
    return factor > bound;
}
