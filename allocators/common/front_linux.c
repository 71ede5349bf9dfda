// SPDX-License-Identifier: Apache-2.0
// What programs built for glibc call beside the malloc family of front.c: page-aligned blocks, tuning and accounts.
#include "compiler.h"
#include "hzn.h"
#include "os_mem.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

HZ_EXPORT void *valloc(size_t bytes) {
    return memalign(OS_PAGE_BYTES, bytes);
}

HZ_EXPORT void *pvalloc(size_t bytes) {
    if (bytes > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(OS_PAGE_BYTES, hz_align_up(bytes == 0 ? 1 : bytes, OS_PAGE_BYTES));
}

HZ_EXPORT int malloc_trim(size_t pad) {
    (void)pad;
    int saved = errno;
    hzn_purge();
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
    hzn_stats(&stats);
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
    hzn_stats(&stats);
    fprintf(stream,
            "<malloc version=\"%s\">\n<total type=\"live\" size=\"%llu\"/>\n<system type=\"current\" size=\"%llu\"/>\n"
            "</malloc>\n",
            hzbench_allocator.name, (unsigned long long)stats.live_bytes, (unsigned long long)stats.committed_bytes);
    return 0;
}

HZ_EXPORT void malloc_stats(void) {
    struct allocator_stats stats;
    hzn_stats(&stats);
    fprintf(stderr, "%s: live %llu, committed %llu, metadata %llu bytes\n", hzbench_allocator.name,
            (unsigned long long)stats.live_bytes, (unsigned long long)stats.committed_bytes,
            (unsigned long long)stats.metadata_bytes);
    if (hzn_unguarded() != 0)
        fprintf(stderr, "%s: %llu large blocks have no guard: too few mappings are left (vm.max_map_count)\n",
                hzbench_allocator.name, (unsigned long long)hzn_unguarded());
}
