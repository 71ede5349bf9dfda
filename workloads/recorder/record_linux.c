// SPDX-License-Identifier: Apache-2.0
// libhzrecord.so, preloaded in front of a program's allocator: notes every call of the malloc family and hands it on.
// Owns the recording (recording.h) of this process. A thread writes into a chunk of its own; the only thing threads
// share per call is the counter of tickets. Takes no memory from the heap that it records, and leaves no descriptor,
// signal handler or thread in the program. Layer: recorder; inside a foreign program.
#include "recording.h"

#include "../trace/format.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define TIMED_EVERY 1024u        // calls of a lane between two whose cost is measured
#define TIMED_LONGEST_NS 100000u // longer ones were interrupted, and not by us
#define LATE_ROUNDS 3            // of a thread's destructors that may still call malloc

// One thread's pen; after the thread's end the next thread's.
struct lane {
    struct recording_chunk *chunk; // NULL: none yet
    uint32_t used;                 // bytes of its data
    uint32_t id, chunks;
    uint32_t calls;
    uint64_t ticket, address; // of the call before
    struct lane *next;        // while no thread has it
    uint32_t rounds;          // of destructors
};

// What this process inherits a copy of by fork and must not use then: a page that the kernel empties in the child.
struct control {
    uint32_t is_on;
};

struct family {
    void *(*malloc)(size_t bytes);
    void *(*calloc)(size_t count, size_t bytes);
    void *(*realloc)(void *block, size_t bytes);
    void *(*reallocarray)(void *block, size_t count, size_t bytes);
    void (*free)(void *block);
    void *(*memalign)(size_t alignment, size_t bytes);
    void *(*aligned_alloc)(size_t alignment, size_t bytes);
    int (*posix_memalign)(void **block, size_t alignment, size_t bytes);
    void *(*valloc)(size_t bytes);
    void *(*pvalloc)(size_t bytes);
    size_t (*malloc_usable_size)(void *block);
};

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
    {"malloc", offsetof(struct family, malloc)},
    {"calloc", offsetof(struct family, calloc)},
    {"realloc", offsetof(struct family, realloc)},
    {"reallocarray", offsetof(struct family, reallocarray)},
    {"free", offsetof(struct family, free)},
    {"memalign", offsetof(struct family, memalign)},
    {"aligned_alloc", offsetof(struct family, aligned_alloc)},
    {"posix_memalign", offsetof(struct family, posix_memalign)},
    {"valloc", offsetof(struct family, valloc)},
    {"pvalloc", offsetof(struct family, pvalloc)},
    {"malloc_usable_size", offsetof(struct family, malloc_usable_size)},
};

static __thread __attribute__((tls_model("initial-exec"))) struct {
    struct lane *lane;
    uint32_t inside;  // a call of ours or of the allocator is under way: what it calls is not the program's
    uint32_t is_late; // the thread's destructors have run; it borrows a lane for each call
} self;

static struct family real;
static _Atomic uint32_t is_resolved, is_resolving;
static struct control *_Atomic control; // NULL: not begun
static _Atomic uint32_t is_begun;
static _Atomic uint64_t tickets;
static struct recording_head *head;
static char path[4096];
static uint64_t file_bytes; // under `lock`, like all below
static struct lane lanes[RECORDING_LANES_MAX];
static struct lane *free_lanes;
static uint32_t lane_count;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static pthread_key_t exit_key;
static uint64_t clock_ns; // what reading the clock costs

// Memory for the linker while it looks up the real functions. Never freed; known by its address.
static _Alignas(16) unsigned char early[16384];
static _Atomic size_t early_used;

extern char **environ;

static void hold(void) {
    // ORDER: acquire pairs with the release in let_go: lanes and file size as the last holder left them.
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        sched_yield();
}

static void let_go(void) {
    // ORDER: release publishes lanes and file size to the next hold.
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void say(const char *text) {
    char line[4200];
    const int bytes = snprintf(line, sizeof line, "hzrecord: %s: %s\n", path, text);
    const ssize_t ignored = write(STDERR_FILENO, line, bytes < (int)sizeof line ? (size_t)bytes : sizeof line - 1);
    (void)ignored;
}

static void say_full(const char *text) {
    if (secure_getenv(RECORDING_QUIET_ENV) == NULL)
        say(text);
}

// ---- the functions behind ours -------------------------------------------------------------------------------------

static int is_early(const void *block) {
    return (uintptr_t)block - (uintptr_t)early < sizeof early;
}

static void *early_take(size_t bytes) {
    const size_t room = (bytes + 15) & ~(size_t)15;
    const size_t at = atomic_fetch_add_explicit(&early_used, room, memory_order_relaxed);
    return room < bytes || at + room > sizeof early ? NULL : early + at;
}

// 0: this is the linker, looking up what we asked for.
static int resolve(void) {
    // ORDER: acquire pairs with the release below: the table is filled.
    if (atomic_load_explicit(&is_resolved, memory_order_acquire))
        return 1;
    if (atomic_exchange_explicit(&is_resolving, 1, memory_order_relaxed))
        return 0; // before main there is one thread
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *function = dlsym(RTLD_NEXT, symbols[i].name);
        memcpy((char *)&real + symbols[i].offset, &function, sizeof function);
    }
    // ORDER: release publishes the table to the acquire above.
    atomic_store_explicit(&is_resolved, 1, memory_order_release);
    return 1;
}

// For libhzrun.so, which proves whose malloc a program runs on: ours stands in front of it.
EXPORTED void *hzrecord_real(const char *name);
void *hzrecord_real(const char *name) {
    void *function = NULL;
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0] && resolve(); i++)
        if (strcmp(symbols[i].name, name) == 0)
            memcpy(&function, (char *)&real + symbols[i].offset, sizeof function);
    return function;
}

// ---- the file ------------------------------------------------------------------------------------------------------

static void stop(const char *why) {
    // ORDER: acquire pairs with the release in begin: the page is there.
    struct control *page = atomic_load_explicit(&control, memory_order_acquire);
    page->is_on = 0;
    atomic_store_explicit(&head->is_full, 1, memory_order_relaxed);
    say_full(why);
}

// Maps chunk `number`; the descriptor lives only here, so that no program can close it or get its number.
static void *map_chunk(uint32_t number, int extra_flags) {
    const uint64_t offset = (uint64_t)number * RECORDING_CHUNK_BYTES;
    const int fd = open(path, O_RDWR | O_CLOEXEC | extra_flags, 0600);
    void *chunk = MAP_FAILED;
    if (fd >= 0 && offset + RECORDING_CHUNK_BYTES > file_bytes) {
        // Not ftruncate: a full disk must show here and not as SIGBUS in the program.
        errno = posix_fallocate(fd, (off_t)file_bytes, RECORDING_GROW_BYTES);
        file_bytes += errno == 0 ? RECORDING_GROW_BYTES : 0;
    }
    if (fd >= 0 && offset + RECORDING_CHUNK_BYTES <= file_bytes)
        chunk = mmap(NULL, RECORDING_CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (fd >= 0) {
        const int saved = errno;
        close(fd);
        errno = saved;
    }
    return chunk == MAP_FAILED ? NULL : chunk;
}

static int next_chunk(struct lane *lane) {
    const int saved = errno;
    if (lane->chunk != NULL) {
        munmap(lane->chunk, RECORDING_CHUNK_BYTES);
        lane->chunk = NULL;
    }
    hold();
    const uint32_t number = atomic_load_explicit(&head->chunks, memory_order_relaxed);
    lane->chunk = map_chunk(number, 0);
    if (lane->chunk != NULL) {
        lane->chunk->magic = RECORDING_MAGIC;
        lane->chunk->lane = lane->id;
        lane->chunk->number = lane->chunks++;
        atomic_store_explicit(&head->chunks, number + 1, memory_order_relaxed);
    }
    let_go();
    lane->used = 0;
    lane->ticket = 0; // each chunk can be read without the one before
    lane->address = 0;
    if (lane->chunk == NULL)
        stop("no room for the recording (disk full, or the directory cannot be written any more) - it ends here");
    errno = saved;
    return lane->chunk != NULL;
}

static struct lane *take_lane(void) {
    hold();
    struct lane *lane = free_lanes;
    if (lane != NULL) {
        free_lanes = lane->next;
    } else if (lane_count < RECORDING_LANES_MAX) {
        lane = &lanes[lane_count];
        lane->id = lane_count++;
    }
    let_go();
    return lane;
}

static void give_lane(struct lane *lane) {
    hold();
    lane->next = free_lanes;
    free_lanes = lane;
    let_go();
}

// ---- events --------------------------------------------------------------------------------------------------------

static int has_room(struct lane *lane) {
    const uint32_t room = RECORDING_CHUNK_BYTES - (uint32_t)sizeof(struct recording_chunk);
    return (lane->chunk != NULL && lane->used + RECORDING_EVENT_BYTES <= room) || next_chunk(lane);
}

static void put(struct lane *lane, uint8_t *end) {
    lane->used = (uint32_t)(end - lane->chunk->data);
    // ORDER: release publishes the event's bytes before the length that covers them: whoever reads the file of a killed
    // process (recorder/pack.c) sees whole events.
    atomic_store_explicit(&lane->chunk->used, lane->used, memory_order_release);
}

static void mark(struct lane *lane, enum recording_kind kind) {
    if (has_room(lane)) {
        uint8_t *to = lane->chunk->data + lane->used;
        *to++ = (uint8_t)kind;
        put(lane, to);
    }
}

static void write_event(struct lane *lane, enum recording_kind kind, const void *block, uint64_t bytes,
                        uint32_t align_bits) {
    if (!has_room(lane))
        return;
    // Relaxed is enough: the program's own synchronization orders one thread's malloc before another's free of it, and
    // the allocator's orders a free before the malloc that gets the same place.
    const uint64_t ticket = 1 + atomic_fetch_add_explicit(&tickets, 1, memory_order_relaxed);
    const uint64_t address = (uintptr_t)block >> 3;
    uint8_t *to = lane->chunk->data + lane->used;
    *to++ = (uint8_t)kind;
    to = trace_put_varint(to, ticket - lane->ticket);
    to = trace_put_varint(to, trace_zigzag((int64_t)(address - lane->address)));
    lane->ticket = ticket;
    lane->address = address;
    if (kind == RECORDING_ALIGNED)
        *to++ = (uint8_t)align_bits;
    if (kind <= RECORDING_ALIGNED || kind == RECORDING_REALLOC_NEW)
        to = trace_put_varint(to, bytes);
    put(lane, to);
}

static struct lane *own_lane(void) {
    if (self.lane == NULL) {
        self.lane = take_lane();
        if (self.lane != NULL && !self.is_late) {
            self.lane->rounds = 0;
            mark(self.lane, RECORDING_THREAD);
            pthread_setspecific(exit_key, self.lane);
        }
    }
    return self.lane;
}

static void note(enum recording_kind kind, const void *block, uint64_t bytes, uint32_t align_bits) {
    struct lane *lane = own_lane();
    if (lane == NULL)
        return; // more threads at a time than there are lanes
    if (__builtin_expect(++lane->calls % TIMED_EVERY != 0, 1)) {
        write_event(lane, kind, block, bytes, align_bits);
    } else {
        const uint64_t before_ns = now_ns();
        write_event(lane, kind, block, bytes, align_bits);
        const uint64_t took_ns = now_ns() - before_ns;
        if (took_ns < TIMED_LONGEST_NS) {
            atomic_fetch_add_explicit(&head->timed_ns, took_ns > clock_ns ? took_ns - clock_ns : 0,
                                      memory_order_relaxed);
            atomic_fetch_add_explicit(&head->timed, 1, memory_order_relaxed);
        }
    }
    if (__builtin_expect(self.is_late, 0)) {
        self.lane = NULL;
        give_lane(lane);
    }
}

static void note_nothing(void) {
    struct lane *lane = own_lane();
    if (lane != NULL) {
        mark(lane, RECORDING_LEFT_OUT);
        if (self.is_late) {
            self.lane = NULL;
            give_lane(lane);
        }
    }
}

// Runs again in each round of destructors, so that in the last one all others have had theirs.
static void thread_ends(void *argument) {
    struct lane *lane = argument;
    self.inside++;
    if (++lane->rounds < LATE_ROUNDS) {
        pthread_setspecific(exit_key, lane);
    } else {
        self.lane = NULL;
        self.is_late = 1;
        give_lane(lane);
    }
    self.inside--;
}

// ---- begin and end -------------------------------------------------------------------------------------------------

static int name_file(const char *wanted) {
    char directory[2048] = "";
    if (wanted[0] != '/' && getcwd(directory, sizeof directory) == NULL)
        return 0;
    for (int image = 1; image < 1000; image++) { // one process runs a program after another
        char number[16] = "";
        if (image > 1)
            snprintf(number, sizeof number, "-%d", image);
        const int bytes = snprintf(path, sizeof path, "%s%s%s.%ld%s" RECORDING_SUFFIX, directory,
                                   wanted[0] != '/' ? "/" : "", wanted, (long)getpid(), number);
        if (bytes >= (int)sizeof path)
            return 0;
        struct stat status;
        if (stat(path, &status) != 0)
            return 1;
    }
    return 0;
}

static void measure_clock(void) {
    clock_ns = UINT64_MAX;
    for (int i = 0; i < 32; i++) {
        const uint64_t before_ns = now_ns();
        const uint64_t took_ns = now_ns() - before_ns;
        clock_ns = took_ns < clock_ns ? took_ns : clock_ns;
    }
}

static void begin_file(const char *wanted) {
    struct control *page =
        mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    snprintf(path, sizeof path, "%s", wanted);
    if (page == MAP_FAILED || madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) != 0) {
        say("this kernel cannot empty a page on fork (Linux 4.14 can) - not recording");
        return;
    }
    // Not O_EXCL on the path that hzrun made sure of, but on ours: never write into another image's recording.
    if (!name_file(wanted)) {
        say("the path is too long, or all names behind it are taken - not recording");
        return;
    }
    if ((head = map_chunk(0, O_CREAT | O_EXCL)) == NULL) {
        if (errno == ENOSPC || errno == EDQUOT) {
            unlink(path); // made, and without room for anything
            say_full("no room on the disk - not recording");
        } else {
            say("cannot be created - give a path in a directory that the program may write");
        }
        return;
    }
    if (pthread_key_create(&exit_key, thread_ends) != 0) {
        say("no thread key left - not recording");
        return;
    }
    measure_clock();
    head->magic = RECORDING_MAGIC;
    head->chunk_bytes = RECORDING_CHUNK_BYTES;
    head->pid = (int32_t)getpid();
    atomic_store_explicit(&head->chunks, 1, memory_order_relaxed);
    snprintf(head->program, sizeof head->program, "%s",
             program_invocation_short_name != NULL ? program_invocation_short_name : "");
    page->is_on = 1;
    // ORDER: release publishes file, path and key to the acquire in is_recording.
    atomic_store_explicit(&control, page, memory_order_release);
}

// At the first call after the C library has set up the environment: before any constructor, so that what constructors
// allocate is recorded; by one thread, as there is only one then.
static __attribute__((noinline)) void begin(void) {
    if (environ == NULL || atomic_exchange_explicit(&is_begun, 1, memory_order_relaxed))
        return;
    const int saved = errno;
    self.inside++;
    const char *wanted = secure_getenv(RECORDING_ENV); // no file of the caller's choice with privileges that it lacks
    if (wanted != NULL && wanted[0] != '\0')
        begin_file(wanted);
    self.inside--;
    errno = saved;
}

__attribute__((constructor)) static void begin_at_last(void) {
    begin();
}

// What the program frees after this is recorded, too: the mapping stays until the process is gone.
__attribute__((destructor)) static void end(void) {
    // ORDER: acquire pairs with the release in begin_file.
    const struct control *page = atomic_load_explicit(&control, memory_order_acquire);
    if (page != NULL && page->is_on)
        atomic_store_explicit(&head->is_ended, 1, memory_order_relaxed);
}

static inline int is_recording(void) {
    if (self.inside != 0)
        return 0;
    // ORDER: acquire pairs with the release in begin_file: head, path and key are there.
    const struct control *page = atomic_load_explicit(&control, memory_order_acquire);
    if (__builtin_expect(page == NULL, 0)) {
        if (atomic_load_explicit(&is_begun, memory_order_relaxed))
            return 0;
        begin();
        // ORDER: acquire, as above; stored by this very thread.
        page = atomic_load_explicit(&control, memory_order_acquire);
    }
    return page != NULL && page->is_on;
}

// ---- the family ----------------------------------------------------------------------------------------------------

// A call of the family: what it does inside is not the program's doing.
#define HANDED_ON(call)                                                                                                \
    __extension__({                                                                                                    \
        self.inside++;                                                                                                 \
        __typeof__(call) result = (call);                                                                              \
        self.inside--;                                                                                                 \
        result;                                                                                                        \
    })

static void *note_birth(enum recording_kind kind, void *block, uint64_t bytes, uint64_t alignment) {
    self.inside++;
    if (block != NULL)
        note(kind, block, bytes, alignment > 1 ? (uint32_t)__builtin_ctzll(alignment) : 0);
    else
        note_nothing();
    self.inside--;
    return block;
}

EXPORTED void *malloc(size_t bytes) {
    if (!resolve())
        return early_take(bytes);
    const int on = is_recording();
    void *block = HANDED_ON(real.malloc(bytes));
    return on ? note_birth(RECORDING_MALLOC, block, bytes, 0) : block;
}

EXPORTED void *calloc(size_t count, size_t bytes) {
    size_t all = 0;
    if (!resolve())
        return __builtin_mul_overflow(count, bytes, &all) ? NULL : early_take(all);
    const int on = is_recording();
    void *block = HANDED_ON(real.calloc(count, bytes));
    return on ? note_birth(RECORDING_CALLOC, block, count * bytes, 0) : block;
}

static void *resized(void *block, size_t bytes, void *(*resize)(void *block, size_t count, size_t bytes),
                     size_t count) {
    const int on = is_recording();
    self.inside++;
    if (on && block != NULL)
        note(RECORDING_REALLOC_OLD, block, 0, 0);
    void *result = resize(block, count, bytes);
    if (on) {
        size_t all = 0;
        const int is_too_much = __builtin_mul_overflow(count, bytes, &all);
        note(RECORDING_REALLOC_NEW, result, is_too_much ? 1 : all, 0);
    }
    self.inside--;
    return result;
}

static void *by_realloc(void *block, size_t count, size_t bytes) {
    (void)count;
    return real.realloc(block, bytes);
}

static void *by_reallocarray(void *block, size_t count, size_t bytes) {
    return real.reallocarray(block, count, bytes);
}

static void *early_moved(const void *block, size_t bytes) {
    void *moved = malloc(bytes);
    if (moved != NULL) {
        const size_t there = (size_t)(early + sizeof early - (const unsigned char *)block);
        memcpy(moved, block, bytes < there ? bytes : there);
    }
    return moved;
}

EXPORTED void *realloc(void *block, size_t bytes) {
    if (!resolve() || is_early(block))
        return block == NULL ? early_take(bytes) : early_moved(block, bytes);
    return resized(block, bytes, by_realloc, 1);
}

EXPORTED void *reallocarray(void *block, size_t count, size_t bytes) {
    if (!resolve())
        return NULL;
    return resized(block, bytes, by_reallocarray, count);
}

EXPORTED void free(void *block) {
    if (!resolve() || is_early(block))
        return;
    if (is_recording()) {
        self.inside++;
        if (block != NULL)
            note(RECORDING_FREE, block, 0, 0);
        else
            note_nothing();
        self.inside--;
    }
    self.inside++;
    real.free(block);
    self.inside--;
}

EXPORTED void *memalign(size_t alignment, size_t bytes) {
    if (!resolve())
        return NULL;
    const int on = is_recording();
    void *block = HANDED_ON(real.memalign(alignment, bytes));
    return on ? note_birth(RECORDING_ALIGNED, block, bytes, alignment) : block;
}

EXPORTED void *aligned_alloc(size_t alignment, size_t bytes) {
    if (!resolve())
        return NULL;
    const int on = is_recording();
    void *block = HANDED_ON(real.aligned_alloc(alignment, bytes));
    return on ? note_birth(RECORDING_ALIGNED, block, bytes, alignment) : block;
}

EXPORTED int posix_memalign(void **block, size_t alignment, size_t bytes) {
    if (!resolve())
        return ENOMEM;
    const int on = is_recording();
    const int error = HANDED_ON(real.posix_memalign(block, alignment, bytes));
    if (on)
        note_birth(RECORDING_ALIGNED, error == 0 ? *block : NULL, bytes, alignment);
    return error;
}

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

EXPORTED void *valloc(size_t bytes) {
    if (!resolve())
        return NULL;
    const int on = is_recording();
    void *block = HANDED_ON(real.valloc(bytes));
    return on ? note_birth(RECORDING_ALIGNED, block, bytes, page_bytes()) : block;
}

EXPORTED void *pvalloc(size_t bytes) {
    if (!resolve())
        return NULL;
    const int on = is_recording();
    void *block = HANDED_ON(real.pvalloc(bytes));
    const size_t rounded = (bytes + page_bytes() - 1) & ~(page_bytes() - 1);
    return on ? note_birth(RECORDING_ALIGNED, block, rounded, page_bytes()) : block;
}

EXPORTED size_t malloc_usable_size(void *block) {
    if (!resolve() || is_early(block))
        return 0;
    const int on = is_recording() && block != NULL;
    const size_t bytes = HANDED_ON(real.malloc_usable_size(block));
    if (on) {
        self.inside++;
        note(RECORDING_USABLE, block, 0, 0);
        self.inside--;
    }
    return bytes;
}
