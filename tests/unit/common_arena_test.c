// SPDX-License-Identifier: Apache-2.0
// The arena against a shadow of who holds which unit: exclusive, aligned, zero when it says so, accounted for to the
// unit.
#include "../../allocators/common/arena.h"
#include "../../allocators/common/os_mem.h"
#include "../support/library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RUNS 400
#define MAX_UNITS 24
#define STRIDE 128u

struct run {
    char *at;
    size_t units;
};

static struct run runs[RUNS];
static size_t used;

static int set_up(void **state) {
    (void)state;
    int is_zero;
    assert_null(arena_take(1, 1, &is_zero)); // nothing is reserved yet
    assert_int_equal(arena_init(STRIDE, NULL), 1);
    struct arena before = arena;
    assert_int_equal(arena_init(STRIDE, NULL), 1);
    assert_memory_equal(&before, &arena, sizeof arena);
    assert_true(arena.unit_count >= 64);
    assert_int_equal(arena.base % ARENA_UNIT_BYTES, 0);
    return 0;
}

static size_t unit_of(const char *at) {
    return ((uintptr_t)at >> ARENA_UNIT_SHIFT) - arena.base_unit;
}

static void assert_alone(const struct run *run) {
    for (size_t i = 0; i < RUNS; i++) {
        const struct run *other = &runs[i];
        if (other != run && other->at != NULL)
            assert_true(run->at + run->units * ARENA_UNIT_BYTES <= other->at ||
                        other->at + other->units * ARENA_UNIT_BYTES <= run->at);
    }
}

static void assert_zero_if(const char *at, size_t units, int is_zero) {
    for (size_t i = 0; is_zero && i < units; i++) {
        assert_int_equal(at[i * ARENA_UNIT_BYTES], 0);
        assert_int_equal(at[i * ARENA_UNIT_BYTES + ARENA_UNIT_BYTES - 1], 0);
    }
}

static void touch(const struct run *run) {
    for (size_t i = 0; i < run->units; i++) {
        run->at[i * ARENA_UNIT_BYTES] = 1;
        run->at[i * ARENA_UNIT_BYTES + ARENA_UNIT_BYTES - 1] = (char)i;
    }
}

static void take(struct run *run, size_t units, size_t align_units) {
    int is_zero = -1;
    run->at = arena_take(units, align_units, &is_zero);
    assert_non_null(run->at);
    run->units = units;
    used += units;
    assert_int_equal((uintptr_t)run->at % (align_units * ARENA_UNIT_BYTES), 0);
    assert_true(is_zero == 0 || is_zero == 1);
    assert_zero_if(run->at, units, is_zero);
    assert_alone(run);
    assert_true(unit_of(run->at) + units <= arena_high_water());
    touch(run);
}

static void give(struct run *run) {
    used -= run->units;
    arena_give(run->at, run->units, 0);
    run->at = NULL;
}

static void assert_accounts(void) {
    struct arena_usage usage;
    arena_read_usage(&usage);
    assert_int_equal(usage.used_bytes, used * ARENA_UNIT_BYTES);
    assert_true(usage.dirty_free_bytes + usage.used_bytes <= arena_high_water() * ARENA_UNIT_BYTES);
    assert_true(usage.reserved_bytes > arena.unit_count * ARENA_UNIT_BYTES);
}

static void random_operations(uint64_t seed, uint64_t count) {
    uint64_t random = seed;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t r = test_random(&random);
        struct run *run = &runs[(r >> 8) % RUNS];
        if (run->at == NULL) {
            size_t units = (r >> 24) % 3 ? 1 : 1 + (r >> 32) % MAX_UNITS;
            take(run, units, (r >> 40) % 8 ? 1 : (size_t)1 << (r >> 44) % 6);
        } else if (r % 8 == 0 && run->units < MAX_UNITS) {
            size_t more = 1 + (r >> 40) % 4;
            int is_zero = -1;
            if (arena_extend(run->at, run->units, more, &is_zero)) {
                char *tail = run->at + run->units * ARENA_UNIT_BYTES;
                assert_zero_if(tail, more, is_zero);
                run->units += more;
                used += more;
                assert_alone(run);
                touch(run);
            }
        } else if (r % 8 == 1 && run->units > 1) {
            size_t keep = 1 + (r >> 40) % (run->units - 1);
            used -= run->units - keep;
            arena_shrink(run->at, run->units, keep);
            run->units = keep;
        } else {
            assert_int_equal(run->at[0], 1);
            size_t inside = unit_of(run->at) + run->units - 1;
            assert_int_equal(arena_run_of(inside), unit_of(run->at));
            give(run);
            assert_int_equal(arena_run_of(inside), SIZE_MAX);
        }
        if (i % 512 == 0)
            assert_accounts();
        if (i % 4096 == 0) {
            arena_purge();
            struct arena_usage usage;
            arena_read_usage(&usage);
            assert_int_equal(usage.dirty_free_bytes, 0);
        }
    }
    for (size_t i = 0; i < RUNS; i++)
        if (runs[i].at != NULL)
            give(&runs[i]);
    assert_accounts();
}

static void behaves_like_its_shadow(void **state) {
    (void)state;
    const struct arena_limits limits[] = {
        {.retain_bytes = 4u << 20, .retain_percent = 12, .decay_ms = 250},
        {.retain_bytes = 0, .retain_percent = 0, .decay_ms = 0},
        {.retain_bytes = 64u << 20, .retain_percent = 50, .decay_ms = 1},
        {.retain_bytes = 1u << 20, .retain_percent = 0, .decay_ms = 20, .adaptive = 1},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        arena_set_limits(&limits[i]);
        random_operations(100 + i, 30000);
    }
}

static uint64_t dirty_after_all_were_used(void) {
    for (size_t i = 0; i < RUNS; i++)
        take(&runs[i], 1, 1);
    for (size_t i = 0; i < RUNS; i++)
        give(&runs[i]);
    struct arena_usage usage;
    arena_read_usage(&usage);
    return usage.dirty_free_bytes;
}

static void keeps_no_more_than_its_limit(void **state) {
    (void)state;
    arena_set_limits(&(struct arena_limits){.retain_bytes = 1u << 20, .retain_percent = 0, .decay_ms = 1000000});
    assert_true(dirty_after_all_were_used() <= 1u << 20);
    arena_set_limits(&(struct arena_limits){0});
    take(&runs[0], 3, 1);
    give(&runs[0]);
    struct arena_usage usage;
    arena_read_usage(&usage);
    assert_int_equal(usage.dirty_free_bytes, 0); // at once
}

static void decay(struct arena_limits limits) {
    limits.decay_ms = 1;
    arena_set_limits(&limits);
    for (int ticks = 0; ticks < 3; ticks++) {
        usleep(20000);
        take(&runs[0], 1, 1);
        give(&runs[0]);
    }
}

static void keeps_what_is_used_in_turns(void **state) {
    (void)state;
    struct arena_limits limits = {.retain_bytes = 1u << 20, .decay_ms = 1000000, .adaptive = 1};
    arena_set_limits(&limits);
    assert_true(dirty_after_all_were_used() <= 1u << 20); // once is no pattern
    dirty_after_all_were_used();
    assert_int_equal(dirty_after_all_were_used(), (uint64_t)RUNS << ARENA_UNIT_SHIFT);
    decay(limits);
    arena_set_limits(&limits);
    assert_true(dirty_after_all_were_used() <= 1u << 20); // what was not used any more has been unlearned
}

static void a_purge_forgets_what_was_learned(void **state) {
    (void)state;
    arena_set_limits(&(struct arena_limits){0});
    arena_set_limits(&(struct arena_limits){.retain_bytes = 1u << 20, .decay_ms = 1000000, .adaptive = 1});
    dirty_after_all_were_used();
    dirty_after_all_were_used();
    assert_int_equal(dirty_after_all_were_used(), (uint64_t)RUNS << ARENA_UNIT_SHIFT);
    arena_purge();
    assert_true(dirty_after_all_were_used() <= 1u << 20);
}

static uint64_t dirty_free(void) {
    struct arena_usage usage;
    arena_read_usage(&usage);
    return usage.dirty_free_bytes;
}

// Blocks of many lengths are replaced one by one, so that holes do not fit and memory is returned and taken again all
// the time; what one replacement needs is little.
static void learns_no_more_than_was_needed(void **state) {
    (void)state;
    arena_purge();
    arena_set_limits(&(struct arena_limits){0}); // nothing is learned from here
    arena_set_limits(&(struct arena_limits){.retain_bytes = 1u << 20, .decay_ms = 1000000, .adaptive = 1});
    uint64_t random = 7;
    for (size_t i = 0; i < RUNS; i++)
        take(&runs[i], 1 + i % MAX_UNITS, 1);
    for (int step = 0; step < 20000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct run *run = &runs[(random >> 33) % RUNS];
        give(run);
        take(run, 1 + (random >> 48) % MAX_UNITS, 1);
    }
    uint64_t all = (uint64_t)used << ARENA_UNIT_SHIFT;
    for (size_t i = 0; i < RUNS; i++)
        give(&runs[i]);
    assert_true(dirty_free() < all / 4);
}

static void fill_and_end(void) {
    dirty_after_all_were_used();
    arena_thread_ended();
}

static void a_threads_end_is_learned_from_apart(void **state) {
    (void)state;
    struct arena_limits limits = {.retain_bytes = 1u << 20, .decay_ms = 1000000, .adaptive = 1};
    arena_set_limits(&(struct arena_limits){0});
    arena_set_limits(&limits);
    dirty_after_all_were_used();
    dirty_after_all_were_used();
    assert_int_equal(dirty_after_all_were_used(), (uint64_t)RUNS << ARENA_UNIT_SHIFT);
    arena_thread_ended();
    assert_true(dirty_free() <= 1u << 20); // nobody has shown yet that another thread follows
    fill_and_end();
    fill_and_end();
    fill_and_end();
    assert_int_equal(dirty_free(), (uint64_t)RUNS << ARENA_UNIT_SHIFT);
    decay(limits);
    arena_set_limits(&limits);
    fill_and_end();
    assert_true(dirty_free() <= 1u << 20); // unlearned
}

// Nobody else gets what lies behind a run that grows, it costs no memory, and it reads zero when the run has grown into
// it.
static void room_is_the_runs_alone(void **state) {
    (void)state;
    arena_set_limits(&(struct arena_limits){.retain_bytes = 64u << 20, .decay_ms = 1000000});
    size_t room = 0;
    int is_zero = 0;
    if (os_mem_is_charged()) { // room would be memory
        char *alone = arena_take_growing(40, &room, &is_zero);
        assert_true(alone != NULL && room == 0);
        arena_give(alone, 40, 0);
        return;
    }
    struct run few[8] = {{0}};
    for (size_t i = 0; i < 8; i++)
        take(&few[i], 20, 1);
    for (size_t i = 0; i < 8; i += 2)
        give(&few[i]); // dirty, and free
    struct arena_usage before, after;
    arena_read_usage(&before);
    char *grown = arena_take_growing(40, &room, &is_zero);
    assert_non_null(grown);
    assert_true(room >= 40);
    assert_zero_if(grown, 40, is_zero);
    arena_read_usage(&after);
    assert_int_equal(after.used_bytes - before.used_bytes, 40 * ARENA_UNIT_BYTES);
    for (size_t i = 0; i < RUNS; i++) {
        take(&runs[i], 1 + i % 7, 1);
        assert_true(runs[i].at + runs[i].units * ARENA_UNIT_BYTES <= grown ||
                    runs[i].at >= grown + (40 + room) * ARENA_UNIT_BYTES);
    }
    assert_int_equal(arena_run_of(unit_of(grown) + 40), unit_of(grown));
    arena_use_room(grown, 40, 10);
    assert_zero_if(grown + 40 * ARENA_UNIT_BYTES, 10, 1);
    memset(grown + 40 * ARENA_UNIT_BYTES, 1, 10 * ARENA_UNIT_BYTES);
    arena_drop_room(grown, 50, room - 10);
    arena_give_copied(grown, 50);
    for (size_t i = 0; i < RUNS; i++)
        give(&runs[i]);
    for (size_t i = 1; i < 8; i += 2)
        give(&few[i]);
    arena_read_usage(&after);
    assert_int_equal(after.used_bytes, before.used_bytes - 4 * 20 * ARENA_UNIT_BYTES);
    char *again = arena_take(40 + room, 1, &is_zero); // all of it, for anybody
    assert_non_null(again);
    assert_zero_if(again, 40 + room, is_zero);
    arena_give(again, 40 + room, 0);
    assert_int_equal(arena_take_growing(2, &room, &is_zero) != NULL && room == 0, 1); // too short to be worth it
}

static void a_clean_run_is_zero_again(void **state) {
    (void)state;
    arena_set_limits(&(struct arena_limits){.retain_bytes = 64u << 20, .retain_percent = 0, .decay_ms = 1000000});
    int is_zero = 0;
    arena_purge();
    char *at = arena_take(2, 1, &is_zero);
    assert_non_null(at);
    assert_int_equal(is_zero, 1);
    arena_give(at, 2, 1); // never touched
    char *again = arena_take(2, 1, &is_zero);
    assert_ptr_equal(again, at);
    assert_int_equal(is_zero, 1);
    again[0] = 1;
    arena_give(again, 2, 0);
    again = arena_take(2, 1, &is_zero);
    assert_ptr_equal(again, at);
    assert_int_equal(is_zero, 0);
    arena_give(again, 2, 0);
}

// Runs of which one page each was touched count as that page: many are kept under a bound that whole runs would exceed.
static void counts_the_pages_that_were_touched(void **state) {
    (void)state;
    static char *marked[RUNS];
    arena_set_limits(&(struct arena_limits){0});
    arena_set_limits(&(struct arena_limits){.retain_bytes = 4u << 20, .decay_ms = 1000000});
    arena_purge();
    for (size_t i = 0; i < RUNS; i++) {
        marked[i] = arena_take_marked(1, 1, 0);
        assert_int_equal(arena_marked_bytes(marked[i], 1), 0);
        arena_mark(marked[i], i == 0 ? OS_PAGE_BYTES + 1 : 1);
    }
    for (size_t i = 0; i < RUNS; i++)
        arena_give_marked(marked[i], 1, 0);
    assert_int_equal(dirty_free(), (RUNS + 1) * OS_PAGE_BYTES);
    char *untouched = arena_take_marked(1, 1, 0);
    assert_ptr_equal(untouched, marked[RUNS - 1]); // the last one of the kind
    assert_int_equal(arena_marked_bytes(untouched, 1), OS_PAGE_BYTES);
    arena_give_marked(untouched, 1, 0);
    assert_int_equal(dirty_free(), (RUNS + 1) * OS_PAGE_BYTES);
    arena_purge();
    assert_int_equal(dirty_free(), 0);
}

// Runs of two kinds that take turns keep their places, so that one's pages are not found under the other.
static void a_kind_finds_its_place(void **state) {
    (void)state;
    arena_set_limits(&(struct arena_limits){.retain_bytes = 4u << 20, .decay_ms = 1000000});
    arena_purge();
    char *wide = arena_take_marked(8, 8, 1);
    char *other = arena_take_marked(8, 8, 2);
    arena_mark(wide, 5 * ARENA_UNIT_BYTES + 1);
    arena_mark(other, 1);
    assert_int_equal(arena_marked_bytes(wide, 8), 5 * ARENA_UNIT_BYTES + OS_PAGE_BYTES);
    arena_give_marked(wide, 8, 1);
    arena_give_marked(other, 8, 2);
    for (int turn = 0; turn < 3; turn++) {
        assert_ptr_equal(arena_take_marked(8, 8, 2), other);
        assert_int_equal(arena_marked_bytes(other, 8), OS_PAGE_BYTES);
        assert_ptr_equal(arena_take_marked(8, 8, 1), wide);
        arena_give_marked(other, 8, 2);
        arena_give_marked(wide, 8, 1);
    }
    assert_int_equal(dirty_free(), 5 * ARENA_UNIT_BYTES + 2 * OS_PAGE_BYTES);
    // A place that is in use is none, nor one without pages.
    int is_zero;
    char *blocking = arena_take((size_t)1, 1, &is_zero);
    for (size_t i = 0; i < RUNS && blocking != other; i++)
        blocking = arena_take((size_t)1, 1, &is_zero);
    assert_ptr_equal(blocking, other);
    assert_true(arena_take_marked(8, 8, 2) != other);
}

static void refuses_what_it_has_not(void **state) {
    (void)state;
    int is_zero;
    size_t high_water = arena_high_water();
    assert_null(arena_take(arena.unit_count + 1, 1, &is_zero));
    assert_null(arena_take(SIZE_MAX >> ARENA_UNIT_SHIFT, 1, &is_zero));
    assert_null(arena_take(1, (size_t)1 << 40, &is_zero)); // no such address
    assert_int_equal(arena_high_water(), high_water);
    assert_int_equal(arena_run_of(arena.unit_count + 5), SIZE_MAX);
    struct run run = {0};
    take(&run, 1, 1);
    assert_int_equal(arena_extend(run.at, 1, arena.unit_count, &is_zero), 0);
    give(&run);
}

static void metadata_is_zeroed_aligned_and_apart(void **state) {
    (void)state;
    char *previous_end = NULL;
    for (size_t bytes = 1; bytes < 5000; bytes += 331) {
        for (size_t alignment = 8; alignment <= 4096; alignment *= 8) {
            char *at = arena_metadata(bytes, alignment);
            assert_non_null(at);
            assert_int_equal((uintptr_t)at % alignment, 0);
            assert_true(at >= previous_end);
            assert_true((uintptr_t)at + bytes <= arena.base);
            for (size_t i = 0; i < bytes; i++)
                assert_int_equal(at[i], 0);
            memset(at, 1, bytes);
            previous_end = at + bytes;
        }
    }
    assert_null(arena_metadata((size_t)1 << 46, 8));
}

static void the_side_table_reads_zero_above_high_water(void **state) {
    (void)state;
    const char *last = arena.table + (arena.unit_count - 1) * STRIDE;
    for (size_t i = 0; i < STRIDE; i++)
        assert_int_equal(last[i], 0);
    struct run run = {0};
    take(&run, 1, 1);
    arena.table[unit_of(run.at) * STRIDE] = 1; // below it can be written
    give(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_its_shadow),
        cmocka_unit_test(keeps_no_more_than_its_limit),
        cmocka_unit_test(keeps_what_is_used_in_turns),
        cmocka_unit_test(a_purge_forgets_what_was_learned),
        cmocka_unit_test(learns_no_more_than_was_needed),
        cmocka_unit_test(a_threads_end_is_learned_from_apart),
        cmocka_unit_test(room_is_the_runs_alone),
        cmocka_unit_test(a_clean_run_is_zero_again),
        cmocka_unit_test(counts_the_pages_that_were_touched),
        cmocka_unit_test(a_kind_finds_its_place),
        cmocka_unit_test(refuses_what_it_has_not),
        cmocka_unit_test(metadata_is_zeroed_aligned_and_apart),
        cmocka_unit_test(the_side_table_reads_zero_above_high_water),
    };
    return cmocka_run_group_tests_name("common/arena", tests, set_up, NULL);
}
