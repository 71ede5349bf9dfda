// SPDX-License-Identifier: Apache-2.0
// Explorer of hz4's messages: every interleaving of a few threads on two heaps and one run, with a store buffer a
// thread (x86 TSO), so that a plain store may become visible as late as the machine allows. Each step is one memory
// access of hz4_message.c, hz4_heap.c, hz4_run.c or hz4_depot.c, in their order. Mutants of the protocol must be
// caught. Usage: hz4_explorer. Layer: test, a model of its own; uses nothing of the library.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 3
#define HEAPS 3 // ids 1 and 2
#define BLOCKS 3
#define BUFFER 4
#define SCRIPT 4

enum { FREE = 0, HELD = 1, DEAD = 2 }; // bits of a word that stands for a heap's lock and its control word

// Message b + 1 carries block b. ROUTE is the owner in the run's tag, BITS the run's bits.
enum address {
    INBOX1,
    INBOX2,
    CONTROL1,
    CONTROL2,
    ROUTE,
    BITS,
    NEXT1,
    NEXT2,
    NEXT3,
    PLACE, // of the depot
    ADDRESSES
};

enum operation {
    OP_END,
    OP_SEND0, // a block that this thread has freed goes to its owner
    OP_SEND1,
    OP_SEND2,
    OP_REFILL,    // hold the own heap, drain, take a block, let go
    OP_EXIT,      // the own thread ends
    OP_TAKE_OVER, // try the other heap, drain it, try the own one, move the run
    OP_BORROW,    // try heap 1, take a block of it
    OP_CARRY0,    // a freed block, without a message: try its owner, put it there
    OP_REVIVE,    // a new thread takes heap 1 if it is dead
    OP_DEPOT_PUT, // block 0
    OP_DEPOT_TAKE,
};

enum mutant {
    MUTANT_NONE,
    MUTANT_NO_LAST_LOOK,    // who lets go of a dead heap does not look at its inbox
    MUTANT_NO_CONTROL_LOOK, // who sends does not look whether the heap is dead
    MUTANT_WEAK_DEAD,       // DEAD is a release store
    MUTANT_WEAK_TRY,        // a heap is taken by load and store
    MUTANT_WEAK_TAKE_ALL,   // an inbox is emptied by load and store
    MUTANT_WEAK_SEND,       // a message is sent by load and store
    MUTANT_BLIND_DRAIN,     // the drain does not look who owns the run
    MUTANT_MOVE_UNHELD,     // a run is moved though its owner could not be held
    MUTANT_BORROW_UNHELD,   // a block is borrowed though its owner could not be held
    MUTANT_BLIND_CARRY,     // who has carried a block to its owner does not look whether it still is
    MUTANT_BLIND_REHOLD,    // who holds a dead heap again does not see that it has been revived
    MUTANT_NO_DEBT,         // a helper that sends to a dead heap forgets it
    MUTANT_WEAK_PLACE,      // a place of the depot is emptied by load and store
    MUTANT_COUNT
};

static const char *const mutant_names[MUTANT_COUNT] = {
    "the protocol", "no last look", "no look at control", "weak DEAD",           "weak try",    "weak take-all",
    "weak send",    "blind drain",  "move without hold",  "borrow without hold", "blind carry", "blind re-hold",
    "no debt",      "weak place",
};

// Where a thread is. A name is the access that comes next.
enum place {
    AT_SCRIPT,
    SEND_ROUTE,
    SEND_HEAD,
    SEND_LINK,
    SEND_SWAP,
    SEND_LOOK,
    HELP_LOAD,
    HELP_SWAP,
    HELP_FLUSH,
    HELP_SCAN,
    HELP_SCAN_MAIL,
    HOLD_LOAD,
    HOLD_SWAP,
    DRAIN_PEEK,
    DRAIN_TAKE,
    DRAIN_TAKE_STORE,
    DRAIN_LINK,
    DRAIN_ROUTE,
    DRAIN_BITS,
    DRAIN_PUT,
    GO_LOAD,
    GO_FREE,
    GO_DEAD,
    GO_FENCE,
    GO_MAIL,
    GO_RELOAD,
    GO_REHOLD,
    GO_ALIVE,
    GO_ALIVE_STORE,
    REFILL_LOAD,
    REFILL_STORE,
    EXIT_MARK,
    MOVE_LOAD,
    MOVE_SWAP,
    MOVE_STORE,
    MOVE_END,
    CARRY_ROUTE,
    CARRY_LOOK,
    CARRY_BITS,
    CARRY_PUT,
    REVIVE_LOOK,
    REVIVE_STORE,
    FLUSH,
    PUT_SWAP,
    TAKE_LOAD,
    TAKE_SWAP,
};

struct thread_state {
    uint8_t pc, at, own;
    uint8_t block, target, head; // of a send
    uint8_t held;                // heap under drain
    uint8_t rest, link;          // messages taken and not looked at; the next one's
    uint8_t reg;
    uint8_t after_send, after_hold, after_drain, after_go;
    uint8_t helping, owes, scan;
    uint8_t staged; // bit a block
    uint8_t strays; // a mutant that goes on without the hold
    uint8_t buffered;
    uint8_t address[BUFFER], value[BUFFER];
};

enum violation { SOUND, TWO_HOLDERS, STRANGER_PUT, LOST, TWICE, STRANDED, KILLED, STUCK };
static const char *const violation_names[] = {"sound",
                                              "two holders",
                                              "put by a stranger",
                                              "block lost",
                                              "block twice",
                                              "message stranded with a dead heap",
                                              "a living heap declared dead",
                                              "stuck"};

// All bytes, so that two equal states compare equal.
struct model {
    uint8_t memory[ADDRESSES];
    struct thread_state thread[THREADS];
    // What the model knows and the threads do not:
    uint8_t holders[HEAPS];
    uint8_t alive[HEAPS];
    uint8_t owner;       // of the run
    uint8_t freed;       // bit a block that came into play
    uint8_t home, taken; // bit a block
    uint8_t bad;         // enum violation
};

struct scenario {
    const char *name;
    uint8_t script[THREADS][SCRIPT];
    uint8_t own[THREADS];
    uint8_t dead; // heap 1 has no thread at the start
    uint8_t dead2;
};

static const struct scenario scenarios[] = {
    {"two senders and a refilling owner", {{OP_REFILL, OP_REFILL}, {OP_SEND0, OP_SEND2}, {OP_SEND1}}, {1, 0, 0}, 0, 0},
    {"the owner's thread ends under two senders", {{OP_REFILL, OP_EXIT}, {OP_SEND0}, {OP_SEND1}}, {1, 0, 0}, 0, 0},
    {"the run changes hands under a sender", {{OP_REFILL}, {OP_SEND0, OP_SEND1}, {OP_TAKE_OVER}}, {1, 0, 2}, 0, 0},
    {"both owners at work while the run changes hands",
     {{OP_REFILL, OP_REFILL}, {OP_SEND0, OP_SEND1}, {OP_TAKE_OVER, OP_REFILL}},
     {1, 0, 2},
     0,
     0},
    {"taken over, then its new owner ends", {{OP_REFILL}, {OP_SEND0}, {OP_TAKE_OVER, OP_EXIT}}, {1, 0, 2}, 0, 0},
    {"the owner ends while its run changes hands", {{OP_EXIT}, {OP_SEND0, OP_SEND1}, {OP_TAKE_OVER}}, {1, 0, 2}, 0, 0},
    {"two senders to a dead heap", {{OP_SEND0}, {OP_SEND1}, {OP_SEND2}}, {0, 0, 0}, 1, 0},
    {"a dead heap is revived under two senders", {{OP_SEND0}, {OP_SEND1}, {OP_REVIVE, OP_REFILL}}, {0, 0, 0}, 1, 0},
    {"revived and ended again", {{OP_SEND0}, {OP_SEND1}, {OP_REVIVE, OP_EXIT}}, {0, 0, 0}, 1, 0},
    {"a dead heap's run is adopted, then its adopter ends",
     {{OP_SEND0, OP_SEND1}, {OP_END}, {OP_TAKE_OVER, OP_EXIT}},
     {0, 0, 2},
     1,
     0},
    {"revived while it is adopted", {{OP_SEND0}, {OP_REVIVE, OP_REFILL}, {OP_TAKE_OVER}}, {0, 0, 2}, 1, 0},
    {"each visits the other's heap",
     {{OP_TAKE_OVER, OP_REFILL}, {OP_SEND0, OP_SEND1}, {OP_TAKE_OVER, OP_REFILL}},
     {1, 0, 2},
     0,
     0},
    {"blocks are lent while their owner refills",
     {{OP_REFILL}, {OP_SEND0, OP_SEND1}, {OP_BORROW, OP_BORROW}},
     {1, 0, 2},
     0,
     0},
    {"the lender ends", {{OP_REFILL, OP_EXIT}, {OP_SEND0, OP_SEND1}, {OP_BORROW, OP_BORROW}}, {1, 0, 2}, 0, 0},
    {"carried while the run changes hands",
     {{OP_REFILL}, {OP_CARRY0, OP_SEND1}, {OP_TAKE_OVER, OP_REFILL}},
     {1, 0, 2},
     0,
     0},
    {"carried to an owner that ends", {{OP_EXIT}, {OP_CARRY0}, {OP_SEND1}}, {1, 0, 0}, 0, 0},
    {"carried to a heap that is revived", {{OP_CARRY0}, {OP_SEND1}, {OP_REVIVE, OP_REFILL}}, {0, 0, 0}, 1, 0},
    {"three at the depot", {{OP_DEPOT_PUT, OP_DEPOT_TAKE}, {OP_DEPOT_TAKE}, {OP_DEPOT_TAKE}}, {0, 0, 0}, 0, 0},
};
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

static enum mutant mutant;

// ---- memory
// ----------------------------------------------------------------------------------------------------------

static uint8_t load(const struct model *m, const struct thread_state *t, unsigned address) {
    for (unsigned i = t->buffered; i > 0; i--)
        if (t->address[i - 1] == address)
            return t->value[i - 1];
    return m->memory[address];
}

static void drain_one(struct model *m, struct thread_state *t) {
    m->memory[t->address[0]] = t->value[0];
    t->buffered--;
    memmove(t->address, t->address + 1, BUFFER - 1);
    memmove(t->value, t->value + 1, BUFFER - 1);
    t->address[BUFFER - 1] = t->value[BUFFER - 1] = 0;
}

// A locked operation waits for the thread's own stores; so does a store when the buffer is full.
static int is_locked(const struct thread_state *t) {
    switch (t->pc) {
    case SEND_SWAP:
        return mutant != MUTANT_WEAK_SEND;
    case HELP_SWAP:
    case HOLD_SWAP:
    case MOVE_SWAP:
    case GO_REHOLD:
        return mutant != MUTANT_WEAK_TRY;
    case DRAIN_TAKE:
        return mutant != MUTANT_WEAK_TAKE_ALL;
    case GO_FENCE:
    case PUT_SWAP:
    case TAKE_SWAP:
        return 1;
    default:
        return 0;
    }
}

static void store(struct model *m, struct thread_state *t, unsigned address, uint8_t value) {
    (void)m;
    t->address[t->buffered] = (uint8_t)address;
    t->value[t->buffered] = value;
    t->buffered++;
}

static int swap(struct model *m, struct thread_state *t, int is_weak, unsigned address, uint8_t from, uint8_t to) {
    if (is_weak) { // the comparison was made when `from` was loaded
        store(m, t, address, to);
        return 1;
    }
    if (m->memory[address] != from)
        return 0;
    m->memory[address] = to;
    return 1;
}

static unsigned inbox(unsigned heap) {
    return INBOX1 + heap - 1;
}

static unsigned control(unsigned heap) {
    return CONTROL1 + heap - 1;
}

// ---- what the model knows
// ----------------------------------------------------------------------------------------------

static void fail(struct model *m, enum violation violation) {
    if (m->bad == SOUND)
        m->bad = (uint8_t)violation;
}

static void begin_hold(struct model *m, unsigned heap) {
    if (++m->holders[heap] > 1)
        fail(m, TWO_HOLDERS);
}

static void end_hold(struct model *m, unsigned heap) {
    m->holders[heap]--;
}

static void came_home(struct model *m, const struct thread_state *t, unsigned block) {
    if (m->owner != t->held)
        fail(m, STRANGER_PUT);
    if ((m->home >> block & 1) != 0)
        fail(m, TWICE);
    m->home |= (uint8_t)(1u << block);
}

// ---- steps
// -----------------------------------------------------------------------------------------------------------

static void begin_drain(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->rest = 0;
    t->after_drain = (uint8_t)after;
    t->pc = DRAIN_PEEK;
}

static void begin_go(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->after_go = (uint8_t)after;
    t->pc = GO_LOAD;
}

static void begin_send(struct thread_state *t, unsigned block, unsigned after) {
    t->block = (uint8_t)block;
    t->after_send = (uint8_t)after;
    t->pc = SEND_ROUTE;
}

static void begin_hold_of(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->after_hold = (uint8_t)after;
    t->pc = HOLD_LOAD;
}

static void begin_try_of(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->after_hold = (uint8_t)after;
    t->pc = HELP_LOAD;
}

static unsigned other_of(const struct thread_state *t) {
    return 3u - t->own;
}

static void end_visit(struct thread_state *t, unsigned heap) {
    if (t->strays)
        t->pc = FLUSH;
    else
        begin_go(t, heap, FLUSH);
    t->strays = 0;
}

// What stands between a finished part of an operation and the next.
static void after_help(struct thread_state *t) {
    if (t->owes) {
        t->owes = 0;
        t->scan = 1;
        t->pc = HELP_SCAN;
        return;
    }
    t->helping = 0;
    t->pc = FLUSH;
}

// The heap is held by somebody else: what a try does then.
static void give_up(struct thread_state *t) {
    switch (t->after_hold) {
    case MOVE_LOAD:
        t->strays = mutant == MUTANT_MOVE_UNHELD;
        t->pc = t->strays ? MOVE_LOAD : AT_SCRIPT;
        break;
    case REFILL_LOAD:
        t->strays = mutant == MUTANT_BORROW_UNHELD;
        t->pc = t->strays ? REFILL_LOAD : AT_SCRIPT;
        break;
    case CARRY_LOOK:
        t->pc = CARRY_ROUTE;
        break;
    case REVIVE_LOOK:
        t->pc = AT_SCRIPT;
        break;
    default:
        after_help(t);
    }
}

static void after_drain(struct model *m, struct thread_state *t) {
    switch (t->after_drain) {
    case GO_DEAD: // drained again while letting go
        t->pc = GO_DEAD;
        break;
    default:
        t->pc = t->after_drain;
    }
    (void)m;
}

static void begin_operation(struct model *m, const struct scenario *scenario, unsigned self) {
    struct thread_state *t = &m->thread[self];
    unsigned operation = t->at < SCRIPT ? scenario->script[self][t->at] : OP_END;
    t->at++;
    switch (operation) {
    case OP_SEND0:
    case OP_SEND1:
    case OP_SEND2:
        m->freed |= (uint8_t)(1u << (operation - OP_SEND0));
        begin_send(t, operation - OP_SEND0, FLUSH);
        break;
    case OP_REFILL:
        if (t->own != 0)
            begin_hold_of(t, t->own, REFILL_LOAD);
        break;
    case OP_EXIT:
        if (t->own != 0)
            begin_hold_of(t, t->own, EXIT_MARK);
        break;
    case OP_TAKE_OVER:
        begin_try_of(t, other_of(t), MOVE_LOAD);
        break;
    case OP_BORROW:
        begin_try_of(t, 1, REFILL_LOAD);
        break;
    case OP_CARRY0:
        m->freed |= 1;
        t->block = 0;
        t->pc = CARRY_ROUTE;
        break;
    case OP_REVIVE:
        begin_try_of(t, 1, REVIVE_LOOK);
        break;
    case OP_DEPOT_PUT:
        m->freed |= 1;
        t->pc = PUT_SWAP;
        break;
    case OP_DEPOT_TAKE:
        t->pc = TAKE_LOAD;
        break;
    default:
        t->at = SCRIPT;
    }
}

static int is_finished(const struct thread_state *t) {
    return t->pc == AT_SCRIPT && t->at >= SCRIPT && t->buffered == 0;
}

// One access of one thread.
static void step(struct model *m, const struct scenario *scenario, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case AT_SCRIPT:
        begin_operation(m, scenario, self);
        break;

    case SEND_ROUTE:
        t->target = load(m, t, ROUTE);
        t->pc = SEND_HEAD;
        break;
    case SEND_HEAD:
        t->head = load(m, t, inbox(t->target));
        t->pc = SEND_LINK;
        break;
    case SEND_LINK:
        store(m, t, NEXT1 + t->block, t->head);
        t->pc = SEND_SWAP;
        break;
    case SEND_SWAP:
        t->pc = swap(m, t, mutant == MUTANT_WEAK_SEND, inbox(t->target), t->head, (uint8_t)(t->block + 1)) ? SEND_LOOK
                                                                                                           : SEND_HEAD;
        break;
    case SEND_LOOK: {
        unsigned is_dead = load(m, t, control(t->target)) & DEAD;
        t->pc = t->after_send;
        if (!is_dead || mutant == MUTANT_NO_CONTROL_LOOK)
            break;
        if (t->helping) {
            t->owes = mutant != MUTANT_NO_DEBT;
            break;
        }
        t->helping = 1;
        t->held = t->target;
        t->after_hold = HELP_FLUSH;
        t->pc = HELP_LOAD;
        break;
    }

    case HELP_LOAD: // of whoever tries and does not wait
        t->reg = load(m, t, control(t->held));
        if ((t->reg & HELD) == 0 && (t->after_hold != REVIVE_LOOK || (t->reg & DEAD) != 0))
            t->pc = HELP_SWAP;
        else
            give_up(t);
        break;
    case HELP_SWAP:
        if (!swap(m, t, mutant == MUTANT_WEAK_TRY, control(t->held), t->reg, t->reg | HELD)) {
            t->pc = HELP_LOAD; // looks once more; a real failure gives up, which is one of the ways this can go on
            break;
        }
        begin_hold(m, t->held);
        if (t->after_hold == MOVE_LOAD || t->after_hold == HELP_FLUSH)
            begin_drain(t, t->held, t->after_hold);
        else
            t->pc = t->after_hold;
        break;
    case HELP_FLUSH: // what was for others goes on before the heap is let go
        for (unsigned block = 0; block < BLOCKS; block++) {
            if ((t->staged >> block & 1) != 0) {
                t->staged &= (uint8_t) ~(1u << block);
                begin_send(t, block, HELP_FLUSH);
                return;
            }
        }
        begin_go(t, t->held, HELP_SCAN);
        t->scan = 0;
        break;
    case HELP_SCAN:
        if (t->scan == 0) { // the first heap is done
            after_help(t);
            break;
        }
        if (t->scan >= HEAPS) {
            after_help(t);
            break;
        }
        t->reg = load(m, t, control(t->scan));
        if ((t->reg & DEAD) == 0 || (t->reg & HELD) != 0)
            t->scan++;
        else
            t->pc = HELP_SCAN_MAIL;
        break;
    case HELP_SCAN_MAIL:
        if (load(m, t, inbox(t->scan)) == 0) {
            t->scan++;
            t->pc = HELP_SCAN;
            break;
        }
        t->held = t->scan;
        t->after_hold = HELP_FLUSH;
        t->owes = 1; // looks at all of them again afterwards
        t->pc = HELP_LOAD;
        break;

    case HOLD_LOAD:
        t->reg = load(m, t, control(t->held));
        if ((t->reg & HELD) == 0)
            t->pc = HOLD_SWAP;
        break;
    case HOLD_SWAP:
        if (!swap(m, t, mutant == MUTANT_WEAK_TRY, control(t->held), t->reg, t->reg | HELD)) {
            t->pc = HOLD_LOAD;
            break;
        }
        begin_hold(m, t->held);
        begin_drain(t, t->held, t->after_hold);
        break;

    case DRAIN_PEEK:
        t->pc = load(m, t, inbox(t->held)) == 0 ? t->after_drain : DRAIN_TAKE;
        if (t->pc == t->after_drain)
            after_drain(m, t);
        break;
    case DRAIN_TAKE:
        if (mutant == MUTANT_WEAK_TAKE_ALL) {
            t->rest = load(m, t, inbox(t->held));
            t->pc = DRAIN_TAKE_STORE;
            break;
        }
        t->rest = m->memory[inbox(t->held)];
        m->memory[inbox(t->held)] = 0;
        t->pc = DRAIN_LINK;
        break;
    case DRAIN_TAKE_STORE:
        store(m, t, inbox(t->held), 0);
        t->pc = DRAIN_LINK;
        break;
    case DRAIN_LINK:
        if (t->rest == 0) {
            after_drain(m, t);
            break;
        }
        t->link = load(m, t, NEXT1 + t->rest - 1);
        t->pc = DRAIN_ROUTE;
        break;
    case DRAIN_ROUTE:
        if (mutant != MUTANT_BLIND_DRAIN && load(m, t, ROUTE) != t->held) {
            t->staged |= (uint8_t)(1u << (t->rest - 1));
            t->rest = t->link;
            t->pc = DRAIN_LINK;
        } else {
            t->pc = DRAIN_BITS;
        }
        break;
    case DRAIN_BITS:
        t->reg = load(m, t, BITS);
        t->pc = DRAIN_PUT;
        break;
    case DRAIN_PUT:
        came_home(m, t, t->rest - 1);
        store(m, t, BITS, t->reg | (uint8_t)(1u << (t->rest - 1)));
        t->rest = t->link;
        t->pc = DRAIN_LINK;
        break;

    case GO_LOAD:
        t->pc = (load(m, t, control(t->held)) & DEAD) != 0 ? GO_DEAD : GO_FREE;
        break;
    case GO_FREE:
        end_hold(m, t->held);
        store(m, t, control(t->held), FREE);
        t->pc = t->after_go;
        break;
    case GO_DEAD:
        if (t->own == t->held && t->staged != 0) { // the end of its thread: what is for others goes on first
            unsigned block = 0;
            while ((t->staged >> block & 1) == 0)
                block++;
            t->staged &= (uint8_t) ~(1u << block);
            t->helping = 1; // holds a heap already: a dead addressee is looked after later
            begin_send(t, block, GO_DEAD);
            break;
        }
        if (m->alive[t->held])
            fail(m, KILLED);
        end_hold(m, t->held);
        store(m, t, control(t->held), DEAD);
        t->pc = mutant == MUTANT_WEAK_DEAD ? GO_MAIL : GO_FENCE;
        break;
    case GO_FENCE: // the other half of a sequentially consistent store
        t->pc = GO_MAIL;
        break;
    case GO_MAIL:
        t->pc = load(m, t, inbox(t->held)) == 0 || mutant == MUTANT_NO_LAST_LOOK ? t->after_go : GO_RELOAD;
        break;
    case GO_RELOAD:
        t->reg = load(m, t, control(t->held));
        t->pc = (t->reg & HELD) != 0 ? t->after_go : GO_REHOLD;
        break;
    case GO_REHOLD:
        if (!swap(m, t, mutant == MUTANT_WEAK_TRY, control(t->held), t->reg, t->reg | HELD)) {
            t->pc = t->after_go;
            break;
        }
        begin_hold(m, t->held);
        t->pc = GO_ALIVE;
        break;
    case GO_ALIVE:
        if ((load(m, t, control(t->held)) & DEAD) == 0 && mutant != MUTANT_BLIND_REHOLD)
            t->pc = GO_ALIVE_STORE;
        else
            begin_drain(t, t->held, GO_DEAD);
        break;
    case GO_ALIVE_STORE:
        end_hold(m, t->held);
        store(m, t, control(t->held), FREE);
        t->pc = t->after_go;
        break;

    case REFILL_LOAD:
        t->reg = load(m, t, BITS);
        // Only who holds the run's owner takes from it.
        if (t->reg == 0 || load(m, t, ROUTE) != t->held)
            end_visit(t, t->held);
        else
            t->pc = REFILL_STORE;
        break;
    case REFILL_STORE: {
        uint8_t bit = t->reg & (uint8_t)-t->reg;
        if ((m->home & bit) == 0 || m->owner != t->held)
            fail(m, TWICE);
        m->home &= (uint8_t)~bit;
        m->taken |= bit;
        store(m, t, BITS, t->reg & (uint8_t)~bit);
        end_visit(t, t->held);
        break;
    }
    case EXIT_MARK:
        store(m, t, control(t->own), HELD | DEAD);
        m->alive[t->own] = 0;
        begin_go(t, t->own, FLUSH);
        break;

    case MOVE_LOAD: // the other heap is held and drained
        t->reg = load(m, t, control(t->own));
        t->pc = MOVE_SWAP;
        if ((t->reg & HELD) != 0)
            end_visit(t, other_of(t));
        break;
    case MOVE_SWAP:
        if (!swap(m, t, mutant == MUTANT_WEAK_TRY, control(t->own), t->reg, t->reg | HELD)) {
            t->pc = MOVE_LOAD;
            break;
        }
        begin_hold(m, t->own);
        t->pc = MOVE_STORE;
        break;
    case MOVE_STORE:
        if (load(m, t, ROUTE) == other_of(t)) {
            store(m, t, ROUTE, t->own);
            m->owner = t->own;
        }
        begin_go(t, t->own, MOVE_END);
        break;
    case MOVE_END:
        end_visit(t, other_of(t));
        break;

    case CARRY_ROUTE:
        begin_try_of(t, load(m, t, ROUTE), CARRY_LOOK);
        break;
    case CARRY_LOOK: // now the owner is certain
        t->pc = CARRY_BITS;
        if (load(m, t, ROUTE) != t->held && mutant != MUTANT_BLIND_CARRY)
            begin_go(t, t->held, CARRY_ROUTE);
        break;
    case CARRY_BITS:
        t->reg = load(m, t, BITS);
        t->pc = CARRY_PUT;
        break;
    case CARRY_PUT:
        came_home(m, t, t->block);
        store(m, t, BITS, t->reg | (uint8_t)(1u << t->block));
        begin_go(t, t->held, FLUSH);
        break;

    case REVIVE_LOOK:
        if ((load(m, t, control(1)) & DEAD) == 0) {
            begin_go(t, 1, FLUSH);
            break;
        }
        t->pc = REVIVE_STORE;
        break;
    case REVIVE_STORE:
        m->alive[1] = 1;
        t->own = 1;
        end_hold(m, 1);
        store(m, t, control(1), FREE);
        t->pc = FLUSH;
        break;

    case FLUSH: // the end of an operation: debts first, then what is staged
        if (t->owes) {
            t->helping = 1;
            after_help(t);
            break;
        }
        t->helping = 0;
        t->pc = AT_SCRIPT;
        for (unsigned block = 0; block < BLOCKS; block++) {
            if ((t->staged >> block & 1) != 0) {
                t->staged &= (uint8_t) ~(1u << block);
                begin_send(t, block, FLUSH);
                return;
            }
        }
        break;

    case PUT_SWAP:
        if (m->memory[PLACE] == 0)
            m->memory[PLACE] = 1;
        t->pc = AT_SCRIPT;
        break;
    case TAKE_LOAD:
        t->reg = load(m, t, PLACE);
        t->pc = t->reg == 0 ? AT_SCRIPT : TAKE_SWAP;
        break;
    case TAKE_SWAP: {
        uint8_t got = mutant == MUTANT_WEAK_PLACE ? t->reg : m->memory[PLACE];
        m->memory[PLACE] = 0;
        if (got != 0) {
            if ((m->taken & 1) != 0)
                fail(m, TWICE);
            m->taken |= 1;
        }
        t->pc = AT_SCRIPT;
        break;
    }
    }
}

// All threads are done: every freed block is home, taken, or in the inbox of a heap that has a thread to look at it.
static void judge(struct model *m) {
    uint8_t waiting = m->memory[PLACE] != 0;
    for (unsigned heap = 1; heap < HEAPS; heap++) {
        unsigned count = 0;
        for (unsigned message = m->memory[inbox(heap)]; message != 0 && count++ < BLOCKS;
             message = m->memory[NEXT1 + message - 1]) {
            if ((waiting >> (message - 1) & 1) != 0)
                fail(m, TWICE);
            waiting |= (uint8_t)(1u << (message - 1));
            if (!m->alive[heap])
                fail(m, STRANDED);
        }
        if (m->alive[heap] && (m->memory[control(heap)] & DEAD) != 0)
            fail(m, KILLED);
    }
    if ((waiting & m->home) != 0 || (m->home & m->taken) != 0 || m->memory[BITS] != m->home)
        fail(m, m->memory[BITS] != m->home ? LOST : TWICE);
    if ((waiting | m->home | m->taken) != m->freed)
        fail(m, LOST);
}

// ---- search
// ------------------------------------------------------------------------------------------------------------

#define TABLE_BITS 22u
static struct model *states;
static uint32_t *table;
static size_t state_count, state_room;

static uint64_t hash_of(const struct model *m) {
    uint64_t hash = 1469598103934665603u;
    const unsigned char *bytes = (const unsigned char *)m;
    for (size_t i = 0; i < sizeof *m; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash ^ hash >> 29;
}

// 1 when the state is new.
static int remember(const struct model *m) {
    size_t mask = ((size_t)1 << TABLE_BITS) - 1;
    size_t at = (size_t)hash_of(m) & mask;
    for (; table[at] != 0; at = (at + 1) & mask)
        if (memcmp(&states[table[at] - 1], m, sizeof *m) == 0)
            return 0;
    if (state_count == state_room || state_count > mask / 2) {
        state_room = state_room * 2 + 1024;
        states = realloc(states, state_room * sizeof *states);
        if (states == NULL || state_count > mask / 2) {
            fprintf(stderr, "hz4_explorer: more states than the table holds\n");
            exit(3);
        }
    }
    states[state_count++] = *m;
    table[at] = (uint32_t)state_count;
    return 1;
}

// Every state that can be reached; the first violation ends the search.
static enum violation explore(const struct scenario *scenario, size_t *explored) {
    state_count = 0;
    memset(table, 0, ((size_t)1 << TABLE_BITS) * sizeof *table);
    struct model start;
    memset(&start, 0, sizeof start);
    start.memory[ROUTE] = 1;
    start.owner = 1;
    start.alive[1] = !scenario->dead;
    start.alive[2] = !scenario->dead2;
    start.memory[CONTROL1] = scenario->dead ? DEAD : FREE;
    start.memory[CONTROL2] = scenario->dead2 ? DEAD : FREE;
    for (unsigned i = 0; i < THREADS; i++)
        start.thread[i].own = scenario->own[i];
    remember(&start);
    for (size_t i = 0; i < state_count; i++) {
        int finished = 1;
        int moved = 0;
        for (unsigned self = 0; self < THREADS; self++) {
            struct model next = states[i];
            struct thread_state *t = &next.thread[self];
            if (is_finished(t))
                continue;
            finished = 0;
            if (t->buffered > 0) {
                drain_one(&next, t);
                moved |= remember(&next);
                next = states[i];
                moved = 1;
            }
            if ((t->buffered > 0 && (is_locked(t) || (t->pc == AT_SCRIPT && t->at >= SCRIPT))) || t->buffered == BUFFER)
                continue;
            step(&next, scenario, self);
            if (next.bad != SOUND) {
                *explored = state_count;
                return (enum violation)next.bad;
            }
            if (memcmp(&next, &states[i], sizeof next) != 0) {
                moved = 1;
                remember(&next);
            }
        }
        if (finished) {
            struct model end = states[i];
            judge(&end);
            if (end.bad != SOUND) {
                *explored = state_count;
                return (enum violation)end.bad;
            }
        } else if (!moved) {
            *explored = state_count;
            return STUCK;
        }
    }
    *explored = state_count;
    return SOUND;
}

int main(void) {
    table = malloc(((size_t)1 << TABLE_BITS) * sizeof *table);
    if (table == NULL)
        return 3;
    int failures = 0;
    for (mutant = MUTANT_NONE; mutant < MUTANT_COUNT; mutant++) {
        size_t total = 0;
        const char *caught_by = NULL;
        enum violation found = SOUND;
        for (size_t i = 0; i < SCENARIOS && caught_by == NULL; i++) {
            size_t explored = 0;
            found = explore(&scenarios[i], &explored);
            total += explored;
            if (found != SOUND)
                caught_by = scenarios[i].name;
            else if (mutant == MUTANT_NONE)
                printf("  %-52s %9zu states\n", scenarios[i].name, explored);
        }
        int is_right = (mutant == MUTANT_NONE) == (caught_by == NULL);
        failures += !is_right;
        printf("%-20s %9zu states: %s%s%s%s\n", mutant_names[mutant], total,
               caught_by != NULL ? violation_names[found] : "sound", caught_by != NULL ? ", in: " : "",
               caught_by != NULL ? caught_by : "", is_right ? "" : "   <-- WRONG");
    }
    return failures != 0;
}
