// SPDX-License-Identifier: Apache-2.0
// The malloc family that all systems have, over hzn.h: overflow, errno, zero sizes, alignment rules. malloc and free
// themselves are exported by each allocator, what only glibc knows is in front_linux.c.
#include "hzn.h"

#include "compiler.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
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
    return alignment <= 16 ? hzn_alloc(bytes) : hzn_alloc_aligned(alignment, bytes);
}

HZ_EXPORT void *calloc(size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total) || total > PTRDIFF_MAX)
        return out_of_memory();
    return or_out_of_memory(hzn_alloc_zeroed(total));
}

HZ_EXPORT void *realloc(void *block, size_t bytes) {
    if (block == NULL)
        return or_out_of_memory(bytes > PTRDIFF_MAX ? NULL : hzn_alloc(bytes));
    if (bytes == 0) { // as glibc: frees
        hzn_free(block);
        return NULL;
    }
    if (bytes > PTRDIFF_MAX)
        return out_of_memory();
    int refused = 0;
    void *moved = hzn_realloc(block, bytes, &refused);
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
    while (power < alignment && power <= PTRDIFF_MAX)
        power *= 2;
    if (power < alignment) { // there is no such power
        errno = EINVAL;
        return NULL;
    }
    return or_out_of_memory(aligned(power, bytes));
}

HZ_EXPORT size_t malloc_usable_size(void *block) {
    return hzn_usable_size(block);
}

HZ_EXPORT void cfree(void *block);
HZ_EXPORT void cfree(void *block) {
    hzn_free(block);
}

HZ_EXPORT void free_sized(void *block, size_t bytes);
HZ_EXPORT void free_sized(void *block, size_t bytes) {
    hzn_free_sized(block, bytes, HZN_MALLOC);
}

HZ_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes);
HZ_EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes) {
    (void)alignment; // the classes that serve an alignment are larger than the request: only the size is a bound
    hzn_free_sized(block, bytes, HZN_MALLOC);
}
