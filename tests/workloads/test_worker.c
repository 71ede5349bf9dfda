// SPDX-License-Identifier: Apache-2.0
// The worker as the runner starts it: a cell on descriptor 3, one sample, a verdict. Arguments: the worker, the broken
// backend. Layer: tests.
#include "driver.h"

#include "../../runner/sample/cell.h"
#include "../../runner/sample/rss.h"

#include "../../allocators/loader/loader.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NOT_MEASURED UINT64_MAX

static const char *worker_path;
static const char *broken_path;

// Starts the worker with `cell_fd` as its cell and returns its exit code, or -1 when it was killed.
static int start(int cell_fd, const char *broken) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv(ALLOCATOR_TUNABLES_ENV, ALLOCATOR_TUNABLES, 1);
        if (broken != NULL) {
            setenv("BROKEN", broken, 1);
        }
        // Away from descriptor 3 first: dup2 onto itself would keep close-on-exec.
        const int moved = fcntl(cell_fd, F_DUPFD, 10);
        if (dup2(moved, CELL_FD) == CELL_FD && (cell_fd == CELL_FD || close(cell_fd) == 0)) {
            execl(worker_path, worker_path, (char *)NULL);
        }
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct cell *new_cell(int *fd, const char *allocator, const char *workload, uint32_t threads) {
    *fd = memfd_create("cell", MFD_CLOEXEC);
    assert_true(*fd >= 0);
    assert_int_equal(ftruncate(*fd, sizeof(struct cell)), 0);
    struct cell *cell = mmap(NULL, sizeof(*cell), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    assert_true(cell != MAP_FAILED);
    cell->request.magic = CELL_MAGIC;
    cell->request.version = CELL_VERSION;
    cell->request.load_mode = ALLOCATOR_LOAD_DLOPEN;
    snprintf(cell->request.allocator, sizeof(cell->request.allocator), "%s", allocator);
    snprintf(cell->request.workload, sizeof(cell->request.workload), "%s", workload);
    workload_params_unset(&cell->request.params);
    cell->request.params.seed = 1;
    cell->request.params.threads = threads;
    if (workload_find(workload) != NULL) {
        snprintf(cell->request.params.input, sizeof(cell->request.params.input), "%s",
                 driver_input(workload_find(workload)));
    }
    if (workload_find(workload) != NULL && workload_find(workload)->defaults.ops != UINT64_MAX) {
        cell->request.params.ops = 20000;
    }
    memset(cell->request.cpus, 0xff, sizeof(cell->request.cpus)); // -1: not pinned
    cell->request.rss_interval_ns = 1000000;
    return cell;
}

static void drop(struct cell *cell, int fd) {
    munmap(cell, sizeof(*cell));
    close(fd);
}

// Completes the parameters, runs, and returns the cell for inspection.
static void run(struct cell *cell, int fd, const char *broken) {
    char why[512] = "";
    const struct workload *workload = workload_find(cell->request.workload);
    if (workload != NULL) {
        assert_true(workload_params_complete(workload, &cell->request.params, why, sizeof(why)));
    }
    assert_int_equal(start(fd, broken), 0);
    assert_int_equal(atomic_load_explicit(&cell->phase, memory_order_relaxed), CELL_PHASE_DONE);
}

static void assert_ok(const struct cell *cell) {
    if (cell->result.status != CELL_OK) {
        fail_msg("%s %s: status %u: %s", cell->request.allocator, cell->request.workload, cell->result.status,
                 cell->result.message);
    }
}

static void a_stranger_is_turned_away(void **state) {
    (void)state;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(start(null, NULL), 2);
    close(null);
    int fd;
    struct cell *cell = new_cell(&fd, "system", "local", 1);
    cell->request.magic = 1;
    assert_int_equal(start(fd, NULL), 2);
    drop(cell, fd);
}

static void every_workload_runs(void **state) {
    (void)state;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        uint64_t hash = 0;
        static const char *const allocators[] = {"system", "null"};
        for (size_t a = 0; a < 2; a++) {
            int fd;
            struct cell *cell = new_cell(&fd, allocators[a], workloads[i]->name, 2);
            const uint64_t uses = workloads[i]->used_params;
            if (uses & WORKLOAD_USES_WORKING_SET) {
                cell->request.params.working_set = 200;
            }
            if (uses & WORKLOAD_USES_ROUNDS) {
                cell->request.params.rounds = 5;
            }
            if (workloads[i]->defaults.max_bytes > 65536 && uses & WORKLOAD_USES_SIZES) {
                cell->request.params.min_bytes = 16;
                cell->request.params.max_bytes = 4096;
            }
            run(cell, fd, NULL);
            assert_ok(cell);
            const struct cell_result *result = &cell->result;
            assert_true(result->stream_hash != NOT_MEASURED);
            assert_true(a == 0 || result->stream_hash == hash);
            hash = result->stream_hash;
            assert_true(result->ops > 0 && result->ops == result->local_frees + result->remote_frees);
            assert_true(result->elapsed_ns > 0 && result->elapsed_ns != NOT_MEASURED);
            assert_true(result->rss_baseline > 0 && result->rss_baseline != NOT_MEASURED);
            assert_true(result->rss_peak >= result->rss_baseline && result->rss_peak >= result->rss_work);
            assert_int_equal(result->corruptions, 0);
            assert_int_equal(result->failures, 0);
            assert_true(result->rss_100ms == NOT_MEASURED && result->rss_1s == NOT_MEASURED);
            assert_true(result->cycles == NOT_MEASURED);
            assert_true(result->live_peak >= result->live_work);
            drop(cell, fd);
        }
    }
}

static void series_tells_the_phases(void **state) {
    (void)state;
    int fd;
    struct cell *cell = new_cell(&fd, "system", "fill-90", 2);
    cell->request.settle_ns = 100000000;
    cell->request.counters = 1;
    run(cell, fd, NULL);
    assert_ok(cell);
    const struct cell_result *result = &cell->result;
    const uint32_t points = atomic_load_explicit(&cell->rss_points, memory_order_relaxed);
    assert_in_range(points, 50, 5000);
    uint32_t seen = 0;
    int64_t peak = 0;
    for (uint32_t i = 0; i < points; i++) {
        const struct cell_rss_point *point = &cell->rss[i];
        assert_true(i == 0 || (point->t_ns > point[-1].t_ns && point->phase >= point[-1].phase));
        assert_true(point->rss_bytes > 100000);
        seen |= 1u << point->phase;
        peak = point->live_bytes > peak ? point->live_bytes : peak;
    }
    assert_true(seen & 1u << CELL_PHASE_MEASURED);
    assert_true(seen & 1u << CELL_PHASE_SETTLE);
    assert_int_equal(cell->rss[points - 1].live_bytes, 0);
    assert_true(result->live_peak >= (uint64_t)peak);
    assert_true(result->live_peak > 4 * result->live_work); // a full thread, even if the other is done, is 5.5 times
    assert_true(result->rss_work > result->rss_baseline + result->live_work);
    assert_true(result->rss_100ms != NOT_MEASURED && result->rss_1s == NOT_MEASURED);
    assert_true(result->minor_faults > 1000); // some 60 MiB were touched for the first time
    assert_true(result->cycles == NOT_MEASURED || result->cycles > 0);
    drop(cell, fd);
}

static void fake_clock_leaves_nothing_to_chance(void **state) {
    (void)state;
    int fds[2];
    struct cell *cells[2];
    for (int i = 0; i < 2; i++) {
        cells[i] = new_cell(&fds[i], "null", "remote", 4);
        cells[i]->request.fake_clock = 1;
        cells[i]->request.counters = 1;
        cells[i]->request.settle_ns = 1000000000;
        run(cells[i], fds[i], NULL);
        assert_ok(cells[i]);
    }
    assert_memory_equal(&cells[0]->result, &cells[1]->result, sizeof(cells[0]->result));
    assert_memory_equal(cells[0]->rss, cells[1]->rss, sizeof(cells[0]->rss));
    assert_int_equal(atomic_load_explicit(&cells[0]->rss_points, memory_order_relaxed), 3);
    assert_true(cells[0]->result.elapsed_ns == 10 * cells[0]->result.ops);
    assert_true(cells[0]->result.ops == 4 * 20000);
    drop(cells[0], fds[0]);
    drop(cells[1], fds[1]);
}

static void assert_verdict(const char *allocator, const char *workload, const char *broken, enum cell_status status,
                           const char *part) {
    int fd;
    struct cell *cell = new_cell(&fd, allocator, workload, 4);
    run(cell, fd, broken);
    if (cell->result.status != status || strstr(cell->result.message, part) == NULL) {
        fail_msg("%s %s: status %u, not %d: %s", allocator, workload, cell->result.status, status,
                 cell->result.message);
    }
    drop(cell, fd);
}

static void verdicts_name_the_cause(void **state) {
    (void)state;
    assert_verdict(broken_path, "local", NULL, CELL_OK, "");
    assert_verdict(broken_path, "remote", "overlap", CELL_CORRUPT, "had a wrong byte or a wrong alignment");
    assert_verdict(broken_path, "remote", "refuse", CELL_REFUSED_FREE, "refused as owner");
    assert_verdict(broken_path, "remote", "scarce", CELL_OUT_OF_MEMORY, "returned NULL");
    assert_verdict(broken_path, "larson", "scarce", CELL_OUT_OF_MEMORY, "returned NULL");
    assert_verdict(broken_path, "mixed", NULL, CELL_UNAVAILABLE, "no aligned allocation");
    assert_verdict("no-such-allocator", "local", NULL, CELL_UNAVAILABLE, "no-such-allocator");
    assert_verdict("system", "no-such-workload", NULL, CELL_ERROR, "unknown workload 'no-such-workload'");
}

static void stats_may_be_untold(void **state) {
    (void)state;
    int fd;
    struct cell *cell = new_cell(&fd, broken_path, "local", 1);
    run(cell, fd, NULL);
    assert_ok(cell);
    assert_true(cell->result.reserved_bytes == 12345 && cell->result.committed_bytes == 0);
    assert_true(cell->result.metadata_bytes == NOT_MEASURED);
    drop(cell, fd);
}

static void bad_requests_are_errors(void **state) {
    (void)state;
    int fd;
    struct cell *cell = new_cell(&fd, "system", "local", 2);
    cell->request.cpus[1] = 8000;
    run(cell, fd, NULL);
    assert_int_equal(cell->result.status, CELL_ERROR);
    assert_non_null(strstr(cell->result.message, "cannot pin thread 1 to CPU 8000"));
    drop(cell, fd);

    cell = new_cell(&fd, "system", "local", 2);
    cell->request.version = CELL_VERSION + 1;
    run(cell, fd, NULL);
    assert_int_equal(cell->result.status, CELL_ERROR);
    drop(cell, fd);
}

static void the_clock_can_end_a_run(void **state) {
    (void)state;
    int fd;
    struct cell *cell = new_cell(&fd, "system", "remote", 2);
    cell->request.params.duration_ns = 30000000;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    run(cell, fd, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_ok(cell);
    assert_true(cell->result.stream_hash == NOT_MEASURED);
    assert_true(cell->result.ops > 0 && cell->result.remote_frees > 0);
    // The time begins before the threads do: on a busy machine they measure less than all of it.
    assert_true(cell->result.elapsed_ns > 0);
    assert_true((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 30000000);
    drop(cell, fd);
}

static void a_full_series_is_halved(void **state) {
    (void)state;
    int fd;
    struct cell *cell = new_cell(&fd, "system", "local", 1);
    uint64_t step = 1;
    uint64_t t = 0;
    for (uint32_t i = 0; i < 3 * CELL_MAX_RSS_POINTS; i++, t += step) {
        const struct cell_rss_point point = {.t_ns = t, .rss_bytes = t + 7};
        if (rss_append(cell, &point)) {
            step *= 2;
        }
    }
    const uint32_t points = atomic_load_explicit(&cell->rss_points, memory_order_relaxed);
    assert_in_range(points, CELL_MAX_RSS_POINTS / 2, CELL_MAX_RSS_POINTS);
    assert_true(step > 2);
    assert_int_equal(cell->rss[0].t_ns, 0);
    const uint64_t distance = cell->rss[1].t_ns;
    uint32_t uneven = 0;
    for (uint32_t i = 1; i < points; i++) {
        assert_true(cell->rss[i].rss_bytes == cell->rss[i].t_ns + 7);
        assert_true(cell->rss[i].t_ns > cell->rss[i - 1].t_ns);
        uneven += cell->rss[i].t_ns - cell->rss[i - 1].t_ns != distance;
    }
    assert_true(uneven <= 4); // one seam a halving, where the point that overflowed was taken half a step early
    drop(cell, fd);
}

#define BLOCK_BYTES 1000u
#define SUMS 200000

// Thread 1 allocates a block and thread 0 frees it, over and over: never more than one is live.
static void *hand_over(void *argument) {
    struct cell *cell = argument;
    while (!atomic_load_explicit(&cell->counters[2].waits, memory_order_relaxed)) {
        // ORDER: release publishes the free before to the acquire in rss_live_bytes, which sees the next allocation.
        atomic_fetch_add_explicit(&cell->counters[1].allocated_bytes, BLOCK_BYTES, memory_order_release);
        atomic_fetch_add_explicit(&cell->counters[0].freed_bytes, BLOCK_BYTES, memory_order_relaxed);
    }
    return NULL;
}

static void live_bytes_are_never_above_the_truth(void **state) {
    (void)state;
    int fd;
    struct cell *cell = new_cell(&fd, "system", "local", 2);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hand_over, cell), 0);
    while (atomic_load_explicit(&cell->counters[0].freed_bytes, memory_order_relaxed) == 0) {
        sched_yield();
    }
    int64_t most = INT64_MIN;
    for (int i = 0; i < SUMS; i++) {
        const int64_t live = rss_live_bytes(cell);
        most = live > most ? live : most;
    }
    atomic_store_explicit(&cell->counters[2].waits, 1, memory_order_relaxed);
    pthread_join(thread, NULL);
    assert_in_range(most, 0, BLOCK_BYTES);
    assert_int_equal(rss_live_bytes(cell), 0);
    drop(cell, fd);
}

// More threads than CPUs that hand everything over: somebody always waits for room in a queue and drains meanwhile.
static void the_peak_of_live_bytes_is_possible(void **state) {
    (void)state;
    const uint32_t threads = 8;
    int fd;
    struct cell *cell = new_cell(&fd, "null", "remote", threads);
    cell->request.params.ops = 200000;
    cell->request.rss_interval_ns = 1000000;
    run(cell, fd, NULL);
    assert_ok(cell);
    const struct workload_params *defaults = &workload_find("remote")->defaults;
    // Slots, a full ring, and two chunks that its owner and its consumer have under way.
    const uint64_t objects = defaults->working_set + 1024 + 2 * 64;
    assert_in_range(cell->result.live_peak, cell->result.live_work, threads * objects * (defaults->max_bytes + 1) / 2 * 5 / 4);
    drop(cell, fd);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_is_turned_away), cmocka_unit_test(every_workload_runs),
        cmocka_unit_test(series_tells_the_phases),   cmocka_unit_test(fake_clock_leaves_nothing_to_chance),
        cmocka_unit_test(verdicts_name_the_cause),   cmocka_unit_test(stats_may_be_untold),
        cmocka_unit_test(bad_requests_are_errors),   cmocka_unit_test(the_clock_can_end_a_run),
        cmocka_unit_test(a_full_series_is_halved),   cmocka_unit_test(live_bytes_are_never_above_the_truth),
        cmocka_unit_test(the_peak_of_live_bytes_is_possible),
    };
    if (argc != 3) {
        fprintf(stderr, "usage: %s WORKER BROKEN-BACKEND\n", argv[0]);
        return 2;
    }
    worker_path = argv[1];
    broken_path = argv[2];
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
