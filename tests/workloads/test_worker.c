// SPDX-License-Identifier: Apache-2.0
// The worker as the runner starts it: the shared memory on descriptor 3, one sample, a verdict. Arguments: the worker,
// the broken backend. Layer: tests.
#include "driver.h"

#include "../../runner/sample/rss.h"
#include "../../runner/sample/shared.h"
#include "../../runner/system/os.h"

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

static const char *worker_path;
static const char *broken_path;

// Starts the worker with `cell_fd` as its shared and returns its exit code, or -1 when it was killed.
static int start(int cell_fd, const char *broken) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv(ALLOCATOR_TUNABLES_ENV, ALLOCATOR_TUNABLES, 1);
        if (broken != NULL)
            setenv("BROKEN", broken, 1);
        // Away from descriptor 3 first: dup2 onto itself would keep close-on-exec.
        const int moved = fcntl(cell_fd, F_DUPFD, 10);
        if (dup2(moved, OS_SHARED_FD) == OS_SHARED_FD && (cell_fd == OS_SHARED_FD || close(cell_fd) == 0))
            execl(worker_path, worker_path, (char *)NULL);
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct sample_shared *new_cell(int *fd, const char *allocator, const char *workload, uint32_t threads) {
    *fd = memfd_create("cell", MFD_CLOEXEC);
    assert_true(*fd >= 0);
    assert_int_equal(ftruncate(*fd, sizeof(struct sample_shared)), 0);
    struct sample_shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    assert_true(shared != MAP_FAILED);
    shared->request.magic = SHARED_MAGIC;
    shared->request.version = SHARED_VERSION;
    shared->request.load_mode = ALLOCATOR_LOAD_DLOPEN;
    snprintf(shared->request.allocator, sizeof shared->request.allocator, "%s", allocator);
    snprintf(shared->request.workload, sizeof shared->request.workload, "%s", workload);
    workload_params_unset(&shared->request.params);
    shared->request.params.seed = 1;
    shared->request.params.threads = threads;
    if (workload_find(workload) != NULL) {
        snprintf(shared->request.params.input, sizeof shared->request.params.input, "%s",
                 driver_input(workload_find(workload)));
    }
    if (workload_find(workload) != NULL && workload_find(workload)->defaults.ops != UINT64_MAX)
        shared->request.params.ops = 20000;
    memset(shared->request.cpus, 0xff, sizeof shared->request.cpus); // -1: not pinned
    shared->request.rss_interval_ns = 1000000;
    return shared;
}

static void drop(struct sample_shared *shared, int fd) {
    munmap(shared, sizeof *shared);
    close(fd);
}

// Completes the parameters, runs, and returns the memory for inspection.
static void run(struct sample_shared *shared, int fd, const char *broken) {
    char why[512] = "";
    const struct workload *workload = workload_find(shared->request.workload);
    if (workload != NULL)
        assert_true(workload_params_complete(workload, &shared->request.params, why, sizeof why));
    assert_int_equal(start(fd, broken), 0);
    assert_int_equal(atomic_load_explicit(&shared->phase, memory_order_relaxed), PHASE_DONE);
}

static void assert_ok(const struct sample_shared *shared) {
    if (shared->result.status != STATUS_OK) {
        fail_msg("%s %s: status %u: %s", shared->request.allocator, shared->request.workload, shared->result.status,
                 shared->result.message);
    }
}

static void a_stranger_is_turned_away(void **state) {
    (void)state;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(start(null, NULL), 2);
    close(null);
    int fd;
    struct sample_shared *shared = new_cell(&fd, "system", "local", 1);
    shared->request.magic = 1;
    assert_int_equal(start(fd, NULL), 2);
    drop(shared, fd);
}

static void every_workload_runs(void **state) {
    (void)state;
    for (size_t i = 0; driver_runs(workloads[i]); i++) {
        uint64_t hash = 0;
        static const char *const allocators[] = {"system", "null"};
        for (size_t a = 0; a < 2; a++) {
            int fd;
            struct sample_shared *shared = new_cell(&fd, allocators[a], workloads[i]->name, 2);
            const uint64_t uses = workloads[i]->used_params;
            if (uses & WORKLOAD_USES_WORKING_SET)
                shared->request.params.working_set = 200;
            if (uses & WORKLOAD_USES_ROUNDS)
                shared->request.params.rounds = 5;
            if (workloads[i]->defaults.max_bytes > 65536 && uses & WORKLOAD_USES_SIZES) {
                shared->request.params.min_bytes = 16;
                shared->request.params.max_bytes = 4096;
            }
            run(shared, fd, NULL);
            assert_ok(shared);
            const struct shared_result *result = &shared->result;
            assert_true(result->measured.stream_hash != NOT_MEASURED);
            assert_true(a == 0 || result->measured.stream_hash == hash);
            hash = result->measured.stream_hash;
            assert_true(result->measured.ops > 0 &&
                        result->measured.ops == result->measured.local_frees + result->measured.remote_frees);
            assert_true(result->measured.elapsed_ns > 0 && result->measured.elapsed_ns != NOT_MEASURED);
            assert_true(result->measured.rss_baseline > 0 && result->measured.rss_baseline != NOT_MEASURED);
            assert_true(result->measured.rss_peak >= result->measured.rss_baseline &&
                        result->measured.rss_peak >= result->measured.rss_work);
            assert_int_equal(result->measured.corruptions, 0);
            assert_int_equal(result->measured.failures, 0);
            assert_true(result->measured.rss_100ms == NOT_MEASURED && result->measured.rss_1s == NOT_MEASURED);
            assert_true(result->measured.cycles == NOT_MEASURED);
            assert_true(result->measured.live_peak >= result->measured.live_work);
            drop(shared, fd);
        }
    }
}

static void series_tells_the_phases(void **state) {
    (void)state;
    int fd;
    struct sample_shared *shared = new_cell(&fd, "system", "fill-90", 2);
    shared->request.settle_ns[0] = 100000000;
    shared->request.counters = 1;
    run(shared, fd, NULL);
    assert_ok(shared);
    const struct shared_result *result = &shared->result;
    const uint32_t points = atomic_load_explicit(&shared->rss_points, memory_order_relaxed);
    assert_in_range(points, 50, 5000);
    uint32_t seen = 0;
    int64_t peak = 0;
    for (uint32_t i = 0; i < points; i++) {
        const struct rss_point *point = &shared->rss[i];
        assert_true(i == 0 || (point->t_ns > point[-1].t_ns && point->phase >= point[-1].phase));
        assert_true(point->rss_bytes > 100000);
        seen |= 1u << point->phase;
        peak = point->live_bytes > peak ? point->live_bytes : peak;
    }
    assert_true(seen & 1u << PHASE_MEASURED);
    assert_true(seen & 1u << PHASE_SETTLE);
    assert_int_equal(shared->rss[points - 1].live_bytes, 0);
    assert_true(result->measured.live_peak >= (uint64_t)peak);
    assert_true(result->measured.live_peak >
                4 * result->measured.live_work); // a full thread, even if the other is done, is 5.5 times
    assert_true(result->measured.rss_work > result->measured.rss_baseline + result->measured.live_work);
    assert_true(result->measured.rss_100ms != NOT_MEASURED && result->measured.rss_1s == NOT_MEASURED);
    assert_true(result->measured.minor_faults > 1000); // some 60 MiB were touched for the first time
    assert_true(result->measured.cycles == NOT_MEASURED || result->measured.cycles > 0);
    drop(shared, fd);
}

static void fake_clock_leaves_nothing_to_chance(void **state) {
    (void)state;
    int fds[2];
    struct sample_shared *cells[2];
    for (int i = 0; i < 2; i++) {
        cells[i] = new_cell(&fds[i], "null", "remote", 4);
        cells[i]->request.fake_clock = 1;
        cells[i]->request.counters = 1;
        cells[i]->request.settle_ns[0] = 1000000000;
        run(cells[i], fds[i], NULL);
        assert_ok(cells[i]);
    }
    assert_memory_equal(&cells[0]->result, &cells[1]->result, sizeof cells[0]->result);
    assert_memory_equal(cells[0]->rss, cells[1]->rss, sizeof cells[0]->rss);
    assert_int_equal(atomic_load_explicit(&cells[0]->rss_points, memory_order_relaxed), 3);
    assert_true(cells[0]->result.measured.elapsed_ns == 10 * cells[0]->result.measured.ops);
    assert_true(cells[0]->result.measured.ops == 4 * 20000);
    drop(cells[0], fds[0]);
    drop(cells[1], fds[1]);
}

static void assert_verdict(const char *allocator, const char *workload, const char *broken, enum sample_status status,
                           const char *part) {
    int fd;
    struct sample_shared *shared = new_cell(&fd, allocator, workload, 4);
    run(shared, fd, broken);
    if (shared->result.status != status || strstr(shared->result.message, part) == NULL) {
        fail_msg("%s %s: status %u, not %d: %s", allocator, workload, shared->result.status, status,
                 shared->result.message);
    }
    drop(shared, fd);
}

static void verdicts_name_the_cause(void **state) {
    (void)state;
    assert_verdict(broken_path, "local", NULL, STATUS_OK, "");
    assert_verdict(broken_path, "remote", "overlap", STATUS_CORRUPT, "had a wrong byte or a wrong alignment");
    assert_verdict(broken_path, "remote", "refuse", STATUS_REFUSED_FREE, "refused as owner");
    assert_verdict(broken_path, "remote", "scarce", STATUS_OUT_OF_MEMORY, "returned NULL");
    assert_verdict(broken_path, "larson", "scarce", STATUS_OUT_OF_MEMORY, "returned NULL");
    assert_verdict(broken_path, "mixed", NULL, STATUS_UNAVAILABLE, "no aligned allocation");
    assert_verdict("no-such-allocator", "local", NULL, STATUS_UNAVAILABLE, "no-such-allocator");
    assert_verdict("system", "no-such-workload", NULL, STATUS_ERROR, "unknown workload 'no-such-workload'");
}

static void stats_may_be_untold(void **state) {
    (void)state;
    int fd;
    struct sample_shared *shared = new_cell(&fd, broken_path, "local", 1);
    run(shared, fd, NULL);
    assert_ok(shared);
    assert_true(shared->result.measured.reserved_bytes == 12345 && shared->result.measured.committed_bytes == 0);
    assert_true(shared->result.measured.metadata_bytes == NOT_MEASURED);
    drop(shared, fd);
}

static void bad_requests_are_errors(void **state) {
    (void)state;
    int fd;
    struct sample_shared *shared = new_cell(&fd, "system", "local", 2);
    shared->request.cpus[1] = 8000;
    run(shared, fd, NULL);
    assert_int_equal(shared->result.status, STATUS_ERROR);
    assert_non_null(strstr(shared->result.message, "cannot pin thread 1 to CPU 8000"));
    drop(shared, fd);

    shared = new_cell(&fd, "system", "local", 2);
    shared->request.version = SHARED_VERSION + 1;
    run(shared, fd, NULL);
    assert_int_equal(shared->result.status, STATUS_ERROR);
    drop(shared, fd);
}

static void the_clock_can_end_a_run(void **state) {
    (void)state;
    int fd;
    struct sample_shared *shared = new_cell(&fd, "system", "remote", 2);
    shared->request.params.duration_ns = 30000000;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    run(shared, fd, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_ok(shared);
    assert_true(shared->result.measured.stream_hash == NOT_MEASURED);
    assert_true(shared->result.measured.ops > 0 && shared->result.measured.remote_frees > 0);
    // The time begins before the threads do: on a busy machine they measure less than all of it.
    assert_true(shared->result.measured.elapsed_ns > 0);
    assert_true((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 30000000);
    drop(shared, fd);
}

static void a_full_series_is_halved(void **state) {
    (void)state;
    int fd;
    struct sample_shared *shared = new_cell(&fd, "system", "local", 1);
    uint64_t step = 1;
    uint64_t t = 0;
    for (uint32_t i = 0; i < 3 * SHARED_MAX_RSS_POINTS; i++, t += step) {
        const struct rss_point point = {.t_ns = t, .rss_bytes = t + 7};
        if (rss_append(shared, &point))
            step *= 2;
    }
    const uint32_t points = atomic_load_explicit(&shared->rss_points, memory_order_relaxed);
    assert_in_range(points, SHARED_MAX_RSS_POINTS / 2, SHARED_MAX_RSS_POINTS);
    assert_true(step > 2);
    assert_int_equal(shared->rss[0].t_ns, 0);
    const uint64_t distance = shared->rss[1].t_ns;
    uint32_t uneven = 0;
    for (uint32_t i = 1; i < points; i++) {
        assert_true(shared->rss[i].rss_bytes == shared->rss[i].t_ns + 7);
        assert_true(shared->rss[i].t_ns > shared->rss[i - 1].t_ns);
        uneven += shared->rss[i].t_ns - shared->rss[i - 1].t_ns != distance;
    }
    assert_true(uneven <= 4); // one seam a halving, where the point that overflowed was taken half a step early
    drop(shared, fd);
}

#define BLOCK_BYTES 1000u
#define SUMS 200000

// Thread 1 allocates a block and thread 0 frees it, over and over: never more than one is live.
static void *hand_over(void *argument) {
    struct sample_shared *shared = argument;
    while (!atomic_load_explicit(&shared->counters[2].waits, memory_order_relaxed)) {
        // ORDER: release publishes the free before to the acquire in rss_live_bytes, which sees the next allocation.
        atomic_fetch_add_explicit(&shared->counters[1].allocated_bytes, BLOCK_BYTES, memory_order_release);
        atomic_fetch_add_explicit(&shared->counters[0].freed_bytes, BLOCK_BYTES, memory_order_relaxed);
    }
    return NULL;
}

static void live_bytes_are_never_above_the_truth(void **state) {
    (void)state;
    int fd;
    struct sample_shared *shared = new_cell(&fd, "system", "local", 2);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hand_over, shared), 0);
    while (atomic_load_explicit(&shared->counters[0].freed_bytes, memory_order_relaxed) == 0)
        sched_yield();
    int64_t most = INT64_MIN;
    for (int i = 0; i < SUMS; i++) {
        const int64_t live = rss_live_bytes(shared);
        most = live > most ? live : most;
    }
    atomic_store_explicit(&shared->counters[2].waits, 1, memory_order_relaxed);
    pthread_join(thread, NULL);
    assert_in_range(most, 0, BLOCK_BYTES);
    assert_int_equal(rss_live_bytes(shared), 0);
    drop(shared, fd);
}

// More threads than CPUs that hand everything over: somebody always waits for room in a queue and drains meanwhile.
static void the_peak_of_live_bytes_is_possible(void **state) {
    (void)state;
    const uint32_t threads = 8;
    int fd;
    struct sample_shared *shared = new_cell(&fd, "null", "remote", threads);
    shared->request.params.ops = 200000;
    shared->request.rss_interval_ns = 1000000;
    run(shared, fd, NULL);
    assert_ok(shared);
    const struct workload_params *defaults = &workload_find("remote")->defaults;
    // Slots, a full ring, and two chunks that its owner and its consumer have under way.
    const uint64_t objects = defaults->working_set + 1024 + 2 * 64;
    assert_in_range(shared->result.measured.live_peak, shared->result.measured.live_work,
                    threads * objects * (defaults->max_bytes + 1) / 2 * 5 / 4);
    drop(shared, fd);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_is_turned_away),
        cmocka_unit_test(every_workload_runs),
        cmocka_unit_test(series_tells_the_phases),
        cmocka_unit_test(fake_clock_leaves_nothing_to_chance),
        cmocka_unit_test(verdicts_name_the_cause),
        cmocka_unit_test(stats_may_be_untold),
        cmocka_unit_test(bad_requests_are_errors),
        cmocka_unit_test(the_clock_can_end_a_run),
        cmocka_unit_test(a_full_series_is_halved),
        cmocka_unit_test(live_bytes_are_never_above_the_truth),
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
