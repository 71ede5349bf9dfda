// SPDX-License-Identifier: Apache-2.0
// Linked into a copy of the library with --wrap=mmap,mmap64,munmap,mprotect,madvise,getauxval,thrd_yield: makes chosen
// system calls of the allocator, and of nobody else, fail with ENOMEM, tells it another page size, lets a test stop a
// thread inside of one, and counts yields. Controlled through exported functions.
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <threads.h>

#define FAULT_EXPORT __attribute__((visibility("default")))

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__real_mmap64(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __real_mprotect(void *, size_t, int);
int __real_madvise(void *, size_t, int);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);
int __wrap_mprotect(void *, size_t, int);
int __wrap_madvise(void *, size_t, int);
FAULT_EXPORT void os_fault_arm(uint64_t first, uint64_t count);
FAULT_EXPORT uint64_t os_fault_calls(void);
FAULT_EXPORT void os_fault_visit(void (*visitor)(void));
FAULT_EXPORT uint64_t os_fault_yields(void);
FAULT_EXPORT void os_fault_page(uint64_t bytes);
unsigned long __real_getauxval(unsigned long);
unsigned long __wrap_getauxval(unsigned long);
void __real_thrd_yield(void);
void __wrap_thrd_yield(void);

static _Atomic uint64_t calls;
static _Atomic uint64_t first_bad = UINT64_MAX;
static _Atomic uint64_t bad_count;
static _Atomic uint64_t yields;
static _Atomic uint64_t page_bytes; // 0: the system's own
static void (*_Atomic visit)(void);

// Calls number `first` (from 1, counted from the library's start) up to first + count - 1 fail.
void os_fault_arm(uint64_t first, uint64_t count) {
    atomic_store_explicit(&bad_count, count, memory_order_relaxed);
    atomic_store_explicit(&first_bad, first, memory_order_relaxed);
}

uint64_t os_fault_calls(void) {
    return atomic_load_explicit(&calls, memory_order_relaxed);
}

// Is called at the start of each call, by the thread that makes it, with whatever locks the allocator holds there.
void os_fault_visit(void (*visitor)(void)) {
    atomic_store_explicit(&visit, visitor, memory_order_relaxed);
}

uint64_t os_fault_yields(void) {
    return atomic_load_explicit(&yields, memory_order_relaxed);
}

// Before the allocator's first call.
void os_fault_page(uint64_t bytes) {
    atomic_store_explicit(&page_bytes, bytes, memory_order_relaxed);
}

unsigned long __wrap_getauxval(unsigned long type) {
    uint64_t bytes = atomic_load_explicit(&page_bytes, memory_order_relaxed);
    return type == AT_PAGESZ && bytes != 0 ? bytes : __real_getauxval(type);
}

void __wrap_thrd_yield(void) {
    atomic_fetch_add_explicit(&yields, 1, memory_order_relaxed);
    __real_thrd_yield();
}

static int fails(void) {
    void (*visitor)(void) = atomic_load_explicit(&visit, memory_order_relaxed);
    if (visitor != NULL)
        visitor();
    uint64_t number = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1;
    uint64_t first = atomic_load_explicit(&first_bad, memory_order_relaxed);
    if (number < first || number - first >= atomic_load_explicit(&bad_count, memory_order_relaxed))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap(address, bytes, protection, flags, file, offset);
}

// The name that mmap has where file offsets are 64 bits wide by macro.
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap64(address, bytes, protection, flags, file, offset);
}

// The system refuses to unmap only when that would split a mapping once too often; never for long.
int __wrap_munmap(void *address, size_t bytes) {
    return fails() && atomic_load_explicit(&bad_count, memory_order_relaxed) <= 3 ? -1 : __real_munmap(address, bytes);
}

int __wrap_mprotect(void *address, size_t bytes, int protection) {
    return fails() ? -1 : __real_mprotect(address, bytes, protection);
}

int __wrap_madvise(void *address, size_t bytes, int advice) {
    return fails() ? -1 : __real_madvise(address, bytes, advice);
}
