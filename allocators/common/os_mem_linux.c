// SPDX-License-Identifier: Apache-2.0
// os_mem.h on Linux.
#include "os_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_MAPPINGS 65530u // the kernel's, where /proc cannot be read
#define STRICT_OVERCOMMIT 2u

static int access_bits(enum os_mem_access access) {
    return access == OS_MEM_NONE ? PROT_NONE : access == OS_MEM_READ ? PROT_READ : PROT_READ | PROT_WRITE;
}

void *os_mem_reserve(size_t bytes, size_t alignment, enum os_mem_access access) {
    size_t padded = bytes + (alignment > OS_PAGE_BYTES ? alignment : 0);
    if (padded < bytes)
        return NULL;
    char *raw = mmap(NULL, padded, access_bits(access), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *base = (char *)(((uintptr_t)raw + alignment - 1) & ~(uintptr_t)(alignment - 1));
    if (base != raw)
        munmap(raw, (size_t)(base - raw));
    if (base + bytes != raw + padded)
        munmap(base + bytes, (size_t)(raw + padded - (base + bytes)));
    return base;
}

// free() may not change errno, so nothing that it can reach does; what allocates sets ENOMEM itself.
static int without_errno(int result, int saved) {
    errno = saved;
    return result == 0;
}

int os_mem_map(void *base, size_t bytes, enum os_mem_access access) {
    int saved = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    void *raw = mmap(base, bytes, access_bits(access), flags, -1, 0);
    if (raw != base && raw != MAP_FAILED) // a kernel before 4.17 takes the place for a wish
        munmap(raw, bytes);
    errno = saved;
    return raw == base;
}

int os_mem_release(void *base, size_t bytes) {
    int saved = errno;
    return without_errno(munmap(base, bytes), saved);
}

void os_mem_set_dumped(void *base, size_t bytes, int is_dumped) {
    int saved = errno;
    without_errno(madvise(base, bytes, is_dumped ? MADV_DODUMP : MADV_DONTDUMP), saved);
}

int os_mem_protect(void *base, size_t bytes, enum os_mem_access access) {
    int saved = errno;
    return without_errno(mprotect(base, bytes, access_bits(access)), saved);
}

int os_mem_decommit(void *base, size_t bytes) {
    // MADV_DONTNEED, not MADV_FREE: resident size must fall now, and the next touch must read zero.
    // It fails for locked memory (mlockall); the caller then keeps the pages as dirty.
    int saved = errno;
    return without_errno(madvise(base, bytes, MADV_DONTNEED), saved);
}

void os_mem_zeroes(void *base, size_t bytes) {
    // mlockall() gives every readable page an entry in the page tables, here one for 2 MiB instead of 512.
    int saved = errno;
    without_errno(madvise(base, bytes, MADV_HUGEPAGE), saved);
}

size_t os_mem_page_bytes(void) {
    return getauxval(AT_PAGESZ);
}

size_t os_mem_address_space_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return (size_t)limit.rlim_cur;
}

// What the file says; 0 when it cannot be read.
static size_t read_number(const char *path) {
    size_t number = 0;
    int saved = errno;
    char text[24];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file >= 0 ? read(file, text, sizeof text) : 0;
    if (file >= 0)
        close(file);
    for (ssize_t i = 0; i < length && text[i] >= '0' && text[i] <= '9' && number < SIZE_MAX / 16; i++)
        number = 10 * number + (size_t)(text[i] - '0');
    errno = saved;
    return number;
}

size_t os_mem_mappings_limit(void) {
    size_t limit = read_number("/proc/sys/vm/max_map_count");
    return limit != 0 ? limit : DEFAULT_MAPPINGS;
}

int os_mem_is_charged(void) {
    return read_number("/proc/sys/vm/overcommit_memory") == STRICT_OVERCOMMIT;
}

size_t os_mem_physical_bytes(void) {
    struct sysinfo info;
    if (sysinfo(&info) != 0)
        return (size_t)1 << 34;
    return (size_t)info.totalram * info.mem_unit;
}

uint64_t os_clock_coarse_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t os_entropy64(void) {
    uint64_t value;
    int saved = errno;
    if (syscall(SYS_getrandom, &value, sizeof value, 1u) != (long)sizeof value) // 1: without waiting for entropy
        value = os_random64() ^ (uint64_t)getpid() * 0x9e3779b97f4a7c15u;
    errno = saved;
    return value;
}

uint64_t os_random64(void) {
    // The kernel leaves 16 random bytes with every process: no system call, nothing to fail.
    const unsigned char *bytes = (const unsigned char *)getauxval(AT_RANDOM);
    uint64_t value = 0x9e3779b97f4a7c15u;
    for (int i = 0; bytes != NULL && i < 8; i++)
        value = value << 8 ^ value >> 56 ^ bytes[i];
    return value;
}

// By the system call itself, which is no cancellation point; sandboxes allow it, since locks need it.
void os_wait(const _Atomic uint32_t *word, uint32_t value, uint32_t ms) {
    int saved = errno;
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ms == OS_FOREVER ? NULL : &time, NULL, 0);
    errno = saved;
}

void os_wake(const _Atomic uint32_t *word) {
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

// Where the kernel has put the number of arguments; they follow, then the environment. The dynamic linker's.
extern void *__libc_stack_end __attribute__((weak));

const char *os_environment(const char *name) {
    // A program with privileges that its caller lacks (set-uid, set-gid, capabilities). The kernel tells it in the same
    // words before the C library is initialised, which secure_getenv() needs.
    if (getauxval(AT_SECURE) != 0)
        return NULL;
    if (environ != NULL || &__libc_stack_end == NULL)
        return getenv(name);
    char **arguments = (char **)__libc_stack_end + 1;
    char **variables = arguments + *(const long *)__libc_stack_end + 1;
    size_t length = strlen(name);
    for (; *variables != NULL; variables++)
        if (strncmp(*variables, name, length) == 0 && (*variables)[length] == '=')
            return *variables + length + 1;
    return NULL;
}

void os_write_error(const char *text, size_t bytes) {
    // Not write(): a thread may be cancelled in it, and a sanitizer stands in front of it.
    int saved = errno;
    while (bytes > 0) {
        long written = syscall(SYS_write, STDERR_FILENO, text, bytes);
        if (written <= 0)
            break;
        text += written;
        bytes -= (size_t)written;
    }
    errno = saved;
}

void os_abort(void) {
    abort();
}

void os_exit(int code) {
    _exit(code);
}
