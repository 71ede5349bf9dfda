// SPDX-License-Identifier: Apache-2.0
// The rules that C, POSIX and glibc's manual give for the malloc family, one function each, over whatever malloc this
// process runs on: it is preloaded. Each rule runs in a process of its own, so one that crashes costs one rule.
// Usage: conformance [--inform] [RULE...]. With --inform broken rules are printed and forgiven. Layer: test.
#include "../support/cases.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define RULE_SECONDS 60
#define PAGE 4096u

// Sizes the compiler does not see: it would warn of them, or do the work itself.
static volatile size_t opaque_bytes;
static size_t opaque(size_t bytes) {
    opaque_bytes = bytes;
    return opaque_bytes;
}

// For a block that stays valid because the call is to fail: without optimisation gcc takes it for gone.
static void *volatile opaque_block;
static void *keep(void *block) {
    opaque_block = block;
    return opaque_block;
}

#define HUGE_BYTES opaque((size_t)PTRDIFF_MAX + 1)

static const size_t sizes[] = {
    1,      8,    15,   16,   17,   24,   31,    32,    48,    100,   127,   128,    255,      1000,
    1024,   2047, 4095, 4096, 4097, 8192, 20000, 32768, 65535, 65536, 65537, 100000, 1u << 20, (1u << 20) + 1,
    5000000};

static int all_are(const void *block, size_t bytes, unsigned char value) {
    const unsigned char *at = block;
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != value)
            return 0;
    return 1;
}

static int is_aligned(const void *block, size_t alignment) {
    return (uintptr_t)block % alignment == 0;
}

static long resident_kib(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file != NULL);
    EXPECT(fscanf(file, "%ld %ld", &pages, &resident) == 2);
    fclose(file);
    return resident * (long)(PAGE / 1024);
}

// The function if this malloc brings it; a rule about one that is missing is skipped where it is not obligatory.
static void *optional(const char *symbol) {
    void *address = dlsym(RTLD_DEFAULT, symbol);
    if (address == NULL) {
        printf("  no %s\n", symbol);
        fflush(stdout);
        _exit(SKIP_CODE);
    }
    return address;
}

// ---- malloc --------------------------------------------------------------------------------------------------------

static void malloc_zero_is_unique(void) {
    void *blocks[100];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = malloc(opaque(0));
        EXPECT(blocks[i] != NULL);
        for (size_t j = 0; j < i; j++)
            EXPECT(blocks[i] != blocks[j]);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

static void malloc_aligned_for_any_type(void) {
    for (size_t bytes = alignof(max_align_t); bytes < 70000; bytes += bytes < 600 ? 1 : 509) {
        void *block = malloc(bytes);
        EXPECT(is_aligned(block, alignof(max_align_t)));
        free(block);
    }
}

// Of objects smaller than max_align_t too: the ABI's malloc promises it, and SSE code relies on it.
static void malloc_small_aligned(void) {
    void *kept[64];
    for (size_t bytes = 1; bytes < 16; bytes++) {
        for (size_t i = 0; i < COUNT(kept); i++) {
            kept[i] = malloc(bytes);
            EXPECT(kept[i] != NULL && is_aligned(kept[i], 16));
        }
        for (size_t i = 0; i < COUNT(kept); i++)
            free(kept[i]);
    }
}

static void malloc_blocks_do_not_overlap(void) {
    unsigned char *blocks[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        blocks[i] = malloc(sizes[i]);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        EXPECT(all_are(blocks[i], sizes[i], (unsigned char)(i + 1)));
        free(blocks[i]);
    }
}

static void expect_no_memory(void *block) {
    EXPECT(block == NULL);
    EXPECT(errno == ENOMEM);
    errno = 0;
}

static void malloc_beyond_ptrdiff(void) {
    errno = 0;
    expect_no_memory(malloc(HUGE_BYTES));
}

static void malloc_size_max(void) {
    for (size_t less = 0; less <= 4096; less += less < 64 ? 1 : 509) {
        errno = 0;
        expect_no_memory(malloc(opaque(SIZE_MAX - less)));
    }
}

static void malloc_ptrdiff_max(void) {
    for (size_t less = 0; less <= 4096; less += less < 64 ? 1 : 509) {
        errno = 0;
        expect_no_memory(malloc(opaque((size_t)PTRDIFF_MAX - less)));
    }
}

static void malloc_works_after_failure(void) {
    for (int i = 0; i < 100; i++) {
        errno = 0;
        expect_no_memory(malloc(opaque(SIZE_MAX / 2)));
        void *block = malloc(1000);
        EXPECT(block != NULL);
        free(block);
    }
}

// ---- calloc --------------------------------------------------------------------------------------------------------

static void calloc_zeroes_reused(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (int round = 0; round < 20; round++) {
            void *block = malloc(sizes[i]);
            EXPECT(block != NULL);
            memset(block, 0xa5, sizes[i]);
            free(block);
            block = calloc(1, sizes[i]);
            EXPECT(block != NULL && all_are(block, sizes[i], 0));
            free(block);
        }
    }
}

static void calloc_zeroes_array(void) {
    for (size_t count = 1; count < 2000; count += 37) {
        unsigned char *block = calloc(count, 7);
        EXPECT(block != NULL && all_are(block, count * 7, 0));
        memset(block, 1, count * 7);
        free(block);
    }
}

static void calloc_overflow(void) {
    static const size_t pairs[][2] = {{SIZE_MAX, 2},         {2, SIZE_MAX},
                                      {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 33, (size_t)1 << 33},
                                      {SIZE_MAX, SIZE_MAX},  {SIZE_MAX / 4, 5}};
    for (size_t i = 0; i < COUNT(pairs); i++) {
        errno = 0;
        expect_no_memory(calloc(opaque(pairs[i][0]), opaque(pairs[i][1])));
    }
}

static void calloc_beyond_ptrdiff(void) {
    errno = 0;
    expect_no_memory(calloc(1, HUGE_BYTES));
    expect_no_memory(calloc(opaque((size_t)PTRDIFF_MAX / 4 + 1), 4));
}

static void calloc_zero(void) {
    void *a = calloc(opaque(0), 8), *b = calloc(8, opaque(0)), *c = calloc(opaque(0), opaque(0));
    EXPECT(a != NULL && b != NULL && c != NULL && a != b && b != c && a != c);
    free(a);
    free(b);
    free(c);
}

static void calloc_large_stays_untouched(void) {
    size_t bytes = (size_t)1 << 30;
    long before = resident_kib();
    unsigned char *block = calloc(1, bytes);
    EXPECT(block != NULL);
    EXPECT(resident_kib() - before < 8192);
    for (size_t at = 0; at < bytes; at += bytes / 64 + 1)
        EXPECT(block[at] == 0);
    EXPECT(block[bytes - 1] == 0);
    free(block);
}

// ---- realloc, reallocarray -----------------------------------------------------------------------------------------

static void realloc_null_is_malloc(void) {
    void *block = realloc(NULL, 100);
    EXPECT(block != NULL && is_aligned(block, 16));
    free(block);
}

static void realloc_null_zero(void) {
    void *block = realloc(NULL, opaque(0));
    EXPECT(block != NULL);
    free(block);
}

static void realloc_zero_frees(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = malloc(sizes[i]);
        EXPECT(realloc(block, opaque(0)) == NULL);
    }
    // Freed, not leaked: 100 GiB in all.
    for (int i = 0; i < 100000; i++) {
        void *block = malloc(1u << 20);
        EXPECT(block != NULL);
        EXPECT(realloc(block, opaque(0)) == NULL);
    }
}

static void realloc_between_all_sizes(void) {
    for (size_t from = 0; from < COUNT(sizes); from++) {
        for (size_t to = 0; to < COUNT(sizes); to++) {
            unsigned char *block = malloc(sizes[from]);
            EXPECT(block != NULL);
            memset(block, 0x5a, sizes[from]);
            block = realloc(block, sizes[to]);
            EXPECT(block != NULL && is_aligned(block, 16));
            EXPECT(all_are(block, sizes[from] < sizes[to] ? sizes[from] : sizes[to], 0x5a));
            memset(block, 1, sizes[to]);
            free(block);
        }
    }
}

static void realloc_grows_step_by_step(void) {
    size_t bytes = 1;
    unsigned char *block = malloc(bytes);
    for (; bytes < 3000000; bytes += bytes / 3 + 1) {
        memset(block, 0x33, bytes);
        block = realloc(block, bytes + bytes / 3 + 1);
        EXPECT(block != NULL && all_are(block, bytes, 0x33));
    }
    free(block);
}

static void realloc_failure_keeps_block(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned char *block = malloc(sizes[i]);
        memset(block, 0x77, sizes[i]);
        errno = 0;
        expect_no_memory(realloc(block, HUGE_BYTES));
        expect_no_memory(realloc(block, opaque(SIZE_MAX)));
        expect_no_memory(realloc(block, opaque((size_t)PTRDIFF_MAX - 8)));
        EXPECT(all_are(block, sizes[i], 0x77));
        free(block);
    }
}

static void realloc_of_aligned(void) {
    for (size_t alignment = 32; alignment <= 1u << 20; alignment *= 4) {
        unsigned char *block = aligned_alloc(alignment, 3 * alignment);
        EXPECT(block != NULL);
        memset(block, 0x21, 3 * alignment);
        block = realloc(block, 9 * alignment);
        EXPECT(block != NULL && all_are(block, 3 * alignment, 0x21));
        free(block);
    }
}

static void reallocarray_multiplies(void) {
    unsigned char *block = reallocarray(NULL, 10, 100);
    EXPECT(block != NULL);
    memset(block, 9, 1000);
    block = reallocarray(block, 1000, 1000);
    EXPECT(block != NULL && all_are(block, 1000, 9) && malloc_usable_size(block) >= 1000000);
    free(block);
}

static void reallocarray_overflow(void) {
    unsigned char *block = malloc(100);
    memset(block, 3, 100);
    errno = 0;
    expect_no_memory(reallocarray(keep(block), opaque(SIZE_MAX / 2 + 1), 2));
    expect_no_memory(reallocarray(keep(block), opaque((size_t)1 << 32), (size_t)1 << 32));
    expect_no_memory(reallocarray(NULL, opaque(SIZE_MAX), opaque(SIZE_MAX)));
    EXPECT(all_are(block, 100, 3));
    free(block);
}

// ---- alignment -----------------------------------------------------------------------------------------------------

static void aligned_alloc_aligns(void) {
    for (size_t alignment = 1; alignment <= 4u << 20; alignment *= 2) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            unsigned char *block = aligned_alloc(alignment, sizes[i]);
            EXPECT(block != NULL && is_aligned(block, alignment));
            block[0] = block[sizes[i] - 1] = 1;
            free(block);
        }
    }
}

static void aligned_alloc_any_size(void) {
    // Since C17 the size need not be a multiple of the alignment.
    static const size_t odd[] = {1, 3, 33, 65, 4097, 70001};
    for (size_t i = 0; i < COUNT(odd); i++) {
        void *block = aligned_alloc(64, odd[i]);
        EXPECT(block != NULL && is_aligned(block, 64) && malloc_usable_size(block) >= odd[i]);
        free(block);
    }
}

static void aligned_alloc_no_power_of_two(void) {
    static const size_t bad[] = {3, 24, 48, 100, 4095, SIZE_MAX};
    for (size_t i = 0; i < COUNT(bad); i++) {
        errno = 0;
        EXPECT(aligned_alloc(opaque(bad[i]), 4 * PAGE) == NULL);
        EXPECT(errno == EINVAL);
    }
}

static void aligned_alloc_zero_alignment(void) {
    errno = 0;
    EXPECT(aligned_alloc(opaque(0), 64) == NULL);
    EXPECT(errno == EINVAL);
}

static void aligned_alloc_zero_size(void) {
    void *a = aligned_alloc(64, opaque(0)), *b = aligned_alloc(64, opaque(0));
    EXPECT(a != NULL && b != NULL && a != b && is_aligned(a, 64));
    free(a);
    free(b);
}

static void aligned_alloc_too_large(void) {
    errno = 0;
    expect_no_memory(aligned_alloc(64, HUGE_BYTES));
    expect_no_memory(aligned_alloc(opaque((size_t)1 << 62), opaque((size_t)1 << 62)));
    expect_no_memory(aligned_alloc(PAGE, opaque(SIZE_MAX - 16)));
    expect_no_memory(aligned_alloc(1u << 20, opaque((size_t)PTRDIFF_MAX - 100)));
}

static void memalign_rounds_alignment(void) {
    static const size_t odd[] = {0, 1, 2, 3, 24, 48, 100, 4095};
    for (size_t i = 0; i < COUNT(odd); i++) {
        size_t power = 1;
        while (power < odd[i])
            power *= 2;
        void *block = memalign(opaque(odd[i]), 500);
        EXPECT(block != NULL && is_aligned(block, power));
        free(block);
    }
}

static void memalign_impossible(void) {
    errno = 0;
    EXPECT(memalign(opaque(SIZE_MAX), 100) == NULL);
    EXPECT(errno == EINVAL || errno == ENOMEM);
    errno = 0;
    expect_no_memory(memalign(64, opaque(SIZE_MAX - 32)));
    // The largest power of two is no bad argument; there is no such memory.
    size_t alignment = opaque(SIZE_MAX / 2 + 1);
    void *block = NULL;
    errno = 0;
    expect_no_memory(memalign(alignment, 100));
    errno = 0;
    expect_no_memory(aligned_alloc(alignment, 100));
    EXPECT(posix_memalign(&block, alignment, 100) == ENOMEM && block == NULL);
}

static void memalign_gigabyte(void) {
    size_t alignment = (size_t)1 << 30;
    unsigned char *block = memalign(alignment, 100);
    EXPECT(block != NULL && is_aligned(block, alignment));
    block[99] = 1;
    free(block);
}

static void posix_memalign_aligns(void) {
    for (size_t alignment = sizeof(void *); alignment <= (size_t)1 << 30; alignment *= 2) {
        void *block = NULL;
        EXPECT(posix_memalign(&block, alignment, 1000) == 0);
        EXPECT(block != NULL && is_aligned(block, alignment));
        memset(block, 1, 1000);
        free(block);
    }
}

static void posix_memalign_bad_alignment(void) {
    static const size_t bad[] = {0, 1, 2, 4, 12, 24, 100};
    for (size_t i = 0; i < COUNT(bad); i++) {
        void *block = (void *)(uintptr_t)0x1234;
        errno = 77;
        EXPECT(posix_memalign(&block, opaque(bad[i]), 100) == EINVAL);
        EXPECT(block == (void *)(uintptr_t)0x1234);
        EXPECT(errno == 77);
    }
}

static void posix_memalign_too_large(void) {
    static const size_t large[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 64, (size_t)PTRDIFF_MAX - 8};
    for (size_t i = 0; i < COUNT(large); i++) {
        void *block = (void *)(uintptr_t)0x1234;
        EXPECT(posix_memalign(&block, 64, opaque(large[i])) == ENOMEM);
        EXPECT(block == (void *)(uintptr_t)0x1234);
    }
}

static void posix_memalign_keeps_errno(void) {
    void *block = NULL;
    errno = 77;
    EXPECT(posix_memalign(&block, 64, HUGE_BYTES) == ENOMEM);
    EXPECT(errno == 77);
    EXPECT(posix_memalign(&block, 64, opaque(SIZE_MAX - 63)) == ENOMEM);
    EXPECT(errno == 77);
}

static void posix_memalign_zero_size(void) {
    void *a = NULL, *b = NULL;
    EXPECT(posix_memalign(&a, 64, opaque(0)) == 0 && posix_memalign(&b, 64, opaque(0)) == 0);
    EXPECT(a != NULL && a != b);
    free(a);
    free(b);
}

static void valloc_is_page_aligned(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = valloc(sizes[i]);
        EXPECT(block != NULL && is_aligned(block, PAGE));
        memset(block, 1, sizes[i]);
        free(block);
    }
    void *nothing = valloc(opaque(0));
    EXPECT(nothing != NULL && is_aligned(nothing, PAGE));
    free(nothing);
    errno = 0;
    expect_no_memory(valloc(HUGE_BYTES));
    expect_no_memory(valloc(opaque(SIZE_MAX)));
}

static void pvalloc_fills_pages(void) {
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t whole = (sizes[i] + PAGE - 1) / PAGE * PAGE;
        void *block = pvalloc(sizes[i]);
        EXPECT(block != NULL && is_aligned(block, PAGE) && malloc_usable_size(block) >= whole);
        memset(block, 1, whole);
        free(block);
    }
    errno = 0;
    expect_no_memory(pvalloc(HUGE_BYTES));
    expect_no_memory(pvalloc(opaque(SIZE_MAX)));
    expect_no_memory(pvalloc(opaque(SIZE_MAX - PAGE / 2)));
}

static void aligned_blocks_do_not_overlap(void) {
    unsigned char *blocks[200];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        size_t bytes = 1 + i * 37;
        blocks[i] = memalign((size_t)16 << i % 10, bytes);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], (int)(i & 0xff), bytes);
    }
    for (size_t i = 0; i < COUNT(blocks); i++) {
        EXPECT(all_are(blocks[i], 1 + i * 37, (unsigned char)i));
        free(blocks[i]);
    }
}

// ---- usable size ---------------------------------------------------------------------------------------------------

static void usable_size_of_null(void) {
    EXPECT(malloc_usable_size(NULL) == 0);
}

static void usable_size_may_be_used(void) {
    unsigned char *blocks[COUNT(sizes)];
    size_t usable[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        blocks[i] = malloc(sizes[i]);
        usable[i] = malloc_usable_size(blocks[i]);
        EXPECT(usable[i] >= sizes[i]);
        memset(blocks[i], (int)i + 1, usable[i]);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        EXPECT(malloc_usable_size(blocks[i]) == usable[i]);
        EXPECT(all_are(blocks[i], usable[i], (unsigned char)(i + 1)));
        free(blocks[i]);
    }
}

static void usable_size_of_aligned(void) {
    for (size_t alignment = 32; alignment <= 1u << 16; alignment *= 2) {
        void *block = memalign(alignment, 777);
        size_t usable = malloc_usable_size(block);
        EXPECT(block != NULL && usable >= 777);
        memset(block, 1, usable);
        free(block);
    }
}

// ---- free ----------------------------------------------------------------------------------------------------------

static void free_null(void) {
    free(NULL);
}

static void free_keeps_errno(void) {
    static const size_t large[] = {1, 100, 5000, 70000, 1u << 20, 64u << 20, (size_t)1 << 30};
    for (int round = 0; round < 3; round++) {
        void *blocks[COUNT(large)];
        for (size_t i = 0; i < COUNT(large); i++)
            blocks[i] = malloc(large[i]);
        for (size_t i = 0; i < COUNT(large); i++) {
            errno = 1234;
            free(blocks[i]);
            EXPECT(errno == 1234);
        }
    }
}

static void *free_in_thread(void *blocks) {
    void **each = blocks;
    errno = 1234;
    for (size_t i = 0; i < COUNT(sizes); i++)
        free(each[i]);
    return errno == 1234 ? blocks : NULL;
}

static void free_from_another_thread(void) {
    for (int round = 0; round < 50; round++) {
        void *blocks[COUNT(sizes)], *result = NULL;
        for (size_t i = 0; i < COUNT(sizes); i++)
            blocks[i] = malloc(sizes[i]);
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, free_in_thread, blocks) == 0);
        EXPECT(pthread_join(thread, &result) == 0 && result != NULL);
    }
}

static void free_with_its_size(void) {
    void (*free_sized)(void *, size_t);
    *(void **)(void *)&free_sized = optional("free_sized");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        free_sized(malloc(sizes[i]), sizes[i]);
        free_sized(calloc(1, sizes[i]), sizes[i]);
        free_sized(realloc(malloc(8), sizes[i]), sizes[i]);
    }
    free_sized(NULL, 8);
    free_sized(malloc(opaque(0)), 0);
}

static void free_with_alignment_and_size(void) {
    void (*free_aligned_sized)(void *, size_t, size_t);
    *(void **)(void *)&free_aligned_sized = optional("free_aligned_sized");
    for (size_t alignment = 16; alignment <= 1u << 16; alignment *= 2)
        for (size_t i = 0; i < COUNT(sizes); i++)
            free_aligned_sized(aligned_alloc(alignment, sizes[i]), alignment, sizes[i]);
    free_aligned_sized(NULL, 64, 8);
}

// ---- what the C library hands out ----------------------------------------------------------------------------------

static void blocks_of_the_library(void) {
    char *text = strdup("text"), *line = NULL, *printed = NULL, *memory = NULL;
    size_t line_bytes = 0, memory_bytes = 0;
    struct dirent **names = NULL;
    EXPECT(text != NULL && malloc_usable_size(text) >= 5);
    EXPECT(asprintf(&printed, "%0300d", 7) == 300 && malloc_usable_size(printed) >= 301);
    FILE *stream = open_memstream(&memory, &memory_bytes);
    EXPECT(stream != NULL);
    for (int i = 0; i < 20000; i++)
        fprintf(stream, "line %d\n", i);
    EXPECT(fclose(stream) == 0 && malloc_usable_size(memory) >= memory_bytes);
    FILE *file = fopen("/proc/self/maps", "r");
    EXPECT(file != NULL);
    while (getline(&line, &line_bytes, file) > 0)
        continue;
    fclose(file);
    EXPECT(malloc_usable_size(line) >= line_bytes);
    int count = scandir("/proc/self", &names, NULL, alphasort);
    EXPECT(count > 10);
    for (int i = 0; i < count; i++)
        free(names[i]);
    char *path = realpath("/proc/self/..", NULL);
    EXPECT(path != NULL);
    text = realloc(text, 100000); // what the library took, the program may resize
    EXPECT(text != NULL && strcmp(text, "text") == 0);
    free(names);
    free(path);
    free(line);
    free(printed);
    free(memory);
    free(text);
}

// ---- the rest of the family ----------------------------------------------------------------------------------------

static void trim_keeps_blocks(void) {
    unsigned char *blocks[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        blocks[i] = malloc(sizes[i]);
        memset(blocks[i], (int)i + 1, sizes[i]);
        free(malloc(sizes[i]));
    }
    errno = 77;
    int released = malloc_trim(0);
    EXPECT(released == 0 || released == 1);
    EXPECT(errno == 77);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        EXPECT(all_are(blocks[i], sizes[i], (unsigned char)(i + 1)));
        free(blocks[i]);
    }
}

static void trim_lowers_rss(void) {
    size_t bytes = 96u << 20;
    void *block = malloc(bytes);
    memset(block, 1, bytes);
    long before = resident_kib();
    free(block);
    malloc_trim(0);
    EXPECT(before - resident_kib() > 80 * 1024);
}

static void mallopt_accepts(void) {
    EXPECT(mallopt(M_TRIM_THRESHOLD, 128 * 1024) == 1);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 128 * 1024) == 1);
    EXPECT(mallopt(M_ARENA_MAX, 1) == 1);
    EXPECT(mallopt(M_TOP_PAD, 0) == 1);
}

static void mallinfo2_counts(void) {
    struct mallinfo2 before = mallinfo2();
    void *blocks[64];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = malloc(50000);
        memset(blocks[i], 1, 50000);
    }
    struct mallinfo2 after = mallinfo2();
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    EXPECT(after.uordblks - before.uordblks >= 64 * 50000);
    EXPECT(after.arena + after.hblkhd >= after.uordblks);
}

static void malloc_info_is_xml(void) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    EXPECT(stream != NULL && malloc_info(0, stream) == 0 && fclose(stream) == 0);
    EXPECT(strncmp(text, "<malloc version=\"", 17) == 0 && strstr(text, "</malloc>\n") != NULL);
    free(text);
}

static void malloc_info_bad_option(void) {
    EXPECT(malloc_info(1, stdout) == EINVAL);
}

static void malloc_stats_writes(void) {
    int pipe_fds[2];
    char text[4096];
    EXPECT(pipe(pipe_fds) == 0 && dup2(pipe_fds[1], STDERR_FILENO) == STDERR_FILENO);
    malloc_stats();
    fflush(stderr);
    close(pipe_fds[1]);
    close(STDERR_FILENO);
    EXPECT(read(pipe_fds[0], text, sizeof text) > 10);
}

static const char *const family[] = {
    "malloc",   "free",           "calloc",    "realloc",     "reallocarray",       "aligned_alloc",
    "memalign", "posix_memalign", "valloc",    "pvalloc",     "malloc_usable_size", "malloc_trim",
    "mallopt",  "mallinfo",       "mallinfo2", "malloc_info", "malloc_stats"};

// A member that is missing is the C library's, and a block it hands out or takes back lies in another heap.
static void family_is_whole(void) {
    Dl_info malloc_at, member_at;
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &malloc_at) != 0);
    for (size_t i = 0; i < COUNT(family); i++) {
        void *address = dlsym(RTLD_DEFAULT, family[i]);
        int is_there =
            address != NULL && dladdr(address, &member_at) != 0 && member_at.dli_fbase == malloc_at.dli_fbase;
        if (!is_there)
            printf("  %s is another library's\n", family[i]);
        EXPECT(is_there);
    }
}

static void libc_names_are_whole(void) {
    static const char *const names[] = {"__libc_malloc",   "__libc_free",   "__libc_calloc", "__libc_realloc",
                                        "__libc_memalign", "__libc_valloc", "__libc_pvalloc"};
    Dl_info malloc_at, member_at;
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &malloc_at) != 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        void *address = dlsym(RTLD_DEFAULT, names[i]);
        int is_there =
            address != NULL && dladdr(address, &member_at) != 0 && member_at.dli_fbase == malloc_at.dli_fbase;
        if (!is_there)
            printf("  %s is another library's\n", names[i]);
        EXPECT(is_there);
    }
    void *(*libc_malloc)(size_t);
    void (*libc_free)(void *);
    *(void **)(void *)&libc_malloc = dlsym(RTLD_DEFAULT, "__libc_malloc");
    *(void **)(void *)&libc_free = dlsym(RTLD_DEFAULT, "__libc_free");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        free(libc_malloc(sizes[i]));
        libc_free(malloc(sizes[i]));
    }
}

static void operators_are_whole(void) {
    static const char *const names[] = {"_Znwm",
                                        "_Znam",
                                        "_ZnwmRKSt9nothrow_t",
                                        "_ZnamRKSt9nothrow_t",
                                        "_ZnwmSt11align_val_t",
                                        "_ZnamSt11align_val_t",
                                        "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                        "_ZnamSt11align_val_tRKSt9nothrow_t",
                                        "_ZdlPv",
                                        "_ZdaPv",
                                        "_ZdlPvm",
                                        "_ZdaPvm",
                                        "_ZdlPvRKSt9nothrow_t",
                                        "_ZdaPvRKSt9nothrow_t",
                                        "_ZdlPvSt11align_val_t",
                                        "_ZdaPvSt11align_val_t",
                                        "_ZdlPvmSt11align_val_t",
                                        "_ZdaPvmSt11align_val_t",
                                        "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                                        "_ZdaPvSt11align_val_tRKSt9nothrow_t"};
    Dl_info malloc_at, member_at;
    EXPECT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &malloc_at) != 0);
    optional(names[0]); // the C library has none of them
    for (size_t i = 0; i < COUNT(names); i++) {
        void *address = dlsym(RTLD_DEFAULT, names[i]);
        int is_there =
            address != NULL && dladdr(address, &member_at) != 0 && member_at.dli_fbase == malloc_at.dli_fbase;
        if (!is_there)
            printf("  %s is missing\n", names[i]);
        EXPECT(is_there);
    }
}

// ---- limits --------------------------------------------------------------------------------------------------------

// The limit must be there from the start: the rule runs this program again.
static void address_space_limit(void) {
    struct rlimit limit = {256u << 20, 256u << 20};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    execl("/proc/self/exe", "conformance", "--limited", (char *)NULL);
    EXPECT(!"the program starts under the limit");
}

static int limited(void) {
    errno = 0;
    expect_no_memory(malloc(opaque((size_t)1 << 30)));
    static void *blocks[4096];
    size_t count = 0;
    while (count < COUNT(blocks) && (blocks[count] = malloc(1u << 20)) != NULL)
        count++;
    EXPECT(count >= 16 && count < 256);
    EXPECT(errno == ENOMEM);
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    void *again = malloc(8u << 20);
    EXPECT(again != NULL);
    free(again);
    return 0;
}

static void *fail_in_thread(void *argument) {
    errno = 0;
    return malloc(HUGE_BYTES) == NULL && errno == ENOMEM ? argument : NULL;
}

static void enomem_in_threads(void) {
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *result = NULL;
        int ticket = i;
        EXPECT(pthread_create(&thread, NULL, fail_in_thread, &ticket) == 0);
        EXPECT(pthread_join(thread, &result) == 0 && result == &ticket);
    }
}

// ---- the table -----------------------------------------------------------------------------------------------------

static const struct test_case rules[] = {
    {"malloc(0) is a block of its own", malloc_zero_is_unique},
    {"malloc aligns for any type", malloc_aligned_for_any_type},
    {"malloc aligns small blocks to 16", malloc_small_aligned},
    {"malloc's blocks do not overlap", malloc_blocks_do_not_overlap},
    {"malloc beyond PTRDIFF_MAX: NULL, ENOMEM", malloc_beyond_ptrdiff},
    {"malloc around SIZE_MAX: NULL, ENOMEM", malloc_size_max},
    {"malloc around PTRDIFF_MAX: NULL, ENOMEM", malloc_ptrdiff_max},
    {"malloc works after a failure", malloc_works_after_failure},
    {"calloc zeroes memory used before", calloc_zeroes_reused},
    {"calloc zeroes every element", calloc_zeroes_array},
    {"calloc overflow: NULL, ENOMEM", calloc_overflow},
    {"calloc beyond PTRDIFF_MAX: NULL, ENOMEM", calloc_beyond_ptrdiff},
    {"calloc of nothing is a block of its own", calloc_zero},
    {"calloc of a gigabyte touches no pages", calloc_large_stays_untouched},
    {"realloc(NULL, n) is malloc(n)", realloc_null_is_malloc},
    {"realloc(NULL, 0) is a block", realloc_null_zero},
    {"realloc(p, 0) frees and returns NULL", realloc_zero_frees},
    {"realloc between all sizes keeps the contents", realloc_between_all_sizes},
    {"realloc step by step keeps the contents", realloc_grows_step_by_step},
    {"realloc that fails keeps the block, ENOMEM", realloc_failure_keeps_block},
    {"realloc of an aligned block keeps the contents", realloc_of_aligned},
    {"reallocarray multiplies", reallocarray_multiplies},
    {"reallocarray overflow: NULL, ENOMEM, block kept", reallocarray_overflow},
    {"aligned_alloc aligns, 1 to 4 MiB", aligned_alloc_aligns},
    {"aligned_alloc takes any size (C17)", aligned_alloc_any_size},
    {"aligned_alloc, no power of two: EINVAL", aligned_alloc_no_power_of_two},
    {"aligned_alloc, alignment 0: EINVAL", aligned_alloc_zero_alignment},
    {"aligned_alloc(n, 0) is a block of its own", aligned_alloc_zero_size},
    {"aligned_alloc of too much: NULL, ENOMEM", aligned_alloc_too_large},
    {"memalign rounds its alignment up", memalign_rounds_alignment},
    {"memalign of the impossible: NULL, errno", memalign_impossible},
    {"memalign aligns to a gigabyte", memalign_gigabyte},
    {"posix_memalign aligns, 8 bytes to 1 GiB", posix_memalign_aligns},
    {"posix_memalign, bad alignment: EINVAL, pointer and errno kept", posix_memalign_bad_alignment},
    {"posix_memalign of too much: ENOMEM, pointer kept", posix_memalign_too_large},
    {"posix_memalign keeps errno when it fails", posix_memalign_keeps_errno},
    {"posix_memalign of nothing is a block of its own", posix_memalign_zero_size},
    {"valloc aligns to pages", valloc_is_page_aligned},
    {"pvalloc fills whole pages", pvalloc_fills_pages},
    {"aligned blocks do not overlap", aligned_blocks_do_not_overlap},
    {"malloc_usable_size(NULL) is 0", usable_size_of_null},
    {"malloc_usable_size may be used, and stays", usable_size_may_be_used},
    {"malloc_usable_size of aligned blocks may be used", usable_size_of_aligned},
    {"free(NULL) does nothing", free_null},
    {"free keeps errno, 1 byte to 1 GiB", free_keeps_errno},
    {"free from another thread", free_from_another_thread},
    {"free_sized (C23)", free_with_its_size},
    {"free_aligned_sized (C23)", free_with_alignment_and_size},
    {"blocks of the C library can be resized and freed", blocks_of_the_library},
    {"malloc_trim keeps blocks and errno", trim_keeps_blocks},
    {"malloc_trim lowers RSS", trim_lowers_rss},
    {"mallopt accepts glibc's parameters", mallopt_accepts},
    {"mallinfo2 counts", mallinfo2_counts},
    {"malloc_info writes XML", malloc_info_is_xml},
    {"malloc_info, bad option: EINVAL", malloc_info_bad_option},
    {"malloc_stats writes to standard error", malloc_stats_writes},
    {"the whole family is one library's", family_is_whole},
    {"__libc_malloc and its like are the same library's", libc_names_are_whole},
    {"all 20 operators new and delete are the same library's", operators_are_whole},
    {"RLIMIT_AS: ENOMEM, and again after free", address_space_limit},
    {"ENOMEM is the thread's own", enomem_in_threads},
};

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--limited") == 0)
        return limited();
    int inform = argc > 1 && strcmp(argv[1], "--inform") == 0;
    const char *wanted = argc > 1 + inform ? argv[1 + inform] : NULL;
    int is_left_out = wanted != NULL && wanted[0] == '-'; // -TEXT: all rules but those with TEXT in their name
    if (is_left_out)
        wanted++;
    unsigned kept = 0, broken = 0, skipped = 0;
    for (size_t i = 0; i < COUNT(rules); i++) {
        if (wanted != NULL && (strstr(rules[i].name, wanted) == NULL) != is_left_out)
            continue;
        int result = test_case_forked(&rules[i], RULE_SECONDS);
        kept += result == 0;
        skipped += result == SKIP_CODE;
        broken += result != 0 && result != SKIP_CODE;
        if (result != 0)
            printf("%s: %s\n", result == SKIP_CODE ? "does not apply" : "BROKEN", rules[i].name);
    }
    Dl_info malloc_at;
    const char *path = dladdr(dlsym(RTLD_DEFAULT, "malloc"), &malloc_at) != 0 ? malloc_at.dli_fname : "unknown";
    printf("rules kept: %u of %u, %u do not apply (malloc of %s)\n", kept, kept + broken, skipped, path);
    if (kept + broken + skipped == 0)
        return 2;
    return inform ? 0 : broken + skipped != 0;
}
