// SPDX-License-Identifier: Apache-2.0
// Every workload, run in this process: the same events for every allocator, exact remote shares, nothing leaked, damage
// noticed, and no deadlock when memory runs out. Layer: tests.
#include "driver.h"

#include "../../workloads/core.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNSET64 UINT64_MAX

#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#else
#define WITH_TSAN 0
#endif

// For null, whose blocks all share their memory: several threads must not touch it, that would be a race.
static struct workload_params untouched(struct workload_params params) {
    params.touch = params.threads > 1 ? TOUCH_NONE : TOUCH_ENDS;
    return params;
}

// Parameters small enough for a test, for any workload.
static struct workload_params small(const struct workload *workload, uint32_t threads, uint64_t seed) {
    struct workload_params params = driver_unset(threads);
    params.seed = seed;
    snprintf(params.input, sizeof params.input, "%s", driver_input(workload));
    if (workload->defaults.ops != UNSET64)
        params.ops = 20001;
    if (workload->used_params & WORKLOAD_USES_WORKING_SET)
        params.working_set = workload->defaults.ops != UNSET64 ? 100 : 1000;
    if (workload->used_params & WORKLOAD_USES_ROUNDS)
        params.rounds = 8;
    if (workload->defaults.max_bytes > 65536 && workload->used_params & WORKLOAD_USES_SIZES) {
        params.min_bytes = 16;
        params.max_bytes = workload->defaults.ops != UNSET64 ? 65536 : 2048; // growing takes many steps
    }
    return params;
}

static uint32_t even(const struct workload *workload, uint32_t threads) {
    return threads < workload->min_threads ? workload->min_threads : threads + (workload->even_threads & threads & 1);
}

static void same_events_for_all_allocators(void **state) {
    (void)state;
    const struct allocator system = driver_system();
    const struct allocator null = driver_null();
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        for (uint32_t threads = 1; threads <= 4; threads++) {
            const uint32_t n = even(w, threads);
            const struct driver_outcome a = driver_run(w->name, small(w, n, 1), &system);
            const struct driver_outcome b = driver_run(w->name, untouched(small(w, n, 1)), &null);
            const struct driver_outcome c = driver_run(w->name, small(w, n, 1), &system);
            const struct driver_outcome d = driver_run(w->name, untouched(small(w, n, 2)), &null);
            assert_true(a.hash == b.hash && a.hash == c.hash);
            assert_true(a.allocs == b.allocs && a.live_work == b.live_work);
            assert_true(a.frees_local == b.frees_local && a.frees_remote == b.frees_remote);
            assert_int_equal(a.corruptions + b.corruptions + c.corruptions, 0);
            assert_int_equal(a.failures + b.failures, 0);
            assert_int_equal(a.live_end, 0);
            assert_int_equal(b.live_end, 0);
            // With a fixed size and no slots, or with sizes in steps, there is nothing to seed.
            if ((w->defaults.min_bytes != w->defaults.max_bytes || w->used_params & WORKLOAD_USES_INPUT) &&
                strcmp(w->name, "phase") != 0 && strncmp(w->name, "grow", 4) != 0)
                assert_true(a.hash != d.hash);
        }
    }
}

// What rows are compared by: two versions whose events differ measure different work. Two threads, seed 1, the
// parameters of `small`. A workload that is changed on purpose gets a new name or a new figure here.
static void events_are_as_ever(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t hash;
    } known[] = {
        {"local", UINT64_C(0x2ce95482982857be)},
        {"remote", UINT64_C(0xd6de1b4fb8a3fc20)},
        {"mixed", UINT64_C(0x69def4b38ca1028e)},
        {"larson", UINT64_C(0x39ea44fd3771d64c)},
        {"xmalloc", UINT64_C(0xa23dd3ae0db322b0)},
        {"pipeline", UINT64_C(0x2655680102cf1a57)},
        {"churn", UINT64_C(0x7302dc60853c204e)},
        {"phase", UINT64_C(0x1b74183fb12ab33e)},
        {"bleed", UINT64_C(0xb44f4226acade961)},
        {"large", UINT64_C(0x088147b2da6e556e)},
        {"pingpong", UINT64_C(0x1ebc3c835fef7eac)},
        {"burst-lifo", UINT64_C(0x7a7b9df6093ff2f5)},
        {"burst-fifo", UINT64_C(0xde49d37958a646e2)},
        {"burst-random", UINT64_C(0x0d6aa5e1423a1bb7)},
        {"replace", UINT64_C(0xb266d4736d0d98e1)},
        {"fill-50", UINT64_C(0x7e1538cd563e6d56)},
        {"fill-90", UINT64_C(0x194db188047ce29c)},
        {"fill-99", UINT64_C(0x4e290b08e40ac536)},
        {"idle", UINT64_C(0x1c1f132e060e3e3a)},
        {"fresh", UINT64_C(0xdc2bfd6cfd91a08b)},
        {"grow-double", UINT64_C(0x19d357fa72854dae)},
        {"grow-step", UINT64_C(0x22d5753e6c40de59)},
        {"aligned", UINT64_C(0xfa8cc450245e8e6d)},
        {"sharing-thrash", UINT64_C(0x0770f721f788c096)},
        {"sharing-scratch", UINT64_C(0xb811a26a1db6f64d)},
        {"odd-sizes", UINT64_C(0x01b6421e48b51a88)},
        {"spikes", UINT64_C(0xe42af217713142d3)},
        {"drift", UINT64_C(0xbf693381b4121bcb)},
        {"values", UINT64_C(0xd1ff3a65acea9de7)},
        {"pool-turns", UINT64_C(0x158bc3ae71f1da3f)},
        {"sleeping-producer", UINT64_C(0x0409a82269b55142)},
        {"requests", UINT64_C(0xbec5145c0a5a449c)},
        {"fleet", UINT64_C(0xdbe464d2f83f1439)},
        {"profile", UINT64_C(0x689b32c7673811c7)},
    };
    const struct allocator null = driver_null();
    size_t found = 0;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct driver_outcome outcome =
            driver_run(workloads[i]->name, untouched(small(workloads[i], 2, 1)), &null);
        size_t at = 0;
        while (at < sizeof known / sizeof known[0] && strcmp(known[at].name, workloads[i]->name) != 0)
            at++;
        if (at == sizeof known / sizeof known[0] || known[at].hash != outcome.hash) {
            fail_msg("{\"%s\", UINT64_C(0x%016" PRIx64 ")} is not in the table of events", workloads[i]->name,
                     outcome.hash);
        }
        found++;
    }
    assert_true(found == sizeof known / sizeof known[0]);
}

// A run whose events do not fit draws them in windows, with the same result.
static void windows_change_no_event(void **state) {
    (void)state;
    const struct allocator null = driver_null();
    const uint64_t all_bytes = core_stream_bytes;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        const struct workload_params params = untouched(small(w, 2, 1));
        const struct driver_outcome whole = driver_run(w->name, params, &null);
        core_stream_bytes = 1;
        const struct driver_outcome in_windows = driver_run(w->name, params, &null);
        core_stream_bytes = all_bytes;
        assert_true(whole.hash == in_windows.hash && whole.live_work == in_windows.live_work);
        assert_true(whole.allocs == in_windows.allocs && whole.frees_local == in_windows.frees_local);
        assert_true(whole.frees_remote == in_windows.frees_remote);
        assert_int_equal(in_windows.live_end, 0);
    }
}

// Sizes beyond what an event's first word holds are in a second one.
static void wide_events_are_like_narrow_ones(void **state) {
    (void)state;
    const struct allocator system = driver_system();
    for (uint32_t threads = 1; threads <= 2; threads++) {
        struct workload_params params = driver_unset(threads);
        params.ops = 300;
        params.working_set = 4;
        params.min_bytes = 1;
        params.max_bytes = (16 << 20) + 5;
        params.sizes = SIZES_LOG_UNIFORM;
        static const char *const names[] = {"local", "mixed"};
        for (size_t i = 0; i < 2; i++) {
            const struct driver_outcome outcome = driver_run(names[i], params, &system);
            assert_true(outcome.allocs == threads * 300 && outcome.corruptions == 0 && outcome.live_end == 0);
        }
    }
}

static void events_not_executed_are_noticed(void **state) {
    (void)state;
    char why[512] = "";
    struct workload_run run = {.workload = workload_find("local"), .params = driver_unset(1)};
    run.params.ops = 1000;
    assert_true(workload_params_complete(run.workload, &run.params, why, sizeof why));
    const uint64_t bytes = workload_memory_bytes(run.workload, &run.params);
    run.memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    assert_non_null(run.memory);
    memset(run.memory, 0, bytes);
    workload_prepare(&run);
    core_draw_ahead(&run, 0);
    struct core_stream *stream = &core_thread_of(&run, 0)->stream;
    assert_int_equal(stream->filled, 1000);
    stream->next = 1000;
    stream->done_sum = stream->drawn_sum;
    core_check_executed(&run, 0);
    assert_string_equal(run.trouble, "");
    stream->done_sum -= stream->words[999];
    core_check_executed(&run, 0);
    assert_non_null(strstr(run.trouble, "has not executed the events that it drew"));
    free(run.memory);
}

static void every_block_is_freed_once(void **state) {
    (void)state;
    const struct allocator counting = driver_counting();
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        for (uint32_t touch = TOUCH_NONE; touch <= TOUCH_ALL; touch++) {
            struct workload_params params = small(w, even(w, 3), 5);
            params.touch = touch;
            driver_balance_reset();
            const struct driver_outcome outcome = driver_run(w->name, params, &counting);
            assert_int_equal(driver_balance(), 0);
            assert_int_equal(outcome.corruptions, 0);
        }
    }
}

// The heap is aged by the same events for every allocator, the measured part that follows is what it is on a fresh one,
// and all is freed at the end.
static void ageing_changes_the_heap_and_no_event(void **state) {
    (void)state;
    static const uint64_t known[AGE_COUNT] = {0, UINT64_C(0x9112780a7c12b9a1), UINT64_C(0x0837b2af6c2392c8),
                                              UINT64_C(0xdccae77e342932fd)};
    const struct allocator counting = driver_counting();
    const struct allocator null = driver_null();
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        if (!(w->used_params & WORKLOAD_USES_SIZES))
            continue;
        const uint32_t threads = even(w, 2);
        const struct driver_outcome fresh = driver_run(w->name, untouched(small(w, threads, 1)), &null);
        uint64_t seen = 0;
        for (uint32_t age = AGE_NONE + 1; age < AGE_COUNT; age++) {
            struct workload_params params = small(w, threads, 1);
            params.age = age;
            params.age_bytes = 400000;
            params.age_live_ppm = 250000;
            driver_balance_reset();
            const struct driver_outcome a = driver_run(w->name, params, &counting);
            const struct driver_outcome b = driver_run(w->name, untouched(params), &null);
            assert_int_equal(driver_balance(), 0);
            assert_int_equal(a.live_end, 0);
            assert_int_equal(a.corruptions, 0);
            assert_true(a.hash == fresh.hash && b.hash == fresh.hash);
            assert_true(a.age_hash == b.age_hash && a.age_hash != seen);
            assert_true(a.live_aged == b.live_aged && a.live_aged > 0);
            assert_true(a.live_work - fresh.live_work == a.live_aged);
            assert_in_range(a.live_aged, 1, threads * 400000 / 2);
            if (strcmp(w->name, "local") == 0 && a.age_hash != known[age])
                fail_msg("ageing %u of 'local' has the events 0x%016" PRIx64, age, a.age_hash);
            seen = a.age_hash;
        }
    }
}

static void bad_ageing_is_refused(void **state) {
    (void)state;
    char why[512];
    const struct workload *local = workload_find("local");
    struct workload_params params = driver_unset(1);
    params.age_bytes = 1000; // of no kind
    assert_false(workload_params_complete(local, &params, why, sizeof why));
    assert_non_null(strstr(why, "--age"));
    params = driver_unset(1);
    params.age = AGE_CHURN;
    assert_true(workload_params_complete(local, &params, why, sizeof why));
    assert_int_equal(params.age_bytes, 64 << 20);
    assert_int_equal(params.age_live_ppm, 100000);
    params = driver_unset(1);
    params.age = AGE_CHURN;
    snprintf(params.input, sizeof params.input, "mix");
    assert_false(workload_params_complete(workload_find("fleet"), &params, why, sizeof why));
    assert_non_null(strstr(why, "does not use --age"));
}

static void remote_share_is_exact(void **state) {
    (void)state;
    static const uint32_t shares[] = {0, 10000, 100000, 500000, 900000, 1000000};
    static const uint32_t thread_counts[] = {2, 3, 4, 8};
    const uint64_t ops = 9973;
    const struct allocator null = driver_null();
    for (uint32_t topology = 0; topology < TOPOLOGY_COUNT; topology++) {
        for (size_t t = 0; t < 4; t++) {
            const uint32_t threads = thread_counts[t];
            if (topology == TOPOLOGY_PAIRS && threads % 2 != 0)
                continue;
            const uint32_t producers = topology == TOPOLOGY_FAN_IN    ? threads - 1
                                       : topology == TOPOLOGY_FAN_OUT ? 1
                                                                      : threads;
            for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
                struct workload_params params = driver_unset(threads);
                params.topology = topology;
                params.remote_ppm = shares[s];
                params.ops = ops;
                params.working_set = 50;
                const struct driver_outcome outcome = driver_run("remote", untouched(params), &null);
                const uint64_t wanted = (ops * shares[s] + 500000) / 1000000;
                assert_true(outcome.frees_remote == producers * wanted);
                assert_true(outcome.frees_local == producers * (ops - wanted));
                assert_true(outcome.allocs == producers * ops);
            }
        }
    }
}

static void promised_remote_frees_are_made(void **state) {
    (void)state;
    const struct allocator system = driver_system();
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        for (uint32_t threads = 2; threads <= 8 && w->remote_frees != NULL; threads += 2) {
            char why[512] = "";
            struct workload_params params = small(w, threads, 9);
            assert_true(workload_params_complete(w, &params, why, sizeof why));
            const struct driver_outcome outcome = driver_run(w->name, params, &system);
            assert_true(outcome.frees_remote == w->remote_frees(&params));
        }
    }
}

static void ops_are_met(void **state) {
    (void)state;
    const struct allocator null = driver_null();
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        if (w->used_params & WORKLOAD_USES_DURATION && w->min_threads == 1 && w->derived_ops == NULL) {
            const struct driver_outcome outcome = driver_run(w->name, untouched(small(w, 1, 3)), &null);
            assert_true(outcome.allocs == 20001);
            assert_true(outcome.frees_local + outcome.frees_remote == 20001);
        }
    }
    const struct driver_outcome larson = driver_run("larson", untouched(small(workload_find("larson"), 2, 3)), &null);
    assert_true(larson.allocs == 2 * 20001);
    assert_true(larson.frees_remote > 0); // of dead generations
}

static void clock_ends_a_run(void **state) {
    (void)state;
    const struct allocator system = driver_system();
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        if (w->used_params & WORKLOAD_USES_DURATION) {
            struct workload_params params = small(w, even(w, 2), 3);
            params.ops = UNSET64;
            params.duration_ns = 5000000;
            const struct driver_outcome outcome = driver_run(w->name, params, &system);
            assert_true(outcome.allocs > 0);
            assert_int_equal(outcome.corruptions, 0);
            assert_int_equal(outcome.live_end, 0);
        }
    }
}

// Broken on purpose. Every 97th allocation gets the block of the one before; nothing is ever reused.

static _Thread_local void *last_block;
static _Thread_local size_t last_bytes;
static _Thread_local unsigned calls;

static void *overlapping_alloc(size_t bytes) {
    static _Atomic size_t used;
    static _Alignas(4096) unsigned char arena[400u << 20];
    if (++calls % 97 == 0 && last_bytes >= bytes)
        return last_block;
    const size_t rounded = (bytes + 15) & ~(size_t)15;
    const size_t at = atomic_fetch_add_explicit(&used, rounded, memory_order_relaxed);
    if (at + rounded > sizeof arena)
        return NULL;
    last_block = &arena[at];
    last_bytes = bytes;
    return last_block;
}

static void keep(void *block) {
    (void)block;
}

// One object at a time cannot overlap another; what grows does so through libc's realloc.
static int cannot_overlap(const char *name) {
    static const char *const names[] = {"pingpong", "sharing-thrash", "sharing-scratch", "grow-double", "grow-step"};
    int is_one = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        is_one |= strcmp(name, names[i]) == 0;
    return is_one;
}

// No other calls than malloc, where the workload has them.
static void malloc_alone(const struct workload *w, struct workload_params *params) {
    params->realloc_ppm = w->used_params & WORKLOAD_USES_REALLOC ? 0 : UINT32_MAX;
    params->aligned_ppm = w->used_params & WORKLOAD_USES_ALIGNED ? 0 : UINT32_MAX;
    params->calloc_ppm = w->used_params & WORKLOAD_USES_CALLOC ? 0 : UINT32_MAX;
}

static void overlap_is_noticed(void **state) {
    (void)state;
    if (WITH_TSAN)
        skip(); // overlapping blocks are a race, which is the point
    struct allocator broken = driver_system();
    broken.alloc = overlapping_alloc;
    broken.free = keep;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        if (cannot_overlap(w->name))
            continue;
        struct workload_params params = small(w, even(w, 2), 4);
        params.min_bytes = w->used_params & WORKLOAD_USES_SIZES ? 16 : UNSET64;
        params.max_bytes = w->used_params & WORKLOAD_USES_SIZES ? 64 : UNSET64;
        // Other calls than malloc would go to libc, which must not see this arena.
        malloc_alone(w, &params);
        if (params.ops != UNSET64)
            params.ops = 5000;
        const struct driver_outcome outcome = driver_run(w->name, params, &broken);
        if (outcome.corruptions == 0)
            fail_msg("workload '%s' has not noticed overlapping blocks", w->name);
    }
}

// All blocks are one: every object but the newest is damaged.
static void *same_block(size_t bytes) {
    static unsigned char block[4096];
    return bytes <= sizeof block ? block : NULL;
}

_Static_assert(RECEIVER_COUNT == 2 && FREE_COUNT == 2, "expect_same_events() tries both");

// Both values of a parameter, which is part of `params`, give the same events, and no block is lost or freed twice.
static void expect_same_events(const struct workload *w, struct workload_params *params, uint32_t *parameter) {
    const struct allocator counting = driver_counting();
    for (params->touch = TOUCH_NONE; params->touch <= TOUCH_ALL; params->touch++) {
        struct driver_outcome outcomes[2];
        for (*parameter = 0; *parameter < 2; ++*parameter) {
            driver_balance_reset();
            outcomes[*parameter] = driver_run(w->name, *params, &counting);
            assert_int_equal(driver_balance(), 0);
            assert_int_equal(outcomes[*parameter].corruptions, 0);
        }
        assert_true(outcomes[0].hash == outcomes[1].hash && outcomes[0].live_work == outcomes[1].live_work);
        assert_true(outcomes[0].frees_local == outcomes[1].frees_local);
        assert_true(outcomes[0].frees_remote == outcomes[1].frees_remote);
    }
}

// With --receiver=frees the events stay, each block is still freed once, and of the objects that were handed over one
// in OBJECT_SAMPLE is verified: by drains and, in `pipeline`, by the stages in between.
static void unread_objects_are_verified_by_sample(void **state) {
    (void)state;
    struct allocator broken = driver_system();
    broken.alloc = same_block;
    broken.free = keep;
    uint32_t count = 0;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        if (!(w->used_params & WORKLOAD_USES_HANDOVER))
            continue;
        count++;
        struct workload_params params = small(w, even(w, 4), 6);
        expect_same_events(w, &params, &params.receiver);
        if (WITH_TSAN || !(w->used_params & WORKLOAD_USES_SIZES))
            continue; // blocks of several threads that overlap are a race
        malloc_alone(w, &params);
        params.touch = TOUCH_ENDS;
        params.min_bytes = 16;
        params.max_bytes = 4096; // of one word and of three
        params.remote_ppm = w->used_params & WORKLOAD_USES_REMOTE ? 1000000 : UINT32_MAX;
        params.receiver = RECEIVER_READS;
        const struct driver_outcome read = driver_run(w->name, params, &broken);
        params.receiver = RECEIVER_FREES;
        const struct driver_outcome unread = driver_run(w->name, params, &broken);
        assert_true(read.hash == unread.hash);
        // The slots' objects are verified at the end in both.
        const uint64_t slots = w->used_params & WORKLOAD_USES_WORKING_SET ? params.threads * params.working_set : 0;
        assert_true(read.corruptions > read.frees_remote / 2);
        assert_true(unread.corruptions > unread.frees_remote / OBJECT_SAMPLE / 2);
        assert_true(unread.corruptions < unread.frees_remote * 3 / 2 / OBJECT_SAMPLE + slots);
    }
    assert_true(count >= 4);
}

// With --free=cold the events stay, each block is still freed once, and for OBJECT_SAMPLE allocations one live object
// is verified, besides those that live to the end.
static void cold_frees_are_verified_by_sample(void **state) {
    (void)state;
    struct allocator broken = driver_system();
    broken.alloc = same_block;
    broken.free = keep;
    uint32_t count = 0;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        if (!(w->used_params & WORKLOAD_USES_WORKING_SET))
            continue;
        count++;
        struct workload_params params = small(w, even(w, 2), 7);
        expect_same_events(w, &params, &params.own_free);
        if (WITH_TSAN || cannot_overlap(w->name) || !(w->used_params & WORKLOAD_USES_SIZES))
            continue;
        malloc_alone(w, &params);
        params.touch = TOUCH_ENDS;
        params.min_bytes = 16;
        params.max_bytes = 4096; // of one word and of three
        params.remote_ppm = w->used_params & WORKLOAD_USES_REMOTE ? 0 : UINT32_MAX;
        params.own_free = FREE_WARM;
        const struct driver_outcome warm = driver_run(w->name, params, &broken);
        params.own_free = FREE_COLD;
        const struct driver_outcome cold = driver_run(w->name, params, &broken);
        assert_true(warm.hash == cold.hash);
        const uint64_t freed = warm.frees_local + warm.frees_remote;
        // Both verify what lives to the end; warm verifies each object that is freed, too.
        if (warm.corruptions < cold.corruptions + freed / 2)
            fail_msg("workload '%s' verifies cold what it frees", w->name);
        if (cold.corruptions < warm.allocs / OBJECT_SAMPLE / 4)
            fail_msg("workload '%s' verifies too little of what it frees cold", w->name);
    }
    assert_true(count >= 20);
}

static void *forgetful_realloc(void *block, size_t bytes) {
    free(block);
    unsigned char *moved = malloc(bytes);
    memset(moved, 0xee, bytes);
    return moved;
}

static void *dirty_calloc(size_t count, size_t bytes) {
    unsigned char *block = malloc(count * bytes);
    memset(block, 1, count * bytes);
    return block;
}

static void *unaligned_alloc(size_t alignment, size_t bytes) {
    (void)alignment;
    return malloc(bytes);
}

static void mixed_checks_each_call_it_makes(void **state) {
    (void)state;
    const struct workload *mixed = workload_find("mixed");
    for (int broken = 0; broken < 3; broken++) {
        struct allocator table = driver_system();
        struct workload_params params = small(mixed, 1, 8);
        params.max_bytes = 4096;
        table.realloc = broken == 0 ? forgetful_realloc : table.realloc;
        table.calloc = broken == 1 ? dirty_calloc : table.calloc;
        table.alloc_aligned = broken == 2 ? unaligned_alloc : table.alloc_aligned;
        for (uint32_t touch = TOUCH_ENDS; touch <= TOUCH_ALL; touch++) {
            params.touch = touch;
            assert_true(driver_run("mixed", params, &table).corruptions > 100);
        }
    }
}

// Memory that runs out: after so many allocations there is no more.

static _Atomic int64_t allowance;

static int may_allocate(void) {
    return atomic_fetch_sub_explicit(&allowance, 1, memory_order_relaxed) > 0;
}

static void growth_is_checked_and_complete(void **state) {
    (void)state;
    struct allocator forgetful = driver_system();
    const struct allocator system = driver_system();
    forgetful.realloc = forgetful_realloc;
    static const struct {
        const char *name;
        uint64_t steps; // from 64 B to 4 KiB
    } kinds[] = {{"grow-double", 6}, {"grow-step", 63}};
    for (size_t i = 0; i < 2; i++) {
        struct workload_params params = driver_unset(2);
        params.working_set = 3;
        params.rounds = 5;
        params.min_bytes = 64;
        params.max_bytes = 4096;
        const struct driver_outcome good = driver_run(kinds[i].name, params, &system);
        assert_true(good.allocs == 2 * 15 && good.frees_local == 2 * 15 && good.corruptions == 0);
        const struct driver_outcome bad = driver_run(kinds[i].name, params, &forgetful);
        assert_true(bad.corruptions >= 2 * 15 * kinds[i].steps * 9 / 10); // a payload of 0xee looks right
    }
}

static _Atomic uint32_t shared_lines;

// Hands out 16 bytes at a time from one array to all threads in turn: the worst an allocator can do.
static void *crowded_alloc(size_t bytes) {
    static _Alignas(64) unsigned char arena[64][16];
    static _Atomic uint32_t next;
    (void)bytes;
    const uint32_t at = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shared_lines, at < 64, memory_order_relaxed);
    return at < 64 ? arena[at] : malloc(bytes);
}

static void crowded_free(void *block) {
    (void)block; // what came from malloc leaks; the test is short
}

static void scratch_hands_out_neighbours(void **state) {
    (void)state;
    struct allocator crowded = driver_system();
    crowded.alloc = crowded_alloc;
    crowded.free = crowded_free;
    struct workload_params params = driver_unset(4);
    params.ops = 100;
    params.rounds = 3;
    const struct driver_outcome outcome = driver_run("sharing-scratch", params, &crowded);
    assert_true(outcome.frees_remote == 3 && outcome.frees_local == 4 * 100 - 3);
    assert_true(outcome.corruptions == 0);
    assert_true(atomic_load_explicit(&shared_lines, memory_order_relaxed) == 64);
}

static void *scarce_alloc(size_t bytes) {
    return may_allocate() ? malloc(bytes) : NULL;
}

static void *scarce_aligned(size_t alignment, size_t bytes) {
    return may_allocate() ? aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1)) : NULL;
}

static void *scarce_calloc(size_t count, size_t bytes) {
    return may_allocate() ? calloc(count, bytes) : NULL;
}

static void *scarce_realloc(void *block, size_t bytes) {
    return may_allocate() ? realloc(block, bytes) : NULL;
}

static void running_out_ends_the_run(void **state) {
    (void)state;
    static const int64_t allowances[] = {0, 1, 150, 1500, 4000};
    struct allocator scarce = driver_system();
    scarce.alloc = scarce_alloc;
    scarce.alloc_aligned = scarce_aligned;
    scarce.calloc = scarce_calloc;
    scarce.realloc = scarce_realloc;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        const struct workload *w = workloads[i];
        for (uint32_t topology = 0; topology < TOPOLOGY_COUNT; topology++) {
            const int has_topology = (w->used_params & WORKLOAD_USES_TOPOLOGY) != 0;
            if (!has_topology && topology > 0)
                break;
            for (size_t a = 0; a < sizeof allowances / sizeof allowances[0]; a++) {
                struct workload_params params = small(w, 4, 6);
                params.topology = has_topology ? topology : UINT32_MAX;
                atomic_store_explicit(&allowance, allowances[a], memory_order_relaxed);
                const struct driver_outcome outcome = driver_run(w->name, params, &scarce);
                assert_true(outcome.failures > 0);
                assert_int_equal(outcome.corruptions, 0);
                assert_int_equal(outcome.live_end, 0);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_events_for_all_allocators),
        cmocka_unit_test(events_are_as_ever),
        cmocka_unit_test(windows_change_no_event),
        cmocka_unit_test(wide_events_are_like_narrow_ones),
        cmocka_unit_test(events_not_executed_are_noticed),
        cmocka_unit_test(every_block_is_freed_once),
        cmocka_unit_test(ageing_changes_the_heap_and_no_event),
        cmocka_unit_test(bad_ageing_is_refused),
        cmocka_unit_test(remote_share_is_exact),
        cmocka_unit_test(promised_remote_frees_are_made),
        cmocka_unit_test(ops_are_met),
        cmocka_unit_test(clock_ends_a_run),
        cmocka_unit_test(overlap_is_noticed),
        cmocka_unit_test(unread_objects_are_verified_by_sample),
        cmocka_unit_test(cold_frees_are_verified_by_sample),
        cmocka_unit_test(mixed_checks_each_call_it_makes),
        cmocka_unit_test(growth_is_checked_and_complete),
        cmocka_unit_test(scratch_hands_out_neighbours),
        cmocka_unit_test(running_out_ends_the_run),
    };
    return cmocka_run_group_tests_name("workloads", tests, NULL, NULL);
}
