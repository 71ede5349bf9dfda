// SPDX-License-Identifier: Apache-2.0
// Explorer of hz5's block protocol: every interleaving of a few threads on one run of two blocks, with a store buffer a
// thread (x86 TSO), so that a plain store may become visible as late as the machine allows. Each step below is one
// memory access of hz5_malloc.c, hz5_run.c or hz5_heap.c, in their order. Mutants of the protocol must be caught.
// Usage: hz5_explorer. Layer: test, a model of its own; uses nothing of the library.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 3
#define BLOCKS 2
#define BUFFER 4
#define HEAPS 3 // heap ids 1 and 2
#define SCRIPT 10

enum { FREE, LIVE, CACHED, REMOTE, MOVING };  // states of a block
enum { HEAP_ALIVE, HEAP_DEAD, HEAP_CLAIMED }; // of a heap

// Shared memory. IDENT is generation << 2 | owner, one word as in the descriptor; ARRAY which state array the
// descriptor names, MAGIC 0 while no block starts in the unit. There are two state arrays; a run's next life takes the
// other one (the real thing lets eight rest).
enum address {
    STATE0,
    STATE1,
    STATE2,
    STATE3,
    PENDING,
    IS_QUEUED,
    QUEUE1,
    QUEUE2,
    STATUS1,
    STATUS2,
    IDENT,
    MAGIC,
    ARRAY,
    ADDRESSES
};

enum operation {
    OP_END,
    OP_FREE0,         // free(block 0), whoever owns it
    OP_FREE1,         //
    OP_MOVE0,         // realloc(block 0) by a thread that does not own the run: take, copy, give
    OP_FREE_HANDED,   // free a block that an OP_ALLOC of this run of the model has handed out, if there is one
    OP_ALLOC,         // malloc by the owner: magazine, FREE blocks of its run, collection
    OP_COLLECT,       // collection of its own heap
    OP_EXIT,          // the owner's thread ends
    OP_ADOPT,         // heap 2 takes what dead heap 1 left
    OP_SPILL,         // magazine to run
    OP_RELEASE_CARVE, // if the run is empty: release it and carve it anew
};

enum mutant {
    MUTANT_NONE,
    MUTANT_TWO_STATES,      // remote frees leave FREE, the collector believes the bits
    MUTANT_EARLY_LOOK,      // `pending` is read before the exchange of the state and not again
    MUTANT_NO_LAST_BITS,    // the collector does not look for bits after it has cleared is_queued
    MUTANT_EARLY_BITS,      // the collector looks for bits before it clears is_queued
    MUTANT_FORGET_LEFT,     // regions left over when enough was found are taken from `pending` again, not remembered
    MUTANT_KEEP_ELSEWHERE,  // a run that has another owner by now leaves the queue without a look at its bits
    MUTANT_MAGIC_FIRST,     // carving writes magic before ident
    MUTANT_MAGIC_LEFT,      // releasing leaves magic as it is
    MUTANT_BLIND_DRAIN,     // the collector frees what its bits name without looking at the state
    MUTANT_WEAK_STATUS,     // the dying thread's status is a plain store
    MUTANT_NO_LAST_LOOK,    // the dying thread does not look at its queue again
    MUTANT_NO_STATUS_LOOK,  // who queues into a dead heap does not look at its status
    MUTANT_CARVE_NO_LOOK,   // carving does not look for bits of the unit's last life
    MUTANT_NO_SECOND_LOOK,  // a push that found no owner does not look again after clearing is_queued
    MUTANT_LATE_GENERATION, // generations are compared after the exchange, which is undone when they differ
    MUTANT_BLIND_GIVE,      // a realloc that has copied stores REMOTE without looking
    MUTANT_NO_REST,         // a returned state array is used again at once
};

struct thread_state {
    uint8_t pc;
    uint8_t back;   // pc after the collection subroutine
    uint8_t after;  // pc after the enqueue subroutine
    uint8_t at;     // script position
    uint8_t heap;   // own heap id or 0
    uint8_t target; // heap under collection
    uint8_t block;  // operand
    uint8_t reg[4];
    uint8_t buffered;
    uint8_t address[BUFFER], value[BUFFER];
};

// All bytes, so that two equal states compare equal.
struct model {
    uint8_t memory[ADDRESSES];
    struct thread_state thread[THREADS];
    uint8_t magazine[HEAPS][BLOCKS]; // how often each block lies in the heap's magazine
    uint8_t listed[HEAPS];           // the run is in the heap's own list of runs under collection
    uint8_t left;                    // regions taken from PENDING and not searched yet, the owner's
    // What the model knows and the threads do not:
    uint8_t holders[BLOCKS]; // who may use the block
    uint8_t handed;          // bit a block: OP_FREE_HANDED may take it
    uint8_t calls, refused, accepted, issued, collected, absorbed, handed_out;
    uint8_t bad; // enum violation
};

enum violation { SOUND, TWO_HOLDERS, LOST, ACCOUNTS, QUEUED_TWICE, STRAY_FREE, STRANGER_FREED };
static const char *const violation_names[] = {"sound",
                                              "block with two holders",
                                              "block lost",
                                              "accounts",
                                              "run queued twice",
                                              "a live block became free",
                                              "a stale free hit the next life"};

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
     {{OP_COLLECT, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_FREE0}},
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
     {{OP_COLLECT, OP_ALLOC, OP_ALLOC}, {OP_FREE0}, {OP_MOVE0}},
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
    {"two blocks of one region, owner collects",
     {{OP_COLLECT, OP_COLLECT}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"two blocks of two regions, owner collects",
     {{OP_COLLECT, OP_COLLECT}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     1,
     {1, 0, 0},
     0},
    {"refill while two others free",
     {{OP_ALLOC, OP_ALLOC, OP_COLLECT}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"refill while two others free in two regions",
     {{OP_ALLOC, OP_ALLOC, OP_COLLECT}, {OP_FREE0}, {OP_FREE1}},
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
     {{OP_ADOPT, OP_COLLECT}, {OP_FREE0}, {OP_FREE1}},
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
     {{OP_COLLECT, OP_RELEASE_CARVE, OP_COLLECT}, {OP_FREE0}, {OP_FREE1}},
     {LIVE, LIVE},
     0,
     0,
     {1, 0, 0},
     0},
    {"release, carve, hand out, free again",
     {{OP_COLLECT, OP_RELEASE_CARVE, OP_ALLOC}, {OP_FREE0, OP_FREE_HANDED}, {OP_FREE1}},
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
     {{OP_FREE0, OP_SPILL, OP_RELEASE_CARVE, OP_ALLOC, OP_ALLOC, OP_COLLECT, OP_ALLOC}, {OP_FREE0}, {OP_FREE_HANDED}},
     {LIVE, FREE},
     0,
     0,
     {1, 0, 0},
     0},
    // Eight lives in the real thing, two here: the documented limit.
    {"stale free stalled until its state array is in use again",
     {{OP_FREE0, OP_SPILL, OP_RELEASE_CARVE, OP_RELEASE_CARVE, OP_ALLOC, OP_ALLOC, OP_COLLECT, OP_ALLOC},
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

// ---- memory
// --------------------------------------------------------------------------------------------------------------------

static uint8_t load(const struct model *m, unsigned t, unsigned address) {
    const struct thread_state *thread = &m->thread[t];
    for (unsigned i = thread->buffered; i-- > 0;) {
        if (thread->address[i] == address)
            return thread->value[i];
    }
    return m->memory[address];
}

static void store(struct model *m, unsigned t, unsigned address, uint8_t value) {
    struct thread_state *thread = &m->thread[t];
    thread->address[thread->buffered] = (uint8_t)address;
    thread->value[thread->buffered] = value;
    thread->buffered++;
}

static void drain_one(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    m->memory[thread->address[0]] = thread->value[0];
    thread->buffered--;
    memmove(thread->address, thread->address + 1, BUFFER - 1);
    memmove(thread->value, thread->value + 1, BUFFER - 1);
    thread->address[thread->buffered] = thread->value[thread->buffered] = 0;
}

static uint8_t owner_of(uint8_t ident) {
    return ident & 3;
}

// Address of a block's state in the life that `ident` names: a release and a carve add one generation each.
static uint8_t state_of(uint8_t ident, uint8_t block) {
    uint8_t array = mutant == MUTANT_NO_REST || mutant == MUTANT_LATE_GENERATION ? 0 : ident >> 3 & 1;
    return (uint8_t)(STATE0 + 2 * array + block);
}

static uint8_t in_array(uint8_t array, uint8_t block) {
    return (uint8_t)(STATE0 + 2 * array + block);
}

static uint8_t array_of(uint8_t ident) {
    return (uint8_t)((state_of(ident, 0) - STATE0) / 2);
}

static uint8_t bit_of(uint8_t block) {
    return scenario->block_regions ? (uint8_t)(1u << block) : 1;
}

static uint8_t load(const struct model *m, unsigned t, unsigned address);

static uint8_t own_state(const struct model *m, unsigned t, uint8_t block) {
    return state_of(load(m, t, IDENT), block);
}

static void violate(struct model *m, enum violation violation) {
    if (m->bad == SOUND)
        m->bad = (uint8_t)violation;
}

// ---- what the threads may not know
// ------------------------------------------------------------------------------------------

// A free has been accepted. It ends the holder's hold, or, when there is none or when a store of the owner that is
// still on its way will cover it, it is one that only the accounts will show.
static void accept(struct model *m, uint8_t block, int is_covered) {
    m->accepted++;
    if (is_covered || m->holders[block] == 0)
        m->absorbed++;
    else
        m->holders[block]--;
}

static int owner_store_under_way(const struct model *m, unsigned but, uint8_t address) {
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned i = 0; t != but && i < m->thread[t].buffered; i++) {
            if (m->thread[t].address[i] == address)
                return 1;
        }
    }
    return 0;
}

static void hand_out(struct model *m, unsigned t, uint8_t block) {
    (void)t;
    m->handed_out++;
    m->handed |= (uint8_t)(1u << block);
    if (++m->holders[block] > 1)
        violate(m, TWO_HOLDERS);
}

// ---- the protocol, a memory access a step
// --------------------------------------------------------------------------------------

enum pc {
    NEXT, // fetches the next operation
    // free
    F_IDENT,
    F_OWN_LOAD,
    F_OWN_STORE,
    R_IDENT,
    R_MAGIC,
    R_ARRAY,
    R_SECOND,
    R_EARLY,
    R_EXCHANGE,
    R_AGAIN,
    R_ROLLBACK,
    R_PENDING,
    R_MARK,
    // realloc by another thread, goes on in R_PENDING
    M_IDENT,
    M_TAKE,
    M_GIVE,
    // enqueue, returns to `after`
    E_LOOK,
    E_FLAG,
    P_OWNER,
    P_PUSH,
    P_STATUS,
    P_CLAIM,
    P_CLEAR,
    P_OWNER2,
    P_PENDING2,
    P_FLAG2,
    // collection of `target`, returns to `back`
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
    // exit and unclaim
    X_SPILL,
    X_COLLECT,
    U_STATUS,
    U_QUEUE,
    U_CLAIM,
    // adoption
    D_CLAIM,
    D_COLLECTED,
    D_OWN,
    D_STORE,
    // spill
    S_STORE,
    // release and carve
    L_LOOK,
    L_ZERO,
    L_RELEASE,
    L_FENCE,
    L_ARRAY,
    L_MAGIC_FIRST,
    L_CARVE,
    L_MAGIC,
    L_FENCE2,
    L_PENDING,
};

static int needs_empty_buffer(uint8_t pc) {
    switch (pc) {
    case R_EXCHANGE:
    case R_ROLLBACK:
    case R_MARK:
    case M_TAKE:
    case M_GIVE:
    case E_FLAG:
    case P_PUSH:
    case P_CLAIM:
    case P_CLEAR:
    case P_FLAG2:
    case C_TAKE:
    case C_CLEAR:
    case C_BITS:
    case C_ELSEWHERE_CLEAR:
    case U_CLAIM:
    case D_CLAIM:
    case L_FENCE:
    case L_FENCE2:
        return 1;
    case U_STATUS:
        return mutant != MUTANT_WEAK_STATUS;
    default:
        return 0;
    }
}

static uint8_t exchange(struct model *m, unsigned address, uint8_t value) {
    uint8_t old = m->memory[address];
    m->memory[address] = value;
    return old;
}

static int compare_exchange(struct model *m, unsigned address, uint8_t expected, uint8_t value) {
    if (m->memory[address] != expected)
        return 0;
    m->memory[address] = value;
    return 1;
}

static void begin(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t operation = scenario->script[t][thread->at++];
    memset(thread->reg, 0, sizeof thread->reg);
    switch (operation) {
    case OP_FREE0:
    case OP_FREE1:
        thread->block = operation == OP_FREE1;
        m->calls++;
        thread->pc = F_IDENT;
        break;
    case OP_MOVE0:
        thread->block = 0;
        m->calls++;
        thread->pc = M_IDENT;
        break;
    case OP_FREE_HANDED:
        if (m->handed == 0)
            break; // nothing was handed out yet on this path: other paths free
        thread->block = (m->handed & 1) == 0;
        m->handed &= (uint8_t) ~(1u << thread->block);
        m->calls++;
        thread->pc = F_IDENT;
        break;
    case OP_ALLOC:
        thread->pc = A_MAGAZINE;
        break;
    case OP_COLLECT:
        thread->target = thread->heap;
        thread->back = NEXT;
        thread->pc = C_TAKE;
        break;
    case OP_EXIT:
        thread->pc = X_SPILL;
        break;
    case OP_ADOPT:
        thread->pc = D_CLAIM;
        break;
    case OP_SPILL:
        thread->pc = S_STORE;
        break;
    case OP_RELEASE_CARVE:
        thread->pc = L_LOOK;
        break;
    default:
        break;
    }
}

// Spills one cached block; 0 when the magazine is empty.
static int spill_one(struct model *m, unsigned t) {
    for (uint8_t b = 0; b < BLOCKS; b++) {
        if (m->magazine[m->thread[t].heap][b] != 0) {
            m->magazine[m->thread[t].heap][b]--;
            store(m, t, own_state(m, t, b), FREE);
            return 1;
        }
    }
    return 0;
}

static void collect_block(struct model *m, unsigned t, uint8_t b, uint8_t next_load, uint8_t free_pc) {
    struct thread_state *thread = &m->thread[t];
    thread->pc = next_load;
    if ((m->left & bit_of(b)) == 0)
        return;
    uint8_t state = load(m, t, own_state(m, t, b));
    if (mutant == MUTANT_TWO_STATES) {
        m->magazine[thread->target][b]++;
        m->collected++;
    } else if (state == REMOTE || mutant == MUTANT_BLIND_DRAIN) {
        thread->pc = free_pc;
    }
}

// A refill wants one block: it becomes CACHED, the others FREE.
static void free_collected(struct model *m, unsigned t, uint8_t b, uint8_t next) {
    struct thread_state *thread = &m->thread[t];
    int is_wanted = thread->back == A_MAGAZINE && m->magazine[thread->heap][0] + m->magazine[thread->heap][1] == 0;
    store(m, t, own_state(m, t, b), is_wanted ? CACHED : FREE);
    if (is_wanted)
        m->magazine[thread->heap][b]++;
    m->collected++;
    thread->pc = next;
}

// Between two regions: a refill that has its block stops here and remembers what is left.
static void next_region(struct model *m, unsigned t, uint8_t next) {
    struct thread_state *thread = &m->thread[t];
    thread->pc = next;
    if (!scenario->block_regions)
        return;
    m->left &= (uint8_t)~bit_of(0);
    if (m->left != 0 && thread->back == A_MAGAZINE &&
        m->magazine[thread->heap][0] + m->magazine[thread->heap][1] != 0) {
        thread->pc = thread->back;
        if (mutant == MUTANT_FORGET_LEFT)
            m->left = 0;
    }
}

static void step(struct model *m, unsigned t) {
    struct thread_state *thread = &m->thread[t];
    uint8_t *reg = thread->reg;
    uint8_t b = thread->block;
    uint8_t bit = bit_of(b);
    switch ((enum pc)thread->pc) {
    case NEXT:
        begin(m, t);
        break;
    case F_IDENT:
        thread->pc = thread->heap != 0 && owner_of(load(m, t, IDENT)) == thread->heap ? F_OWN_LOAD : R_IDENT;
        break;
    case F_OWN_LOAD:
        thread->pc = F_OWN_STORE;
        if (load(m, t, own_state(m, t, b)) != LIVE) {
            m->refused++;
            thread->pc = NEXT;
        }
        break;
    case F_OWN_STORE:
        store(m, t, own_state(m, t, b), mutant == MUTANT_TWO_STATES ? FREE : CACHED);
        m->magazine[thread->heap][b]++;
        accept(m, b, 0);
        thread->pc = NEXT;
        break;
    case R_IDENT:
        reg[0] = load(m, t, IDENT);
        thread->pc = R_MAGIC;
        break;
    case R_MAGIC:
        thread->pc = R_ARRAY;
        if (load(m, t, MAGIC) == 0) {
            m->refused++;
            thread->pc = NEXT;
        }
        break;
    case R_ARRAY: // and the other fields of the descriptor
        reg[3] = load(m, t, ARRAY);
        thread->pc = R_SECOND;
        break;
    case R_SECOND:
        thread->pc = mutant == MUTANT_EARLY_LOOK ? R_EARLY : R_EXCHANGE;
        if (load(m, t, IDENT) != reg[0])
            thread->pc = R_IDENT;
        break;
    case R_EARLY:
        reg[1] = load(m, t, PENDING);
        thread->pc = R_EXCHANGE;
        break;
    case R_EXCHANGE:
        thread->pc = mutant == MUTANT_LATE_GENERATION ? R_AGAIN : R_PENDING;
        if (!compare_exchange(m, in_array(reg[3], b), LIVE, mutant == MUTANT_TWO_STATES ? FREE : REMOTE)) {
            m->refused++;
            thread->pc = NEXT;
        } else if (mutant != MUTANT_LATE_GENERATION) {
            m->issued++;
        }
        break;
    case R_AGAIN:
        thread->pc = R_PENDING;
        if (load(m, t, IDENT) >> 2 != reg[0] >> 2)
            thread->pc = R_ROLLBACK;
        else
            m->issued++;
        break;
    case R_ROLLBACK:
        compare_exchange(m, in_array(reg[3], b), REMOTE, LIVE);
        m->refused++;
        thread->pc = NEXT;
        break;
    case R_PENDING: {
        uint8_t pending = mutant == MUTANT_EARLY_LOOK ? reg[1] : load(m, t, PENDING);
        thread->pc = (pending & bit) != 0 ? NEXT : R_MARK;
        break;
    }
    case R_MARK:
        m->memory[PENDING] |= bit;
        thread->after = NEXT;
        thread->pc = E_LOOK;
        break;
    case M_IDENT:
        reg[0] = load(m, t, IDENT);
        reg[3] = array_of(reg[0]);
        thread->pc = M_TAKE;
        break;
    case M_TAKE:
        thread->pc = M_GIVE;
        if (!compare_exchange(m, in_array(reg[3], b), LIVE, MOVING)) {
            m->refused++;
            thread->pc = NEXT;
        }
        break;
    case M_GIVE:
        thread->pc = R_PENDING;
        if (mutant == MUTANT_BLIND_GIVE) {
            m->memory[in_array(reg[3], b)] = REMOTE;
            m->issued++;
        } else if (compare_exchange(m, in_array(reg[3], b), MOVING, REMOTE)) {
            m->issued++;
        } else {
            m->refused++;
            thread->pc = NEXT;
        }
        break;
    case E_LOOK:
        thread->pc = load(m, t, IS_QUEUED) != 0 ? thread->after : E_FLAG;
        break;
    case E_FLAG:
        thread->pc = exchange(m, IS_QUEUED, 1) != 0 ? thread->after : P_OWNER;
        break;
    case P_OWNER:
        reg[2] = owner_of(load(m, t, IDENT));
        thread->pc = reg[2] != 0 ? P_PUSH : P_CLEAR;
        break;
    case P_PUSH:
        if (m->memory[QUEUE1] != 0 || m->memory[QUEUE2] != 0 || m->listed[1] || m->listed[2])
            violate(m, QUEUED_TWICE);
        m->memory[QUEUE1 + reg[2] - 1] = 1;
        thread->pc = mutant == MUTANT_NO_STATUS_LOOK ? thread->after : P_STATUS;
        break;
    case P_STATUS:
        thread->pc = load(m, t, STATUS1 + reg[2] - 1) == HEAP_DEAD ? P_CLAIM : thread->after;
        break;
    case P_CLAIM:
        thread->pc = thread->after;
        if (compare_exchange(m, STATUS1 + reg[2] - 1, HEAP_DEAD, HEAP_CLAIMED)) {
            thread->target = reg[2];
            thread->back = U_STATUS;
            thread->pc = C_TAKE;
        }
        break;
    case P_CLEAR:
        m->memory[IS_QUEUED] = 0;
        thread->pc = mutant == MUTANT_NO_SECOND_LOOK ? thread->after : P_OWNER2;
        break;
    case P_OWNER2:
        thread->pc = owner_of(load(m, t, IDENT)) != 0 ? P_PENDING2 : thread->after;
        break;
    case P_PENDING2:
        thread->pc = load(m, t, PENDING) != 0 ? P_FLAG2 : thread->after;
        break;
    case P_FLAG2:
        thread->pc = exchange(m, IS_QUEUED, 1) != 0 ? thread->after : P_OWNER;
        break;
    case C_TAKE:
        // What the heap's own list holds first; a queue is only taken when it is empty.
        thread->pc = m->listed[thread->target] ? C_BITS : C_OWNER;
        if (!m->listed[thread->target] && exchange(m, QUEUE1 + thread->target - 1, 0) == 0)
            thread->pc = thread->back;
        break;
    case C_OWNER:
        thread->pc = C_ELSEWHERE_CLEAR;
        if (owner_of(load(m, t, IDENT)) == thread->target) {
            m->listed[thread->target] = 1;
            thread->pc = C_BITS;
        }
        break;
    case C_BITS:
        if (m->left == 0)
            m->left = exchange(m, PENDING, 0);
        thread->pc = C_STATE0;
        break;
    case C_STATE0:
        collect_block(m, t, 0, C_REGION, C_FREE0);
        break;
    case C_FREE0:
        free_collected(m, t, 0, C_REGION);
        break;
    case C_REGION:
        next_region(m, t, C_STATE1);
        break;
    case C_STATE1:
        collect_block(m, t, 1, C_DONE, C_FREE1);
        break;
    case C_FREE1:
        free_collected(m, t, 1, C_DONE);
        break;
    case C_DONE:
        m->left = 0;
        m->listed[thread->target] = 0;
        thread->pc = mutant == MUTANT_EARLY_BITS ? C_EARLY_LOOK : C_CLEAR;
        break;
    case C_EARLY_LOOK:
        reg[1] = load(m, t, PENDING);
        thread->pc = C_CLEAR;
        break;
    case C_CLEAR:
        m->memory[IS_QUEUED] = 0;
        thread->pc = mutant == MUTANT_NO_LAST_BITS ? thread->back : C_LOOK;
        break;
    case C_LOOK: {
        uint8_t late = mutant == MUTANT_EARLY_BITS ? reg[1] : load(m, t, PENDING);
        thread->after = thread->back;
        thread->pc = late != 0 ? E_LOOK : thread->back;
        break;
    }
    case C_ELSEWHERE_CLEAR:
        m->memory[IS_QUEUED] = 0;
        thread->pc = mutant == MUTANT_KEEP_ELSEWHERE ? thread->back : C_ELSEWHERE;
        break;
    case C_ELSEWHERE:
        // The run has another owner, or none: its bits go where they belong.
        thread->pc = thread->back;
        if (load(m, t, PENDING) != 0) {
            thread->after = thread->back;
            thread->pc = E_LOOK;
        }
        break;
    case A_MAGAZINE: {
        uint8_t found = BLOCKS;
        for (uint8_t i = 0; i < BLOCKS && found == BLOCKS; i++) {
            if (m->magazine[thread->heap][i] != 0)
                found = i;
        }
        thread->pc = mutant == MUTANT_TWO_STATES ? A_QUEUE : A_OWNER;
        if (found != BLOCKS) {
            m->magazine[thread->heap][found]--;
            store(m, t, own_state(m, t, found), LIVE);
            hand_out(m, t, found);
            thread->pc = NEXT;
        }
        break;
    }
    case A_OWNER:
        thread->pc = owner_of(load(m, t, IDENT)) == thread->heap ? A_STATE0 : A_QUEUE;
        break;
    case A_STATE0:
        thread->pc = load(m, t, own_state(m, t, 0)) == FREE ? A_CACHE0 : A_STATE1;
        break;
    case A_CACHE0:
        store(m, t, own_state(m, t, 0), CACHED);
        m->magazine[thread->heap][0]++;
        thread->pc = A_STATE1;
        break;
    case A_STATE1:
        thread->pc = load(m, t, own_state(m, t, 1)) == FREE ? A_CACHE1 : A_AGAIN;
        break;
    case A_CACHE1:
        store(m, t, own_state(m, t, 1), CACHED);
        m->magazine[thread->heap][1]++;
        thread->pc = A_AGAIN;
        break;
    case A_AGAIN:
        thread->pc = m->magazine[thread->heap][0] + m->magazine[thread->heap][1] != 0 ? A_MAGAZINE : A_QUEUE;
        break;
    case A_QUEUE:
        // One collection an allocation, then it gives up: a new run would serve it.
        thread->pc = NEXT;
        if (reg[0] == 0 && (m->listed[thread->heap] || load(m, t, QUEUE1 + thread->heap - 1) != 0)) {
            reg[0] = 1;
            thread->target = thread->heap;
            thread->back = A_MAGAZINE;
            thread->pc = C_TAKE;
        }
        break;
    case X_SPILL:
        if (!spill_one(m, t))
            thread->pc = X_COLLECT;
        break;
    case X_COLLECT:
        thread->target = thread->heap;
        thread->heap = 0;
        thread->back = U_STATUS;
        thread->pc = C_TAKE;
        break;
    case U_STATUS:
        if (mutant == MUTANT_WEAK_STATUS)
            store(m, t, STATUS1 + thread->target - 1, HEAP_DEAD);
        else
            m->memory[STATUS1 + thread->target - 1] = HEAP_DEAD;
        thread->pc = mutant == MUTANT_NO_LAST_LOOK ? NEXT : U_QUEUE;
        break;
    case U_QUEUE:
        thread->pc = load(m, t, QUEUE1 + thread->target - 1) != 0 ? U_CLAIM : NEXT;
        break;
    case U_CLAIM:
        thread->pc = NEXT;
        if (compare_exchange(m, STATUS1 + thread->target - 1, HEAP_DEAD, HEAP_CLAIMED)) {
            thread->back = U_STATUS;
            thread->pc = C_TAKE;
        }
        break;
    case D_CLAIM:
        thread->pc = NEXT;
        if (compare_exchange(m, STATUS1, HEAP_DEAD, HEAP_CLAIMED)) {
            thread->target = 1;
            thread->back = D_COLLECTED;
            thread->pc = C_TAKE;
        }
        break;
    case D_COLLECTED:
        // Only runs with a FREE block are adopted.
        thread->pc =
            load(m, t, own_state(m, t, 0)) == FREE || load(m, t, own_state(m, t, 1)) == FREE ? D_OWN : U_STATUS;
        break;
    case D_OWN:
        reg[0] = load(m, t, IDENT);
        thread->pc = owner_of(reg[0]) == 1 ? D_STORE : U_STATUS;
        break;
    case D_STORE:
        store(m, t, IDENT, (uint8_t)((reg[0] & ~3u) | thread->heap)); // the generation stays
        thread->pc = U_STATUS;
        break;
    case S_STORE:
        if (!spill_one(m, t))
            thread->pc = NEXT;
        break;
    case L_LOOK:
        thread->pc = load(m, t, own_state(m, t, 0)) == FREE && load(m, t, own_state(m, t, 1)) == FREE &&
                             m->magazine[thread->heap][0] + m->magazine[thread->heap][1] == 0 &&
                             owner_of(load(m, t, IDENT)) == thread->heap
                         ? L_ZERO
                         : NEXT;
        if (load(m, t, IS_QUEUED) != 0) // it stays until it is collected
            thread->pc = NEXT;
        break;
    case L_ZERO:
        if (mutant != MUTANT_MAGIC_LEFT)
            store(m, t, MAGIC, 0);
        thread->pc = L_RELEASE;
        break;
    case L_RELEASE:
        store(m, t, IDENT, (uint8_t)((load(m, t, IDENT) & ~3u) + 4));
        thread->pc = L_FENCE;
        break;
    case L_FENCE: // the arena's lock
        thread->pc = L_ARRAY;
        break;
    case L_ARRAY:
        store(m, t, ARRAY, array_of((uint8_t)(load(m, t, IDENT) + 4)));
        thread->pc = mutant == MUTANT_MAGIC_FIRST ? L_MAGIC_FIRST : L_CARVE;
        break;
    case L_MAGIC_FIRST:
        store(m, t, MAGIC, 1);
        thread->pc = L_CARVE;
        break;
    case L_CARVE:
        // The old array lies at rest with no byte LIVE; the new one is all FREE.
        store(m, t, IDENT, (uint8_t)((load(m, t, IDENT) & ~3u) + 4 + thread->heap));
        thread->pc = L_MAGIC;
        break;
    case L_MAGIC:
        store(m, t, MAGIC, 1);
        thread->pc = L_FENCE2;
        break;
    case L_FENCE2:
        thread->pc = mutant == MUTANT_CARVE_NO_LOOK ? NEXT : L_PENDING;
        break;
    case L_PENDING:
        thread->pc = NEXT;
        if (load(m, t, PENDING) != 0) {
            thread->after = NEXT;
            thread->pc = E_LOOK;
        }
        break;
    }
}

// The ghost's part of a step that only the memory around it tells.
static void account(const struct model *before, struct model *m, unsigned t) {
    const struct thread_state *was = &before->thread[t];
    uint8_t b = was->block;
    if ((was->pc == R_EXCHANGE || was->pc == M_GIVE) && m->thread[t].pc != NEXT) {
        int is_stale = before->memory[IDENT] >> 2 != was->reg[0] >> 2;
        if (was->pc == M_GIVE && before->memory[in_array(was->reg[3], b)] == LIVE)
            violate(m, STRAY_FREE); // not the block it took: that one has been freed and handed out again
        if (!is_stale)
            accept(m, b, owner_store_under_way(before, t, in_array(was->reg[3], b)));
        else if (mutant != MUTANT_LATE_GENERATION) // which undoes it
            violate(m, STRANGER_FREED);
    }
    if ((was->pc == C_FREE0 || was->pc == C_FREE1) && before->holders[was->pc == C_FREE1] != 0)
        violate(m, STRAY_FREE);
}

// ---- the end of an execution
// -----------------------------------------------------------------------------------------------------

static int has_ended(const struct model *m) {
    for (unsigned t = 0; t < THREADS; t++) {
        const struct thread_state *thread = &m->thread[t];
        if (thread->buffered != 0 || thread->pc != NEXT || scenario->script[t][thread->at] != OP_END)
            return 0;
    }
    return 1;
}

// All is quiet: what no collection would ever find is lost.
static void judge(struct model *m) {
    uint8_t owner = owner_of(m->memory[IDENT]);
    uint8_t status = owner != 0 ? m->memory[STATUS1 + owner - 1] : HEAP_ALIVE;
    // A heap with a thread collects its queue at its next refill; a dead heap's must be empty already.
    int is_waiting = owner != 0 && (m->memory[QUEUE1 + owner - 1] != 0 || m->listed[owner]);
    uint8_t seen = status == HEAP_ALIVE && is_waiting ? m->memory[PENDING] | m->left : 0;
    uint8_t remote = 0;
    for (uint8_t b = 0; b < BLOCKS; b++) {
        if (m->memory[state_of(m->memory[IDENT], b)] == REMOTE) {
            remote++;
            if ((seen & bit_of(b)) == 0)
                violate(m, LOST);
        }
        // A block nobody holds lies in exactly one place.
        unsigned places = (unsigned)(m->magazine[1][b] + m->magazine[2][b]) + (m->holders[b] != 0);
        if (mutant != MUTANT_TWO_STATES && places == 0 && m->memory[state_of(m->memory[IDENT], b)] != FREE &&
            m->memory[state_of(m->memory[IDENT], b)] != REMOTE)
            violate(m, LOST);
        if (places > 1)
            violate(m, TWO_HOLDERS);
    }
    if (m->memory[PENDING] != 0 && status == HEAP_ALIVE && owner != 0 && !is_waiting)
        violate(m, LOST); // bits that nobody will look at: the next free of the region would rely on them
    if (m->calls != m->refused + m->accepted)
        violate(m, ACCOUNTS);
    if (m->issued != m->collected + remote + m->absorbed)
        violate(m, ACCOUNTS);
}

// ---- search
// ------------------------------------------------------------------------------------------------------------------------

struct entry {
    struct model key;
    double executions;
    uint8_t is_used;
};

static struct entry *table;
static size_t table_size, table_used;
static uint64_t violations[8];

static uint64_t hash_of(const struct model *m) {
    const uint8_t *bytes = (const uint8_t *)m;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof *m; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static struct entry *find(const struct model *m) {
    size_t at = hash_of(m) & (table_size - 1);
    while (table[at].is_used && memcmp(&table[at].key, m, sizeof *m) != 0)
        at = (at + 1) & (table_size - 1);
    return &table[at];
}

static void enlarge(void) {
    struct entry *old = table;
    size_t old_size = table_size;
    table_size = old_size == 0 ? 1u << 16 : old_size * 2;
    table = calloc(table_size, sizeof *table);
    if (table == NULL) {
        fprintf(stderr, "hz5_explorer: out of memory for %zu states\n", table_size);
        exit(2);
    }
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].is_used)
            *find(&old[i].key) = old[i];
    }
    free(old);
}

// Number of executions from here on; counts each distinct bad end once.
static double explore(const struct model *m) {
    struct entry *known = find(m);
    if (known->is_used)
        return known->executions;
    double executions = 0;
    if (m->bad != SOUND) {
        violations[m->bad]++;
        executions = 1;
    } else if (has_ended(m)) {
        struct model end = *m;
        judge(&end);
        if (end.bad != SOUND)
            violations[end.bad]++;
        executions = 1;
    } else {
        for (unsigned t = 0; t < THREADS; t++) {
            const struct thread_state *thread = &m->thread[t];
            if (thread->buffered != 0) {
                struct model next = *m;
                drain_one(&next, t);
                executions += explore(&next);
            }
            int is_done = thread->pc == NEXT && scenario->script[t][thread->at] == OP_END;
            if (!is_done && thread->buffered < BUFFER && (thread->buffered == 0 || !needs_empty_buffer(thread->pc))) {
                struct model next = *m;
                step(&next, t);
                account(m, &next, t);
                executions += explore(&next);
            }
        }
    }
    if (table_used * 2 >= table_size)
        enlarge();
    struct entry *entry = find(m);
    entry->key = *m;
    entry->executions = executions;
    entry->is_used = 1;
    table_used++;
    return executions;
}

static uint64_t total_states;
static double total_executions;

// Number of distinct bad ends.
static uint64_t run(const struct scenario *what, enum mutant which, int is_quiet) {
    scenario = what;
    mutant = which;
    free(table);
    table = NULL;
    table_size = table_used = 0;
    memset(violations, 0, sizeof violations);
    enlarge();
    struct model m;
    memset(&m, 0, sizeof m);
    m.memory[IDENT] = 1 << 2 | 1;
    m.memory[MAGIC] = 1;
    m.memory[ARRAY] = array_of(1 << 2 | 1);
    m.memory[STATUS1] = what->owner_dead ? HEAP_DEAD : HEAP_ALIVE;
    for (uint8_t b = 0; b < BLOCKS; b++) {
        m.memory[STATE0 + b] = what->state[b];
        m.holders[b] = what->state[b] == LIVE;
    }
    for (unsigned t = 0; t < THREADS; t++)
        m.thread[t].heap = what->heap_of[t];
    double executions = explore(&m);
    uint64_t bad = 0;
    for (int i = 1; i <= STRANGER_FREED; i++)
        bad += violations[i];
    total_states += table_used;
    total_executions += executions;
    if (!is_quiet) {
        printf("%-55s states %8zu executions %12.4g violations %llu%s\n", what->name, table_used, executions,
               (unsigned long long)bad, what->beyond_limit ? " (the documented limit)" : "");
        for (int i = 1; i <= STRANGER_FREED; i++) {
            if (violations[i] != 0)
                printf("    %s: %llu distinct ends\n", violation_names[i], (unsigned long long)violations[i]);
        }
    }
    return bad;
}

int main(void) {
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
        {MUTANT_MAGIC_FIRST, "carving writes magic before ident"},
        {MUTANT_MAGIC_LEFT, "releasing leaves magic as it is"},
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
    int failed = 0;
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        uint64_t bad = run(&scenarios[i], MUTANT_NONE, 0);
        failed += bad != 0 && !scenarios[i].beyond_limit;
    }
    printf("executions explored: %.4g (merged where states meet) over %llu states, scenarios with violations: %d\n",
           total_executions, (unsigned long long)total_states, failed);
    int missed = 0;
    for (size_t k = 0; k < sizeof mutants / sizeof *mutants; k++) {
        const char *caught_by = NULL;
        for (size_t i = 0; i < SCENARIO_COUNT && caught_by == NULL; i++) {
            if (!scenarios[i].beyond_limit && run(&scenarios[i], mutants[k].mutant, 1) != 0)
                caught_by = scenarios[i].name;
        }
        printf("mutant '%s': %s%s\n", mutants[k].name, caught_by != NULL ? "caught by: " : "MISSED",
               caught_by != NULL ? caught_by : "");
        missed += caught_by == NULL;
    }
    printf("mutants missed: %d\n", missed);
    return failed != 0 || missed != 0;
}
