// SPDX-License-Identifier: Apache-2.0
// os_mem.h on Windows. Memory is charged when it is committed, not when it is touched, so what may only be read is
// committed page by page at the first read, by an exception handler: a side table of gigabytes costs what is used of
// it.
#include "os_mem.h"

#include <stdlib.h>
#include <windows.h>

#define STATUS_OF_ABORT 0xC0000374u // STATUS_HEAP_CORRUPTION: how the system's own heap ends a process
#define MAX_READABLE 8
#define RESERVE_TRIES 16
#define COMMIT_TRIES 100

// Ranges whose uncommitted pages read zero.
struct readable {
    uintptr_t base;
    size_t bytes;
};

static struct {
    SRWLOCK lock; // orders commits: a page that has become writable must not be made read-only by a late reader
    struct readable ranges[MAX_READABLE];
    size_t count;
    void *handler;
} on_demand = {.lock = SRWLOCK_INIT};

// free() may change neither errno nor the last error, so nothing that it can reach does.
static int with_last_error(int result, DWORD saved) {
    SetLastError(saved);
    return result;
}

static LONG CALLBACK commit_on_read(EXCEPTION_POINTERS *exception) {
    const EXCEPTION_RECORD *record = exception->ExceptionRecord;
    if (record->ExceptionCode != (DWORD)EXCEPTION_ACCESS_VIOLATION || record->ExceptionInformation[0] != 0)
        return EXCEPTION_CONTINUE_SEARCH;
    uintptr_t address = record->ExceptionInformation[1];
    int done = 0;
    DWORD saved = GetLastError();
    AcquireSRWLockExclusive(&on_demand.lock);
    for (size_t i = 0; i < on_demand.count && !done; i++) {
        MEMORY_BASIC_INFORMATION page;
        if (address - on_demand.ranges[i].base >= on_demand.ranges[i].bytes)
            continue;
        done = VirtualQuery((void *)address, &page, sizeof page) != 0 && page.State == MEM_COMMIT
                   ? page.Protect == PAGE_READONLY || page.Protect == PAGE_READWRITE // another thread was faster
                   : VirtualAlloc((void *)address, 1, MEM_COMMIT, PAGE_READONLY) != NULL;
    }
    ReleaseSRWLockExclusive(&on_demand.lock);
    SetLastError(saved);
    return done ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

static int make_readable(void *base, size_t bytes) {
    int done = 0;
    AcquireSRWLockExclusive(&on_demand.lock);
    if (on_demand.handler == NULL)
        on_demand.handler = AddVectoredExceptionHandler(1, commit_on_read);
    if (on_demand.handler != NULL && on_demand.count < MAX_READABLE) {
        on_demand.ranges[on_demand.count++] = (struct readable){(uintptr_t)base, bytes};
        done = 1;
    }
    ReleaseSRWLockExclusive(&on_demand.lock);
    return done;
}

static void forget_readable(const void *base, size_t bytes) {
    AcquireSRWLockExclusive(&on_demand.lock);
    for (size_t i = on_demand.count; i-- > 0;)
        if (on_demand.ranges[i].base - (uintptr_t)base < bytes)
            on_demand.ranges[i] = on_demand.ranges[--on_demand.count];
    ReleaseSRWLockExclusive(&on_demand.lock);
}

static int commit(void *base, size_t bytes) {
    AcquireSRWLockExclusive(&on_demand.lock);
    DWORD before;
    int done = VirtualAlloc(base, bytes, MEM_COMMIT, PAGE_READWRITE) != NULL &&
               VirtualProtect(base, bytes, PAGE_READWRITE, &before); // pages a reader has committed
    ReleaseSRWLockExclusive(&on_demand.lock);
    return done;
}

// The system places at multiples of 64 KiB. For more, a larger range shows where there is room, and is tried again.
static void *reserve(size_t bytes, size_t alignment) {
    if (alignment <= 65536)
        return VirtualAlloc(NULL, bytes, MEM_RESERVE, PAGE_NOACCESS);
    if (bytes + alignment < bytes)
        return NULL;
    void *base = NULL;
    for (int i = 0; i < RESERVE_TRIES && base == NULL; i++) {
        void *room = VirtualAlloc(NULL, bytes + alignment, MEM_RESERVE, PAGE_NOACCESS);
        if (room == NULL)
            return NULL;
        uintptr_t aligned = ((uintptr_t)room + alignment - 1) & ~(uintptr_t)(alignment - 1);
        VirtualFree(room, 0, MEM_RELEASE);
        base = VirtualAlloc((void *)aligned, bytes, MEM_RESERVE, PAGE_NOACCESS); // NULL: another thread was faster
    }
    return base;
}

void *os_mem_reserve(size_t bytes, size_t alignment, enum os_mem_access access) {
    DWORD saved = GetLastError();
    void *base = reserve(bytes, alignment);
    if (base != NULL && access != OS_MEM_NONE && !os_mem_protect(base, bytes, access)) {
        VirtualFree(base, 0, MEM_RELEASE);
        base = NULL;
    }
    SetLastError(saved);
    return base;
}

int os_mem_map(void *base, size_t bytes, enum os_mem_access access) {
    DWORD saved = GetLastError();
    if (VirtualAlloc(base, bytes, MEM_RESERVE, PAGE_NOACCESS) == NULL)
        return with_last_error(0, saved);
    if (access == OS_MEM_NONE || os_mem_protect(base, bytes, access))
        return with_last_error(1, saved);
    VirtualFree(base, 0, MEM_RELEASE);
    return with_last_error(0, saved);
}

int os_mem_release(void *base, size_t bytes) {
    DWORD saved = GetLastError();
    forget_readable(base, bytes);
    return with_last_error(VirtualFree(base, 0, MEM_RELEASE) != 0, saved);
}

void os_mem_set_dumped(void *base, size_t bytes, int is_dumped) {
    // A dump of this system contains what is committed, and nothing is committed ahead.
    (void)base;
    (void)bytes;
    (void)is_dumped;
}

int os_mem_protect(void *base, size_t bytes, enum os_mem_access access) {
    DWORD saved = GetLastError();
    if (access == OS_MEM_READ_WRITE)
        return with_last_error(commit(base, bytes), saved);
    if (access == OS_MEM_READ)
        return with_last_error(make_readable(base, bytes), saved);
    return with_last_error(VirtualFree(base, bytes, MEM_DECOMMIT) != 0, saved);
}

int os_mem_decommit(void *base, size_t bytes) {
    // MEM_RESET would keep the old contents or not, as the system likes; the next touch must read zero.
    DWORD saved = GetLastError();
    if (!VirtualFree(base, bytes, MEM_DECOMMIT))
        return with_last_error(0, saved);
    // The charge has just been given back, so it is there to be taken, unless the whole system is out of memory.
    for (int i = 0; i < COMMIT_TRIES; i++) {
        if (VirtualAlloc(base, bytes, MEM_COMMIT, PAGE_READWRITE) != NULL)
            return with_last_error(1, saved);
        Sleep(10);
    }
    static const char line[] = "hzbench: the system does not give back memory it has just been given: out of memory\n";
    os_write_error(line, sizeof line - 1);
    os_abort();
}

void os_mem_zeroes(void *base, size_t bytes) {
    (void)base; // reserved memory has no pages at all
    (void)bytes;
}

size_t os_mem_page_bytes(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

size_t os_mem_address_space_limit(void) {
    return SIZE_MAX; // what is limited here is commitment, and nothing is committed ahead
}

size_t os_mem_mappings_limit(void) {
    return SIZE_MAX;
}

int os_mem_is_charged(void) {
    return 1; // the system counts what is committed
}

size_t os_mem_physical_bytes(void) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    return GlobalMemoryStatusEx(&status) ? (size_t)status.ullTotalPhys : (size_t)1 << 34;
}

uint64_t os_clock_coarse_ms(void) {
    return GetTickCount64();
}

// Nobody waits: there is no purge thread here (purge_windows.c).
void os_wait(const _Atomic uint32_t *word, uint32_t value, uint32_t ms) {
    (void)word, (void)value, (void)ms;
}

void os_wake(const _Atomic uint32_t *word) {
    (void)word;
}

uint64_t os_random64(void) {
    // Address space layout, process and counter; the system's generators would load libraries inside malloc.
    LARGE_INTEGER ticks;
    QueryPerformanceCounter(&ticks);
    uint64_t value = (uint64_t)ticks.QuadPart ^ (uint64_t)GetCurrentProcessId() << 40 ^ (uintptr_t)&ticks;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u; // splitmix64
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

uint64_t os_entropy64(void) {
    return os_random64();
}

const char *os_environment(const char *name) {
    return getenv(name); // the runtime library is initialised before ours
}

void os_write_error(const char *text, size_t bytes) {
    DWORD saved = GetLastError();
    HANDLE error = GetStdHandle(STD_ERROR_HANDLE);
    DWORD written;
    while (bytes > 0 && WriteFile(error, text, (DWORD)bytes, &written, NULL) && written > 0) {
        text += written;
        bytes -= written;
    }
    SetLastError(saved);
}

void os_abort(void) {
    // Not abort(): its exit code 3 says nothing, and exception handlers of the program could go on with the heap.
    TerminateProcess(GetCurrentProcess(), STATUS_OF_ABORT);
    for (;;)
        Sleep(INFINITE);
}

void os_exit(int code) {
    TerminateProcess(GetCurrentProcess(), (UINT)code);
    for (;;)
        Sleep(INFINITE);
}
