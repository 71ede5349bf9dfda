// SPDX-License-Identifier: Apache-2.0
// Memory, time and last words from the operating system; os_mem_<os>.c is the only file of the allocators that knows
// it. Only mmap, mprotect, madvise and munmap are used: sandboxes kill processes for rarer system calls.
#ifndef HZ_OS_MEM_H
#define HZ_OS_MEM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define OS_PAGE_BYTES ((size_t)4096) // accounting granule; hz_init() refuses systems with another page size

enum os_mem_access { OS_MEM_NONE, OS_MEM_READ, OS_MEM_READ_WRITE };

// Address space without memory behind it, `alignment` a power of two. NULL when there is none.
void *os_mem_reserve(size_t bytes, size_t alignment, enum os_mem_access access);
// The same at a given place; 0 when any of it is in use or there is no address space left.
int os_mem_map(void *base, size_t bytes, enum os_mem_access access);
int os_mem_release(void *base, size_t bytes);                    // 1 on success
void os_mem_set_dumped(void *base, size_t bytes, int is_dumped); // whether core dumps contain it; at first they do
int os_mem_protect(void *base, size_t bytes, enum os_mem_access access); // 1 on success
int os_mem_decommit(void *base, size_t bytes); // contents become zero, pages leave the resident set; 1 on success

// Memory that is only read, and reads zero: where the system can, one large page of zeroes stands for many small ones.
void os_mem_zeroes(void *base, size_t bytes);

size_t os_mem_page_bytes(void);          // the system's page size
size_t os_mem_address_space_limit(void); // bytes this process may map; SIZE_MAX without a limit
size_t os_mem_physical_bytes(void);
size_t os_mem_mappings_limit(void); // ranges of different access this process may have; SIZE_MAX without a limit
int os_mem_is_charged(void);        // 1: what is accessible counts as memory, touched or not (strict overcommit)
uint64_t os_clock_coarse_ms(void);  // monotonic, a few nanoseconds to read, a few milliseconds coarse
uint64_t os_random64(void);         // for placement only
uint64_t os_entropy64(void);        // another one each time, that nobody can tell in advance

// A thread sleeps while *word is `value`, for at most so many milliseconds, and may wake up without cause; errno kept.
#define OS_FOREVER UINT32_MAX
void os_wait(const _Atomic uint32_t *word, uint32_t value, uint32_t ms);
void os_wake(const _Atomic uint32_t *word);

// getenv(), also before the C library has been initialised. NULL in a program with privileges that its caller lacks:
// the environment is the caller's.
const char *os_environment(const char *name);
void os_write_error(const char *text, size_t bytes); // to standard error, async-signal-safe, errno kept
_Noreturn void os_abort(void);
_Noreturn void os_exit(int code); // at once, without handlers

#endif
