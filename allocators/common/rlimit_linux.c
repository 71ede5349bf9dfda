// SPDX-License-Identifier: Apache-2.0
// setrlimit and prlimit in front of the C library's: a program that limits its own address space (RLIMIT_AS) would find
// most of it taken by what we have reserved, and nothing could be mapped any more, not even a thread's stack. So what
// was never needed goes back first. Only in the libraries proper, not where tests build an allocator into a program.
// Layer: common.
#include "arena.h"
#include "compiler.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(rlim_t) == sizeof(uint64_t), "one layout for both pairs of names");

// A limit that the system then refuses has cost nothing but reservations.
static int change_limit(pid_t process, int resource, const void *limit, void *old) {
    if (resource == RLIMIT_AS && limit != NULL && (process == 0 || process == getpid())) {
        rlim_t bytes = ((const struct rlimit *)limit)->rlim_cur;
        if (bytes != RLIM_INFINITY)
            arena_limit_address_space((size_t)bytes);
    }
    return (int)syscall(SYS_prlimit64, process, resource, limit, old);
}

#define SETRLIMIT(function, symbol)                                                                                    \
    HZ_EXPORT int function(int resource, const void *limit) __asm__(symbol);                                           \
    int function(int resource, const void *limit) {                                                                    \
        return change_limit(0, resource, limit, NULL);                                                                 \
    }

#define PRLIMIT(function, symbol)                                                                                      \
    HZ_EXPORT int function(pid_t process, int resource, const void *limit, void *old) __asm__(symbol);                 \
    int function(pid_t process, int resource, const void *limit, void *old) {                                          \
        return change_limit(process, resource, limit, old);                                                            \
    }

SETRLIMIT(limit_set, "setrlimit")
SETRLIMIT(limit_set_wide, "setrlimit64")
PRLIMIT(limit_change, "prlimit")
PRLIMIT(limit_change_wide, "prlimit64")
