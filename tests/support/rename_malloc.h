// SPDX-License-Identifier: Apache-2.0
// Force-included into an allocator's sources where the program must keep its own malloc (sanitizers, fuzzer): the whole
// family gets other names, in declarations and definitions alike, so no #include may come before this file.
#ifndef TESTS_SUPPORT_RENAME_MALLOC_H
#define TESTS_SUPPORT_RENAME_MALLOC_H

#define malloc hz_test_malloc
#define free hz_test_free
#define calloc hz_test_calloc
#define realloc hz_test_realloc
#define reallocarray hz_test_reallocarray
#define memalign hz_test_memalign
#define aligned_alloc hz_test_aligned_alloc
#define posix_memalign hz_test_posix_memalign
#define valloc hz_test_valloc
#define pvalloc hz_test_pvalloc
#define cfree hz_test_cfree
#define free_sized hz_test_free_sized
#define free_aligned_sized hz_test_free_aligned_sized
#define malloc_usable_size hz_test_malloc_usable_size
#define malloc_trim hz_test_malloc_trim
#define malloc_info hz_test_malloc_info
#define malloc_stats hz_test_malloc_stats
#define mallopt hz_test_mallopt
#define mallinfo hz_test_mallinfo
#define mallinfo2 hz_test_mallinfo2

#endif
