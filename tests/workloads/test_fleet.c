// SPDX-License-Identifier: Apache-2.0
// Does `fleet` generate what the production profiles say? Reads the published files themselves (argument: their folder)
// and compares sizes of allocations, live objects and lifetimes of the drawn streams with them. Seeds are fixed: the
// distances are the same in every run. Layer: tests.
#include "../../workloads/fleet_table.h"
#include "../../workloads/population.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 2u
#define OPS 200000u
#define WORKING_SET 20000u
#define MAX_ROWS 2048u
#define SNAPSHOTS 20u

// Largest Kolmogorov-Smirnov distance that is accepted. A sample of n draws from the very distribution stays below
// 1.63 / sqrt(n) 99 times in a hundred: 0.0026 for THREADS * OPS sizes, and 0.0082 for the THREADS * WORKING_SET live
// objects of one instant. What is left out as larger than the heap is below 0.0005 of both.
#define SIZES_DISTANCE 0.003
#define LIVE_DISTANCE 0.010

static const char *folder;

struct published {
    uint64_t bytes[MAX_ROWS];
    double rate[MAX_ROWS], live[MAX_ROWS]; // each sums to 1
    uint32_t count;
};

static void read_published(int number, struct published *out) {
    char name[1024];
    snprintf(name, sizeof name, "%s/TCMALLOC_%d.csv", folder, number);
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    double rate = 0, live = 0;
    unsigned long long bytes = 0;
    out->count = 0;
    while (fscanf(file, "%llu, %lf, %lf", &bytes, &out->rate[out->count], &out->live[out->count]) == 3) {
        rate += out->rate[out->count];
        live += out->live[out->count];
        out->bytes[out->count++] = bytes;
        assert_true(out->count < MAX_ROWS);
    }
    fclose(file);
    assert_true(out->count > 900);
    for (uint32_t i = 0; i < out->count; i++) {
        out->rate[i] /= rate;
        out->live[i] /= live;
    }
}

// Row of a size; the test fails for a size that the profile does not have.
static uint32_t row_of(const struct published *published, uint64_t bytes) {
    uint32_t low = 0;
    uint32_t high = published->count;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (published->bytes[middle] <= bytes)
            low = middle;
        else
            high = middle;
    }
    assert_true(published->bytes[low] == bytes);
    return low;
}

static double distance(const double *counts, const double *shares, uint32_t count) {
    double sum = 0, total = 0, expected = 0, largest = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += counts[i];
    for (uint32_t i = 0; i < count; i++) {
        total += counts[i] / sum;
        expected += shares[i];
        largest = fabs(total - expected) > largest ? fabs(total - expected) : largest;
    }
    return largest;
}

static struct workload_run draw(const char *input, uint64_t seed) {
    struct workload_run run = {.workload = workload_find("fleet")};
    char why[512] = "";
    workload_params_unset(&run.params);
    run.params.threads = THREADS;
    run.params.seed = seed;
    run.params.ops = OPS;
    run.params.working_set = WORKING_SET;
    run.params.remote_ppm = 300000;
    snprintf(run.params.input, sizeof run.params.input, "%s", input);
    if (!workload_params_complete(run.workload, &run.params, why, sizeof why))
        fail_msg("%s", why);
    const uint64_t bytes = workload_memory_bytes(run.workload, &run.params);
    run.memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    assert_non_null(run.memory);
    memset(run.memory, 0, bytes);
    workload_prepare(&run);
    return run;
}

// What a stream did, by row of the published profile.
struct observed {
    double allocs[MAX_ROWS], live[MAX_ROWS]; // live: summed over the snapshots
    uint64_t frees, remote_frees, live_least, live_most;
};

static void observe(const struct workload_run *run, const struct published *published, struct observed *out) {
    static uint32_t bytes_in[4 * WORKING_SET];
    static double now[MAX_ROWS];
    memset(out, 0, sizeof *out);
    out->live_least = UINT64_MAX;
    for (uint32_t t = 0; t < run->params.threads; t++) {
        const struct population_thread *stream = population_thread_of(run, t);
        uint64_t allocs = 0;
        uint64_t live = stream->initial_count;
        memset(bytes_in, 0, sizeof bytes_in);
        memset(now, 0, sizeof now);
        assert_true(stream->initial_count == WORKING_SET);
        for (uint64_t i = 0; i < live; i++) {
            bytes_in[i] = stream->initial[i];
            now[row_of(published, bytes_in[i])]++;
        }
        for (uint64_t i = 0; i < stream->event_count; i++) {
            const struct population_event event = stream->events[i];
            const int is_free = event.bytes == POPULATION_FREE || event.bytes == POPULATION_FREE_REMOTE;
            assert_true(event.slot < 4 * WORKING_SET && is_free == (bytes_in[event.slot] != 0));
            if (is_free) {
                now[row_of(published, bytes_in[event.slot])]--;
                bytes_in[event.slot] = 0;
                out->frees++;
                out->remote_frees += event.bytes == POPULATION_FREE_REMOTE;
                live--;
                continue;
            }
            bytes_in[event.slot] = event.bytes;
            out->allocs[row_of(published, event.bytes)]++;
            now[row_of(published, event.bytes)]++;
            live++;
            out->live_least = live < out->live_least ? live : out->live_least;
            out->live_most = live > out->live_most ? live : out->live_most;
            if (++allocs % (OPS / SNAPSHOTS) == 0)
                for (uint32_t row = 0; row < published->count; row++)
                    out->live[row] += now[row];
        }
        assert_true(allocs == OPS);
    }
}

static void streams_are_as_published(void **state) {
    (void)state;
    static struct published published;
    static struct observed observed;
    for (int profile = 0; profile < FLEET_PROFILES; profile++) {
        char input[] = {(char)('0' + profile), '\0'};
        struct workload_run run = draw(input, 1);
        read_published(profile, &published);
        observe(&run, &published, &observed);
        const double sizes = distance(observed.allocs, published.rate, published.count);
        const double live = distance(observed.live, published.live, published.count);
        printf("fleet:%d  KS distance of sizes %.5f, of live objects %.5f; live %llu to %llu\n", profile, sizes, live,
               (unsigned long long)observed.live_least, (unsigned long long)observed.live_most);
        assert_true(sizes < SIZES_DISTANCE);
        assert_true(live < LIVE_DISTANCE);
        assert_true(observed.live_least > WORKING_SET * 94 / 100 && observed.live_most < WORKING_SET * 106 / 100);
        assert_true(observed.remote_frees > 0);
        free(run.memory);
    }
}

// Lifetimes: of each size that is frequent, the mean of the stream against live / rate of the file.
static void lifetimes_are_as_published(void **state) {
    (void)state;
    static struct published published;
    static struct observed observed;
    uint32_t compared = 0;
    for (int profile = 0; profile < FLEET_PROFILES; profile++) {
        char input[] = {(char)('0' + profile), '\0'};
        struct workload_run run = draw(input, 2);
        read_published(profile, &published);
        observe(&run, &published, &observed);
        for (uint32_t row = 0; row < published.count; row++) {
            if (published.rate[row] < 0.02 || published.live[row] < 0.02)
                continue;
            // Little: mean lifetime in allocations = mean live objects / share of the allocations.
            const double wanted = published.live[row] / published.rate[row] * WORKING_SET;
            const double seen = observed.live[row] / SNAPSHOTS / THREADS / (observed.allocs[row] / THREADS / OPS);
            assert_true(fabs(seen / wanted - 1) < 0.15);
            compared++;
        }
        free(run.memory);
    }
    assert_true(compared > 50);
}

static void another_profile_is_told_apart(void **state) {
    (void)state;
    static struct published published;
    static double allocs[MAX_ROWS], live[MAX_ROWS];
    for (int profile = 0; profile < FLEET_PROFILES; profile++) {
        char input[] = {(char)('0' + (profile + 1) % FLEET_PROFILES), '\0'};
        struct workload_run run = draw(input, 1);
        read_published(profile, &published);
        memset(allocs, 0, sizeof allocs);
        memset(live, 0, sizeof live);
        const struct population_thread *stream = population_thread_of(&run, 0);
        for (uint64_t i = 0; i < stream->event_count; i++) {
            uint32_t row = 0;
            const uint32_t bytes = stream->events[i].bytes;
            while (row + 1 < published.count && published.bytes[row] < bytes)
                row++;
            if (bytes != POPULATION_FREE && bytes != POPULATION_FREE_REMOTE)
                allocs[row]++;
        }
        assert_true(distance(allocs, published.rate, published.count) > 10 * SIZES_DISTANCE);
        free(run.memory);
    }
}

static void remote_share_is_exact(void **state) {
    (void)state;
    static struct published published;
    static struct observed observed;
    struct workload_run run = draw("7", 3);
    read_published(7, &published);
    observe(&run, &published, &observed);
    uint64_t wanted = 0;
    for (uint32_t t = 0; t < THREADS; t++) {
        const struct population_thread *stream = population_thread_of(&run, t);
        wanted += rng_share(stream->event_count - OPS, run.params.remote_ppm);
    }
    assert_true(observed.remote_frees == wanted);
    free(run.memory);
}

static void the_mix_is_of_all(void **state) {
    (void)state;
    static struct published published;
    struct workload_run run = draw("mix", 1);
    const struct population_thread *stream = population_thread_of(&run, 1);
    double wanted = 0, seen = 0;
    for (int profile = 0; profile < FLEET_PROFILES; profile++) {
        read_published(profile, &published);
        for (uint32_t row = 0; row < published.count && published.bytes[row] <= 64; row++)
            wanted += published.rate[row] / FLEET_PROFILES;
    }
    for (uint64_t i = 0; i < stream->event_count; i++)
        seen += stream->events[i].bytes >= 1 && stream->events[i].bytes <= 64;
    assert_true(fabs(seen / OPS - wanted) < 0.005);
    free(run.memory);
}

static void only_what_there_is(void **state) {
    (void)state;
    static const char *const inputs[] = {"10", "a", "-1", "mixx", "/"};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        struct workload_params params;
        char why[512] = "";
        workload_params_unset(&params);
        snprintf(params.input, sizeof params.input, "%s", inputs[i]);
        assert_int_equal(workload_params_complete(workload_find("fleet"), &params, why, sizeof why), 0);
        assert_non_null(strstr(why, "it has 0 to 9 and mix"));
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_as_published),
        cmocka_unit_test(lifetimes_are_as_published),
        cmocka_unit_test(another_profile_is_told_apart),
        cmocka_unit_test(remote_share_is_exact),
        cmocka_unit_test(the_mix_is_of_all),
        cmocka_unit_test(only_what_there_is),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER-OF-PROFILES\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    return cmocka_run_group_tests_name("fleet", tests, NULL, NULL);
}
