// SPDX-License-Identifier: Apache-2.0
// The vtable: the contract every backend signs, and nothing else.
//
// A backend is a shared object. Its functions reach a caller through one `struct allocator`, built by the loader
// (loader.h) either from the table the library itself exports under ALLOCATOR_TABLE_SYMBOL or, for foreign libraries,
// from their malloc family. A caller copies the pointers it needs once and calls through the copies, so that every
// backend pays the same call.
#ifndef HZBENCH_ALLOCATOR_H
#define HZBENCH_ALLOCATOR_H

#include <stddef.h>
#include <stdint.h>

#define ALLOCATOR_ABI_VERSION 1u
#define ALLOCATOR_TABLE_SYMBOL                                                                                         \
    "hzbench_allocator" // const struct allocator, exported by hz3, hz4, hz5, null, faulty and heapapi
// With this code, and one line on standard error, a library of ours ends a process in which it refuses to serve.
#define ALLOCATOR_EXIT_REFUSED 3

// What a backend promises. The contract tests hold each promise against deeds.
enum allocator_capability {
    ALLOCATOR_STORES = 1u << 0,      // live blocks are distinct memory (null's are not)
    ALLOCATOR_OWNS_EXACT = 1u << 1,  // owns(p) is true for exact starts of live blocks and false for all else
    ALLOCATOR_FAIL_CLOSED = 1u << 2, // every bad free, realloc and usable_size is refused and counted by reason
    ALLOCATOR_PURGE = 1u << 3,       // purge() returns unused memory to the system
    ALLOCATOR_STATS = 1u << 4,       // stats() fills its argument
    ALLOCATOR_ALIGNED = 1u << 5,     // alloc_aligned() is native
    ALLOCATOR_VERIFY = 1u << 6,      // verify() audits the heap
};

// Why a pointer was refused. The order is part of the ABI; new reasons go to the end.
enum allocator_reject {
    ALLOCATOR_REJECT_FOREIGN,            // outside every arena: stack, static, mmap or another allocator's memory
    ALLOCATOR_REJECT_UNMAPPED,           // inside an arena, in a part that holds nothing
    ALLOCATOR_REJECT_INTERIOR,           // inside a block or between blocks, not at a start
    ALLOCATOR_REJECT_MISALIGNED,         // not a multiple of 16, so no start at all
    ALLOCATOR_REJECT_DOUBLE_FREE,        // freed before by the thread that owns the run, or never handed out
    ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE, // freed before by another thread, not collected yet
    ALLOCATOR_REJECT_STALE_RUN,          // the run it lay in has been released
    ALLOCATOR_REJECT_OWNER,              // the run's owner word names no owner
    ALLOCATOR_REJECT_SIZE_MISMATCH,      // sized free with a size of another class
    ALLOCATOR_REJECT_CORRUPT,            // a descriptor contradicts itself
    ALLOCATOR_REJECT_OVERFLOW,           // the bytes before or behind the block have been written
    ALLOCATOR_REJECT_WRITE_AFTER_FREE,   // a freed block has been written; counted when it is to be used again
    ALLOCATOR_REJECT_KIND,               // freed by another operation than the one that belongs to its allocation
    ALLOCATOR_REJECT_COUNT
};

extern const char *const allocator_reject_names[ALLOCATOR_REJECT_COUNT]; // "foreign", "unmapped", ... (loader.c)

#define ALLOCATOR_NOT_TOLD UINT64_MAX

// A snapshot; values of different fields may be some operations apart. A field the backend cannot tell is
// ALLOCATOR_NOT_TOLD: an empty cell in the results, never 0.
struct allocator_stats {
    uint64_t reserved_bytes;  // address space held
    uint64_t committed_bytes; // of it, user memory that may be resident
    uint64_t live_bytes;      // handed out, rounded to size classes
    uint64_t metadata_bytes;  // resident descriptors, states, tables, thread heaps
    uint64_t rejects[ALLOCATOR_REJECT_COUNT];
};

// How every record that `allocator.contract` points to begins; what follows is the backend's own (hz5_descriptor.h).
struct allocator_contract {
    uint32_t version;          // of the record's layout, from 1
    uint32_t struct_bytes;     // of the whole record
    const char *(*text)(void); // the record as `key=value` pairs on one line, at most 255 characters
    uint32_t features;         // the backend's own bits: what this build does
    uint32_t forbidden; // enum allocator_forbidden: what it must not be measured as; a row is refused for any of them
};

// What a build can be that is not the allocator it is called after.
enum allocator_forbidden {
    ALLOCATOR_FORBIDDEN_SANITIZER = 1u << 0,   // built with a sanitizer
    ALLOCATOR_FORBIDDEN_UNOPTIMISED = 1u << 1, // built without optimisation
};

struct allocator {
    uint32_t abi_version;  // ALLOCATOR_ABI_VERSION
    uint32_t struct_bytes; // sizeof(struct allocator)
    const char *name;
    const char *summary; // one line, no full stop
    uint64_t capabilities;

    // Required.
    void *(*alloc)(size_t bytes); // NULL and ENOMEM on failure; 16-byte aligned (8 below 16 bytes allowed)
    void (*free)(void *block);    // NULL is a no-op

    // Optional; NULL means the fallback named here, supplied by allocator_complete() in loader.c.
    void *(*alloc_aligned)(size_t alignment, size_t bytes); // fallback: refuses with ENOMEM
    void *(*calloc)(size_t count, size_t bytes);            // fallback: alloc and memset
    void *(*realloc)(void *block, size_t bytes); // fallback: none - required unless ALLOCATOR_STORES is unset
    size_t (*usable_size)(void *block);          // fallback: returns 0, "unknown"
    int (*owns)(const void *block);              // fallback: returns -1, "cannot tell"
    int (*verify)(void);                         // number of contradictions found; fallback: returns 0
    void (*thread_fini)(void); // gives the calling thread's caches back; fallback: nothing, the library's own exit hook
    void (*stats)(struct allocator_stats *out); // fallback: zeroes; rows print empty cells
    void (*purge)(void);                        // fallback: nothing
    const char *(*version)(void);               // fallback: "unknown"
    const void *contract;                       // record of the build that begins as struct allocator_contract, or NULL
};

#endif
