// SPDX-License-Identifier: Apache-2.0
// The positive control: an allocator that believes every argument and keeps sizes and links beside and in the blocks,
// so that each kind of primitive follows from some bug. Correct programs get along with it. Layer: a backend for tests.
#include "../../allocators/allocator.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM_BYTES ((size_t)1 << 30)
#define CLASSES 40
#define PAGE_BYTES ((uintptr_t)4096)
#define PAGED_CLASS 17   // 128 KiB; blocks from it on lose their pages while they are free
#define BIGGEST_CLASS 33 // 8 MiB and what an alignment adds

struct header { // before each block; the class may be wrong by a bug
    uint64_t bytes;
    uint64_t size_class;
};

struct link {
    struct link *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *room, *unused;
static struct link *lists[CLASSES];

static uint64_t class_of(size_t bytes) {
    uint64_t size_class = 5;
    while (((size_t)1 << size_class) < bytes)
        size_class++;
    return size_class;
}

static struct header *header_of(void *block) {
    return (struct header *)block - 1;
}

// The pages that belong to a block alone, but for the first, where the link is.
static void set_pages(unsigned char *block, uint64_t size_class, int is_free) {
    const uintptr_t from = ((uintptr_t)block + PAGE_BYTES) & -PAGE_BYTES;
    const uintptr_t to = ((uintptr_t)block + ((size_t)1 << size_class)) & -PAGE_BYTES;
    if (is_free)
        madvise(block + (from - (uintptr_t)block), to - from, MADV_DONTNEED);
    mprotect(block + (from - (uintptr_t)block), to - from, is_free ? PROT_NONE : PROT_READ | PROT_WRITE);
}

// Freed blocks are zero but for the link: who takes one only has to clear that.
static void *take(size_t alignment, size_t bytes) {
    void *block = NULL;
    const uint64_t size_class = class_of(bytes);
    pthread_mutex_lock(&lock);
    if (room == NULL) {
        void *mapped =
            mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        room = unused = mapped != MAP_FAILED ? mapped : NULL;
    }
    if (alignment <= 16 && size_class < BIGGEST_CLASS && lists[size_class] != NULL) {
        block = lists[size_class];
        lists[size_class] = lists[size_class]->next;
        ((struct link *)block)->next = NULL;
        if (size_class >= PAGED_CLASS)
            set_pages(block, size_class, 0);
    } else if (room != NULL && size_class < BIGGEST_CLASS) {
        const uintptr_t at = ((uintptr_t)unused + sizeof(struct header) + alignment - 1) / alignment * alignment;
        if (at + ((size_t)1 << size_class) <= (uintptr_t)room + ROOM_BYTES) {
            block = unused + (at - (uintptr_t)unused);
            unused = (unsigned char *)block + ((size_t)1 << size_class);
        }
    }
    if (block != NULL)
        *header_of(block) = (struct header){bytes, size_class};
    else
        errno = ENOMEM;
    pthread_mutex_unlock(&lock);
    return block;
}

static void *trusting_alloc(size_t bytes) {
    return take(16, bytes);
}

static void *trusting_aligned(size_t alignment, size_t bytes) {
    return take(alignment > 16 ? alignment : 16, bytes);
}

static void *trusting_calloc(size_t count, size_t bytes) {
    return take(16, count * bytes);
}

static void trusting_free(void *block) {
    if (block == NULL)
        return;
    pthread_mutex_lock(&lock);
    const struct header *header = header_of(block);
    const uint64_t size_class = header->size_class % CLASSES;
    if (size_class >= PAGED_CLASS && size_class < BIGGEST_CLASS) {
        set_pages(block, size_class, 1);
        unsigned char *end = (unsigned char *)block + ((size_t)1 << size_class);
        memset(block, 0, PAGE_BYTES - (uintptr_t)block % PAGE_BYTES);
        memset(end - (uintptr_t)end % PAGE_BYTES, 0, (uintptr_t)end % PAGE_BYTES);
    } else {
        memset(block, 0, header->bytes < PAGE_BYTES * 64 ? header->bytes : 0);
    }
    ((struct link *)block)->next = lists[size_class];
    lists[size_class] = block;
    pthread_mutex_unlock(&lock);
}

static size_t trusting_usable_size(void *block) {
    return block != NULL ? header_of(block)->bytes : 0;
}

// Free blocks that lie elsewhere, of the first ones in each list.
static int trusting_verify(void) {
    int contradictions = 0;
    for (int size_class = 0; size_class < CLASSES; size_class++) {
        const unsigned char *block = (const unsigned char *)lists[size_class];
        contradictions += block != NULL && (block < room || block >= room + ROOM_BYTES);
    }
    return contradictions;
}

static void *trusting_realloc(void *block, size_t bytes) {
    void *moved = take(16, bytes);
    if (moved != NULL && block != NULL) {
        const size_t old_bytes = header_of(block)->bytes;
        memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
        trusting_free(block);
    }
    return moved;
}

extern __attribute__((visibility("default"))) const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "trusting",
    .summary = "believes every argument: what the search for primitives has to find",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_ALIGNED | ALLOCATOR_VERIFY,
    .alloc = trusting_alloc,
    .free = trusting_free,
    .alloc_aligned = trusting_aligned,
    .calloc = trusting_calloc,
    .realloc = trusting_realloc,
    .usable_size = trusting_usable_size,
    .verify = trusting_verify,
};
