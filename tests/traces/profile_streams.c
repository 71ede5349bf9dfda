// SPDX-License-Identifier: Apache-2.0
// Does `profile:FILE` generate what the file says? Draws its streams, on one thread and on two, and compares sizes,
// lifetimes and remote frees with the rows. Seeds are fixed: the distances are the same in every run.
// Usage: profile_streams FILE... Layer: test.
#include "../../workloads/population.h"
#include "../../workloads/trace/profile_reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS 200000u
// Largest Kolmogorov-Smirnov distances. A sample of n draws stays below 1.63 / sqrt(n) 99 times in a hundred: 0.0036
// for OPS sizes, 0.0052 for the lives of those born in the first half, all of which are seen up to OPS / 2.
#define SIZES_DISTANCE 0.004
#define LIFETIMES_DISTANCE 0.006

static struct profile_row rows[PROFILE_READER_ROWS_MAX];
static uint32_t row_count;
static struct profile_head head;
static unsigned failed;

static void keep(void *context, const struct profile_head *unused, const struct profile_row *row) {
    (void)context, (void)unused;
    rows[row_count++] = *row;
}

static void expect(int is_so, const char *file, const char *what) {
    if (!is_so) {
        printf("FAILED: %s: %s\n", file, what);
        failed++;
    }
}

static struct workload_run draw(const char *file, uint32_t threads, uint64_t working_set) {
    struct workload_run run = {.workload = workload_find("profile")};
    char why[1024] = "";
    workload_params_unset(&run.params);
    run.params.threads = threads;
    run.params.seed = 1;
    run.params.ops = OPS;
    run.params.working_set = working_set;
    snprintf(run.params.input, sizeof run.params.input, "%s", file);
    if (!workload_params_complete(run.workload, &run.params, why, sizeof why)) {
        printf("%s\n", why);
        exit(1);
    }
    const uint64_t bytes = workload_memory_bytes(run.workload, &run.params);
    run.memory = calloc(1, bytes + 128);
    if (run.memory == NULL) {
        printf("no memory\n");
        exit(1);
    }
    void *const start = run.memory;
    run.memory = (void *)(((uintptr_t)start + 127) & ~(uintptr_t)127);
    workload_prepare(&run); // the process ends before its few runs need their memory back
    return run;
}

static uint64_t size_of(const struct profile_row *row) {
    return row->size_max > 0 ? row->size_max : 1;
}

static int by_value(const void *a, const void *b) {
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

// Distance between a sample and the rows at the ends of their bins; `end_of` gives those, 0 for a row that has none.
static double distance(uint64_t *sample, uint64_t count, uint64_t whole, uint64_t limit,
                       uint64_t (*end_of)(const struct profile_row *row), uint64_t remote) {
    static uint64_t ends[PROFILE_READER_ROWS_MAX];
    double largest = 0, objects = 0;
    for (uint32_t i = 0; i < row_count; i++) {
        ends[i] = end_of(&rows[i]);
        objects += rows[i].remote >= remote ? (double)rows[i].objects : 0;
    }
    qsort(sample, count, sizeof *sample, by_value);
    qsort(ends, row_count, sizeof *ends, by_value);
    for (uint32_t e = 0, at = 0; e < row_count; e++) {
        if (ends[e] == 0 || ends[e] > limit || (e > 0 && ends[e] == ends[e - 1]))
            continue;
        double wanted = 0;
        for (uint32_t i = 0; i < row_count; i++) {
            const uint64_t end = end_of(&rows[i]);
            wanted += end != 0 && end <= ends[e] && rows[i].remote >= remote ? (double)rows[i].objects : 0;
        }
        while (at < count && sample[at] <= ends[e])
            at++;
        largest = fmax(largest, fabs(at / (double)whole - wanted / objects));
    }
    return largest;
}

static uint64_t lifetime_of(const struct profile_row *row) {
    return row->lifetime_max;
}

// One thread: its allocations are the program's.
static void compare(const char *file) {
    static uint64_t sizes[OPS], lives[OPS], born[1u << 22];
    struct workload_run run = draw(file, 1, UINT64_MAX);
    const struct population_thread *stream = population_thread_of(&run, 0);
    uint64_t allocs = 0, ended = 0, live = stream->initial_count, live_sum = 0, wrong = 0;
    for (uint64_t i = 0; i < stream->event_count; i++) {
        const struct population_event event = stream->events[i];
        wrong += event.bytes == POPULATION_FREE_REMOTE;
        if (event.bytes != POPULATION_FREE) {
            sizes[allocs++] = event.bytes;
            born[event.slot] = allocs;
            live_sum += live++;
            continue;
        }
        live--;
        if (born[event.slot] != 0 && born[event.slot] <= OPS / 2)
            lives[ended++] = allocs - born[event.slot] + 1;
        born[event.slot] = 0;
    }
    memset(born, 0, sizeof born);
    const double of_sizes = distance(sizes, allocs, allocs, UINT64_MAX, size_of, 0);
    const double of_lives = distance(lives, ended, OPS / 2, OPS / 2, lifetime_of, 0);
    const double drift = (double)live_sum / OPS / (double)run.params.working_set - 1;
    printf("%s: KS distance of sizes %.5f, of lifetimes %.5f; live %.0f about %llu (peak of the program: %llu)\n", file,
           of_sizes, of_lives, (double)live_sum / OPS, (unsigned long long)run.params.working_set,
           (unsigned long long)head.peak_live_objects);
    expect(allocs == OPS, file, "allocations are as many as asked for");
    expect(wrong == 0, file, "a thread alone frees nothing remotely");
    expect(of_sizes < SIZES_DISTANCE, file, "sizes are the file's");
    expect(of_lives < LIFETIMES_DISTANCE, file, "lifetimes are the file's");
    expect(run.params.working_set < 100 || fabs(drift) < 0.1, file, "the population stays in balance");

    struct workload_run scaled = draw(file, 1, 2 * run.params.working_set + 100);
    const struct population_thread *twice = population_thread_of(&scaled, 0);
    live = twice->initial_count;
    allocs = 0;
    for (uint64_t i = 0; i < twice->event_count; i++) {
        const int is_free = twice->events[i].bytes == POPULATION_FREE;
        sizes[allocs] = twice->events[i].bytes;
        allocs += !is_free;
        live += is_free ? UINT64_MAX : 1;
    }
    expect(distance(sizes, allocs, allocs, UINT64_MAX, size_of, 0) < SIZES_DISTANCE, file, "scaled, sizes stay");
}

// Two threads: who frees what.
static void compare_remote(const char *file) {
    static uint64_t sizes[2 * OPS];
    struct workload_run run = draw(file, 2, UINT64_MAX);
    uint64_t remote_objects = 0, found = 0, chosen = 0;
    uint32_t bytes_in[1u << 16];
    for (uint32_t i = 0; i < row_count; i++)
        remote_objects += rows[i].remote ? rows[i].objects : 0;
    const double share = (double)remote_objects / (double)head.objects;
    expect(fabs(run.params.remote_ppm / 1e6 - share) < 1e-6, file, "the remote share is the file's");
    if (run.params.working_set > sizeof bytes_in / sizeof bytes_in[0] / 2)
        return; // the table above is for the small programs of this test
    for (uint32_t t = 0; t < 2; t++) {
        const struct population_thread *stream = population_thread_of(&run, t);
        uint64_t frees = 0, remote = 0;
        memcpy(bytes_in, stream->initial, stream->initial_count * sizeof *bytes_in);
        for (uint64_t i = 0; i < stream->event_count; i++) {
            const struct population_event event = stream->events[i];
            const int is_remote = event.bytes == POPULATION_FREE_REMOTE;
            frees += is_remote || event.bytes == POPULATION_FREE;
            remote += is_remote;
            if (is_remote)
                sizes[found++] = bytes_in[event.slot];
            bytes_in[event.slot] = event.bytes;
        }
        chosen += rng_share(frees, run.params.remote_ppm);
        expect(remote == rng_share(frees, run.params.remote_ppm), file, "remote frees are exactly so many");
    }
    if (found > 0) {
        const double of_remote = distance(sizes, found, found, UINT64_MAX, size_of, 1);
        printf("%s: remote frees %llu of %llu wanted (%.4f %%), KS distance of their sizes %.5f\n", file,
               (unsigned long long)found, (unsigned long long)chosen, 100 * share, of_remote);
        expect(of_remote < 2 / sqrt((double)found) + 0.002, file, "what is freed remotely has the file's sizes");
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        struct trace_source source;
        char why[512];
        row_count = 0;
        if (!trace_source_open(&source, argv[i], why, sizeof why) ||
            !profile_reader_read(&source, &head, keep, NULL, why, sizeof why)) {
            printf("%s: %s\n", argv[i], why);
            return 1;
        }
        trace_source_close(&source);
        compare(argv[i]);
        compare_remote(argv[i]);
    }
    return failed != 0 || argc < 2;
}
