// SPDX-License-Identifier: Apache-2.0
// The backend with known faults, over the C library's malloc or the one that it is linked with (faulty-hz5): the truth
// that the harness has to find (runner selftest, scripts/calibrate). Each block has a header of 16 bytes, with and
// without faults, and a delay is fenced, slow=0ns as well: faulty{slow=0ns} and faulty{slow=20ns} differ in nothing but
// 20 ns. The table is filled when the library is loaded: without a fault its code is not on the path. Layer: a backend,
// on common/os_mem.h only.
#include "faulty.h"

#include "../allocator.h"
#include "../common/compiler.h"
#include "../common/os_mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SPIN_BLOCK 16
#define SPIN_LEAST 16 // the first steps behind a fence are free: everybody takes them, also for 0 ps
#define CALIBRATION_STEPS 80000
#define CALIBRATIONS 50
// Nothing behind it begins before all in front of it is done, stores to memory excepted.
#if defined(__x86_64__)
#define SERIALISE() __asm__ volatile("lfence" ::: "memory")
#elif defined(__aarch64__)
#define SERIALISE() __asm__ volatile("dsb ishld\n\tisb" ::: "memory")
#else
#define SERIALISE() __asm__ volatile("" ::: "memory")
#endif

#define LEAK_CHUNK_BYTES HZ_MIB(1)

struct header {                  // in front of each block
    _Alignas(16) uint32_t owner; // number of the thread that allocated it
    uint32_t references;         // 2: handed out twice (overlap)
    size_t bytes;
};

struct thread {
    uint32_t number;     // 0: none yet
    uint64_t calls;      // mallocs
    struct header *last; // the newest block while it lives, unless another thread frees it
    unsigned char *leak; // where the next lost bytes lie
    size_t leak_left;
};

static struct faulty_options options;
static double steps_per_ns; // of spin()
static _Atomic uint32_t threads;
static HZ_THREAD_LOCAL struct thread self;

// A chain of decrements, a clock cycle each: takes CPU time, touches no memory. In blocks, because no branch predictor
// foresees the end of a long loop, which would make long delays longer still. Without the fences the chain would run
// beside the cache misses of the work around it, and a program would lose less than the delay.
static void spin(uint64_t steps) {
    SERIALISE();
    while (steps >= SPIN_BLOCK) {
#pragma GCC unroll 16
        for (int i = 0; i < SPIN_BLOCK; i++) {
            steps--;
            __asm__ volatile("" : "+r"(steps));
        }
    }
    for (; steps != 0; steps--)
        __asm__ volatile("" : "+r"(steps));
    SERIALISE();
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

// The best of many: whatever disturbs a calibration makes it longer.
static void calibrate(void) {
    uint64_t best_ns = UINT64_MAX;
    for (int i = 0; i < CALIBRATIONS; i++) {
        const uint64_t begin_ns = now_ns();
        spin(CALIBRATION_STEPS);
        const uint64_t ns = now_ns() - begin_ns;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    steps_per_ns = (double)CALIBRATION_STEPS / (double)(best_ns != 0 ? best_ns : 1);
}

static uint64_t slow_steps, slow_remote_steps, spike_steps;

static uint32_t thread_number(void) {
    if (HZ_UNLIKELY(self.number == 0))
        self.number = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
    return self.number;
}

static struct header *header_of(void *block) {
    return (struct header *)block - 1;
}

static void *refuse(void) {
    errno = ENOMEM;
    return NULL;
}

// The one way to a block: what all variants of malloc below end with.
HZ_INLINE void *block_new(size_t bytes) {
    if (HZ_UNLIKELY(bytes > PTRDIFF_MAX / 2))
        return refuse();
    struct header *header = malloc(sizeof(struct header) + bytes);
    if (HZ_UNLIKELY(header == NULL))
        return refuse();
    *header = (struct header){thread_number(), 1, bytes};
    self.last = header;
    return header + 1;
}

static void *plain_alloc(size_t bytes) {
    return block_new(bytes);
}

// Three instructions more than plain_alloc, whatever the compiler does.
static void *alloc_three_more(size_t bytes) {
    __asm__ volatile("nop\n\tnop\n\tnop");
    return block_new(bytes);
}

static void *alloc_slow(size_t bytes) {
    spin(slow_steps);
    return block_new(bytes);
}

static void *alloc_waste(size_t bytes) {
    if (bytes > PTRDIFF_MAX / 2)
        return refuse();
    const size_t more_bytes = (size_t)((double)bytes * (double)options.waste_percent / 100);
    unsigned char *block = block_new(bytes + more_bytes);
    if (block != NULL) {
        memset(block + bytes, 0xa5, more_bytes);
        header_of(block)->bytes = bytes;
    }
    return block;
}

static void lose(size_t bytes) {
    if (bytes > self.leak_left) {
        const size_t chunk_bytes = bytes > LEAK_CHUNK_BYTES ? hz_align_up(bytes, OS_PAGE_BYTES) : LEAK_CHUNK_BYTES;
        self.leak = os_mem_reserve(chunk_bytes, OS_PAGE_BYTES, OS_MEM_READ_WRITE);
        self.leak_left = self.leak != NULL ? chunk_bytes : 0;
    }
    if (bytes <= self.leak_left) {
        memset(self.leak, 0xa5, bytes);
        self.leak += bytes;
        self.leak_left -= bytes;
    }
}

static void *alloc_leak(size_t bytes) {
    lose(options.leak_bytes);
    return block_new(bytes);
}

static void *alloc_spike(size_t bytes) {
    if (++self.calls % options.spike_every == 0)
        spin(spike_steps);
    return block_new(bytes);
}

static void *alloc_corrupt(size_t bytes) {
    if (++self.calls % options.corrupt_every == 0 && self.last != NULL && self.last->bytes != 0) {
        unsigned char *byte = (unsigned char *)(self.last + 1);
        *byte ^= 0xff;
    }
    return block_new(bytes);
}

static void *alloc_overlap(size_t bytes) {
    if (++self.calls % options.overlap_every == 0 && self.last != NULL && self.last->bytes >= bytes) {
        self.last->references++;
        return self.last + 1;
    }
    return block_new(bytes);
}

// A word for each of eight threads in one line of 64 bytes, what scripts/coherence has to find and name.
_Alignas(64) static _Atomic uint64_t faulty_shared_counters[8];

static void *alloc_false_sharing(size_t bytes) {
    _Atomic uint64_t *mine = &faulty_shared_counters[thread_number() % 8];
    atomic_store_explicit(mine, atomic_load_explicit(mine, memory_order_relaxed) + 1, memory_order_relaxed);
    return block_new(bytes);
}

HZ_INLINE void block_delete(struct header *header) {
    if (--header->references == 0) {
        if (self.last == header)
            self.last = NULL;
        free(header);
    }
}

static void plain_free(void *block) {
    if (block != NULL)
        block_delete(header_of(block));
}

static void free_slow_remote(void *block) {
    if (block != NULL) {
        if (header_of(block)->owner != thread_number())
            spin(slow_remote_steps);
        block_delete(header_of(block));
    }
}

static void *faulty_realloc(void *block, size_t bytes);
static const char *faulty_version(void);

static size_t faulty_usable_size(void *block) {
    return block != NULL ? header_of(block)->bytes : 0;
}

extern HZ_EXPORT struct allocator hzbench_allocator;
struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = FAULTY_NAME,
    .summary = "known faults over another malloc: what the harness has to find",
    .capabilities = ALLOCATOR_STORES,
    .alloc = plain_alloc,
    .free = plain_free,
    .realloc = faulty_realloc,
    .usable_size = faulty_usable_size,
    .version = faulty_version,
};

static void *faulty_realloc(void *block, size_t bytes) {
    if (block == NULL)
        return hzbench_allocator.alloc(bytes);
    if (bytes == 0) {
        hzbench_allocator.free(block);
        return NULL;
    }
    const size_t old_bytes = header_of(block)->bytes;
    void *moved = hzbench_allocator.alloc(bytes);
    if (moved != NULL) {
        memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
        hzbench_allocator.free(block);
    }
    return moved;
}

static const char *faulty_version(void) {
    return FAULTY_VERSION;
}

static uint64_t steps_of(uint64_t ps) {
    return SPIN_LEAST + (uint64_t)((double)ps / 1000 * steps_per_ns + 0.5);
}

// One fault a call: of several that concern malloc, the last in this table.
static void install(void) {
    const struct {
        uint64_t is_wanted;
        void *(*alloc)(size_t bytes);
    } allocs[] = {
        {options.more_instructions, alloc_three_more},
        {(uint64_t)options.is_slow, alloc_slow},
        {options.waste_percent, alloc_waste},
        {options.leak_bytes, alloc_leak},
        {options.spike_ps, alloc_spike},
        {options.corrupt_every, alloc_corrupt},
        {options.overlap_every, alloc_overlap},
        {(uint64_t)options.is_false_sharing, alloc_false_sharing},
        {(uint64_t)options.is_fallback, malloc},
    };
    for (size_t i = 0; i < sizeof allocs / sizeof allocs[0]; i++)
        if (allocs[i].is_wanted != 0)
            hzbench_allocator.alloc = allocs[i].alloc;
    if (options.is_slow_remote)
        hzbench_allocator.free = free_slow_remote;
    if (options.is_fallback) {
        hzbench_allocator.free = free;
        hzbench_allocator.realloc = realloc;
    }
}

__attribute__((constructor)) static void load(void) {
    const char *text = os_environment("FAULTY_OPTIONS");
    const char *wrong = NULL;
    size_t wrong_length = 0;
    if (!faulty_options_parse(text != NULL ? text : "", &options, &wrong, &wrong_length)) {
        fprintf(stderr,
                "faulty: cannot understand '%.*s' - slow=20ns, slow-remote=20ns, waste=25%%, leak=64, spike=50us/1000, "
                "corrupt=1000, overlap=1000, instructions=3, false-sharing, fallback\n",
                (int)wrong_length, wrong);
        _Exit(2);
    }
    if (options.is_slow || options.is_slow_remote || options.spike_ps != 0) {
        calibrate();
        slow_steps = steps_of(options.slow_ps);
        slow_remote_steps = steps_of(options.slow_remote_ps);
        spike_steps = steps_of(options.spike_ps);
    }
    install();
}
