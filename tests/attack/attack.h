// SPDX-License-Identifier: Apache-2.0
// One sequence of calls with at most one bug in it, and what the child that executes it tells its parent.
// Layer: test, on the vtable only.
#ifndef TESTS_ATTACK_H
#define TESTS_ATTACK_H

#include "../../allocators/allocator.h"

#include <stddef.h>
#include <stdint.h>

// The one bug that a sequence may have: what the attacked program does wrong.
enum attack_bug {
    ATTACK_BUG_NONE,             // a correct program
    ATTACK_BUG_OVERFLOW,         // writes behind the bytes that it asked for
    ATTACK_BUG_UNDERFLOW,        // writes before the start
    ATTACK_BUG_WRITE_AFTER_FREE, // writes into a block that it has freed
    ATTACK_BUG_DOUBLE_FREE,      // frees or reallocates a freed block, which is not the start of a live one by now
    ATTACK_BUG_STALE_FREE,       // the same when it is: to an allocator without tags in pointers a correct free
    ATTACK_BUG_INTERIOR,         // frees or reallocates a pointer into a live block
    ATTACK_BUG_FOREIGN,          // frees or reallocates memory that the allocator never handed out
    ATTACK_BUG_WILD,             // the same with a number that is no pointer at all
    ATTACK_BUG_COUNT
};
extern const char *const attack_bug_names[ATTACK_BUG_COUNT];

// What the allocator makes of the bug, by which an attacker gets on. The bug's own write is none of them: bytes of
// other live blocks that it reaches directly are told as `reached` and written anew, so that only what follows counts.
enum attack_primitive {
    ATTACK_PRIMITIVE_NONE,
    ATTACK_PRIMITIVE_OVERLAP,    // a new block overlaps a live one
    ATTACK_PRIMITIVE_DUPLICATE,  // a new block starts where a live one starts
    ATTACK_PRIMITIVE_OUTSIDE,    // a new block lies in the program's own memory, in a library or nowhere
    ATTACK_PRIMITIVE_CHANGED,    // bytes of a live block are not what the program wrote last
    ATTACK_PRIMITIVE_GONE,       // a live block cannot be read any more
    ATTACK_PRIMITIVE_DIRTY,      // memory from calloc is not zero
    ATTACK_PRIMITIVE_MISALIGNED, // a new block has not the alignment that it must have
    ATTACK_PRIMITIVE_SHORT,      // usable_size of a live block is below what was asked for
    ATTACK_PRIMITIVE_WRITTEN,    // at the end: memory of the program that was never handed out has changed
    ATTACK_PRIMITIVE_AUDIT,      // the allocator's own audit finds a contradiction
    ATTACK_PRIMITIVE_COUNT
};
extern const char *const attack_primitive_names[ATTACK_PRIMITIVE_COUNT];

// Where the child is, for the parent who finds it dead.
enum attack_phase {
    ATTACK_PHASE_HARNESS,
    ATTACK_PHASE_ALLOCATOR, // in a call
    ATTACK_PHASE_BUG,       // in the write that is the bug
    ATTACK_PHASE_ADMIT,     // in the first access to a new block
    ATTACK_PHASE_LIVE,      // in an access to a live block
};

// In memory that both share, between inaccessible pages.
struct attack_report {
    volatile uint32_t phase;
    volatile uint32_t step;       // the one that is executed, from 1
    volatile uint32_t bug;        // enum attack_bug; none until it has happened
    volatile uint32_t bug_step;   //
    volatile uint32_t reached;    // live blocks that the bug's own write changed
    volatile uint32_t primitive;  // enum attack_primitive; the first one found
    volatile uint32_t is_ended;   // the sequence came to its end, or to a primitive
    volatile uint32_t is_refused; // the allocator's counters of refused pointers rose
    volatile uint64_t hash;       // of all that was drawn
};

// Where the draws come from: a number, or bytes until there are no more.
struct attack_source {
    uint64_t random;
    const unsigned char *at, *end; // NULL: the number
    uint64_t hash;
};

struct attack_sequence {
    const struct allocator *heap;
    struct attack_source source;
    uint32_t bugs;      // bits of enum attack_bug, of which the sequence draws one
    uint32_t most;      // steps
    int is_told;        // each step is printed
    unsigned char *own; // ATTACK_OWN_BYTES of the program's memory: what an attacker would like to have handed out
    struct attack_report *report;
};

#define ATTACK_OWN_BYTES ((size_t)1 << 14)

// Notes where the program's own memory and that of the libraries lies. Once, in the parent, after the allocator is
// loaded.
void attack_note_images(void);

// Executes the sequence in the calling process, which must be good for nothing else afterwards.
void attack_execute(struct attack_sequence *sequence);

#endif
