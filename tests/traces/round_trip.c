// SPDX-License-Identifier: Apache-2.0
// Replays a trace on an allocator that keeps account of every call, and compares with what the walk over the trace
// says: the calls of each kind, the live bytes after every single call (traces of one lane) and who freed whose
// objects. Usage: round_trip TRACE... Layer: test.
#include "../workloads/driver.h"

#include "../../workloads/trace/walk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 4096 // before a block; as much as the largest alignment
#define CALLS_MAX (4u << 20)
#define LANES_MAX 64

struct head {
    void *start;
    size_t bytes;
    unsigned thread;
};

static struct account {
    uint64_t calls[TRACE_ORDER];
    uint64_t freed[LANES_MAX][LANES_MAX];
    uint64_t live, peak, curve_length;
    uint64_t curve[CALLS_MAX];
} replayed, walked;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned threads_seen;
static __thread unsigned thread_number;
static unsigned failed;

static unsigned self(void) {
    if (thread_number == 0)
        thread_number = atomic_fetch_add_explicit(&threads_seen, 1, memory_order_relaxed) + 1;
    return (thread_number - 1) % LANES_MAX;
}

static void count(struct account *account, enum trace_kind kind, uint64_t born, uint64_t gone, unsigned owner,
                  unsigned thread) {
    account->calls[kind]++;
    account->live += born - gone;
    account->peak = account->live > account->peak ? account->live : account->peak;
    account->freed[owner][thread] += kind == TRACE_FREE;
    if (account->curve_length < CALLS_MAX)
        account->curve[account->curve_length++] = account->live;
}

static struct head *head_of(void *block) {
    return (struct head *)((char *)block - sizeof(struct head));
}

static void *make(size_t alignment, size_t bytes) {
    char *start = NULL;
    if (posix_memalign((void **)&start, alignment < 64 ? 64 : alignment, HEAD + bytes) != 0)
        return NULL;
    memset(start + HEAD, 0, bytes);
    *head_of(start + HEAD) = (struct head){start, bytes, self()};
    return start + HEAD;
}

static void note(enum trace_kind kind, uint64_t born, uint64_t gone, unsigned owner) {
    const unsigned thread = self();
    pthread_mutex_lock(&lock);
    count(&replayed, kind, born, gone, owner, thread);
    pthread_mutex_unlock(&lock);
}

static void *logged_alloc(size_t bytes) {
    note(TRACE_MALLOC, bytes, 0, 0);
    return make(0, bytes);
}

static void *logged_calloc(size_t number, size_t bytes) {
    note(TRACE_CALLOC, number * bytes, 0, 0);
    return make(0, number * bytes);
}

static void *logged_aligned(size_t alignment, size_t bytes) {
    note(TRACE_ALIGNED, bytes, 0, 0);
    return make(alignment, bytes);
}

static void logged_free(void *block) {
    if (block != NULL) {
        const struct head head = *head_of(block);
        note(TRACE_FREE, 0, head.bytes, head.thread);
        free(head.start);
    }
}

static void *logged_realloc(void *block, size_t bytes) {
    if (block == NULL) {
        note(TRACE_REALLOC_NULL, bytes, 0, 0);
        return make(0, bytes);
    }
    const struct head head = *head_of(block);
    note(TRACE_REALLOC, bytes, head.bytes, 0);
    char *fresh = make(0, bytes);
    memcpy(fresh, block, bytes < head.bytes ? bytes : head.bytes);
    free(head.start);
    return fresh;
}

static size_t logged_usable(void *block) {
    note(TRACE_USABLE, 0, 0, 0);
    return head_of(block)->bytes;
}

static void see(void *context, uint32_t lane, const struct trace_event *event, const struct walk_object *object,
                const struct walk_totals *totals) {
    (void)context, (void)totals;
    const int ends = event->kind == TRACE_FREE || event->kind == TRACE_REALLOC;
    count(&walked, event->kind, event->kind <= TRACE_REALLOC ? event->bytes : 0, ends ? object->bytes : 0,
          object != NULL ? object->owner : 0, lane);
}

static void expect(const char *file, const char *what, uint64_t is, uint64_t wanted) {
    if (is != wanted) {
        printf("%s: %s: %llu in the replay, %llu in the trace\n", file, what, (unsigned long long)is,
               (unsigned long long)wanted);
        failed++;
    }
}

static int by_value(const void *a, const void *b) {
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

// Threads have numbers of their own in the replay: the matrices are compared as sets of their values.
static void compare_freed(const char *file, unsigned lanes) {
    static uint64_t is[2][LANES_MAX * LANES_MAX], wanted[2][LANES_MAX * LANES_MAX];
    size_t counts[2] = {0, 0};
    for (unsigned owner = 0; owner < lanes; owner++) {
        for (unsigned lane = 0; lane < lanes; lane++) {
            const int is_remote = owner != lane;
            is[is_remote][counts[is_remote]] = replayed.freed[owner][lane];
            wanted[is_remote][counts[is_remote]++] = walked.freed[owner][lane];
        }
    }
    for (int remote = 0; remote < 2; remote++) {
        qsort(is[remote], counts[remote], sizeof(uint64_t), by_value);
        qsort(wanted[remote], counts[remote], sizeof(uint64_t), by_value);
        for (size_t i = 0; i < counts[remote]; i++) {
            expect(file, remote ? "remote frees between two lanes" : "local frees of a lane", is[remote][i],
                   wanted[remote][i]);
        }
    }
}

static void check(const char *file) {
    static const char *const kinds[] = {"malloc",  "calloc", "aligned",    "realloc(NULL)",
                                        "realloc", "free",   "usable size"};
    struct trace_source source;
    struct trace_header header;
    struct walk_totals totals;
    char why[512];
    memset(&replayed, 0, sizeof replayed);
    memset(&walked, 0, sizeof walked);
    const struct walk_visitor visitor = {.event = see};
    if (!trace_source_open(&source, file, why, sizeof why) ||
        walk_trace(&source, &header, &totals, &visitor, why, sizeof why) != TRACE_END || header.lanes > LANES_MAX) {
        printf("%s: %s\n", file, why);
        failed++;
        return;
    }
    trace_source_close(&source);
    atomic_store_explicit(&threads_seen, 0, memory_order_relaxed);
    thread_number = 0;
    struct workload_params params = driver_unset(header.lanes);
    snprintf(params.input, sizeof params.input, "%s", file);
    struct allocator table = driver_system();
    table.alloc = logged_alloc;
    table.calloc = logged_calloc;
    table.alloc_aligned = logged_aligned;
    table.capabilities |= ALLOCATOR_ALIGNED | ALLOCATOR_STORES;
    table.free = logged_free;
    table.realloc = logged_realloc;
    table.usable_size = logged_usable;
    const struct driver_outcome outcome = driver_run("trace", params, &table);

    replayed.calls[TRACE_FREE] -= totals.left_alive; // the tear-down's, each by its owner
    for (int kind = 0; kind < TRACE_ORDER; kind++)
        expect(file, kinds[kind], replayed.calls[kind], walked.calls[kind]);
    expect(file, "frees", outcome.frees_local + outcome.frees_remote, totals.frees);
    expect(file, "remote frees", outcome.frees_remote, totals.remote_frees);
    expect(file, "live bytes at the end of the work", (uint64_t)outcome.live_work, totals.live_bytes);
    expect(file, "live bytes at last", (uint64_t)outcome.live_end, 0);
    expect(file, "corruptions", outcome.corruptions, 0);
    expect(file, "failures", outcome.failures, 0);
    uint64_t differing = 0;
    for (uint64_t i = 0; i < walked.curve_length && header.lanes == 1; i++)
        differing += replayed.curve[i] != walked.curve[i];
    expect(file, "differing points of the live curve", differing, 0);
    if (header.lanes == 1)
        expect(file, "peak of live bytes", replayed.peak, header.peak_live_bytes);
    else if (totals.left_alive == 0)
        compare_freed(file, header.lanes);
    printf("%s: %llu calls, %llu remote frees, peak %llu of %llu live bytes\n", file, (unsigned long long)totals.events,
           (unsigned long long)totals.remote_frees, (unsigned long long)replayed.peak,
           (unsigned long long)header.peak_live_bytes);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        check(argv[i]);
    return argc < 2 || failed != 0;
}
