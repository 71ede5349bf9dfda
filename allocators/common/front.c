// SPDX-License-Identifier: Apache-2.0
// The malloc family as C, POSIX and glibc define it, over core.h: overflow, errno, zero sizes, alignment rules.
// malloc and free themselves are exported by each allocator.
#include "core.h"

#include "compiler.h"
#include "os_mem.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *out_of_memory(void) {
    errno = ENOMEM;
    return NULL;
}

static void *or_out_of_memory(void *block) {
    return HZ_LIKELY(block != NULL) ? block : out_of_memory();
}

static int is_power_of_two(size_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

static void *aligned(size_t alignment, size_t bytes) {
    if (bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX)
        return NULL;
    return alignment <= 16 ? core_alloc(bytes) : core_alloc_aligned(alignment, bytes);
}

HZ_EXPORT void *calloc(size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total) || total > PTRDIFF_MAX)
        return out_of_memory();
    return or_out_of_memory(core_alloc_zeroed(total));
}

HZ_EXPORT void *realloc(void *block, size_t bytes) {
    if (block == NULL)
        return or_out_of_memory(bytes > PTRDIFF_MAX ? NULL : core_alloc(bytes));
    if (bytes == 0) { // as glibc: frees
        core_free(block);
        return NULL;
    }
    if (bytes > PTRDIFF_MAX)
        return out_of_memory();
    int refused = 0;
    void *moved = core_realloc(block, bytes, &refused);
    return moved != NULL || refused ? moved : out_of_memory();
}

HZ_EXPORT void *reallocarray(void *block, size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total))
        return out_of_memory();
    return realloc(block, total);
}

HZ_EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes) {
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *block = aligned(alignment, bytes);
    errno = saved; // the result is the only report
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

HZ_EXPORT void *aligned_alloc(size_t alignment, size_t bytes) {
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return or_out_of_memory(aligned(alignment, bytes));
}

HZ_EXPORT void *memalign(size_t alignment, size_t bytes) {
    size_t power = 16; // like glibc, another alignment is rounded up
    while (power < alignment && power <= PTRDIFF_MAX / 2)
        power *= 2;
    if (power < alignment) {
        errno = EINVAL;
        return NULL;
    }
    return or_out_of_memory(aligned(power, bytes));
}

HZ_EXPORT void *valloc(size_t bytes) {
    return or_out_of_memory(aligned(OS_PAGE_BYTES, bytes));
}

HZ_EXPORT void *pvalloc(size_t bytes) {
    if (bytes > PTRDIFF_MAX)
        return out_of_memory();
    return or_out_of_memory(aligned(OS_PAGE_BYTES, hz_align_up(bytes == 0 ? 1 : bytes, OS_PAGE_BYTES)));
}

HZ_EXPORT size_t malloc_usable_size(void *block) {
    return core_usable_size(block);
}

HZ_EXPORT void cfree(void *block);
HZ_EXPORT void cfree(void *block) {
    core_free(block);
}

HZ_EXPORT void free_sized(void *block, size_t bytes);
HZ_EXPORT void free_sized(void *block, size_t bytes) {
    core_free_sized(block, bytes);
}

HZ_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes);
HZ_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes) {
    (void)alignment; // the classes that serve an alignment are larger than the request: only the size is a bound
    core_free_sized(block, bytes);
}

HZ_EXPORT int malloc_trim(size_t pad) {
    (void)pad;
    int saved = errno;
    core_purge();
    errno = saved;
    return 1;
}

HZ_EXPORT int mallopt(int parameter, int value) {
    (void)parameter;
    (void)value;
    return 1; // glibc's tunables have no counterpart here; programs that set them must go on
}

HZ_EXPORT struct mallinfo2 mallinfo2(void) {
    struct allocator_stats stats;
    core_stats(&stats);
    struct mallinfo2 info = {0};
    info.arena = stats.committed_bytes;
    info.uordblks = stats.live_bytes;
    info.fordblks = stats.committed_bytes > stats.live_bytes ? stats.committed_bytes - stats.live_bytes : 0;
    return info;
}

static int clamp_int(size_t value) {
    return value > INT32_MAX ? INT32_MAX : (int)value;
}

HZ_EXPORT struct mallinfo mallinfo(void);
HZ_EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo info = {0};
    info.arena = clamp_int(wide.arena);
    info.uordblks = clamp_int(wide.uordblks);
    info.fordblks = clamp_int(wide.fordblks);
    return info;
}

HZ_EXPORT int malloc_info(int options, FILE *stream) {
    if (options != 0)
        return EINVAL;
    struct allocator_stats stats;
    core_stats(&stats);
    fprintf(stream,
            "<malloc version=\"%s\">\n<total type=\"live\" size=\"%llu\"/>\n<system type=\"current\" size=\"%llu\"/>\n"
            "</malloc>\n",
            hzbench_allocator.name, (unsigned long long)stats.live_bytes, (unsigned long long)stats.committed_bytes);
    return 0;
}

HZ_EXPORT void malloc_stats(void) {
    struct allocator_stats stats;
    core_stats(&stats);
    fprintf(stderr, "%s: live %llu, committed %llu, metadata %llu bytes\n", hzbench_allocator.name,
            (unsigned long long)stats.live_bytes, (unsigned long long)stats.committed_bytes,
            (unsigned long long)stats.metadata_bytes);
}
