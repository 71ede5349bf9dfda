// SPDX-License-Identifier: Apache-2.0
// What a program holds that was busy and hardly is any more: bursts that the allocator learns to keep memory for, then
// light work that goes on until little is resident, then a burst, quiet and one single call. Run with the library
// preloaded. Usage: idle_release MIB [large|thread]; exit 1 when more than MIB stay. `thread`: each burst is a
// thread's that ends, and light work is of one size, in a thread that has hardly allocated. Waits for memory, at most
// PATIENCE_MS: how fast the machine is does not matter. Layer: test, preload.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS 40000u
#define LARGE_BLOCKS 60u
#define BURSTS 5
#define THREAD_BURSTS 20
#define PAUSE_US 260000
#define PATIENCE_MS 20000
#define QUIET_US 1200000

static char *blocks[BLOCKS];
static int is_large, is_thread;

static long resident_mib(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long all = 0;
    long resident = 0;
    if (file == NULL || fscanf(file, "%ld %ld", &all, &resident) != 2 || fclose(file) != 0)
        exit(3);
    return resident * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static long burst(void) {
    static unsigned random = 7;
    unsigned count = is_large ? LARGE_BLOCKS : BLOCKS;
    for (unsigned i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        unsigned kind = random >> 8 & 255;
        size_t bytes = kind < 180 ? 48 + kind * 4 : kind < 253 ? 1100 + kind * 16 : 30000 + (random >> 4) % 200000;
        if (is_large)
            bytes = (1u << 20) + (random >> 4) % (3u << 20);
        blocks[i] = malloc(bytes);
        if (blocks[i] == NULL)
            exit(3);
        memset(blocks[i], 1, bytes);
    }
    long resident = resident_mib();
    for (unsigned i = 0; i < count; i++)
        free(blocks[i]);
    return resident;
}

static void *burst_of_thread(void *resident) {
    *(long *)resident = burst();
    return NULL;
}

int main(int argc, char **argv) {
    is_large = argc == 3 && strcmp(argv[2], "large") == 0;
    is_thread = argc == 3 && strcmp(argv[2], "thread") == 0;
    if (argc != 2 + is_large + is_thread) {
        fprintf(stderr, "usage: idle_release MIB [large|thread]\n");
        return 2;
    }
    long bound = strtol(argv[1], NULL, 10);
    long busy = 0;
    for (int i = 0; !is_thread && i < BURSTS; i++) {
        busy = burst();
        usleep(PAUSE_US);
    }
    for (int i = 0; is_thread && i < THREAD_BURSTS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, burst_of_thread, &busy) != 0 || pthread_join(thread, NULL) != 0)
            return 3;
    }
    long before = resident_mib();
    long start = now_ms();
    long light = before;
    for (unsigned i = 0; now_ms() - start < PATIENCE_MS && light > bound; i++) {
        free(malloc(is_thread ? 100 : 100 + i % 2900));
        usleep(900);
        light = resident_mib();
    }
    burst();
    long full = resident_mib();
    usleep(QUIET_US);
    free(malloc(200000));
    long quiet = resident_mib();
    printf(
        "resident: %ld MiB in a burst, %ld behind, %ld by light work; %ld behind another, %ld by one call, bound %ld\n",
        busy, before, light, full, quiet, bound);
    return light > bound || quiet > bound;
}
