// SPDX-License-Identifier: Apache-2.0
// Misuse of hz5 on Windows, one process a case. Under the default policy the process must end with the status of heap
// corruption and the exact line; under `reject=count` the reason's counter must rise by one and the heap work on.
// Usage: misuse LIBRARY (all cases), misuse LIBRARY CASE (that one; the parent calls it so). Layer: test.
#include "../support/library.h"

#include <process.h>
#include <windows.h>

#define ABORT_CODE 0xC0000374u
#define TIMEOUT_MS 60000

static const struct allocator *heap;
static const struct test_library *library;
static char in_static[64];

static void *other_thread_frees(void *block) {
    heap->free(block);
    return NULL;
}

static unsigned __stdcall thread_main(void *block) {
    other_thread_frees(block);
    return 0;
}

static void free_elsewhere(void *block) {
    HANDLE thread = (HANDLE)_beginthreadex(NULL, 0, thread_main, block, 0, NULL);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

// Each makes exactly one bad call, with the block it is given (of 64 bytes, aligned to 16).
static void free_twice(char *block) {
    heap->free(block);
    heap->free(block);
}

static void free_twice_later(char *block) {
    void *others[32];
    heap->free(block);
    for (int i = 0; i < 32; i++)
        others[i] = heap->alloc(4096);
    for (int i = 0; i < 32; i++)
        heap->free(others[i]);
    heap->free(block);
}

static void free_after_other_thread(char *block) {
    free_elsewhere(block);
    heap->free(block);
}

static void free_before_other_thread(char *block) {
    heap->free(block);
    free_elsewhere(block);
}

static void free_interior(char *block) {
    heap->free(block + 16);
}

static void free_misaligned(char *block) {
    heap->free(block + 1);
}

static void free_stack(char *block) {
    char local[64];
    (void)block;
    heap->free((char *)(((uintptr_t)local + 15) & ~(uintptr_t)15));
}

static void free_static(char *block) {
    (void)block;
    heap->free(in_static);
}

static void free_of_c_library(char *block) {
    (void)block;
    heap->free(malloc(64));
}

static void free_of_process_heap(char *block) {
    (void)block;
    heap->free(HeapAlloc(GetProcessHeap(), 0, 64));
}

static void free_pages(char *block) {
    (void)block;
    heap->free(VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

static void free_low(char *block) {
    (void)block;
    heap->free((void *)(uintptr_t)16);
}

static void free_never_used(char *block) {
    heap->free(block + (UINT64_C(8) << 30)); // the arena is larger than this; the descriptor there is not committed
}

static void free_large_twice(char *block) {
    (void)block;
    void *large = heap->alloc(8u << 20);
    heap->free(large);
    heap->free(large);
}

static void realloc_freed(char *block) {
    heap->free(block);
    heap->realloc(block, 128);
}

static void usable_size_freed(char *block) {
    heap->free(block);
    heap->usable_size(block);
}

static void free_with_wrong_size(char *block) {
    library->free_sized(block, 4000);
}

static const struct misuse {
    const char *name;
    void (*commit)(char *block);
    enum allocator_reject reason;
    enum allocator_reject or_reason; // where a run may have gone meanwhile
    const char *call;
} misuses[] = {
    {"free twice", free_twice, ALLOCATOR_REJECT_DOUBLE_FREE, ALLOCATOR_REJECT_DOUBLE_FREE, "free"},
    {"free twice, later", free_twice_later, ALLOCATOR_REJECT_DOUBLE_FREE, ALLOCATOR_REJECT_STALE_RUN, "free"},
    {"free after another thread", free_after_other_thread, ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE,
     ALLOCATOR_REJECT_DOUBLE_FREE, "free"},
    {"free before another thread", free_before_other_thread, ALLOCATOR_REJECT_DOUBLE_FREE, ALLOCATOR_REJECT_DOUBLE_FREE,
     "free"},
    {"free inside a block", free_interior, ALLOCATOR_REJECT_INTERIOR, ALLOCATOR_REJECT_INTERIOR, "free"},
    {"free misaligned", free_misaligned, ALLOCATOR_REJECT_MISALIGNED, ALLOCATOR_REJECT_MISALIGNED, "free"},
    {"free of the stack", free_stack, ALLOCATOR_REJECT_FOREIGN, ALLOCATOR_REJECT_FOREIGN, "free"},
    {"free of static memory", free_static, ALLOCATOR_REJECT_FOREIGN, ALLOCATOR_REJECT_FOREIGN, "free"},
    {"free of the C library's", free_of_c_library, ALLOCATOR_REJECT_FOREIGN, ALLOCATOR_REJECT_FOREIGN, "free"},
    {"free of the process heap's", free_of_process_heap, ALLOCATOR_REJECT_FOREIGN, ALLOCATOR_REJECT_FOREIGN, "free"},
    {"free of VirtualAlloc's", free_pages, ALLOCATOR_REJECT_FOREIGN, ALLOCATOR_REJECT_FOREIGN, "free"},
    {"free of a low address", free_low, ALLOCATOR_REJECT_FOREIGN, ALLOCATOR_REJECT_FOREIGN, "free"},
    {"free where nothing was", free_never_used, ALLOCATOR_REJECT_UNMAPPED, ALLOCATOR_REJECT_UNMAPPED, "free"},
    {"free a large block twice", free_large_twice, ALLOCATOR_REJECT_STALE_RUN, ALLOCATOR_REJECT_DOUBLE_FREE, "free"},
    {"realloc of a freed block", realloc_freed, ALLOCATOR_REJECT_DOUBLE_FREE, ALLOCATOR_REJECT_DOUBLE_FREE, "realloc"},
    {"usable size of a freed block", usable_size_freed, ALLOCATOR_REJECT_DOUBLE_FREE, ALLOCATOR_REJECT_DOUBLE_FREE,
     "malloc_usable_size"},
    {"sized free of a smaller block", free_with_wrong_size, ALLOCATOR_REJECT_SIZE_MISMATCH,
     ALLOCATOR_REJECT_SIZE_MISMATCH, "free"},
};

#define MISUSE_COUNT (sizeof misuses / sizeof misuses[0])

// How the lines of hz5 begin their reason; in the order of enum allocator_reject.
static const char *const reason_texts[ALLOCATOR_REJECT_COUNT] = {
    "foreign: ",       "unmapped: ",           "interior: ",  "misaligned: ",
    "double_free: ",   "double_free_remote: ", "stale_run: ", "wrong_owner_generation: ",
    "size_mismatch: ", "corrupt_descriptor: ", "overflow: ",  "write_after_free: ",
    "kind_mismatch: "};

static int fail(const struct misuse *misuse, const char *policy, const char *what, unsigned long long got) {
    printf("FAIL %s, policy %s: %s (%llu)\n", misuse->name, policy, what, got);
    return 1;
}

// The counters, all of them, after one misuse under `count`; and whether the heap still works.
static int check_count(const struct misuse *misuse, const struct allocator_stats *before) {
    struct allocator_stats after;
    heap->stats(&after);
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++) {
        unsigned long long rise = after.rejects[reason] - before->rejects[reason];
        int may = reason == (int)misuse->reason || reason == (int)misuse->or_reason;
        if (!may && rise != 0)
            return fail(misuse, "count", reason_texts[reason], rise);
    }
    if (test_library_rejects(heap) != 1)
        return fail(misuse, "count", "refusals, not 1", test_library_rejects(heap));
    void *blocks[64];
    for (int i = 0; i < 64; i++)
        blocks[i] = heap->alloc(64);
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < i; j++)
            if (blocks[i] == blocks[j])
                return fail(misuse, "count", "one block handed out twice", (unsigned long long)i);
    for (int i = 0; i < 64; i++)
        heap->free(blocks[i]);
    return heap->verify() != 0 ? fail(misuse, "count", "contradictions in the heap", 1) : 0;
}

static int commit_one(const struct misuse *misuse) {
    struct allocator_stats before;
    char *block = heap->alloc(64);
    heap->stats(&before);
    misuse->commit(block);
    return check_count(misuse, &before);
}

// Runs this program again for one case. Returns its exit code; `text` gets what it printed on standard error.
static unsigned long run_case(const char *path, size_t index, const char *profile, char *text, size_t text_bytes) {
    char self[MAX_PATH], command[1024];
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE from, to;
    DWORD got = 0, code = 0;
    GetModuleFileNameA(NULL, self, sizeof self);
    snprintf(command, sizeof command, "\"%s\" \"%s\" %zu", self, path, index);
    CreatePipe(&from, &to, &inherited, 0);
    SetEnvironmentVariableA("HZ5_OPTIONS", profile);
    STARTUPINFOA start = {.cb = sizeof start,
                          .dwFlags = STARTF_USESTDHANDLES,
                          .hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE),
                          .hStdError = to};
    PROCESS_INFORMATION process;
    if (!CreateProcessA(self, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process))
        return 3;
    CloseHandle(to);
    if (WaitForSingleObject(process.hProcess, TIMEOUT_MS) != WAIT_OBJECT_0)
        TerminateProcess(process.hProcess, 99);
    GetExitCodeProcess(process.hProcess, &code);
    if (!ReadFile(from, text, (DWORD)text_bytes - 1, &got, NULL))
        got = 0;
    text[got] = '\0';
    CloseHandle(from);
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    return code;
}

static int has_line(const struct misuse *misuse, const char *text) {
    char start[64];
    snprintf(start, sizeof start, "hz5: refused %s(0x", misuse->call);
    const char *newline = strchr(text, '\n');
    return strncmp(text, start, strlen(start)) == 0 && newline != NULL && newline[1] == '\0' &&
           (strstr(text, reason_texts[misuse->reason]) != NULL ||
            strstr(text, reason_texts[misuse->or_reason]) != NULL);
}

static int run_all(const char *path) {
    int failed = 0;
    for (size_t i = 0; i < MISUSE_COUNT; i++) {
        char text[512];
        unsigned long code = run_case(path, i, "reject=abort", text, sizeof text);
        if (code != ABORT_CODE)
            failed += fail(&misuses[i], "abort", "exit code", code);
        else if (!has_line(&misuses[i], text))
            failed += fail(&misuses[i], "abort", text, code);
        code = run_case(path, i, "reject=count", text, sizeof text);
        if (code != 0)
            failed += fail(&misuses[i], "count", "exit code", code);
    }
    printf("misuse: %zu cases under 2 policies, %d failed\n", MISUSE_COUNT, failed);
    return failed != 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: misuse LIBRARY [CASE]\n");
        return 2;
    }
    if (argc == 2)
        return run_all(argv[1]);
    static struct test_library opened;
    opened = test_library_open(argv[1]);
    library = &opened;
    heap = opened.table;
    size_t index = strtoull(argv[2], NULL, 10);
    return index < MISUSE_COUNT ? commit_one(&misuses[index]) : 2;
}
