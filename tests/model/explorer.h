// SPDX-License-Identifier: Apache-2.0
// What the explorers share: a machine of a few threads with a store buffer each (x86 TSO), so that a plain store may
// become visible as late as the machine allows; the steps of the allocators' tables (allocators/common/protocol.h),
// performed on it; the search of all states; and the changes of the table that the search has to notice.
//
// Memory orders weaker than the machine's own: each value carries the knowledge that a release has published with it,
// and only an acquire takes it over. Knowledge is one bit an item (a block): the thread knows what its last user did.
// Layer: test.
#ifndef TESTS_MODEL_EXPLORER_H
#define TESTS_MODEL_EXPLORER_H

#include "../../allocators/common/protocol.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define THREADS 3
#define BUFFER 4
#define ADDRESSES_MAX 16

enum step_kind {
    STEP_LOAD,
    STEP_LOOK,
    STEP_STORE,
    STEP_COVER,
    STEP_PUT,
    STEP_SWAP,
    STEP_FILL,
    STEP_PUSH,
    STEP_EXCHANGE,
    STEP_OR,
    STEP_FENCE
};

// A row of a table. An explorer includes the table with HZ_STEP defined as STEP_ROW, and as STEP_INDEX in an enum.
struct step {
    const char *word, *name;
    enum step_kind kind;
    uint8_t from, to;
    memory_order order;
    // Changes only, of a step that is one atomic operation:
    uint8_t is_split; // a load and a store instead
    uint8_t is_blind; // writes whatever the word is
    uint64_t performed;
};

#define STEP_ROW(word, type, name, kind, from, to, order) {#word, #name, STEP_##kind, from, to, order, 0, 0, 0},
#define STEP_INDEX(word, type, name, kind, from, to, order) word##_##name##_step,

// All bytes, so that two equal machines compare equal.
struct machine {
    uint8_t memory[ADDRESSES_MAX], carries[ADDRESSES_MAX];
    struct {
        uint8_t count, address[BUFFER], value[BUFFER], carries[BUFFER];
    } buffer[THREADS];
    uint8_t knows[THREADS]; // bit an item
    uint8_t is_blocked;     // the step waits for the thread's own stores, and has not been performed
    uint8_t bad;            // the explorer's enum violation; 0: sound
};

enum { SOUND, STUCK, UNORDERED, UNEXPECTED, FIRST_VIOLATION }; // violations of all explorers
#define VIOLATIONS_MAX 16

// What a load or a change finds; 1 or 0 of a step that looks or is conditional.
uint8_t perform(struct machine *machine, unsigned thread, struct step *step, unsigned address, uint8_t expected,
                uint8_t value);
uint8_t peek(const struct machine *machine, unsigned thread, unsigned address); // without an order
void violate(struct machine *machine, unsigned violation);                      // the first one counts

// The thread uses an item, and from now on all others know nothing of its last use.
void use_item(struct machine *machine, unsigned thread, unsigned item);
// The thread is given an item: what its last user did must be known to it.
void give_item(struct machine *machine, unsigned thread, unsigned item);
int store_is_under_way(const struct machine *machine, unsigned but_of, unsigned address);

// The model starts with its struct machine and is all bytes.
struct explored {
    size_t model_bytes;
    void (*step)(void *model, unsigned thread); // one access
    int (*is_done)(const void *model, unsigned thread);
    void (*check_end)(void *model); // all threads are done and all is visible
};

struct findings {
    size_t states;
    size_t violations[VIOLATIONS_MAX]; // distinct states
};

// Every state that can be reached from `start`. How many bad ones; stops at the first if told to.
size_t explore(const struct explored *explored, const void *start, int stops_at_first, struct findings *findings);

// ---- changes of a table -------------------------------------------------------------------------------------------

enum change { CHANGE_FROM, CHANGE_TO, CHANGE_ORDER, CHANGE_SPLIT, CHANGE_BLIND, CHANGE_COUNT };

// A change that nothing can notice, or a step that the model does not contain, and why.
struct tolerated {
    const char *word, *name; // name NULL: all steps of the word
    int change;              // enum change, or -1: all of them
    const char *why;
};

// Changes each entry of each step in turn; `is_noticed` explores. Prints what goes unnoticed; returns the number of
// changes that do so without being tolerated and of tolerances that are not needed.
int explore_changes(struct step *steps, size_t count, const char *(*is_noticed)(void),
                    const struct tolerated *tolerated, size_t tolerated_count);

#endif
