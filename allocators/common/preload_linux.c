// SPDX-License-Identifier: Apache-2.0
// The names under which a preloaded allocator is called besides the malloc family: C++'s operators new and delete in
// all their forms, and glibc's __libc_ names. A name that were missing here would be another library's, and its blocks
// of another heap. Only in the libraries proper, not where tests build an allocator into a program. Layer: common.
#include "hzn.h"

#include "check.h"
#include "compiler.h"
#include "os_mem.h"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- operator new -------------------------------------------------------------------------------------------------

// What happens when there is no memory is the C++ runtime's: the new handler, then an exception or NULL. Its own
// operator tries once more through our malloc and does the rest. It is the next one after ours or, where the runtime
// came with a library that was loaded later and locally, the one which the caller's library sees.
HZ_COLD static void *next_operator(const char *name, void *caller) {
    void *found = dlsym(RTLD_NEXT, name);
    Dl_info info;
    if (found == NULL && dladdr(caller, &info) != 0 && info.dli_fname != NULL) {
        void *library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
        found = library != NULL ? dlsym(library, name) : NULL;
    }
    if (found == NULL) {
        struct check_line line = {0};
        check_line_text(&line, hzbench_allocator.name);
        check_line_text(&line, ": out of memory in operator new, and no C++ runtime to tell");
        check_line_write(&line);
        os_abort();
    }
    return found;
}

struct nothrow; // std::nothrow_t

#define NEW(function, symbol, parameters, allocation, type, arguments)                                                 \
    HZ_EXPORT void *function parameters __asm__(symbol);                                                               \
    void *function parameters {                                                                                        \
        void *block = allocation;                                                                                      \
        if (HZ_LIKELY(block != NULL))                                                                                  \
            return block;                                                                                              \
        void *(*next)type;                                                                                             \
        *(void **)(void *)&next = next_operator(symbol, __builtin_return_address(0));                                  \
        return next arguments;                                                                                         \
    }

#define PLAIN (size_t bytes)
#define QUIET (size_t bytes, const struct nothrow *tag)
#define ALIGNED (size_t bytes, size_t alignment)
#define ALIGNED_QUIET (size_t bytes, size_t alignment, const struct nothrow *tag)

NEW(new_one, "_Znwm", PLAIN, hzn_new(bytes), (size_t), (bytes))
NEW(new_array, "_Znam", PLAIN, hzn_new_array(bytes), (size_t), (bytes))
NEW(new_one_quiet, "_ZnwmRKSt9nothrow_t", QUIET, hzn_new(bytes), (size_t, const struct nothrow *), (bytes, tag))
NEW(new_array_quiet, "_ZnamRKSt9nothrow_t", QUIET, hzn_new_array(bytes), (size_t, const struct nothrow *), (bytes, tag))
static void *aligned(size_t alignment, size_t bytes, enum hzn_kind kind) {
    void *block = memalign(alignment, bytes);
    if (block != NULL)
        hzn_set_kind(block, kind);
    return block;
}

NEW(new_aligned, "_ZnwmSt11align_val_t", ALIGNED, aligned(alignment, bytes, HZN_NEW), (size_t, size_t),
    (bytes, alignment))
NEW(new_array_aligned, "_ZnamSt11align_val_t", ALIGNED, aligned(alignment, bytes, HZN_NEW_ARRAY), (size_t, size_t),
    (bytes, alignment))
NEW(new_aligned_quiet, "_ZnwmSt11align_val_tRKSt9nothrow_t", ALIGNED_QUIET, aligned(alignment, bytes, HZN_NEW),
    (size_t, size_t, const struct nothrow *), (bytes, alignment, tag))
NEW(new_array_aligned_quiet, "_ZnamSt11align_val_tRKSt9nothrow_t", ALIGNED_QUIET,
    aligned(alignment, bytes, HZN_NEW_ARRAY), (size_t, size_t, const struct nothrow *), (bytes, alignment, tag))

// ---- operator delete ----------------------------------------------------------------------------------------------

#define DELETE(function, symbol, parameters, release)                                                                  \
    HZ_EXPORT void function parameters __asm__(symbol);                                                                \
    void function parameters {                                                                                         \
        release(block);                                                                                                \
    }

#define DELETE_SIZED(function, symbol, parameters, kind)                                                               \
    HZ_EXPORT void function parameters __asm__(symbol);                                                                \
    void function parameters {                                                                                         \
        hzn_free_sized(block, bytes, kind);                                                                            \
    }

DELETE(delete_one, "_ZdlPv", (void *block), hzn_delete)
DELETE(delete_array, "_ZdaPv", (void *block), hzn_delete_array)
DELETE(delete_one_quiet, "_ZdlPvRKSt9nothrow_t", (void *block, const struct nothrow *tag HZ_UNUSED), hzn_delete)
DELETE(delete_array_quiet, "_ZdaPvRKSt9nothrow_t", (void *block, const struct nothrow *tag HZ_UNUSED), hzn_delete_array)
DELETE(delete_aligned, "_ZdlPvSt11align_val_t", (void *block, size_t alignment HZ_UNUSED), hzn_delete)
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t", (void *block, size_t alignment HZ_UNUSED), hzn_delete_array)
DELETE(delete_aligned_quiet, "_ZdlPvSt11align_val_tRKSt9nothrow_t",
       (void *block, size_t alignment HZ_UNUSED, const struct nothrow *tag HZ_UNUSED), hzn_delete)
DELETE(delete_array_aligned_quiet, "_ZdaPvSt11align_val_tRKSt9nothrow_t",
       (void *block, size_t alignment HZ_UNUSED, const struct nothrow *tag HZ_UNUSED), hzn_delete_array)
DELETE_SIZED(delete_sized, "_ZdlPvm", (void *block, size_t bytes), HZN_NEW)
DELETE_SIZED(delete_array_sized, "_ZdaPvm", (void *block, size_t bytes), HZN_NEW_ARRAY)
DELETE_SIZED(delete_sized_aligned, "_ZdlPvmSt11align_val_t", (void *block, size_t bytes, size_t alignment HZ_UNUSED),
             HZN_NEW)
DELETE_SIZED(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t",
             (void *block, size_t bytes, size_t alignment HZ_UNUSED), HZN_NEW_ARRAY)

// ---- sanitizers ---------------------------------------------------------------------------------------------------

// AddressSanitizer and ThreadSanitizer stand in front of functions that we call, pthread_mutex_lock among them, and
// crash in these until their own start, which allocates, is through. They find nothing in a heap of ours either.
extern void asan_init(void) __asm__("__asan_init") __attribute__((weak));
extern void tsan_init(void) __asm__("__tsan_init") __attribute__((weak));

// In the order in which the linker searches. dlsym(RTLD_NEXT) would allocate where it finds nothing, and the malloc of
// a sanitizer in front of us has not started.
static int is_behind_us(void (*function)(void)) {
    Dl_info info;
    struct link_map *own = NULL, *other = NULL;
    if (dladdr1(&hzbench_allocator, &info, (void **)&own, RTLD_DL_LINKMAP) == 0 ||
        dladdr1(*(void **)(void *)&function, &info, (void **)&other, RTLD_DL_LINKMAP) == 0)
        return 0;
    while (own != NULL && own != other)
        own = own->l_next;
    return own != NULL;
}

static void refuse_sanitizer(void (*start)(void), const char *name) {
    if (start == NULL || !is_behind_us(start))
        return; // in front of us, as in the program itself: then malloc is the sanitizer's and ours is not called
    struct check_line line = {0};
    check_line_text(&line, hzbench_allocator.name);
    check_line_text(&line, ": the program is built with ");
    check_line_text(&line, name);
    check_line_text(&line,
                    ", which needs a malloc of its own - run it without this library, or build it without -fsanitize");
    check_line_write(&line);
    syscall(SYS_exit_group, ALLOCATOR_EXIT_REFUSED); // not _exit(), in front of which the sanitizer stands as well
}

// Before the sanitizer's start, as ours is the first (-z initfirst).
__attribute__((constructor)) static void look_for_sanitizers(void) {
    refuse_sanitizer(asan_init, "AddressSanitizer");
    refuse_sanitizer(tsan_init, "ThreadSanitizer");
}

// ---- glibc's own names --------------------------------------------------------------------------------------------

#define LIBC(function, symbol, type, parameters, call)                                                                 \
    HZ_EXPORT type function parameters __asm__(symbol);                                                                \
    type function parameters {                                                                                         \
        return call;                                                                                                   \
    }

LIBC(libc_malloc, "__libc_malloc", void *, (size_t bytes), malloc(bytes))
LIBC(libc_calloc, "__libc_calloc", void *, (size_t count, size_t bytes), calloc(count, bytes))
LIBC(libc_realloc, "__libc_realloc", void *, (void *block, size_t bytes), realloc(block, bytes))
LIBC(libc_memalign, "__libc_memalign", void *, (size_t alignment, size_t bytes), memalign(alignment, bytes))
LIBC(libc_valloc, "__libc_valloc", void *, (size_t bytes), valloc(bytes))
LIBC(libc_pvalloc, "__libc_pvalloc", void *, (size_t bytes), pvalloc(bytes))
DELETE(libc_free, "__libc_free", (void *block), free)
