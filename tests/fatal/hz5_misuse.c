// SPDX-License-Identifier: Apache-2.0
// Every misuse of a pointer, times every size, operation and thread: each in a process of its own, once under policy
// abort (SIGABRT and the exact line) and once under policy count (one reason counter up by one, heap sound and usable).
// Usage: hz5_misuse LIBRARY [--policy abort|count] [--profile NAME] [--case NAME] [--every N]. Layer: test, uses the
// exported table only.
#include "../support/library.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_COUNT 7
#define NEIGHBOUR_MAX 8192
#define CHILD_SECONDS 20
#define FILL_BYTES ((size_t)4096)
#define EXERCISE_BLOCKS 12

static const size_t sizes[SIZE_COUNT] = {16, 64, 1000, 4096, 40000, 200u << 10, 8u << 20};
#define FIRST_LARGE_SIZE 5 // sizes from here on are runs of their own

enum operation { OP_FREE, OP_FREE_SIZED, OP_REALLOC, OP_USABLE_SIZE, OPERATION_COUNT };
static const char *const operation_names[] = {"free", "free_sized", "realloc", "usable_size"};
static const char *const message_names[] = {"free", "free", "realloc", "malloc_usable_size"};

static const char *const reason_names[ALLOCATOR_REJECT_COUNT] = {
    "foreign",       "unmapped",           "interior",  "misaligned",
    "double_free",   "double_free_remote", "stale_run", "wrong_owner_generation",
    "size_mismatch", "corrupt_descriptor", "overflow",  "write_after_free",
    "kind_mismatch"};

// ---- the child
// -------------------------------------------------------------------------------------------------------------

static struct test_library library;
static const struct allocator *heap;
static const char *profile_name = "balanced";
static size_t size;    // requested bytes of the case
static char *survivor; // a live block of the case whose contents must outlive the misuse, or NULL
static size_t survivor_bytes;
static void *kept[NEIGHBOUR_MAX]; // keeps runs alive
static size_t kept_count;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vdprintf(STDERR_FILENO, format, arguments);
    va_end(arguments);
    _exit(10);
}

// Of a large block only the ends are written: page faults would be most of the run time.
static void fill(char *block, size_t bytes) {
    size_t head = bytes < FILL_BYTES ? bytes : FILL_BYTES;
    memset(block, 0x5a, head);
    memset(block + bytes - head, 0x5a, head);
}

static void check_fill(const char *block, size_t bytes, const char *whose) {
    size_t head = bytes < FILL_BYTES ? bytes : FILL_BYTES;
    for (size_t i = 0; i < head; i++)
        if (block[i] != 0x5a || block[bytes - 1 - i] != 0x5a)
            die("%s block changed within %zu bytes of its ends\n", whose, i + 1);
}

static char *take(void) {
    char *block = heap->alloc(size);
    if (block == NULL)
        die("setup: no memory for %zu bytes\n", size);
    fill(block, size);
    return block;
}

// A live block beside the one under test, so that its run is not released.
static char *take_kept(void) {
    if (kept_count == NEIGHBOUR_MAX)
        die("setup: too many neighbours\n");
    char *block = take();
    kept[kept_count++] = block;
    return block;
}

static char *survive(char *block) {
    survivor = block;
    survivor_bytes = size;
    return block;
}

// Runs `function` in a thread that lives until told otherwise, or until it is done.
struct helper {
    pthread_t thread;
    void *(*function)(void *);
    void *argument;
    void *result;
    int stays;
    pthread_barrier_t done, leave;
};

static void *helper_main(void *argument) {
    struct helper *helper = argument;
    helper->result = helper->function(helper->argument);
    if (helper->stays) {
        pthread_barrier_wait(&helper->done);
        pthread_barrier_wait(&helper->leave);
    }
    return NULL;
}

static void *elsewhere(void *(*function)(void *), void *argument, int stays) {
    struct helper *helper = calloc(1, sizeof *helper); // libc's: it outlives this call when the thread stays
    helper->function = function;
    helper->argument = argument;
    helper->stays = stays;
    pthread_barrier_init(&helper->done, NULL, 2);
    pthread_barrier_init(&helper->leave, NULL, 2);
    pthread_create(&helper->thread, NULL, helper_main, helper);
    if (stays)
        pthread_barrier_wait(&helper->done);
    else
        pthread_join(helper->thread, NULL);
    return helper->result;
}

static void *free_there(void *block) {
    heap->free(block);
    return NULL;
}

static void *take_there(void *unused) {
    (void)unused;
    take_kept();
    char *block = take();
    take_kept();
    return block;
}

static void *take_and_free_there(void *unused) {
    char *block = take_there(unused);
    heap->free(block);
    return block;
}

// ---- the misuses: each returns the bad pointer
// -------------------------------------------------------------------------------

static char *freed_now(void) {
    take_kept();
    char *block = take();
    heap->free(block);
    return block;
}

static char *freed_long_ago(void) {
    size_t other = size == 64 ? 48 : 64;
    void *others[512];
    for (int i = 0; i < 512; i++)
        others[i] = heap->alloc(other); // first, so that no new run takes the place of a released large block
    take_kept();
    char *block = take();
    take_kept();
    heap->free(block);
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 512; i += 2)
            heap->free(others[i]);
        for (int i = 0; i < 512; i += 2)
            others[i] = heap->alloc(other);
    }
    return block;
}

static char *freed_interleaved(void) {
    take_kept();
    char *first = take();
    char *second = take();
    heap->free(first);
    heap->free(second);
    return first;
}

// The magazine has spilled: the state is FREE, not CACHED.
static char *freed_and_spilled(void) {
    take_kept();
    char *block = take();
    void *others[160];
    int count = size >= 4096 ? 24 : 160;
    for (int i = 0; i < count; i++)
        others[i] = take();
    heap->free(block);
    for (int i = 0; i < count; i++)
        heap->free(others[i]);
    return block;
}

static char *freed_others_reused(void) {
    take_kept();
    char *first = take();
    char *second = take();
    heap->free(first);
    heap->free(second);
    survive(take()); // gets what was freed last
    if (survivor == first)
        die("setup: expected another block\n");
    return first;
}

static char *freed_and_overwritten(void) {
    char *block = freed_now();
    memset(block, 0xff, size < 4096 ? size : 4096); // a use after free must not be able to hide or cause anything
    return block;
}

static char *freed_here_then_there(void) {
    return freed_now(); // the driver's other thread does the second free
}

static char *freed_there(void) {
    take_kept();
    char *block = take();
    elsewhere(free_there, block, 1);
    return block;
}

static char *freed_there_by_dead(void) {
    take_kept();
    char *block = take();
    elsewhere(free_there, block, 0);
    return block;
}

static char *freed_after_owner_exit(void) {
    char *block = elsewhere(take_there, NULL, 0);
    heap->free(block);
    return block;
}

static char *freed_before_owner_exit(void) {
    return elsewhere(take_and_free_there, NULL, 0);
}

static char *freed_owned_elsewhere(void) {
    char *block = elsewhere(take_there, NULL, 1);
    heap->free(block);
    return block;
}

static char *freed_by_its_owner_elsewhere(void) {
    return elsewhere(take_and_free_there, NULL, 1);
}

static char *freed_by_realloc(void) {
    take_kept();
    char *block = take();
    char *moved = heap->realloc(block, size >= 200u << 10 ? 100 : size * 4);
    if (moved == block)
        die("setup: realloc did not move\n");
    return block;
}

static char *interior_near(void) {
    return survive(take()) + 16;
}

static char *interior_middle(void) {
    return survive(take()) + size / 2 / 16 * 16;
}

static char *interior_last(void) {
    return survive(take()) + (size - 1) / 16 * 16;
}

static char *misaligned_one(void) {
    return survive(take()) + 1;
}

static char *misaligned_eight(void) {
    return survive(take()) + 8;
}

// From a small block to the next. Strict serves one byte more, which is the canary.
static size_t stride(const char *block) {
    if (strcmp(profile_name, "strict") != 0)
        return heap->usable_size((void *)(uintptr_t)block);
    size_t nominal = 16, bytes = 16;
    while (bytes < size + 1) {
        nominal += nominal < 1024 ? 16 : (size_t)1 << (63 - __builtin_clzll(nominal) - 3);
        bytes = nominal + (nominal >= 2048 ? 64 : 0);
    }
    return bytes;
}

static char *one_past(void) {
    char *block = survive(take());
    return block + stride(block);
}

static char *one_before(void) {
    survive(take());
    char *block = take_kept();
    return block - 16;
}

// Runs begin at a multiple of 64 KiB and end in a tail that holds no whole block; longer ones have eight units.
static char *run_tail(void) {
    char *block = survive(take());
    size_t block_bytes = stride(block);
    size_t run_bytes = block_bytes > 8256 ? 8u << 16 : 1u << 16;
    uintptr_t base = (uintptr_t)block & ~(uintptr_t)0xffff;
    while (block_bytes > 8256 && (uintptr_t)block % block_bytes != base % block_bytes)
        base -= 1u << 16; // the run's first unit: the first block of a process begins there
    size_t tail = run_bytes / block_bytes * block_bytes;
    if (tail + 16 > run_bytes)
        die("setup: this run has no tail\n");
    return (char *)(base + tail);
}

static char *never_handed_out(void) {
    char *block = survive(take());
    return block + 10 * stride(block);
}

static char *never_mapped(void) {
    const size_t size_of_case = size;
    size = sizes[0]; // a large block might reach there
    char *block = survive(take());
    size = size_of_case;
    struct allocator_stats stats;
    heap->stats(&stats);
    return block + stats.reserved_bytes / 2;
}

static char *on_stack(void) {
    static char *there;
    char local[64];
    there = (char *)(((uintptr_t)local + 31) & ~(uintptr_t)15);
    char *volatile hidden = there;
    return hidden;
}

static char static_bytes[64] __attribute__((aligned(16)));

static char *in_static(void) {
    return static_bytes;
}

static char *in_text(void) {
    return (char *)(((uintptr_t)(void (*)(void))in_text + 15) & ~(uintptr_t)15);
}

static char *in_mmap(void) {
    return mmap(NULL, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static char *in_libc_heap(void) {
    return malloc(100); // not replaced: the library was opened, not preloaded
}

static char *low(void) {
    return (char *)(uintptr_t)16;
}

static char *first_page(void) {
    return (char *)(uintptr_t)4096;
}

static char *non_canonical(void) {
    return (char *)(uintptr_t)0x0000800000000010u;
}

static char *tagged(void) {
    return (char *)((uintptr_t)survive(take()) | (uintptr_t)0x5a << 56);
}

static char *kernel_half(void) {
    return (char *)(uintptr_t)0xffff888000001000u;
}

static char *minus_one(void) {
    return (char *)UINTPTR_MAX;
}

static char *minus_sixteen(void) {
    return (char *)(uintptr_t)-16;
}

// The side table, just below the user memory: metadata of the allocator itself.
static char *in_metadata(void) {
    char *block = survive(take());
    return (char *)((uintptr_t)block & ~(uintptr_t)0xffffff) - (64u << 20);
}

static char *released_run(void) {
    void *blocks[NEIGHBOUR_MAX];
    size_t count = size >= 4096 ? 64 : NEIGHBOUR_MAX;
    for (size_t i = 0; i < count; i++)
        blocks[i] = heap->alloc(size);
    char *block = blocks[count / 2];
    for (size_t i = 0; i < count; i++)
        heap->free(blocks[i]);
    heap->purge();
    return block;
}

static char *large_released(void) {
    char *block = take();
    take_kept();
    heap->free(block);
    return block;
}

static char *large_inside_unit(void) {
    return survive(take()) + (1u << 16);
}

static char *large_inside_last_unit(void) {
    char *block = survive(take());
    return block + heap->usable_size(block) - (1u << 16) + 16;
}

static char *large_tail_shrunk(void) {
    char *block = take();
    size_t before = heap->usable_size(block);
    if (heap->realloc(block, before / 2) != block)
        die("setup: a large block did not shrink in place\n");
    size = before / 2;
    fill(survive(block), size);
    return block + before - (1u << 16);
}

static char *wrong_size(void) {
    return survive(take());
}

#define SMALL 0x1f
#define LARGE 0x60
#define ALL 0x7f
#define POINTER_ONLY 0x08 // the size plays no part: run once
#define EVERY_OP 0xf
#define NOT_HERE 1u   // `flags`: the other thread must do the misuse
#define NOT_THERE 2u  // the calling thread must do it
#define NOT_STRICT 4u // large sizes: quarantine and guard of the strict profile make the setup or the reason another

struct misuse {
    const char *name;
    char *(*prepare)(void);
    unsigned sizes;      // bit a size
    unsigned operations; // bit an operation
    unsigned flags;
    unsigned small, large; // expected reasons, bit each
};

#define R(name) (1u << ALLOCATOR_REJECT_##name)
#define GONE (R(STALE_RUN) | R(DOUBLE_FREE)) // a freed run of its own: given back, or kept for the next of its size

static const struct misuse misuses[] = {
    {"double_now", freed_now, ALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_delayed", freed_long_ago, ALL, EVERY_OP, NOT_STRICT, R(DOUBLE_FREE), GONE},
    {"double_interleaved", freed_interleaved, ALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_spilled", freed_and_spilled, SMALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_after_reuse", freed_others_reused, SMALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_overwritten", freed_and_overwritten, SMALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_here_there", freed_here_then_there, ALL, EVERY_OP, NOT_HERE, R(DOUBLE_FREE), GONE},
    {"double_there_here", freed_there, ALL, EVERY_OP, NOT_THERE, R(DOUBLE_FREE_REMOTE), GONE},
    {"double_there_there", freed_there, ALL, EVERY_OP, NOT_HERE, R(DOUBLE_FREE_REMOTE), GONE},
    {"double_by_dead", freed_there_by_dead, ALL, EVERY_OP, 0, R(DOUBLE_FREE_REMOTE), GONE},
    {"double_owner_elsewhere", freed_owned_elsewhere, ALL, EVERY_OP, 0, R(DOUBLE_FREE_REMOTE), GONE},
    {"double_by_owner_elsewhere", freed_by_its_owner_elsewhere, ALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_after_owner_exit", freed_after_owner_exit, ALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_before_owner_exit", freed_before_owner_exit, ALL, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"double_after_realloc", freed_by_realloc, ALL & ~0x40u, EVERY_OP, 0, R(DOUBLE_FREE), GONE},
    {"interior_near", interior_near, ALL & ~1u, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"interior_middle", interior_middle, ALL & ~1u, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"interior_last", interior_last, ALL & ~1u, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"misaligned_one", misaligned_one, ALL, EVERY_OP, 0, R(MISALIGNED), R(MISALIGNED)},
    {"misaligned_eight", misaligned_eight, ALL, EVERY_OP, 0, R(MISALIGNED), R(MISALIGNED)},
    {"one_past", one_past, ALL, EVERY_OP, NOT_STRICT, R(DOUBLE_FREE), R(UNMAPPED)},
    {"one_before", one_before, 0x1e, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"run_tail", run_tail, 0x1c, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"never_handed_out", never_handed_out, SMALL, EVERY_OP, 0, R(DOUBLE_FREE), R(DOUBLE_FREE)},
    {"never_mapped", never_mapped, ALL, EVERY_OP, 0, R(UNMAPPED), R(UNMAPPED)},
    {"stack", on_stack, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"static", in_static, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"text", in_text, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"mmap", in_mmap, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"libc_heap", in_libc_heap, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"low", low, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"first_page", first_page, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"non_canonical", non_canonical, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"tagged", tagged, ALL, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"kernel_half", kernel_half, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"minus_one", minus_one, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"minus_sixteen", minus_sixteen, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"metadata", in_metadata, POINTER_ONLY, EVERY_OP, 0, R(FOREIGN), R(FOREIGN)},
    {"stale_run", released_run, SMALL, EVERY_OP, 0, R(STALE_RUN), R(STALE_RUN)},
    {"large_released", large_released, LARGE, EVERY_OP, 0, GONE, GONE},
    {"large_inside_unit", large_inside_unit, LARGE, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"large_inside_last", large_inside_last_unit, LARGE, EVERY_OP, 0, R(INTERIOR), R(INTERIOR)},
    {"large_tail_shrunk", large_tail_shrunk, 0x40, EVERY_OP, NOT_STRICT, R(STALE_RUN), R(STALE_RUN)},
    {"wrong_size", wrong_size, ALL, 1u << OP_FREE_SIZED, 0, R(SIZE_MISMATCH), R(SIZE_MISMATCH)},
};
#define MISUSE_COUNT (sizeof misuses / sizeof *misuses)

struct job {
    const struct misuse *misuse;
    enum operation operation;
    int other_thread;
    char *pointer;
    size_t sized; // what free_sized is told
};

static void *commit(void *argument) {
    struct job *job = argument;
    void *moved;
    switch (job->operation) {
    case OP_FREE:
        heap->free(job->pointer);
        break;
    case OP_FREE_SIZED:
        library.free_sized(job->pointer, job->sized);
        break;
    case OP_REALLOC:
        moved = heap->realloc(job->pointer, 300);
        if (moved != NULL)
            die("realloc of a bad pointer gave %p\n", moved);
        break;
    case OP_USABLE_SIZE:
        if (heap->usable_size(job->pointer) != 0)
            die("usable_size of a bad pointer is not 0\n");
        break;
    case OPERATION_COUNT:
        break;
    }
    return NULL;
}

// The heap serves and takes back every size, hands out nothing twice, and its audit is clean.
static void exercise_heap(void) {
    char *blocks[SIZE_COUNT][EXERCISE_BLOCKS];
    for (int s = 0; s < SIZE_COUNT; s++) {
        for (int i = 0; i < (s == SIZE_COUNT - 1 ? 2 : EXERCISE_BLOCKS); i++) {
            blocks[s][i] = heap->alloc(sizes[s]);
            if (blocks[s][i] == NULL)
                die("no memory after the misuse\n");
            memset(blocks[s][i], s * EXERCISE_BLOCKS + i, sizes[s] < FILL_BYTES ? sizes[s] : FILL_BYTES);
        }
    }
    for (int s = 0; s < SIZE_COUNT; s++) {
        for (int i = 0; i < (s == SIZE_COUNT - 1 ? 2 : EXERCISE_BLOCKS); i++) {
            size_t checked = sizes[s] < FILL_BYTES ? sizes[s] : FILL_BYTES;
            for (size_t at = 0; at < checked; at++)
                if (blocks[s][i][at] != (char)(s * EXERCISE_BLOCKS + i))
                    die("block handed out twice after the misuse\n");
            heap->free(blocks[s][i]);
        }
    }
}

static void child(const char *path, const struct misuse *misuse, size_t size_index, enum operation operation,
                  int other_thread, int counts, int report) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(CHILD_SECONDS);
    char profile[64];
    // The same blocks in each run of this test, where placement is random.
    snprintf(profile, sizeof profile, "profile=%s%s%s", profile_name,
             strcmp(profile_name, "strict") == 0 ? ",random=1" : "", counts ? ",reject=count" : "");
    setenv("HZ5_OPTIONS", profile, 1);
    library = test_library_open(path);
    heap = library.table;
    size = sizes[size_index];
    struct job job = {.misuse = misuse, .operation = operation, .other_thread = other_thread};
    job.pointer = misuse->prepare();
    job.sized = misuse->prepare == wrong_size ? heap->usable_size(job.pointer) + 1 : size;
    unsigned expected = size_index >= FIRST_LARGE_SIZE ? misuse->large : misuse->small;
    struct allocator_stats before;
    heap->stats(&before);
    uint64_t told[2] = {(uintptr_t)job.pointer, expected};
    if (write(report, told, sizeof told) != (ssize_t)sizeof told)
        die("setup: no pipe\n");
    if (other_thread)
        elsewhere(commit, &job, 0);
    else
        commit(&job);
    if (!counts)
        die("went on after the misuse\n");
    struct allocator_stats after;
    heap->stats(&after);
    uint64_t risen = 0;
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++) {
        uint64_t more = after.rejects[reason] - before.rejects[reason];
        risen += more;
        if (more != 0 && (expected >> reason & 1) == 0)
            die("counter %s rose by %lld\n", reason_names[reason], (long long)more);
    }
    if (risen != 1)
        die("the counters rose by %lld, not 1\n", (long long)risen);
    if (after.live_bytes != before.live_bytes)
        die("live bytes changed by the misuse\n");
    int contradictions = heap->verify();
    if (contradictions != 0)
        die("verify: %d contradictions\n", contradictions);
    exercise_heap();
    if (survivor != NULL) {
        check_fill(survivor, survivor_bytes, "the live");
        heap->free(survivor);
    }
    for (size_t i = 0; i < kept_count; i++) {
        check_fill(kept[i], size, "a neighbouring");
        heap->free(kept[i]);
    }
    heap->stats(&before);
    if (memcmp(before.rejects, after.rejects, sizeof after.rejects) != 0)
        die("a valid free was refused after the misuse\n");
    if (heap->verify() != 0)
        die("verify fails at the end\n");
    _exit(0);
}

// ---- the driver
// --------------------------------------------------------------------------------------------------------------

#define EMULATOR_LINE "qemu: uncaught target signal 6 (Aborted) - core dumped\n"

static size_t read_all(int fd, char *text, size_t bytes) {
    size_t got = 0;
    for (;;) {
        ssize_t part = read(fd, text + got, bytes - 1 - got);
        if (part <= 0)
            break;
        got += (size_t)part;
    }
    text[got] = '\0';
    return got;
}

// 1 when `text` is one line `hz5: refused OP(0xPOINTER): REASON: words`, which qemu-user follows with one of its own.
static int is_refusal_for(const char *text, enum operation operation, uint64_t pointer, int reason) {
    char wanted[160];
    int bytes = snprintf(wanted, sizeof wanted, "hz5: refused %s(0x%llx): %s: ", message_names[operation],
                         (unsigned long long)pointer, reason_names[reason]);
    const char *end = strchr(text, '\n');
    return strncmp(text, wanted, (size_t)bytes) == 0 && end != NULL && end - text > bytes + 4 &&
           (end[1] == '\0' || strcmp(end + 1, EMULATOR_LINE) == 0);
}

static int is_refusal(const char *text, enum operation operation, uint64_t pointer, uint64_t reasons) {
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        if ((reasons >> reason & 1) != 0 && is_refusal_for(text, operation, pointer, reason))
            return 1;
    return 0;
}

static int run_case(const char *path, const struct misuse *misuse, size_t size_index, enum operation operation,
                    int other_thread, int counts) {
    int report[2], errors[2];
    if (pipe(report) != 0 || pipe(errors) != 0) {
        perror("pipe");
        exit(2);
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(report[0]);
        close(errors[0]);
        dup2(errors[1], STDERR_FILENO);
        close(errors[1]);
        child(path, misuse, size_index, operation, other_thread, counts, report[1]);
    }
    close(report[1]);
    close(errors[1]);
    char text[1024];
    read_all(errors[0], text, sizeof text);
    uint64_t told[2] = {0, 0};
    int is_told = read(report[0], told, sizeof told) == (ssize_t)sizeof told;
    close(report[0]);
    close(errors[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    int good = counts ? is_told && WIFEXITED(status) && WEXITSTATUS(status) == 0 && text[0] == '\0'
                      : is_told && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
                            is_refusal(text, operation, told[0], told[1]);
    if (!good)
        printf("FAIL %s size %zu %s by %s thread, policy %s: %s %d, pointer 0x%llx, said: %s\n", misuse->name,
               sizes[size_index], operation_names[operation], other_thread ? "another" : "the calling",
               counts ? "count" : "abort", WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (unsigned long long)told[0],
               text[0] != '\0' ? text : "nothing");
    return good;
}

int main(int argc, char **argv) {
    test_library_environment(argv);
    const char *path = argc > 1 ? argv[1] : NULL;
    const char *only = NULL;
    int policies = 3;
    unsigned long every = 1; // runs one program of so many
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--policy") == 0)
            policies = strcmp(argv[i + 1], "abort") == 0 ? 1 : 2;
        else if (strcmp(argv[i], "--case") == 0)
            only = argv[i + 1];
        else if (strcmp(argv[i], "--profile") == 0)
            profile_name = argv[i + 1];
        else if (strcmp(argv[i], "--every") == 0)
            every = strtoul(argv[i + 1], NULL, 10);
        else
            path = NULL;
    if (path == NULL || every == 0) {
        fprintf(stderr,
                "usage: hz5_misuse LIBRARY [--policy abort|count] [--profile NAME] [--case NAME] [--every N]\n");
        return 2;
    }
    unsigned long programs = 0;
    unsigned cases = 0, failed = 0;
    for (size_t m = 0; m < MISUSE_COUNT; m++) {
        const struct misuse *misuse = &misuses[m];
        if (only != NULL && strcmp(only, misuse->name) != 0)
            continue;
        for (size_t s = 0; s < SIZE_COUNT; s++) {
            if ((misuse->sizes >> s & 1) == 0 ||
                (s >= FIRST_LARGE_SIZE && (misuse->flags & NOT_STRICT) && strcmp(profile_name, "strict") == 0))
                continue;
            for (int operation = 0; operation < OPERATION_COUNT; operation++) {
                for (int other = 0; other <= 1; other++) {
                    if ((misuse->operations >> operation & 1) == 0 || (misuse->flags & (other ? NOT_THERE : NOT_HERE)))
                        continue;
                    for (int counts = 0; counts <= 1; counts++) {
                        if ((policies >> counts & 1) == 0 || programs++ % every != 0)
                            continue;
                        cases++;
                        failed += !run_case(path, misuse, s, (enum operation)operation, other, counts);
                    }
                }
            }
        }
    }
    printf("misuse programs: %u, failed: %u\n", cases, failed);
    return failed != 0 || cases == 0;
}
