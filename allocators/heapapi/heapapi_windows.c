// SPDX-License-Identifier: Apache-2.0
// The backend `heapapi`: the system's heap functions on a private heap, without a C library between. The heap is
// growable and serialised, with the system's own settings (low fragmentation heap and whatever the release adds).
// Layer: a backend.
#include "../allocator.h"

#include "../common/compiler.h"

#include <errno.h>
#include <windows.h>

static HANDLE heap;

static void *or_out_of_memory(void *block) {
    if (HZ_UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

// The heap would round sizes near SIZE_MAX.
static int is_impossible(size_t bytes) {
    return bytes > PTRDIFF_MAX;
}

static void *heapapi_alloc(size_t bytes) {
    return or_out_of_memory(HZ_UNLIKELY(is_impossible(bytes)) ? NULL : HeapAlloc(heap, 0, bytes));
}

static void heapapi_free(void *block) {
    if (block != NULL)
        HeapFree(heap, 0, block);
}

static void *heapapi_calloc(size_t count, size_t bytes) {
    size_t total;
    int impossible = __builtin_mul_overflow(count, bytes, &total) || is_impossible(total);
    return or_out_of_memory(HZ_UNLIKELY(impossible) ? NULL : HeapAlloc(heap, HEAP_ZERO_MEMORY, total));
}

static void *heapapi_realloc(void *block, size_t bytes) {
    if (block == NULL)
        return heapapi_alloc(bytes);
    if (bytes == 0) { // as the C libraries do
        heapapi_free(block);
        return NULL;
    }
    return or_out_of_memory(HZ_UNLIKELY(is_impossible(bytes)) ? NULL : HeapReAlloc(heap, 0, block, bytes));
}

static size_t heapapi_usable_size(void *block) {
    return block != NULL ? HeapSize(heap, 0, block) : 0; // what was asked for: the heap tells no more
}

static void heapapi_purge(void) {
    HeapCompact(heap, 0);
}

BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, void *reserved);
BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, void *reserved) {
    (void)library;
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        heap = HeapCreate(0, 0, 0);
    return heap != NULL;
}

extern HZ_EXPORT const struct allocator hzbench_allocator;
const struct allocator hzbench_allocator = {
    .abi_version = ALLOCATOR_ABI_VERSION,
    .struct_bytes = sizeof(struct allocator),
    .name = "heapapi",
    .summary = "HeapAlloc on a private heap",
    .capabilities = ALLOCATOR_STORES | ALLOCATOR_PURGE,
    .alloc = heapapi_alloc,
    .free = heapapi_free,
    .calloc = heapapi_calloc,
    .realloc = heapapi_realloc,
    .usable_size = heapapi_usable_size,
    .purge = heapapi_purge,
};
