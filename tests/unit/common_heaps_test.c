// SPDX-License-Identifier: Apache-2.0
// The registry of heaps and their life cycle, with heaps that are nothing but a queue.
#include "../../allocators/common/fork.h"
#include "../../allocators/common/heaps.h"
#include "../../allocators/common/hzn.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 4
#define HEAPS_EACH 10000
#define ROUNDS 20000u

struct test_heap {
    struct hz_heap common;
    _Atomic uint32_t queue; // pushed and not drained
    uint32_t late;          // pushed by whoever drains it, behind each drain
    uint32_t drained;       // of the holder
    _Atomic uint32_t holders;
    int is_broken;
};

static struct test_heap *of(struct hz_heap *heap) {
    return (struct test_heap *)(void *)heap;
}

static struct hz_heap *own;

_Atomic uint32_t hz_fork_is_coming;

struct hz_heap *hzn_heap_of_thread(void) {
    return own;
}

int hzn_heap_has_remote(struct hz_heap *heap) {
    // ORDER: seq_cst: after the status; partner: push().
    return atomic_load_explicit(&of(heap)->queue, memory_order_seq_cst) != 0;
}

void hzn_heap_drain(struct hz_heap *heap) {
    assert_int_equal(hz_status_peek(&heap->status), HZ_HEAP_ACQUIRED);
    assert_int_equal(atomic_fetch_add_explicit(&of(heap)->holders, 1, memory_order_relaxed), 0);
    of(heap)->drained += atomic_exchange_explicit(&of(heap)->queue, 0, memory_order_relaxed);
    if (of(heap)->late > 0) {
        of(heap)->late--;
        atomic_store_explicit(&of(heap)->queue, 1, memory_order_relaxed);
    }
    atomic_fetch_sub_explicit(&of(heap)->holders, 1, memory_order_relaxed);
}

int hzn_heap_is_whole(struct hz_heap *heap) {
    return !of(heap)->is_broken && hz_status_peek(&heap->status) != HZ_HEAP_ACQUIRED;
}

static int forget_all(void **state) {
    (void)state;
    memset(&hz_heaps, 0, sizeof hz_heaps);
    own = NULL;
    atomic_store_explicit(&hz_fork_is_coming, 0, memory_order_relaxed);
    return 0;
}

static void begin(struct test_heap *heap) {
    memset(heap, 0, sizeof *heap);
    hz_status_begin(&heap->common.status);
    assert_int_equal(hz_heap_register(&heap->common), 1);
}

static enum hz_heap_status status_of(const struct test_heap *heap) {
    return (enum hz_heap_status)hz_status_peek(&heap->common.status);
}

static void registers_in_order_until_all_ids_are_taken(void **state) {
    (void)state;
    struct test_heap *heaps = calloc(HZ_MAX_HEAPS + 1, sizeof *heaps);
    assert_non_null(heaps);
    for (uint32_t i = 0; i < HZ_MAX_HEAPS; i++) {
        begin(heaps + i);
        assert_int_equal(heaps[i].common.id, i + 1);
        assert_ptr_equal(hz_heap_by_id(i + 1), &heaps[i].common);
    }
    assert_int_equal(hz_heap_count(), HZ_MAX_HEAPS);
    assert_int_equal(hz_heap_register(&heaps[HZ_MAX_HEAPS].common), 0);
    assert_int_equal(hz_heap_count(), HZ_MAX_HEAPS);
    free(heaps);
}

static pthread_barrier_t together;

static void *register_many(void *argument) {
    struct test_heap *heaps = argument;
    pthread_barrier_wait(&together);
    for (int i = 0; i < HEAPS_EACH; i++) {
        hz_status_begin(&heaps[i].common.status);
        if (!hz_heap_register(&heaps[i].common))
            return argument;
    }
    return NULL;
}

static void threads_get_ids_of_their_own(void **state) {
    (void)state;
    static struct test_heap heaps[THREADS][HEAPS_EACH];
    pthread_t threads[THREADS];
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, register_many, heaps[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failure;
        assert_int_equal(pthread_join(threads[i], &failure), 0);
        assert_null(failure);
    }
    assert_int_equal(hz_heap_count(), THREADS * HEAPS_EACH);
    for (int i = 0; i < THREADS * HEAPS_EACH; i++) {
        struct hz_heap *heap = &heaps[i / HEAPS_EACH][i % HEAPS_EACH].common;
        assert_in_range(heap->id, 1, THREADS * HEAPS_EACH);
        assert_ptr_equal(hz_heap_by_id(heap->id), heap);
    }
}

static void a_place_that_is_taken_and_not_counted_is_counted(void **state) {
    (void)state;
    struct test_heap stopped = {.common.id = 1}; // its thread was stopped between the two
    struct test_heap heap;
    atomic_store_explicit(&hz_heaps.by_id[1], &stopped.common, memory_order_relaxed);
    begin(&heap);
    assert_int_equal(heap.common.id, 2);
    assert_ptr_equal(hz_heap_by_id(1), &stopped.common);
    assert_ptr_equal(hz_heap_by_id(2), &heap.common);
    assert_int_equal(hz_heap_count(), 2);
}

static void an_abandoned_heap_is_acquired_once_and_reclaimed(void **state) {
    (void)state;
    struct test_heap first, second;
    begin(&first);
    begin(&second);
    assert_int_equal(hz_heap_acquire(&first.common), 0); // it is alive
    assert_null(hz_heap_reclaim());
    hz_heap_release(&second.common);
    assert_int_equal(status_of(&second), HZ_HEAP_ABANDONED);
    assert_int_equal(hz_heap_abandoned_count(), 1);
    uint32_t id = 0;
    assert_ptr_equal(hz_heap_acquire_next(&id), &second.common);
    assert_int_equal(id, 2);
    assert_int_equal(status_of(&second), HZ_HEAP_ACQUIRED);
    assert_int_equal(hz_heap_abandoned_count(), 0);
    assert_int_equal(hz_heap_acquire(&second.common), 0);
    assert_null(hz_heap_acquire_next(&id));
    hz_heap_release(&second.common);
    assert_ptr_equal(hz_heap_reclaim(), &second.common);
    assert_int_equal(status_of(&second), HZ_HEAP_ALIVE);
    assert_int_equal(hz_heap_abandoned_count(), 0);
    assert_int_equal(second.common.id, 2);
}

static void what_was_pushed_before_the_release_is_drained(void **state) {
    (void)state;
    struct test_heap heap;
    begin(&heap);
    heap.queue = 3;
    heap.late = 2; // more arrives behind each of two drains
    hz_heap_release(&heap.common);
    assert_int_equal(heap.drained, 5);
    assert_int_equal(heap.queue, 0);
    assert_int_equal(status_of(&heap), HZ_HEAP_ABANDONED);
    assert_int_equal(hz_heap_abandoned_count(), 1);
}

static struct test_heap shared;
static _Atomic uint32_t round_now, rounds_done;

// As a remote free does.
static void push(void) {
    // ORDER: seq_cst: before the look at the status; partner: hz_heap_release().
    atomic_fetch_add_explicit(&shared.queue, 1, memory_order_seq_cst);
    if (hz_status_is_abandoned(&shared.common.status) && hz_heap_acquire(&shared.common)) {
        hzn_heap_drain(&shared.common);
        hz_heap_release(&shared.common);
    }
}

static void *push_once_a_round(void *ignored) {
    (void)ignored;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        // ORDER: acquire: the heap is alive again; partner: the test's store.
        while (atomic_load_explicit(&round_now, memory_order_acquire) < round)
            sched_yield();
        push();
        // ORDER: release: what was drained; partner: the test's load.
        atomic_store_explicit(&rounds_done, round, memory_order_release);
    }
    return NULL;
}

// One thread pushes while the heap's own releases it: when both are through, nothing is left in the queue.
static void nothing_stays_with_an_abandoned_heap(void **state) {
    (void)state;
    begin(&shared);
    atomic_store_explicit(&round_now, 0, memory_order_relaxed);
    atomic_store_explicit(&rounds_done, 0, memory_order_relaxed);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, push_once_a_round, NULL), 0);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        // ORDER: release, acquire: partners in push_once_a_round().
        atomic_store_explicit(&round_now, round, memory_order_release);
        hz_heap_release(&shared.common);
        while (atomic_load_explicit(&rounds_done, memory_order_acquire) < round)
            sched_yield();
        assert_int_equal(shared.queue, 0);
        assert_int_equal(shared.drained, round);
        assert_int_equal(hz_heap_abandoned_count(), 1);
        assert_ptr_equal(hz_heap_reclaim(), &shared.common);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_fork_keeps_whole_heaps_and_loses_the_others(void **state) {
    (void)state;
    struct test_heap mine, whole, broken, acquired, abandoned;
    struct test_heap *all[] = {&mine, &whole, &broken, &acquired, &abandoned};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        begin(all[i]);
    own = &mine.common;
    mine.is_broken = 1; // by this thread, which goes on
    assert_int_equal(hz_heaps_are_whole(), 1);
    broken.is_broken = 1;
    assert_int_equal(hz_heaps_are_whole(), 0);
    broken.is_broken = 0;
    hz_heap_release(&acquired.common);
    assert_int_equal(hz_heap_acquire(&acquired.common), 1);
    assert_int_equal(hz_heaps_are_whole(), 0);
    broken.is_broken = 1;
    hz_heap_release(&abandoned.common);
    hz_heaps_survive_fork();
    assert_int_equal(status_of(&mine), HZ_HEAP_ALIVE);
    assert_int_equal(status_of(&whole), HZ_HEAP_ABANDONED);
    assert_int_equal(status_of(&broken), HZ_HEAP_LOST);
    assert_int_equal(status_of(&acquired), HZ_HEAP_LOST);
    assert_int_equal(status_of(&abandoned), HZ_HEAP_ABANDONED);
    assert_int_equal(hz_heap_abandoned_count(), 2);
    assert_int_equal(hz_heaps_are_whole(), 1); // lost heaps are waited for no more
    broken.is_broken = 0;
    hz_heaps_survive_fork(); // the child's child
    assert_int_equal(status_of(&broken), HZ_HEAP_LOST);
    assert_int_equal(hz_heap_abandoned_count(), 2);
}

static void an_alive_heap_is_helped_while_its_thread_does_not_hold_it(void **state) {
    (void)state;
    struct test_heap heap;
    begin(&heap);
    assert_int_equal(hz_heap_help(&heap.common), 1);
    assert_int_equal(hz_heap_is_helped(&heap.common), 1);
    assert_int_equal(hz_heap_is_at_rest(&heap.common), 0);
    assert_int_equal(hz_heap_help(&heap.common), 0);
    assert_int_equal(hz_heap_acquire(&heap.common), 0);
    hz_heap_helped(&heap.common);
    hz_heap_hold(&heap.common);
    assert_int_equal(hz_heap_is_at_rest(&heap.common), 0);
    assert_int_equal(hz_heap_help(&heap.common), 0);
    hz_heap_hold(&heap.common); // a signal handler that allocates
    hz_heap_let_go(&heap.common);
    assert_int_equal(hz_heap_is_at_rest(&heap.common), 1);
    hz_heap_hold(&heap.common);
    hz_heap_release(&heap.common); // its thread ends
    assert_int_equal(status_of(&heap), HZ_HEAP_ABANDONED);
    assert_int_equal(hz_heap_help(&heap.common), 0);
}

static void nobody_helps_when_a_fork_is_coming(void **state) {
    (void)state;
    struct test_heap heap;
    begin(&heap);
    atomic_store_explicit(&hz_fork_is_coming, 1, memory_order_relaxed);
    assert_int_equal(hz_heap_help(&heap.common), 0);
    assert_int_equal(status_of(&heap), HZ_HEAP_ALIVE);
    atomic_store_explicit(&hz_fork_is_coming, 0, memory_order_relaxed);
    assert_int_equal(hz_heap_help(&heap.common), 1);
    // A child in which the helper is not there: it was about to see the fork come.
    own = &heap.common;
    hz_heaps_survive_fork();
    assert_int_equal(status_of(&heap), HZ_HEAP_ALIVE);
    hz_heap_hold(&heap.common);
    hz_heap_let_go(&heap.common);
    assert_int_equal(hz_heap_help(&heap.common), 1);
}

static _Atomic int is_over;
static uint64_t held_count; // plain: of who holds or helps
static _Atomic uint64_t all_helps;

static void *help_often(void *ignored) {
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        if (hz_heap_help(&shared.common)) {
            held_count++;
            atomic_fetch_add_explicit(&all_helps, 1, memory_order_relaxed);
            hz_heap_helped(&shared.common);
        }
        sched_yield();
    }
    return ignored;
}

// The heap's thread counts beside helpers, and waits for them; at times it is about to fork.
static void holder_and_helpers_exclude_each_other(void **state) {
    (void)state;
    begin(&shared);
    own = &shared.common;
    held_count = 0;
    atomic_store_explicit(&all_helps, 0, memory_order_relaxed);
    atomic_store_explicit(&is_over, 0, memory_order_relaxed);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, help_often, NULL), 0);
    uint64_t rounds = 0;
    for (; rounds < ROUNDS || atomic_load_explicit(&all_helps, memory_order_relaxed) == 0; rounds++) {
        hz_heap_hold(&shared.common);
        held_count++;
        if (rounds % 64 == 0)
            sched_yield();
        hz_heap_let_go(&shared.common);
        if (rounds % 64 == 32)
            sched_yield();
        if (rounds % 256 == 0) {
            // ORDER: seq_cst: as in fork_linux.c.
            atomic_store_explicit(&hz_fork_is_coming, 1, memory_order_seq_cst);
            hz_heaps_end_help();
            uint64_t before = held_count;
            sched_yield();
            assert_int_equal(held_count, before);
            atomic_store_explicit(&hz_fork_is_coming, 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(held_count, rounds + atomic_load_explicit(&all_helps, memory_order_relaxed));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(registers_in_order_until_all_ids_are_taken, forget_all),
        cmocka_unit_test_setup(threads_get_ids_of_their_own, forget_all),
        cmocka_unit_test_setup(a_place_that_is_taken_and_not_counted_is_counted, forget_all),
        cmocka_unit_test_setup(an_abandoned_heap_is_acquired_once_and_reclaimed, forget_all),
        cmocka_unit_test_setup(what_was_pushed_before_the_release_is_drained, forget_all),
        cmocka_unit_test_setup(nothing_stays_with_an_abandoned_heap, forget_all),
        cmocka_unit_test_setup(a_fork_keeps_whole_heaps_and_loses_the_others, forget_all),
        cmocka_unit_test_setup(an_alive_heap_is_helped_while_its_thread_does_not_hold_it, forget_all),
        cmocka_unit_test_setup(nobody_helps_when_a_fork_is_coming, forget_all),
        cmocka_unit_test_setup(holder_and_helpers_exclude_each_other, forget_all),
    };
    return cmocka_run_group_tests_name("common heaps", tests, NULL, NULL);
}
