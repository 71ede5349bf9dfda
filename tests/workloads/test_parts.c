// SPDX-License-Identifier: Apache-2.0
// Unit tests of what workloads are made of: generators, bounded numbers, exact selection, sizes, queues, wiring,
// parameters. Layer: tests.
#include "driver.h"

#include "../../workloads/core.h"
#include "../../workloads/parameters.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

// Published first outputs: splitmix64 from 1234567, xoshiro256** from state 1, 2, 3, 4.
static void generators_match_published_vectors(void **state) {
    (void)state;
    static const uint64_t splitmix[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                        UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                        UINT64_C(16408922859458223821)};
    static const uint64_t xoshiro[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240),
                                       UINT64_C(1216172134540287360)};
    uint64_t seed = 1234567;
    struct rng_xoshiro rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < 5; i++) {
        assert_true(rng_splitmix(&seed) == splitmix[i]);
        assert_true(rng_xoshiro_next(&rng) == xoshiro[i]);
    }
}

static void streams_start_apart(void **state) {
    (void)state;
    enum { SEEDS = 4, THREADS = 64, COUNT = SEEDS * THREADS * RNG_ORDER };
    static uint64_t origins[COUNT];
    size_t n = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (uint32_t thread = 0; thread < THREADS; thread++)
            for (enum rng_stream stream = RNG_SIZE; stream <= RNG_ORDER; stream++)
                origins[n++] = rng_origin(seed, thread, stream);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(origins[i] != origins[j]);
}

static double chi_square(const uint64_t *counts, size_t cells, uint64_t total) {
    const double expected = (double)total / (double)cells;
    double sum = 0;
    for (size_t i = 0; i < cells; i++) {
        const double difference = (double)counts[i] - expected;
        sum += difference * difference / expected;
    }
    return sum;
}

// Mean cells - 1, standard deviation sqrt(2 (cells - 1)); six of them either way. Too even is as wrong as too uneven: a
// generator that visits every slot once a period would come out near 0.
static void assert_like_random(const uint64_t *counts, size_t cells, uint64_t total) {
    const double freedom = (double)(cells - 1);
    const double distance = (chi_square(counts, cells, total) - freedom) / sqrt(2 * freedom);
    assert_true(distance > -6 && distance < 6);
}

static void bounded_numbers_are_uniform(void **state) {
    (void)state;
    static uint64_t counts[8192];
    static const size_t bounds[] = {2, 3, 7, 1000, 8192};
    for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++) {
        uint64_t rng = rng_origin(7, 0, RNG_SLOT);
        memset(counts, 0, sizeof counts);
        for (int i = 0; i < 1000000; i++) {
            const uint64_t value = rng_bounded(rng_splitmix(&rng), bounds[b]);
            assert_true(value < bounds[b]);
            counts[value]++;
        }
        assert_like_random(counts, bounds[b], 1000000);
    }
    assert_true(rng_bounded(UINT64_MAX, 0) == 0);
    assert_true(rng_bounded(UINT64_MAX, UINT64_MAX) == UINT64_MAX - 1);
}

static void successive_slots_are_independent(void **state) {
    (void)state;
    static uint64_t pairs[32 * 32];
    uint64_t rng = rng_origin(3, 1, RNG_SLOT);
    uint64_t before = rng_bounded(rng_splitmix(&rng), 32);
    for (int i = 0; i < 2000000; i++) {
        const uint64_t slot = rng_bounded(rng_splitmix(&rng), 32);
        pairs[before * 32 + slot]++;
        before = slot;
    }
    assert_like_random(pairs, 32 * 32, 2000000);
}

static void selection_is_exact(void **state) {
    (void)state;
    static const uint32_t shares[] = {0, 1, 10000, 100000, 333333, 500000, 900000, 999999, 1000000};
    static const uint64_t counts[] = {1, 2, 3, 99, 1000, 100001};
    for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            const uint64_t wanted = rng_share(counts[c], shares[s]);
            const double exact = (double)counts[c] * shares[s] / 1e6;
            assert_true(fabs((double)wanted - exact) <= 0.5);
            uint64_t rng = rng_origin(s * 100 + c, 0, RNG_REMOTE);
            uint64_t chosen = wanted;
            uint64_t total = counts[c];
            uint64_t got = 0;
            for (uint64_t i = 0; i < counts[c]; i++)
                got += rng_select(rng_splitmix(&rng), &chosen, &total);
            assert_true(got == wanted && chosen == 0 && total == 0);
        }
    }
    assert_true(rng_share(UINT64_C(1) << 40, 1000000) == UINT64_C(1) << 40);
}

static void selection_favours_no_position(void **state) {
    (void)state;
    static uint64_t chosen_at[50];
    uint64_t rng = rng_origin(11, 0, RNG_REMOTE);
    for (int trial = 0; trial < 200000; trial++) {
        uint64_t chosen = 5;
        uint64_t total = 50;
        for (size_t i = 0; i < 50; i++)
            chosen_at[i] += rng_select(rng_splitmix(&rng), &chosen, &total);
    }
    // Draws without replacement vary less than independent ones, hence only the upper side.
    assert_true(chi_square(chosen_at, 50, 1000000) < 49 + 6 * sqrt(2 * 49));
}

static void uniform_sizes_reach_both_ends(void **state) {
    (void)state;
    static uint64_t counts[33];
    struct sizes sizes;
    uint64_t rng = rng_origin(5, 0, RNG_SIZE);
    sizes_init(&sizes, SIZES_UNIFORM, 16, 48);
    for (int i = 0; i < 330000; i++) {
        const uint32_t bytes = sizes_pick(&sizes, rng_splitmix(&rng));
        assert_in_range(bytes, 16, 48);
        counts[bytes - 16]++;
    }
    assert_like_random(counts, 33, 330000);
}

static void log_uniform_octaves_are_equal(void **state) {
    (void)state;
    uint64_t octaves[16] = {0};
    struct sizes sizes;
    uint64_t rng = rng_origin(6, 0, RNG_SIZE);
    sizes_init(&sizes, SIZES_LOG_UNIFORM, 16, (1u << 20) - 1);
    for (int i = 0; i < 1600000; i++) {
        const uint32_t bytes = sizes_pick(&sizes, rng_splitmix(&rng));
        assert_in_range(bytes, 16, (1u << 20) - 1);
        octaves[31 - __builtin_clz(bytes) - 4]++;
    }
    for (int i = 0; i < 16; i++)
        assert_in_range(octaves[i], 97000, 103000); // 100,000 but for the table's steps and chance
}

static void size_ranges_hold(void **state) {
    (void)state;
    static const uint64_t ranges[][2] = {{1, 1},   {1, 2}, {64, 64}, {16, 17}, {1, 1u << 30}, {1u << 30, 1u << 30},
                                         {8, 1000}};
    static const uint64_t draws[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63, 0x00ffffffffffffff};
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
        for (uint32_t kind = SIZES_UNIFORM; kind <= SIZES_LOG_UNIFORM; kind++) {
            struct sizes sizes;
            sizes_init(&sizes, kind, ranges[r][0], ranges[r][1]);
            for (size_t d = 0; d < sizeof draws / sizeof draws[0]; d++)
                assert_in_range(sizes_pick(&sizes, draws[d]), ranges[r][0], ranges[r][1]);
            assert_int_equal(sizes_pick(&sizes, UINT64_MAX), ranges[r][1]);
            assert_int_equal(sizes_pick(&sizes, 0), ranges[r][0]);
        }
    }
}

// An object as a queue sees it: nobody looks into its block here. Every fifth is one that does not fit a word.
static struct object numbered(uint64_t i) {
    static const uint64_t odd[] = {UINT64_C(1) << 63, UINT64_C(1) << 48, 4, 1, 0};
    const uint64_t address = (i + 1) << 3 | (i % 5 == 0 ? odd[i / 5 % 5] : 0);
    const uint64_t bytes = i % 25 == 20 ? 2049 + i : i % 2048 + 1;
    return (struct object){(unsigned char *)(uintptr_t)address, object_meta(bytes, i)};
}

static int is_numbered(struct object object, uint64_t i) {
    const struct object expected = numbered(i);
    return object.block == expected.block && object.meta == expected.meta;
}

static void queue_refuses_when_full(void **state) {
    (void)state;
    uint64_t ring[8];
    struct handover_queue queue;
    handover_init(&queue, ring, 8, 2);
    for (uint64_t round = 0, taken = 0; round < 100; round++) {
        uint64_t given = taken;
        uint64_t words = 0;
        // Short ones only: the ring is full with eight.
        while (
            handover_push(&queue, &(struct object){(unsigned char *)(uintptr_t)(8 * given + 8), object_meta(1, given)}))
            given++;
        assert_int_equal(given - taken, 8);
        assert_false(handover_push(&queue, &(struct object){(unsigned char *)(uintptr_t)4, 0}));
        assert_int_equal(handover_available(&queue), 8);
        for (const uint64_t end = queue.taken + 1 + round % 8; queue.taken != end; taken++) {
            const struct object object = handover_read(&queue, queue.taken, &words);
            assert_int_equal(words, 1);
            assert_true((uintptr_t)object.block == 8 * taken + 8 && object.meta == object_meta(1, taken));
            handover_return(&queue, queue.taken + 1);
        }
        for (; taken < given; taken++) {
            assert_true((uintptr_t)handover_read(&queue, queue.taken, &words).block == 8 * taken + 8);
            handover_return(&queue, queue.taken + 1);
        }
    }
    assert_false(handover_is_closed(&queue));
    handover_close(&queue);
    assert_true(handover_is_closed(&queue));
}

// What is not a whole batch is published by a flush, a close, or a queue that is full.
static void queue_publishes_in_batches(void **state) {
    (void)state;
    uint64_t ring[64];
    struct handover_queue queue;
    uint64_t words = 0;
    handover_init(&queue, ring, 64, 8);
    for (uint64_t i = 1; i <= 20; i++) {
        assert_true(handover_push(&queue, &(struct object){(unsigned char *)(uintptr_t)(8 * i), object_meta(16, i)}));
        assert_int_equal(handover_available(&queue), (i - 1) / 8 * 8);
    }
    handover_flush(&queue);
    assert_int_equal(handover_available(&queue), 20);
    // One of three words is published at once, and with it all before it.
    const struct object large = {(unsigned char *)(uintptr_t)64, object_meta(1 << 20, 7)};
    assert_true(handover_push(&queue, &large));
    assert_int_equal(handover_available(&queue), 23);
    const struct object read = handover_read(&queue, 20, &words);
    assert_true(words == 3 && read.block == large.block && read.meta == large.meta);
    assert_true(handover_push(&queue, &(struct object){(unsigned char *)(uintptr_t)8, object_meta(16, 1)}));
    assert_int_equal(handover_available(&queue), 23);
    handover_close(&queue);
    assert_int_equal(handover_available(&queue), 24);
}

enum { QUEUE_OBJECTS = 300000 };

static void *push_all(void *argument) {
    struct handover_queue *queue = argument;
    for (uint64_t i = 0; i < QUEUE_OBJECTS;) {
        const struct object object = numbered(i);
        if (handover_push(queue, &object))
            i++;
        else
            sched_yield();
    }
    handover_close(queue);
    return NULL;
}

static void queue_keeps_order_between_threads(void **state) {
    (void)state;
    static const uint64_t batches[] = {1, 3, 8, 64};
    static uint64_t ring[64];
    static struct handover_queue queue;
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        pthread_t producer;
        uint64_t next = 0;
        handover_init(&queue, ring, 64, batches[b]);
        assert_int_equal(pthread_create(&producer, NULL, push_all, &queue), 0);
        for (;;) {
            const int is_closed = handover_is_closed(&queue);
            const uint64_t end = queue.taken + handover_available(&queue);
            const int is_empty = queue.taken == end;
            while (queue.taken != end) {
                uint64_t words = 0;
                assert_true(is_numbered(handover_read(&queue, queue.taken, &words), next++));
                handover_return(&queue, queue.taken + words);
            }
            if (is_closed && is_empty)
                break;
            if (is_empty)
                sched_yield();
        }
        pthread_join(producer, NULL);
        assert_int_equal(next, QUEUE_OBJECTS);
    }
}

static void wiring_leads_where_it_says(void **state) {
    (void)state;
    for (uint32_t threads = 2; threads <= 9; threads++) {
        for (uint32_t wiring = 0; wiring <= CORE_CHAIN; wiring++) {
            if (threads % 2 != 0 && (wiring == CORE_PAIRS || wiring == CORE_HALVES))
                continue;
            uint32_t links = 0;
            for (uint32_t t = 0; t < threads; t++) {
                uint32_t reached = 0;
                for (uint32_t i = 0; i < core_out_count(wiring, t, threads); i++, links++) {
                    const uint32_t target = core_target(wiring, t, threads, i);
                    assert_true(target < threads && target != t);
                    assert_false(reached & 1u << target);
                    reached |= 1u << target;
                }
            }
            const uint32_t expected[] = {
                [CORE_RING] = threads,       [CORE_PAIRS] = threads,       [CORE_ALL] = threads * (threads - 1),
                [CORE_FAN_IN] = threads - 1, [CORE_FAN_OUT] = threads - 1, [CORE_ALONE] = 0,
                [CORE_HALVES] = threads / 2, [CORE_CHAIN] = threads - 1};
            assert_int_equal(links, expected[wiring]);
        }
    }
}

static void payload_checks_see_every_touched_byte(void **state) {
    (void)state;
    unsigned char bytes[100];
    const struct object object = {bytes, object_meta(sizeof bytes, 0x15a)};
    assert_int_equal(object_bytes(&object), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        const uint32_t is_end = i == 0 || i == sizeof bytes - 1;
        object_fill(&object, TOUCH_ALL);
        assert_int_equal(object_is_bad(&object, sizeof bytes, TOUCH_ALL, 0xff), 0);
        assert_int_equal(object_is_bad(&object, sizeof bytes, TOUCH_ENDS, 0xff), 0);
        bytes[i] ^= 0x40;
        assert_int_equal(object_is_bad(&object, sizeof bytes, TOUCH_ALL, 0xff), 1);
        assert_int_equal(object_is_bad(&object, sizeof bytes, TOUCH_ENDS, 0xff), is_end);
        assert_int_equal(object_is_bad(&object, sizeof bytes, TOUCH_NONE, 0xff), 0);
        assert_int_equal(object_is_bad(&object, sizeof bytes, TOUCH_ALL, 0), 0);
    }
}

static struct workload_params unset(uint32_t threads) {
    struct workload_params params;
    workload_params_unset(&params);
    params.threads = threads;
    return params;
}

static const char *refusal(const char *name, struct workload_params params) {
    static char why[512];
    assert_false(workload_params_complete(workload_find(name), &params, why, sizeof why));
    return why;
}

// What is not in the table could be set by nobody, and would be missing in the plan's hash and the rows.
static void each_field_is_one_entry_of_the_table(void **state) {
    (void)state;
    unsigned char entries[sizeof(struct workload_params)] = {0};
    size_t covered = WORKLOAD_INPUT_BYTES;
    for (size_t i = 0; i < WORKLOAD_INPUT_BYTES; i++)
        entries[offsetof(struct workload_params, input) + i]++;
    for (size_t i = 0; i < parameter_count; i++)
        for (uint32_t k = 0; k < parameters[i].field_bytes; k++, covered++)
            assert_int_equal(entries[parameters[i].offset + k]++, 0);
    assert_in_range(covered, sizeof entries - (sizeof(uint64_t) - 1), sizeof entries); // less is padding at its end
}

static void refusals_say_what_and_why(void **state) {
    (void)state;
    struct workload_params p = unset(1);
    assert_string_equal(refusal("remote", p), "workload 'remote' needs at least 2 threads (got --threads=1)");
    p.remote_ppm = 500000;
    assert_string_equal(refusal("mixed", p),
                        "workload 'mixed' needs at least 2 threads for remote frees (got --threads=1)");
    assert_string_equal(refusal("local", p), "workload 'local' does not use --remote - leave it out");
    p = unset(3);
    assert_string_equal(refusal("xmalloc", p), "workload 'xmalloc' needs an even number of threads (got --threads=3)");
    p.topology = TOPOLOGY_PAIRS;
    assert_string_equal(refusal("remote", p),
                        "workload 'remote' with --topology=pairs needs an even number of threads (got --threads=3)");
    assert_string_equal(refusal("local", unset(0)), "workload 'local' needs at least 1 thread (got --threads=0)");
    assert_string_equal(refusal("local", unset(257)), "workload 'local': --threads goes from 1 to 256 (got 257)");
    p = unset(1);
    p.min_bytes = 4096;
    assert_string_equal(refusal("local", p),
                        "workload 'local': the smallest size, 4096, is above the largest, 2048 - give both ends");
    p.min_bytes = 0;
    assert_string_equal(refusal("local", p), "workload 'local': --sizes goes from 1 to 1073741824 (got 0)");
    p = unset(2);
    p.remote_ppm = 1000001;
    assert_string_equal(refusal("remote", p),
                        "workload 'remote': --remote is a share and ends at 100 % (got 100.0001 %)");
    p = unset(1);
    p.ops = 7;
    assert_string_equal(refusal("churn", p), "workload 'churn' derives its operations from --working-set and --rounds: "
                                             "50000 here, not 7 - leave --ops out");
    p = unset(256);
    p.working_set = UINT64_C(1) << 30;
    assert_string_equal(refusal("local", p), "workload 'local' would need more than 64 GiB of harness memory - use a "
                                             "smaller --working-set or fewer --threads");
    p.working_set = UINT64_MAX - 1;
    assert_string_equal(refusal("local", p),
                        "workload 'local': --working-set goes from 1 to 1073741824 (got 18446744073709551614)");
    p = unset(1);
    p.ops = 0;
    assert_string_equal(refusal("local", p), "workload 'local': --ops goes from 1 to 1099511627776 (got 0)");
}

static void completion_is_idempotent(void **state) {
    (void)state;
    for (size_t i = 0; workloads[i] != NULL; i++) {
        char why[512] = "";
        struct workload_params once = unset(4);
        if (!driver_runs(workloads[i]) && !workloads[i]->is_program)
            continue; // its parameters come from a file
        snprintf(once.input, sizeof once.input, "%s", driver_input(workloads[i]));
        assert_true(workload_params_complete(workloads[i], &once, why, sizeof why));
        struct workload_params twice = once;
        assert_true(workload_params_complete(workloads[i], &twice, why, sizeof why));
        assert_memory_equal(&once, &twice, sizeof once);
        assert_ptr_equal(workload_find(workloads[i]->name), workloads[i]);
        assert_true((workload_memory_bytes(workloads[i], &once) > 0) != workloads[i]->is_program);
    }
}

static void memory_sums_saturate(void **state) {
    (void)state;
    struct workload_params params = unset(256);
    const struct core_shape shape = {.slots = UINT64_MAX / 4, .wiring = CORE_ALL};
    params.sizes = SIZES_UNIFORM;
    assert_true(core_memory_bytes(&params, &shape) == UINT64_MAX);
}

static void slips_find_their_name(void **state) {
    (void)state;
    assert_string_equal(workload_did_you_mean("remot"), "remote");
    assert_string_equal(workload_did_you_mean("lcoal"), "local");
    assert_string_equal(workload_did_you_mean("fill-9"), "fill-90");
    assert_null(workload_did_you_mean("database"));
    assert_null(workload_did_you_mean("a-name-that-is-much-longer-than-any-workload-has"));
    assert_null(workload_find("remot"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generators_match_published_vectors),
        cmocka_unit_test(streams_start_apart),
        cmocka_unit_test(bounded_numbers_are_uniform),
        cmocka_unit_test(successive_slots_are_independent),
        cmocka_unit_test(selection_is_exact),
        cmocka_unit_test(selection_favours_no_position),
        cmocka_unit_test(uniform_sizes_reach_both_ends),
        cmocka_unit_test(log_uniform_octaves_are_equal),
        cmocka_unit_test(size_ranges_hold),
        cmocka_unit_test(queue_refuses_when_full),
        cmocka_unit_test(queue_publishes_in_batches),
        cmocka_unit_test(queue_keeps_order_between_threads),
        cmocka_unit_test(wiring_leads_where_it_says),
        cmocka_unit_test(payload_checks_see_every_touched_byte),
        cmocka_unit_test(each_field_is_one_entry_of_the_table),
        cmocka_unit_test(refusals_say_what_and_why),
        cmocka_unit_test(completion_is_idempotent),
        cmocka_unit_test(memory_sums_saturate),
        cmocka_unit_test(slips_find_their_name),
    };
    return cmocka_run_group_tests_name("workload parts", tests, NULL, NULL);
}
