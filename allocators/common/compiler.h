// SPDX-License-Identifier: Apache-2.0
// Compiler vocabulary of the allocators: visibility, branch weight, thread-local storage model.
#ifndef HZ_COMPILER_H
#define HZ_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define HZ_LIKELY(x) __builtin_expect(!!(x), 1)
#define HZ_UNLIKELY(x) __builtin_expect(!!(x), 0)

// A slow path: out of line, so that the hot path that tail-calls it needs no stack frame.
#define HZ_COLD __attribute__((noinline, cold))
#define HZ_INLINE static inline __attribute__((always_inline))

// The libraries are built with hidden visibility; what a program may see says so. On Windows a list does
// (windows/*.def): no attribute can be added to what the compiler knows already, like malloc.
#if defined(_WIN32)
#define HZ_EXPORT
#else
#define HZ_EXPORT __attribute__((visibility("default")))
#endif

// For data of another unit of the same library: the address is known at link time, so a field costs no load of the
// base.
#define HZ_HIDDEN __attribute__((visibility("hidden")))

// Initial-exec: one load for the offset, no call into the dynamic linker, hence no allocation inside the first access.
// Windows has one model only, three loads and no call.
#if defined(_WIN32)
#define HZ_THREAD_LOCAL _Thread_local
#else
#define HZ_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#endif

// HZ_TAIL_RETURN f(...): the function ends and f starts in its place, without optimisation too, so that f returns to
// our caller and sees it as its own. HZ_TAIL_CALLS marks the function in which that stands.
#if defined(__has_attribute) && __has_attribute(musttail)
#define HZ_TAIL_CALLS
#define HZ_TAIL_RETURN __attribute__((musttail)) return
#else
#define HZ_TAIL_CALLS __attribute__((optimize("O2", "optimize-sibling-calls"), no_sanitize("address,undefined")))
#define HZ_TAIL_RETURN return
#endif

#define HZ_UNUSED __attribute__((unused))
#define HZ_CACHE_LINE 64

__extension__ typedef unsigned __int128 hz_uint128; // the one typedef: ISO C has no name for it

#define HZ_KIB(n) ((size_t)(n) << 10)
#define HZ_MIB(n) ((size_t)(n) << 20)
#define HZ_GIB(n) ((size_t)(n) << 30)

// `alignment` is a power of two.
HZ_INLINE size_t hz_align_up(size_t value, size_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

#endif
