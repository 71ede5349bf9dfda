// SPDX-License-Identifier: Apache-2.0
// Explorer of hz5's block protocol: every interleaving of a few threads on one run of two blocks, on the machine of
// explorer.h. What each step does to its word is read from the allocators' own tables, hz5_steps.h and heap_steps.h;
// the order of the steps below is that of hz5_malloc.c, hz5_remote.c, hz5_run.c and heaps.c. Mutants of that order and
// changes of the table must be caught. Usage: hz5_explorer [--changes]. Layer: test.
#include "explorer.h"

#include "../../allocators/common/heap_states.h"
#include "../../allocators/hz5/hz5_states.h"

#include <stdio.h>
#include <string.h>

#define BLOCKS 2
#define HEAPS 3 // heap ids 1 and 2
#define SCRIPT 10

#define HZ_STEP STEP_INDEX
enum step_index {
#include "../../allocators/common/heap_steps.h"
#define HZ_STEP STEP_INDEX
#include "../../allocators/hz5/hz5_steps.h"
    STEPS
};

#define HZ_STEP STEP_ROW
static struct step steps[] = {
#include "../../allocators/common/heap_steps.h"
#define HZ_STEP STEP_ROW
#include "../../allocators/hz5/hz5_steps.h"
};

enum { FREE = HZ5_FREE, LIVE = HZ5_LIVE, REMOTE = HZ5_REMOTE };

// Shared memory. OWNER_GENERATION is generation << 2 | owner, one word as in the descriptor; ARRAY which state array
// the descriptor names, RECIPROCAL 0 while no block starts in the unit. There are two state arrays; a run's next life
// takes the other one (the real thing lets eight rest).
enum address {
    STATE0,
    STATE1,
    STATE2,
    STATE3,
    REMOTE_BITS,
    IS_QUEUED,
    QUEUE1,
    QUEUE2,
    STATUS1,
    STATUS2,
    OWNER_GENERATION,
    RECIPROCAL,
    ARRAY,
    ADDRESSES
};
_Static_assert(ADDRESSES <= ADDRESSES_MAX, "the machine's memory");

enum operation {
    OP_END,
    OP_FREE0,         // free(block 0), whoever owns it
    OP_FREE1,         //
    OP_MOVE0,         // realloc(block 0) by a thread that does not own the run: take, copy, give
    OP_FREE_HANDED,   // free a block that an OP_ALLOC of this run of the model has handed out, if there is one
    OP_ALLOC,         // malloc by the owner: magazine, FREE blocks of its run, drain
    OP_DRAIN,         // drain of its own heap
    OP_EXIT,          // the owner's thread ends
    OP_ADOPT,         // heap 2 takes what abandoned heap 1 left
    OP_RECLAIM,       // a new thread takes abandoned heap 1
    OP_SPILL,         // magazine to run
    OP_RELEASE_CARVE, // if the run is empty: release it and carve it anew
    OP_HELP,          // drain of heap 1, which is alive, by another thread
};

enum mutant {
    MUTANT_NONE,
    MUTANT_TWO_STATES,     // remote frees leave FREE, the drainer believes the bits
    MUTANT_EARLY_LOOK,     // `remote_bits` is read before the exchange of the state and not again
    MUTANT_NO_LAST_BITS,   // the drainer does not look for bits after it has cleared is_queued
    MUTANT_EARLY_BITS,     // the drainer looks for bits before it clears is_queued
    MUTANT_FORGET_LEFT,    // regions left over when enough was found are taken from `remote_bits` again, not remembered
    MUTANT_KEEP_ELSEWHERE, // a run that has another owner by now leaves the queue without a look at its bits
    MUTANT_RECIPROCAL_FIRST, // carving writes reciprocal before owner_generation
    MUTANT_RECIPROCAL_LEFT,  // releasing leaves reciprocal as it is
    MUTANT_BLIND_DRAIN,      // the drainer frees what its bits name without looking at the state
    MUTANT_WEAK_STATUS,      // the dying thread's status is a plain store
    MUTANT_NO_LAST_LOOK,     // the dying thread does not look at its queue again
    MUTANT_NO_STATUS_LOOK,   // who queues into an abandoned heap does not look at its status
    MUTANT_CARVE_NO_LOOK,    // carving does not look for bits of the unit's last life
    MUTANT_NO_SECOND_LOOK,   // a push that found no owner does not look again after clearing is_queued
    MUTANT_LATE_GENERATION,  // generations are compared after the exchange, which is undone when they differ
    MUTANT_BLIND_GIVE,       // a realloc that has copied stores REMOTE without looking
    MUTANT_NO_REST,          // a returned state array is used again at once
};

struct thread_state {
    uint8_t pc;
    uint8_t back;   // pc after the drain subroutine
    uint8_t after;  // pc after the enqueue subroutine
    uint8_t held;   // pc after the own heap is held, or let go
    uint8_t at;     // script position
    uint8_t heap;   // own heap id or 0
    uint8_t target; // heap under drain
    uint8_t block;  // operand
    uint8_t reg[4];
};

struct model {
    struct machine machine;
    struct thread_state thread[THREADS];
    uint8_t magazine[HEAPS][BLOCKS]; // how often each block lies in the heap's magazine
    uint8_t listed[HEAPS];           // the run is in the heap's own list of runs under drain
    uint8_t left;                    // regions taken from REMOTE_BITS and not searched yet, the owner's
    uint8_t inside;                  // threads that hold or help heap 1
    // What the model knows and the threads do not:
    uint8_t holders[BLOCKS]; // who may use the block
    uint8_t handed;          // bit a block: OP_FREE_HANDED may take it
    uint8_t asked, ended;    // bits: somebody began to free the block that lived at the start; somebody has freed it
    uint8_t calls, refused, accepted, issued, drained, absorbed, handed_out;
};

enum violation {
    TWO_HOLDERS = FIRST_VIOLATION,
    LOST,
    ACCOUNTS,
    QUEUED_TWICE,
    STRAY_FREE,
    STRANGER_FREED,
    GOOD_REFUSED,
    WRONG_STATE,
    HELD_TWICE,
    VIOLATIONS
};
static const char *const violation_names[VIOLATIONS] = {"sound",
                                                        "stuck",
                                                        "a block's last use is not known to who gets it",
                                                        "a word is not what its only writer expects",
                                                        "block with two holders",
                                                        "block lost",
                                                        "accounts",
                                                        "run queued twice",
                                                        "a live block became free",
                                                        "a stale free hit the next life",
                                                        "every free of a live block was refused",
                                                        "a block's state does not tell where it is",
                                                        "a heap that two threads change"};

struct scenario {
    const char *name;
    uint8_t script[THREADS][SCRIPT];
    uint8_t state[BLOCKS];
    uint8_t owner_dead;    // heap 1 has no thread at the start
    uint8_t block_regions; // 1: a region a block, 0: both in one
    uint8_t heap_of[THREADS];
    uint8_t beyond_limit; // beyond the documented limit: violations are counted, not failures
};

static const struct scenario scenarios[] = {
    {"owner and one other free one block",
     {{OP_FREE0, OP_ALLOC, OP_ALLOC}, {OP_FREE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"two others free one block",
     {{OP_DRAIN, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_FREE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"owner and two others free one block",
     {{OP_FREE0, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_FREE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"owner frees what another reallocates",
     {{OP_FREE0, OP_ALLOC, OP_ALLOC}, {OP_MOVE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"two others free and reallocate one block",
     {{OP_DRAIN, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_MOVE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"owner frees, another frees, a third reallocates",
     {{OP_FREE0, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_MOVE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"two blocks of one region, owner drains",
     {{OP_DRAIN, OP_DRAIN}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"two blocks of two regions, owner drains",
     {{OP_DRAIN, OP_DRAIN}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"refill while two others free",
     {{OP_ALLOC, OP_ALLOC, OP_DRAIN}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"refill while two others free in two regions",
     {{OP_ALLOC, OP_ALLOC, OP_DRAIN}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"blocks handed out again and freed again",
     {{OP_ALLOC, OP_ALLOC}, {OP_FREE0, OP_FREE_HANDED}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"owner exits while two others free", {{OP_EXIT}, {OP_FREE0}, {OP_FREE1}}, {LIVE, LIVE}, 0, 0, {1, 0, 0}, 0},
    {"owner frees and exits, another frees the same",
     {{OP_FREE0, OP_EXIT}, {OP_FREE0}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"adoption while another frees", {{OP_ADOPT, OP_ALLOC, OP_ALLOC}, {OP_FREE0}}, {LIVE, FREE}, 1, 0, {2, 0, 0}, 0},
    {"adoption while two others free",
     {{OP_ADOPT, OP_DRAIN}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     1,
     0,
     {2, 0, 0},
     0},
    {"exit, adoption and a free",
     {{OP_FREE1, OP_EXIT}, {OP_ADOPT, OP_ALLOC}, {OP_FREE0}},
     {LIVE, LIVE},
     0,
     0,
     {1, 2, 0},
     0},
    {"release and carve while late bits arrive",
     {{OP_DRAIN, OP_RELEASE_CARVE, OP_DRAIN}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"release, carve, hand out, free again",
     {{OP_DRAIN, OP_RELEASE_CARVE, OP_ALLOC}, {OP_FREE0, OP_FREE_HANDED}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"stale free meets the next life of its run",
     {{OP_FREE0, OP_SPILL, OP_RELEASE_CARVE, OP_ALLOC, OP_ALLOC}, {OP_FREE0}},
     {LIVE, FREE},
     0,
     0,
     {1, 0, 0},
     0},
    {"stale free meets the next life, others free beside it",
     {{OP_FREE0, OP_SPILL, OP_RELEASE_CARVE, OP_ALLOC, OP_ALLOC, OP_DRAIN, OP_ALLOC}, {OP_FREE0}, {OP_FREE_HANDED}},
     {LIVE, FREE},
     0,
     0,
     {1, 0, 0},
     0},
    {"another reallocates", {{OP_DRAIN, OP_ALLOC}, {OP_MOVE0}}, {LIVE, LIVE}, 0, 1, {1, 0, 0}, 0},
    {"an abandoned heap is reclaimed while two others free",
     {{OP_RECLAIM, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     1,
     0,
     {0, 0, 0},
     0},
    {"another helps an owner that sleeps", {{OP_END}, {OP_FREE0, OP_HELP}}, {LIVE, LIVE}, 0, 1, {1, 0, 0}, 0},
    {"another helps while the owner refills",
     {{OP_ALLOC, OP_ALLOC}, {OP_FREE0, OP_HELP}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"another helps while the owner frees, spills and carves",
     {{OP_FREE1, OP_SPILL, OP_RELEASE_CARVE, OP_ALLOC}, {OP_FREE0, OP_HELP}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"two free and help while the owner drains",
     {{OP_DRAIN}, {OP_FREE0, OP_HELP}, {OP_FREE1, OP_HELP}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"two free and help while the owner exits",
     {{OP_EXIT}, {OP_FREE0, OP_HELP}, {OP_FREE1, OP_HELP}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    // Eight lives in the real thing, two here: the documented limit.
    {"stale free stalled until its state array is in use again",
     {{OP_FREE0, OP_SPILL, OP_RELEASE_CARVE, OP_RELEASE_CARVE, OP_ALLOC, OP_ALLOC, OP_DRAIN, OP_ALLOC},
      {OP_FREE0},
      {OP_FREE_HANDED}},
     {LIVE, FREE},
     0,
     0,
     {1, 0, 0},
     1},
};
#define SCENARIO_COUNT (sizeof scenarios / sizeof *scenarios)

static const struct scenario *scenario;
static enum mutant mutant;

// One step of the table by thread t.
#define DO(name, address) perform(&m->machine, t, &steps[name##_step], address, 0, 0)
#define WRITE(name, address, value) perform(&m->machine, t, &steps[name##_step], address, 0, value)

static uint8_t owner_of(uint8_t owner_generation) {
    return owner_generation & 3;
}

// Address of a block's state in the life that `owner_generation` names: a release and a carve add one generation each.
static uint8_t state_of(uint8_t owner_generation, uint8_t block) {
    uint8_t array = mutant == MUTANT_NO_REST || mutant == MUTANT_LATE_GENERATION ? 0 : owner_generation >> 3 & 1;
    return (uint8_t)(STATE0 + 2 * array + block);
}

static uint8_t in_array(uint8_t array, uint8_t block) {
    return (uint8_t)(STATE0 + 2 * array + block);
}

static uint8_t array_of(uint8_t owner_generation) {
    return (uint8_t)((state_of(owner_generation, 0) - STATE0) / 2);
}

static uint8_t bit_of(uint8_t block) {
    return scenario->block_regions ? (uint8_t)(1u << block) : 1;
}

static uint8_t own_state(const struct model *m, unsigned t, uint8_t block) {
    return state_of(peek(&m->machine, t, OWNER_GENERATION), block);
}

static int is_free(const struct model *m, unsigned t, uint8_t block) {
    return peek(&m->machine, t, own_state(m, t, block)) == steps[hz5_block_refill_step].from;
}

static int has_cached(const struct model *m, unsigned heap) {
    return m->magazine[heap][0] + m->magazine[heap][1] != 0;
}

// ---- what the threads may not know --------------------------------------------------------------------------------

// A free has been accepted. It ends the holder's hold, or, when there is none or when a store of the owner that is
// still on its way will cover it, it is one that only the accounts will show.
static void accept(struct model *m, uint8_t block, int is_covered) {
    m->accepted++;
    m->ended |= (uint8_t)(1u << block);
    if (is_covered || m->holders[block] == 0)
        m->absorbed++;
    else
        m->holders[block]--;
}

static void hand_out(struct model *m, unsigned t, uint8_t block) {
    m->handed_out++;
    m->handed |= (uint8_t)(1u << block);
    give_item(&m->machine, t, block);
    if (++m->holders[block] > 1)
        violate(&m->machine, TWO_HOLDERS);
}

// Between the two, heap 1's lists and runs are the thread's alone, and it knows what the last one has made of them.
#define HEAP_ITEM BLOCKS

static void enter(struct model *m, unsigned t) {
    if (m->inside++ != 0)
        violate(&m->machine, HELD_TWICE);
    give_item(&m->machine, t, HEAP_ITEM);
}

static void leave(struct model *m, unsigned t) {
    use_item(&m->machine, t, HEAP_ITEM);
    m->inside--;
}

// Holding is a step only where somebody helps: nobody else looks whether a heap is held.
static int is_helped_here(void) {
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned at = 0; at < SCRIPT; at++)
            if (scenario->script[t][at] == OP_HELP)
                return 1;
    return 0;
}

// The conditional step that frees a block; the thread has used the block up to here, if it is the one that holds it.
static int free_by(struct model *m, unsigned t, enum step_index step, unsigned address) {
    struct machine before = m->machine;
    uint8_t b = m->thread[t].block;
    if (m->holders[b] != 0 && !store_is_under_way(&m->machine, t, address))
        use_item(&m->machine, t, b);
    if (perform(&m->machine, t, &steps[step], address, 0, 0))
        return 1;
    if (!m->machine.is_blocked)
        m->machine = before;
    return 0;
}

// ---- the protocol, a memory access a step -------------------------------------------------------------------------

enum pc {
    NEXT, // fetches the next operation
    // free
    F_OWNER_GENERATION,
    F_OWN_LOAD,
    F_OWN_STORE,
    R_OWNER_GENERATION,
    R_RECIPROCAL,
    R_ARRAY,
    R_SECOND,
    R_EARLY,
    R_EXCHANGE,
    R_AGAIN,
    R_ROLLBACK,
    R_REMOTE_BITS,
    R_MARK,
    // realloc by another thread, goes on in R_REMOTE_BITS
    M_OWNER_GENERATION,
    M_TAKE,
    M_GIVE,
    // enqueue, returns to `after`
    E_LOOK,
    E_FLAG,
    P_OWNER,
    P_PUSH,
    P_STATUS,
    P_ACQUIRE,
    P_CLEAR,
    P_OWNER2,
    P_REMOTE_BITS2,
    P_FLAG2,
    // drain of `target`, returns to `back`
    C_TAKE,
    C_OWNER,
    C_BITS,
    C_STATE0,
    C_FREE0,
    C_REGION,
    C_STATE1,
    C_FREE1,
    C_DONE,
    C_CLEAR,
    C_LOOK,
    C_EARLY_LOOK,
    C_ELSEWHERE_CLEAR,
    C_ELSEWHERE,
    // alloc
    A_MAGAZINE,
    A_OWNER,
    A_STATE0,
    A_CACHE0,
    A_STATE1,
    A_CACHE1,
    A_QUEUE,
    A_AGAIN,
    // exit and release
    X_SPILL,
    X_DRAIN,
    U_STATUS,
    U_QUEUE,
    U_ACQUIRE,
    // adoption, reclaiming
    D_LOOK,
    D_ACQUIRE,
    D_DRAINED,
    D_OWN,
    D_STORE,
    V_LOOK,
    V_ACQUIRE,
    V_REVIVE,
    // spill
    S_STORE,
    // release and carve
    L_LOOK,
    L_ZERO,
    L_RELEASE,
    L_FENCE,
    L_ARRAY,
    L_RECIPROCAL_FIRST,
    L_CARVE,
    L_RECIPROCAL,
    L_FENCE2,
    L_REMOTE_BITS,
    // hold the own heap, then go on at `held`; let go, then go on at `after`; help heap 1
    G_HOLD,
    G_LET_GO,
    H_HELP,
    H_HELPED,
    PC_END,
};

static void begin_free(struct model *m, unsigned t, uint8_t block, uint8_t pc) {
    m->thread[t].block = block;
    m->calls++;
    m->thread[t].pc = pc;
}

// Of a block that lives from the start. One that has just been handed out may not look live to others yet: here they
// get to know its address sooner than any program could tell them.
static void ask(struct model *m, unsigned block) {
    m->asked |= (uint8_t)(1u << block & ~m->ended);
}

static void hold(struct thread_state *thread, uint8_t next) {
    thread->held = next;
    thread->pc = is_helped_here() ? G_HOLD : next;
}

// Where a thread goes that lets its heap go and then goes on at `next`.
static uint8_t let_go(struct thread_state *thread, uint8_t next) {
    if (!is_helped_here())
        return next;
    thread->reg[3] = next;
    return G_LET_GO;
}

static void begin(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t operation = scenario->script[t][thread->at++];
    memset(thread->reg, 0, sizeof thread->reg);
    switch (operation) {
    case OP_FREE0:
    case OP_FREE1:
        ask(m, operation == OP_FREE1);
        begin_free(m, t, operation == OP_FREE1, F_OWNER_GENERATION);
        break;
    case OP_MOVE0:
        ask(m, 0);
        begin_free(m, t, 0, M_OWNER_GENERATION);
        break;
    case OP_FREE_HANDED:
        if (m->handed == 0)
            break; // nothing was handed out yet on this path: other paths free
        begin_free(m, t, (m->handed & 1) == 0, F_OWNER_GENERATION);
        m->handed &= (uint8_t) ~(1u << thread->block);
        break;
    case OP_ALLOC:
        thread->pc = thread->heap != 0 ? A_MAGAZINE : NEXT; // the heap that was to be reclaimed may be acquired
        break;
    case OP_DRAIN:
        thread->target = thread->heap;
        thread->back = let_go(thread, NEXT);
        hold(thread, C_TAKE);
        break;
    case OP_EXIT:
        hold(thread, X_SPILL);
        break;
    case OP_ADOPT:
        thread->pc = D_LOOK;
        break;
    case OP_RECLAIM:
        thread->pc = V_LOOK;
        break;
    case OP_SPILL:
        hold(thread, S_STORE);
        break;
    case OP_RELEASE_CARVE:
        hold(thread, L_LOOK);
        break;
    case OP_HELP:
        thread->pc = H_HELP;
        break;
    default:
        break;
    }
}

static void refuse(struct model *m, unsigned t) {
    m->refused++;
    m->thread[t].pc = NEXT;
}

// free by the owner
static void step_free_own(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t b = thread->block;
    switch (thread->pc) {
    case F_OWNER_GENERATION:
        thread->pc = thread->heap != 0 && owner_of(DO(hz5_owner_generation_read, OWNER_GENERATION)) == thread->heap
                         ? F_OWN_LOAD
                         : R_OWNER_GENERATION;
        break;
    case F_OWN_LOAD:
        thread->pc = F_OWN_STORE;
        if (!DO(hz5_block_is_live, own_state(m, t, b)))
            refuse(m, t);
        break;
    case F_OWN_STORE:
        use_item(&m->machine, t, b);
        DO(hz5_block_free_own, own_state(m, t, b));
        m->magazine[thread->heap][b]++;
        accept(m, b, 0);
        thread->pc = NEXT;
        break;
    }
}

// free by any other thread
static void step_free_remote(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t *reg = thread->reg;
    uint8_t b = thread->block;
    switch (thread->pc) {
    case R_OWNER_GENERATION:
        reg[0] = DO(hz5_owner_generation_read, OWNER_GENERATION);
        thread->pc = R_RECIPROCAL;
        break;
    case R_RECIPROCAL:
        thread->pc = R_ARRAY;
        if (DO(hz5_reciprocal_read, RECIPROCAL) == 0)
            refuse(m, t);
        break;
    case R_ARRAY: // and the other fields of the descriptor
        reg[3] = DO(hz5_array_read, ARRAY);
        thread->pc = R_SECOND;
        break;
    case R_SECOND:
        thread->pc = mutant == MUTANT_EARLY_LOOK ? R_EARLY : R_EXCHANGE;
        if (DO(hz5_owner_generation_read_again, OWNER_GENERATION) != reg[0])
            thread->pc = R_OWNER_GENERATION;
        break;
    case R_EARLY:
        reg[1] = DO(hz5_bits_look, REMOTE_BITS);
        thread->pc = R_EXCHANGE;
        break;
    case R_EXCHANGE:
        thread->pc = mutant == MUTANT_LATE_GENERATION ? R_AGAIN : R_REMOTE_BITS;
        if (!free_by(m, t, hz5_block_free_remote_step, in_array(reg[3], b)))
            refuse(m, t);
        else if (mutant != MUTANT_LATE_GENERATION)
            m->issued++;
        break;
    case R_AGAIN:
        thread->pc = R_REMOTE_BITS;
        if (DO(hz5_owner_generation_read_again, OWNER_GENERATION) >> 2 != reg[0] >> 2)
            thread->pc = R_ROLLBACK;
        else
            m->issued++;
        break;
    case R_ROLLBACK: {
        struct step rollback = steps[hz5_block_free_remote_step];
        rollback.from = REMOTE;
        rollback.to = LIVE;
        perform(&m->machine, t, &rollback, in_array(reg[3], b), 0, 0);
        refuse(m, t);
        break;
    }
    case R_REMOTE_BITS: {
        uint8_t pending = mutant == MUTANT_EARLY_LOOK ? reg[1] : DO(hz5_bits_look, REMOTE_BITS);
        thread->pc = (pending & bit_of(b)) != 0 ? NEXT : R_MARK;
        break;
    }
    case R_MARK:
        WRITE(hz5_bits_set, REMOTE_BITS, bit_of(b));
        thread->after = NEXT;
        thread->pc = E_LOOK;
        break;
    }
}

// realloc by any other thread
static void step_move(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t address = in_array(thread->reg[3], thread->block);
    switch (thread->pc) {
    case M_OWNER_GENERATION:
        thread->reg[0] = DO(hz5_owner_generation_read, OWNER_GENERATION);
        thread->reg[3] = array_of(thread->reg[0]);
        thread->pc = M_TAKE;
        break;
    case M_TAKE:
        thread->pc = M_GIVE;
        if (!DO(hz5_block_take_to_move, address))
            refuse(m, t);
        break;
    case M_GIVE:
        thread->pc = R_REMOTE_BITS;
        if (free_by(m, t, hz5_block_give_moved_step, address))
            m->issued++;
        else
            refuse(m, t);
        break;
    }
}

static void push(struct model *m, unsigned t, uint8_t heap) {
    const uint8_t *memory = m->machine.memory;
    if (memory[QUEUE1] != 0 || memory[QUEUE2] != 0 || m->listed[1] || m->listed[2])
        violate(&m->machine, QUEUED_TWICE);
    uint8_t head = DO(hz5_queue_head, QUEUE1 + heap - 1u);
    perform(&m->machine, t, &steps[hz5_queue_push_step], QUEUE1 + heap - 1u, head, 1);
}

static void step_enqueue(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t *reg = thread->reg;
    switch (thread->pc) {
    case E_LOOK:
        thread->pc = DO(hz5_queued_is_clear, IS_QUEUED) ? E_FLAG : thread->after;
        break;
    case E_FLAG:
        thread->pc = DO(hz5_queued_mark, IS_QUEUED) != 0 ? thread->after : P_OWNER;
        break;
    case P_OWNER:
        reg[2] = owner_of(DO(hz5_owner_generation_read_to_queue, OWNER_GENERATION));
        thread->pc = reg[2] != 0 ? P_PUSH : P_CLEAR;
        break;
    case P_PUSH:
        push(m, t, reg[2]);
        thread->pc = mutant == MUTANT_NO_STATUS_LOOK ? thread->after : P_STATUS;
        break;
    case P_STATUS:
        // The second look is that of whoever acquires the heap.
        thread->pc =
            DO(hz_status_is_abandoned, STATUS1 + reg[2] - 1u) && DO(hz_status_peek_abandoned, STATUS1 + reg[2] - 1u)
                ? P_ACQUIRE
                : thread->after;
        break;
    case P_ACQUIRE:
        thread->pc = thread->after;
        if (DO(hz_status_acquire, STATUS1 + reg[2] - 1u)) {
            if (is_helped_here())
                enter(m, t);
            thread->target = reg[2];
            thread->back = U_STATUS;
            thread->pc = C_TAKE;
        }
        break;
    case P_CLEAR:
        DO(hz5_queued_clear, IS_QUEUED);
        thread->pc = mutant == MUTANT_NO_SECOND_LOOK ? thread->after : P_OWNER2;
        break;
    case P_OWNER2:
        thread->pc =
            owner_of(DO(hz5_owner_generation_read_to_queue, OWNER_GENERATION)) != 0 ? P_REMOTE_BITS2 : thread->after;
        break;
    case P_REMOTE_BITS2:
        thread->pc = DO(hz5_bits_look, REMOTE_BITS) != 0 ? P_FLAG2 : thread->after;
        break;
    case P_FLAG2:
        thread->pc = DO(hz5_queued_mark, IS_QUEUED) != 0 ? thread->after : P_OWNER;
        break;
    }
}

static void drain_block(struct model *m, unsigned t, uint8_t b, uint8_t next_load, uint8_t free_pc) {
    struct thread_state *thread = &m->thread[t];
    thread->pc = next_load;
    if ((m->left & bit_of(b)) == 0)
        return;
    // Eight states are read at once, which publishes nothing of one of them.
    struct step look = steps[hz5_block_is_remote_step];
    look.order = memory_order_relaxed;
    steps[hz5_block_is_remote_step].performed++;
    int is_remote = perform(&m->machine, t, &look, own_state(m, t, b), 0, 0);
    if (mutant == MUTANT_TWO_STATES) {
        m->magazine[thread->target][b]++;
        m->drained++;
    } else if (is_remote || mutant == MUTANT_BLIND_DRAIN) {
        thread->pc = free_pc;
    }
}

static int is_refill(const struct thread_state *thread) {
    return thread->back == A_MAGAZINE || (thread->back == G_LET_GO && thread->reg[3] == A_MAGAZINE);
}

// A refill wants one block: it becomes CACHED, the others FREE.
static void free_drained(struct model *m, unsigned t, uint8_t b, uint8_t next) {
    struct thread_state *thread = &m->thread[t];
    int is_wanted = is_refill(thread) && !has_cached(m, thread->heap);
    DO(hz5_block_see_remote, own_state(m, t, b));
    if (is_wanted)
        DO(hz5_block_drain_to_magazine, own_state(m, t, b));
    else
        DO(hz5_block_drain_to_run, own_state(m, t, b));
    if (m->holders[b] != 0)
        violate(&m->machine, STRAY_FREE);
    if (is_wanted)
        m->magazine[thread->heap][b]++;
    m->drained++;
    thread->pc = next;
}

// Between two regions: a refill that has its block stops here and remembers what is left.
static void next_region(struct model *m, unsigned t, uint8_t next) {
    struct thread_state *thread = &m->thread[t];
    thread->pc = next;
    if (!scenario->block_regions)
        return;
    m->left &= (uint8_t)~bit_of(0);
    if (m->left != 0 && is_refill(thread) && has_cached(m, thread->heap)) {
        thread->pc = thread->back;
        if (mutant == MUTANT_FORGET_LEFT)
            m->left = 0;
    }
}

// From the queue into the heap's own list, or on to the run's owner.
static void step_take_queue(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    switch (thread->pc) {
    case C_TAKE:
        // What the heap's own list holds first; a queue is only taken when it is empty.
        thread->pc = m->listed[thread->target] ? C_BITS : C_OWNER;
        if (!m->listed[thread->target] && DO(hz5_queue_take, QUEUE1 + thread->target - 1u) == 0)
            thread->pc = thread->back;
        break;
    case C_OWNER:
        thread->pc = C_ELSEWHERE_CLEAR;
        if (owner_of(DO(hz5_owner_generation_read_again, OWNER_GENERATION)) == thread->target) {
            m->listed[thread->target] = 1;
            thread->pc = C_BITS;
        }
        break;
    case C_ELSEWHERE_CLEAR:
        DO(hz5_queued_clear, IS_QUEUED);
        thread->pc = mutant == MUTANT_KEEP_ELSEWHERE ? thread->back : C_ELSEWHERE;
        break;
    case C_ELSEWHERE:
        // The run has another owner, or none: its bits go where they belong.
        thread->after = thread->back;
        thread->pc = DO(hz5_bits_look, REMOTE_BITS) != 0 ? E_LOOK : thread->back;
        break;
    }
}

static void step_drain(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t *reg = thread->reg;
    switch (thread->pc) {
    case C_BITS:
        if (m->left == 0)
            m->left = DO(hz5_bits_take, REMOTE_BITS);
        thread->pc = C_STATE0;
        break;
    case C_STATE0:
        drain_block(m, t, 0, C_REGION, C_FREE0);
        break;
    case C_FREE0:
        free_drained(m, t, 0, C_REGION);
        break;
    case C_REGION:
        next_region(m, t, C_STATE1);
        break;
    case C_STATE1:
        drain_block(m, t, 1, C_DONE, C_FREE1);
        break;
    case C_FREE1:
        free_drained(m, t, 1, C_DONE);
        break;
    case C_DONE:
        m->left = 0;
        m->listed[thread->target] = 0;
        thread->pc = mutant == MUTANT_EARLY_BITS ? C_EARLY_LOOK : C_CLEAR;
        break;
    case C_EARLY_LOOK:
        reg[1] = DO(hz5_bits_look, REMOTE_BITS);
        thread->pc = C_CLEAR;
        break;
    case C_CLEAR:
        DO(hz5_queued_clear, IS_QUEUED);
        thread->pc = mutant == MUTANT_NO_LAST_BITS ? thread->back : C_LOOK;
        break;
    case C_LOOK: {
        uint8_t late = mutant == MUTANT_EARLY_BITS ? reg[1] : DO(hz5_bits_look, REMOTE_BITS);
        thread->after = thread->back;
        thread->pc = late != 0 ? E_LOOK : thread->back;
        break;
    }
    default:
        step_take_queue(m, t);
        break;
    }
}

static void pop(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    hold(thread, mutant == MUTANT_TWO_STATES ? A_QUEUE : A_OWNER);
    for (uint8_t b = 0; b < BLOCKS; b++) {
        if (m->magazine[thread->heap][b] == 0)
            continue;
        m->magazine[thread->heap][b]--;
        DO(hz5_block_hand_out, own_state(m, t, b));
        hand_out(m, t, b);
        thread->pc = NEXT;
        return;
    }
}

static void refill(struct model *m, unsigned t, uint8_t b, uint8_t next) {
    DO(hz5_block_refill, own_state(m, t, b));
    m->magazine[m->thread[t].heap][b]++;
    m->thread[t].pc = next;
}

static void step_alloc(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    switch (thread->pc) {
    case A_MAGAZINE:
        pop(m, t);
        break;
    case A_OWNER:
        thread->pc =
            owner_of(DO(hz5_owner_generation_read_again, OWNER_GENERATION)) == thread->heap ? A_STATE0 : A_QUEUE;
        break;
    case A_STATE0:
        thread->pc = is_free(m, t, 0) ? A_CACHE0 : A_STATE1;
        break;
    case A_CACHE0:
        refill(m, t, 0, A_STATE1);
        break;
    case A_STATE1:
        thread->pc = is_free(m, t, 1) ? A_CACHE1 : A_AGAIN;
        break;
    case A_CACHE1:
        refill(m, t, 1, A_AGAIN);
        break;
    case A_AGAIN:
        thread->pc = has_cached(m, thread->heap) ? let_go(thread, A_MAGAZINE) : A_QUEUE;
        break;
    case A_QUEUE:
        // One drain an allocation, then it gives up: a new run would serve it.
        thread->pc = let_go(thread, NEXT);
        if (thread->reg[0] == 0 && (m->listed[thread->heap] || !DO(hz5_queue_is_empty, QUEUE1 + thread->heap - 1u))) {
            thread->reg[0] = 1;
            thread->target = thread->heap;
            thread->back = let_go(thread, A_MAGAZINE);
            thread->pc = C_TAKE;
        }
        break;
    }
}

// Spills one cached block; goes on when the magazine is empty.
static void step_spill(struct model *m, unsigned t, uint8_t next) {
    for (uint8_t b = 0; b < BLOCKS; b++) {
        if (m->magazine[m->thread[t].heap][b] != 0) {
            m->magazine[m->thread[t].heap][b]--;
            DO(hz5_block_spill, own_state(m, t, b));
            return;
        }
    }
    m->thread[t].pc = next;
}

// The end of a thread, and releasing an acquired heap.
static void step_exit(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    switch (thread->pc) {
    case X_SPILL:
        step_spill(m, t, X_DRAIN);
        break;
    case X_DRAIN:
        thread->target = thread->heap;
        thread->heap = 0;
        thread->back = U_STATUS;
        thread->pc = C_TAKE;
        break;
    case U_STATUS:
        if (is_helped_here())
            leave(m, t);
        DO(hz_status_abandon, STATUS1 + thread->target - 1u);
        thread->pc = mutant == MUTANT_NO_LAST_LOOK ? NEXT : U_QUEUE;
        break;
    case U_QUEUE:
        thread->pc = !DO(hz5_queue_is_empty, QUEUE1 + thread->target - 1u) &&
                             DO(hz_status_peek_abandoned, STATUS1 + thread->target - 1u)
                         ? U_ACQUIRE
                         : NEXT;
        break;
    case U_ACQUIRE:
        thread->pc = NEXT;
        if (DO(hz_status_acquire, STATUS1 + thread->target - 1u)) {
            if (is_helped_here())
                enter(m, t);
            thread->back = U_STATUS;
            thread->pc = C_TAKE;
        }
        break;
    case S_STORE:
        step_spill(m, t, let_go(thread, NEXT));
        break;
    }
}

static void step_hold(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    unsigned status = STATUS1 + thread->heap - 1u;
    switch (thread->pc) {
    case G_HOLD: // else it waits
        if (DO(hz_status_hold, status)) {
            enter(m, t);
            thread->pc = thread->held;
        }
        break;
    case G_LET_GO:
        leave(m, t);
        DO(hz_status_let_go, status);
        thread->pc = thread->reg[3];
        break;
    case H_HELP:
        thread->pc = NEXT;
        if (DO(hz_status_help, STATUS1)) {
            enter(m, t);
            thread->target = 1;
            thread->back = H_HELPED;
            thread->pc = C_TAKE;
        }
        break;
    case H_HELPED:
        leave(m, t);
        DO(hz_status_helped, STATUS1);
        thread->pc = NEXT;
        break;
    }
}

static void step_inherit(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    switch (thread->pc) {
    case D_LOOK:
        thread->pc = DO(hz_status_peek_abandoned, STATUS1) ? D_ACQUIRE : NEXT;
        break;
    case D_ACQUIRE:
        thread->pc = NEXT;
        if (DO(hz_status_acquire, STATUS1)) {
            thread->target = 1;
            thread->back = D_DRAINED;
            thread->pc = C_TAKE;
        }
        break;
    case D_DRAINED:
        // Only runs with a FREE block are adopted.
        thread->pc = is_free(m, t, 0) || is_free(m, t, 1) ? D_OWN : U_STATUS;
        break;
    case D_OWN:
        thread->reg[0] = DO(hz5_owner_generation_read_again, OWNER_GENERATION);
        thread->pc = owner_of(thread->reg[0]) == 1 ? D_STORE : U_STATUS;
        break;
    case D_STORE:
        WRITE(hz5_owner_generation_write, OWNER_GENERATION,
              (uint8_t)((thread->reg[0] & ~3u) | thread->heap)); // the generation stays
        thread->pc = U_STATUS;
        break;
    case V_LOOK:
        thread->pc = DO(hz_status_peek_abandoned, STATUS1) ? V_ACQUIRE : NEXT;
        break;
    case V_ACQUIRE:
        thread->pc = DO(hz_status_acquire, STATUS1) ? V_REVIVE : NEXT;
        break;
    case V_REVIVE:
        DO(hz_status_reclaim, STATUS1);
        thread->heap = 1;
        thread->pc = NEXT;
        break;
    }
}

static int may_release(struct model *m, unsigned t) {
    uint8_t heap = m->thread[t].heap;
    // It stays while it is queued, until it is drained.
    return is_free(m, t, 0) && is_free(m, t, 1) && !has_cached(m, heap) &&
           owner_of(DO(hz5_owner_generation_read_again, OWNER_GENERATION)) == heap &&
           DO(hz5_queued_peek_clear, IS_QUEUED);
}

static void step_renew(struct model *m, unsigned t) {
    // ORDER: what the lock of the arena does to the thread's stores.
    static struct step lock = {"arena", "lock", STEP_FENCE, 0, 0, memory_order_seq_cst, 0, 0, 0};
    struct thread_state *thread = &m->thread[t];
    uint8_t owner_generation = peek(&m->machine, t, OWNER_GENERATION);
    switch (thread->pc) {
    case L_LOOK:
        thread->pc = may_release(m, t) ? L_ZERO : let_go(thread, NEXT);
        break;
    case L_ZERO:
        if (mutant != MUTANT_RECIPROCAL_LEFT)
            DO(hz5_reciprocal_end, RECIPROCAL);
        thread->pc = L_RELEASE;
        break;
    case L_RELEASE:
        WRITE(hz5_owner_generation_write, OWNER_GENERATION, (uint8_t)((owner_generation & ~3u) + 4));
        thread->pc = L_FENCE;
        break;
    case L_FENCE:
        perform(&m->machine, t, &lock, 0, 0, 0);
        thread->pc = L_ARRAY;
        break;
    case L_ARRAY:
        WRITE(hz5_array_write, ARRAY, array_of((uint8_t)(owner_generation + 4)));
        thread->pc = mutant == MUTANT_RECIPROCAL_FIRST ? L_RECIPROCAL_FIRST : L_CARVE;
        break;
    case L_RECIPROCAL_FIRST:
        WRITE(hz5_reciprocal_begin, RECIPROCAL, 1);
        thread->pc = L_CARVE;
        break;
    case L_CARVE:
        // The old array lies at rest with no byte LIVE; the new one is all FREE.
        WRITE(hz5_owner_generation_write, OWNER_GENERATION, (uint8_t)((owner_generation & ~3u) + 4 + thread->heap));
        thread->pc = L_RECIPROCAL;
        break;
    case L_RECIPROCAL:
        WRITE(hz5_reciprocal_begin, RECIPROCAL, 1);
        thread->pc = L_FENCE2;
        break;
    case L_FENCE2:
        DO(hz5_fence_carved, 0);
        thread->pc = mutant == MUTANT_CARVE_NO_LOOK ? let_go(thread, NEXT) : L_REMOTE_BITS;
        break;
    case L_REMOTE_BITS:
        thread->after = let_go(thread, NEXT);
        thread->pc = DO(hz5_bits_look, REMOTE_BITS) != 0 ? E_LOOK : thread->after;
        break;
    }
}

// The ghost's part of a step that only the memory around it tells.
static void account(const struct model *before, struct model *m, unsigned t) {
    const struct thread_state *was = &before->thread[t];
    uint8_t b = was->block;
    uint8_t address = in_array(was->reg[3], b);
    if ((was->pc != R_EXCHANGE && was->pc != M_GIVE) || m->thread[t].pc == NEXT)
        return;
    int is_stale = before->machine.memory[OWNER_GENERATION] >> 2 != was->reg[0] >> 2;
    if (was->pc == M_GIVE && before->machine.memory[address] == LIVE)
        violate(&m->machine, STRAY_FREE); // not the block it took: that one has been freed and handed out again
    if (!is_stale)
        accept(m, b, store_is_under_way(&before->machine, t, address));
    else if (mutant != MUTANT_LATE_GENERATION) // which undoes it
        violate(&m->machine, STRANGER_FREED);
}

// Operations by their last place.
static const struct {
    enum pc end;
    void (*step)(struct model *, unsigned);
} operations[] = {{F_OWNER_GENERATION, begin},
                  {R_OWNER_GENERATION, step_free_own},
                  {M_OWNER_GENERATION, step_free_remote},
                  {E_LOOK, step_move},
                  {C_TAKE, step_enqueue},
                  {A_MAGAZINE, step_drain},
                  {X_SPILL, step_alloc},
                  {D_LOOK, step_exit},
                  {S_STORE, step_inherit},
                  {L_LOOK, step_exit},
                  {G_HOLD, step_renew},
                  {PC_END, step_hold}};

static void step(void *model, unsigned t) {
    struct model *m = model;
    struct model before = *m;
    size_t i = 0;
    while (m->thread[t].pc >= operations[i].end)
        i++;
    operations[i].step(m, t);
    account(&before, m, t);
}

static int is_done(const void *model, unsigned t) {
    const struct thread_state *thread = &((const struct model *)model)->thread[t];
    return thread->pc == NEXT && scenario->script[t][thread->at] == OP_END;
}

// ---- the end of an execution --------------------------------------------------------------------------------------

// All is quiet: what no drain would ever find is lost.
static void check_end(void *model) {
    struct model *m = model;
    const uint8_t *memory = m->machine.memory;
    uint8_t owner = owner_of(memory[OWNER_GENERATION]);
    int is_alive = owner == 0 || memory[STATUS1 + owner - 1] == HZ_HEAP_ALIVE;
    // A heap with a thread drains its queue at its next refill; an abandoned heap's must be empty already.
    int is_waiting = owner != 0 && (memory[QUEUE1 + owner - 1] != 0 || m->listed[owner]);
    uint8_t seen = is_alive && is_waiting ? memory[REMOTE_BITS] | m->left : 0;
    uint8_t remote = 0;
    int is_drained = is_helped_here() && scenario->script[0][0] == OP_END; // nobody but a helper could
    for (uint8_t b = 0; b < BLOCKS; b++) {
        uint8_t state = memory[state_of(memory[OWNER_GENERATION], b)];
        remote = (uint8_t)(remote + (state == REMOTE));
        if (state == REMOTE && ((seen & bit_of(b)) == 0 || is_drained))
            violate(&m->machine, LOST);
        // A block nobody holds lies in exactly one place.
        unsigned places = (unsigned)(m->magazine[1][b] + m->magazine[2][b]) + (m->holders[b] != 0);
        if (places > 1)
            violate(&m->machine, TWO_HOLDERS);
        uint8_t right = m->holders[b] != 0 ? HZ5_LIVE : places != 0 ? HZ5_CACHED : state == REMOTE ? REMOTE : FREE;
        if (mutant != MUTANT_TWO_STATES && state != right)
            violate(&m->machine, WRONG_STATE);
    }
    if (memory[REMOTE_BITS] != 0 && is_alive && owner != 0 && !is_waiting)
        violate(&m->machine, LOST); // bits that nobody will look at: the next free of the region would rely on them
    if (m->calls != m->refused + m->accepted || m->issued != m->drained + remote + m->absorbed)
        violate(&m->machine, ACCOUNTS);
    if ((m->asked & ~m->ended) != 0)
        violate(&m->machine, GOOD_REFUSED);
}

// ---- runs ---------------------------------------------------------------------------------------------------------

static size_t run(const struct scenario *what, int stops_at_first, struct findings *findings) {
    static const struct explored explored = {sizeof(struct model), step, is_done, check_end};
    scenario = what;
    struct model m;
    memset(&m, 0, sizeof m);
    uint8_t *memory = m.machine.memory;
    memory[OWNER_GENERATION] = 1 << 2 | 1;
    memory[RECIPROCAL] = 1;
    memory[ARRAY] = array_of(1 << 2 | 1);
    memory[STATUS1] = what->owner_dead ? HZ_HEAP_ABANDONED : HZ_HEAP_ALIVE;
    memory[STATUS2] = HZ_HEAP_ALIVE;
    for (uint8_t b = 0; b < BLOCKS; b++) {
        memory[STATE0 + b] = what->state[b];
        m.holders[b] = what->state[b] == LIVE;
    }
    for (unsigned t = 0; t < THREADS; t++) {
        m.thread[t].heap = what->heap_of[t];
        m.machine.knows[t] = (1u << (BLOCKS + 1)) - 1;
    }
    return explore(&explored, &m, stops_at_first, findings);
}

static const char *caught_by(void) {
    struct findings findings;
    for (size_t i = 0; i < SCENARIO_COUNT; i++)
        if (!scenarios[i].beyond_limit && run(&scenarios[i], 1, &findings) != 0)
            return scenarios[i].name;
    return NULL;
}

static int run_all(void) {
    size_t states = 0;
    int failed = 0;
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        struct findings findings;
        size_t bad = run(&scenarios[i], 0, &findings);
        failed += bad != 0 && !scenarios[i].beyond_limit;
        states += findings.states;
        printf("%-57s states %8zu violations %zu%s\n", scenarios[i].name, findings.states, bad,
               scenarios[i].beyond_limit ? " (the documented limit)" : "");
        for (int k = SOUND + 1; k < VIOLATIONS; k++)
            if (findings.violations[k] != 0)
                printf("    %s: %zu states\n", violation_names[k], findings.violations[k]);
    }
    printf("scenarios: %zu, states: %zu, scenarios with violations: %d\n", SCENARIO_COUNT, states, failed);
    return failed;
}

// Mutants that are changes of the table.
static void change_table(enum mutant which) {
    if (which == MUTANT_TWO_STATES)
        steps[hz5_block_free_own_step].to = steps[hz5_block_free_remote_step].to = FREE;
    // ORDER: too weak on purpose.
    if (which == MUTANT_WEAK_STATUS)
        steps[hz_status_abandon_step].order = memory_order_release;
    if (which == MUTANT_BLIND_GIVE)
        steps[hz5_block_give_moved_step].is_blind = 1;
}

static int run_mutants(void) {
    static const struct {
        enum mutant mutant;
        const char *name;
    } mutants[] = {
        {MUTANT_TWO_STATES, "two-state bytes"},
        {MUTANT_EARLY_LOOK, "no look at pending after the exchange"},
        {MUTANT_NO_LAST_BITS, "no look for bits after is_queued is cleared"},
        {MUTANT_EARLY_BITS, "the last look for bits before is_queued is cleared"},
        {MUTANT_FORGET_LEFT, "regions left over by a refill are forgotten"},
        {MUTANT_KEEP_ELSEWHERE, "no look for bits of a run that has another owner"},
        {MUTANT_RECIPROCAL_FIRST, "carving writes reciprocal before owner_generation"},
        {MUTANT_RECIPROCAL_LEFT, "releasing leaves reciprocal as it is"},
        {MUTANT_BLIND_DRAIN, "drain without checking the state"},
        {MUTANT_WEAK_STATUS, "plain store of a dying heap's status"},
        {MUTANT_NO_LAST_LOOK, "dying thread does not look at its queue again"},
        {MUTANT_NO_STATUS_LOOK, "no look at the status of the heap queued into"},
        {MUTANT_CARVE_NO_LOOK, "carving does not look for late bits"},
        {MUTANT_NO_SECOND_LOOK, "no second look after a push without an owner"},
        {MUTANT_LATE_GENERATION, "generation compared after the exchange"},
        {MUTANT_BLIND_GIVE, "realloc gives its block without looking"},
        {MUTANT_NO_REST, "state arrays used again at once"},
    };
    static struct step sound[STEPS];
    size_t caught = 0;
    memcpy(sound, steps, sizeof steps);
    for (size_t k = 0; k < sizeof mutants / sizeof *mutants; k++) {
        mutant = mutants[k].mutant;
        change_table(mutant);
        const char *by = caught_by();
        memcpy(steps, sound, sizeof steps);
        printf("mutant '%s': %s%s\n", mutants[k].name, by != NULL ? "caught by: " : "MISSED", by != NULL ? by : "");
        caught += by != NULL;
    }
    mutant = MUTANT_NONE;
    printf("mutants caught: %zu of %zu\n", caught, sizeof mutants / sizeof *mutants);
    return caught != sizeof mutants / sizeof *mutants;
}

#define LOADS_IN_ORDER "x86 loads in order"
#define STORES_IN_ORDER "x86 stores in order"
#define LOCKED_IN_ORDER "on x86 an atomic operation is in order whatever it asks for"

static const struct tolerated tolerated[] = {
    // The machine's own order is stronger than what the table asks for; other processors need it.
    {"hz5_block", "is_remote", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_bits", "look", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_queued", "is_clear", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_queue", "is_empty", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz_status", "is_abandoned", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_owner_generation", "read", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_owner_generation", "read_to_queue", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_reciprocal", "read", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_array", "read", CHANGE_ORDER, LOADS_IN_ORDER},
    {"hz5_owner_generation", "write", CHANGE_ORDER, STORES_IN_ORDER},
    {"hz5_reciprocal", "begin", CHANGE_ORDER, STORES_IN_ORDER},
    {"hz5_array", "write", CHANGE_ORDER, STORES_IN_ORDER},
    {"hz5_bits", "set", CHANGE_ORDER, LOCKED_IN_ORDER},
    {"hz5_bits", "take", CHANGE_ORDER, LOCKED_IN_ORDER},
    {"hz5_queued", "mark", CHANGE_ORDER, LOCKED_IN_ORDER},
    {"hz5_queue", "push", CHANGE_ORDER, LOCKED_IN_ORDER},
    {"hz5_queue", "take", CHANGE_ORDER, LOCKED_IN_ORDER},
    // What the model has less of than the real thing.
    {"hz5_block", "take_to_move", CHANGE_ORDER, "the model copies nothing"},
    {"hz5_block", "drain_to_magazine", CHANGE_ORDER, "the model reads no statistics"},
    {"hz5_block", "drain_to_run", CHANGE_ORDER, "the model reads no statistics"},
    {"hz5_queue", "push", CHANGE_BLIND, "the model has one run"},
    {"hz5_queued", "peek_clear", CHANGE_FROM, "a queued run that is released is drained late, not lost"},
    // Steps that are not in the model.
    {"hz5_block", "free_large", -1, "the model has no large runs"},
    {"hz5_block", "resize", -1, "the model has no large runs"},
    {"hz5_block", "resized", -1, "the model has no large runs"},
    {"hz5_block", "free_moved_large", -1, "the model has no large runs"},
    {"hz5_bits", "drop", -1, "the model's run has one unit"},
    {"hz5_array", "read_own", -1, "the owner's descriptor does not change under it"},
    {"hz5_block", "rest", -1, "the model's arrays begin with what they are to hold"},
    {"hz5_block", "peek", -1, "decides nothing but what is reported"},
    {"hz5_block", "count", -1, "decides nothing but what is reported"},
    {"hz_status", "begin", -1, "the model's heaps have begun"},
    {"hz_status", "abandon_locked", -1, "of hz4"},
    {"hz_status", "reclaim_locked", -1, "of hz4"},
    {"hz_status", "peek", -1, "the model has no fork"},
    {"hz_status", "is_helped", -1, "the model has no fork"},
    {"hz_status", "survive", -1, "the model has no fork"},
    {"hz_status", "lose", -1, "the model has no fork"},
};

// With --changes, each entry of the table is changed in turn, which some scenario must notice.
int main(int argc, char **argv) {
    int failed = run_all();
    if (argc > 1 && strcmp(argv[1], "--changes") == 0)
        failed += explore_changes(steps, STEPS, caught_by, tolerated, sizeof tolerated / sizeof *tolerated);
    else
        failed += run_mutants();
    return failed != 0;
}
