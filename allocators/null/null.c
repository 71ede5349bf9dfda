// SPDX-License-Identifier: Apache-2.0
// The backend that costs nothing: what a row of it shows is the harness. Every request of a thread gets the same
// scratch block and free does nothing, so live blocks share their memory and calloc clears nothing (no
// ALLOCATOR_STORES). Owns one scratch block a thread; it exports a table and no malloc, so it cannot be preloaded.
// Layer: a backend, on common/os_mem.h only.
#include "../allocator.h"
#include "../common/compiler.h"
#include "../common/os_mem.h"

#include <errno.h>
#include <pthread.h>

// Above the largest request of any workload; only what is touched becomes resident.
#define SCRATCH_BYTES HZ_MIB(64)
#define SCRATCH_ALIGNMENT HZ_MIB(2)

// Lies at the start of an idle scratch block.
struct idle {
    struct idle *next;
};

// owner: the thread's block, and what requests are below; 0 until its first request.
static HZ_THREAD_LOCAL struct {
    void *block;
    size_t limit;
} scratch;

// Blocks of threads that have ended. They are never unmapped: what a dead thread handed over may still be touched.
static struct idle *idle_blocks; // under `lock`
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int has_exit_key;

static void thread_exit(void *block) {
    struct idle *idle = block;
    pthread_mutex_lock(&lock);
    idle->next = idle_blocks;
    idle_blocks = idle;
    pthread_mutex_unlock(&lock);
    scratch.block = NULL;
    scratch.limit = 0;
}

static void make_exit_key(void) {
    has_exit_key = pthread_key_create(&exit_key, thread_exit) == 0;
}

HZ_COLD static void *refuse(void) {
    errno = ENOMEM;
    return NULL;
}

HZ_COLD static void *scratch_get_slow(size_t bytes) {
    if (bytes > SCRATCH_BYTES)
        return refuse();
    pthread_once(&once, make_exit_key);
    pthread_mutex_lock(&lock);
    struct idle *block = idle_blocks;
    if (block != NULL)
        idle_blocks = block->next;
    pthread_mutex_unlock(&lock);
    if (block == NULL)
        block = os_mem_reserve(SCRATCH_BYTES, SCRATCH_ALIGNMENT, OS_MEM_READ_WRITE);
    if (block == NULL || !has_exit_key || pthread_setspecific(exit_key, block) != 0) {
        if (block != NULL)
            thread_exit(block); // without the exit hook it would be lost with the thread
        errno = ENOMEM;
        return NULL;
    }
    scratch.block = block;
    scratch.limit = SCRATCH_BYTES + 1;
    return block;
}

static void *null_alloc(size_t bytes) {
    return HZ_LIKELY(bytes < scratch.limit) ? scratch.block : scratch_get_slow(bytes);
}

static void null_free(void *block) {
    (void)block;
}

static void *null_alloc_aligned(size_t alignment, size_t bytes) {
    return HZ_LIKELY(alignment <= SCRATCH_ALIGNMENT) ? null_alloc(bytes) : refuse();
}

static void *null_calloc(size_t count, size_t bytes) {
    size_t total;
    return HZ_UNLIKELY(__builtin_mul_overflow(count, bytes, &total)) ? refuse() : null_alloc(total);
}

// The block stays where it is, whosever it is; to 0 it is freed, as the C library does.
static void *null_realloc(void *block, size_t bytes) {
    if (HZ_UNLIKELY(block == NULL))
        return null_alloc(bytes);
    if (HZ_UNLIKELY(bytes == 0))
        return NULL;
    return HZ_LIKELY(bytes <= SCRATCH_BYTES) ? block : refuse();
}

static size_t null_usable_size(void *block) {
    return block != NULL ? SCRATCH_BYTES : 0;
}

static const char *null_version(void) {
    return NULL_VERSION;
}

extern HZ_EXPORT const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "null",
    .summary = "costs nothing and stores nothing: the harness alone",
    .capabilities = ALLOCATOR_ALIGNED,
    .alloc = null_alloc,
    .free = null_free,
    .alloc_aligned = null_alloc_aligned,
    .calloc = null_calloc,
    .realloc = null_realloc,
    .usable_size = null_usable_size,
    .version = null_version,
};
