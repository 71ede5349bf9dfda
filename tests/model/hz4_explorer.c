// SPDX-License-Identifier: Apache-2.0
// Explorer of hz4's batches: every interleaving of a few threads on two heaps and one run, on the machine of
// explorer.h. What each step does to its word is read from the allocators' own tables, hz4_steps.h and heap_steps.h;
// the order of the steps below is that of hz4_remote.c, hz4_heap.c, hz4_run.c and hz4_depot.c. Mutants of that order
// and changes of the table must be caught. Usage: hz4_explorer [--changes | --sound]. Layer: test.
#include "explorer.h"

#include "../../allocators/common/heap_states.h"
#include "../../allocators/hz4/hz4_states.h"

#include <stdio.h>
#include <string.h>

#define HEAPS 3 // ids 1 and 2
#define BLOCKS 3
#define SCRIPT 4

#define HZ_STEP STEP_INDEX
enum step_index {
#include "../../allocators/common/heap_steps.h"
#define HZ_STEP STEP_INDEX
#include "../../allocators/hz4/hz4_steps.h"
    STEPS
};

#define HZ_STEP STEP_ROW
static struct step steps[] = {
#include "../../allocators/common/heap_steps.h"
#define HZ_STEP STEP_ROW
#include "../../allocators/hz4/hz4_steps.h"
};

// Batch b + 1 carries block b. ROUTE is the owner in the run's tag, BITS the run's bits.
enum address {
    QUEUE1,
    QUEUE2,
    LOCK1,
    LOCK2,
    STATUS1,
    STATUS2,
    ROUTE,
    BITS,
    NEXT1,
    NEXT2,
    NEXT3,
    PLACE, // of the depot
    ADDRESSES
};
_Static_assert(ADDRESSES <= ADDRESSES_MAX, "the machine's memory");

// What is no step of the table: a heap's lock, and the memory that it or a batch guards.
enum { LOCK, UNLOCK, READ, WRITE };
static struct step plain_steps[] = {
    // ORDER: what a mutex does.
    [LOCK] = {"lock", "take", STEP_SWAP, 0, 1, memory_order_acquire, 0, 0, 0},
    [UNLOCK] = {"lock", "give", STEP_STORE, 1, 0, memory_order_release, 0, 0, 0},
    [READ] = {"memory", "read", STEP_LOAD, HZ_ANY, HZ_ANY, memory_order_relaxed, 0, 0, 0},
    [WRITE] = {"memory", "write", STEP_PUT, HZ_ANY, HZ_ANY, memory_order_relaxed, 0, 0, 0},
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
    OP_CARRY0,    // a freed block, without a batch: try its owner, put it there
    OP_RECLAIM,   // a new thread takes heap 1 if it is abandoned
    OP_DEPOT_PUT0,
    OP_DEPOT_PUT1,
    OP_DEPOT_TAKE,
};

enum mutant {
    MUTANT_NONE,
    MUTANT_NO_LAST_LOOK,   // who releases an abandoned heap does not look at its remote queue
    MUTANT_NO_STATUS_LOOK, // who sends does not look whether the heap is abandoned
    MUTANT_WEAK_ABANDON,   // nothing orders the end of a heap before the last look
    MUTANT_WEAK_TRY,       // a heap is taken by load and store
    MUTANT_WEAK_TAKE_ALL,  // a remote queue is emptied by load and store
    MUTANT_WEAK_SEND,      // a batch is sent by load and store
    MUTANT_BLIND_DRAIN,    // the drain does not look who owns the run
    MUTANT_MOVE_UNHELD,    // a run is moved though its owner could not be held
    MUTANT_BORROW_UNHELD,  // a block is borrowed though its owner could not be held
    MUTANT_BLIND_CARRY,    // who has carried a block to its owner does not look whether it still is
    MUTANT_BLIND_RECLAIM,  // who holds a heap that was abandoned does not look whether it has been reclaimed
    MUTANT_NO_DEBT,        // a helper that sends to an abandoned heap forgets it
    MUTANT_WEAK_PLACE,     // a place of the depot is emptied by load and store
    MUTANT_COUNT
};

static const char *const mutant_names[MUTANT_COUNT] = {
    "the protocol",  "no last look",     "no look at status", "weak ABANDONED",    "weak try",
    "weak take-all", "weak send",        "blind drain",       "move without hold", "borrow without hold",
    "blind carry",   "blind reclaiming", "no debt",           "weak place",
};

// Where a thread is. A name is the access that comes next.
enum place {
    AT_SCRIPT,
    FLUSH,
    // send
    SEND_ROUTE,
    SEND_HEAD,
    SEND_LINK,
    SEND_PUSH,
    SEND_FENCE,
    SEND_LOOK,
    // help
    TRY_LOCK,
    HELP_FLUSH,
    HELP_SCAN,
    HELP_SCAN_QUEUE,
    // hold, drain
    HOLD_LOCK,
    DRAIN_PEEK,
    DRAIN_TAKE,
    DRAIN_LINK,
    DRAIN_ROUTE,
    DRAIN_BITS,
    DRAIN_PUT,
    // let go
    GO_FLUSH,
    GO_LOOK,
    GO_UNLOCK,
    GO_FENCE,
    GO_QUEUE,
    GO_RELOCK,
    GO_ALIVE,
    // what holds heaps
    REFILL_LOAD,
    REFILL_STORE,
    EXIT_FLUSH,
    EXIT_MARK,
    MOVE_LOCK,
    MOVE_STORE,
    MOVE_END,
    CARRY_ROUTE,
    CARRY_LOOK,
    CARRY_BITS,
    CARRY_PUT,
    RECLAIM_PEEK,
    RECLAIM_LOOK,
    RECLAIM_STORE,
    // the depot
    PUT_LOOK,
    PUT_FILL,
    TAKE_LOOK,
    TAKE_PLACE,
    PLACES,
};

struct thread_state {
    uint8_t pc, at, own;
    uint8_t block, target, head; // of a send
    uint8_t held;                // heap under drain
    uint8_t rest, link;          // batches taken and not looked at; the next one's
    uint8_t reg;
    uint8_t after_send, after_hold, after_drain, after_go;
    uint8_t helping, owes, scan;
    uint8_t staged; // bit a block
    uint8_t strays; // a mutant that goes on without the hold
};

enum violation {
    TWO_HOLDERS = FIRST_VIOLATION,
    STRANGER_PUT,
    LOST,
    TWICE,
    STRANDED,
    KILLED,
    PLACE_REFUSED,
    VIOLATIONS
};
static const char *const violation_names[VIOLATIONS] = {"sound",
                                                        "stuck",
                                                        "a block's last use is not known to who gets it",
                                                        "a word is not what its only writer expects",
                                                        "two holders",
                                                        "put by a stranger",
                                                        "block lost",
                                                        "block twice",
                                                        "batch stranded with an abandoned heap",
                                                        "a heap's thread and its status contradict",
                                                        "an empty place of the depot was refused"};

struct model {
    struct machine machine;
    struct thread_state thread[THREADS];
    // What the model knows and the threads do not:
    uint8_t holders[HEAPS];
    uint8_t alive[HEAPS];
    uint8_t owner;       // of the run
    uint8_t freed;       // bit a block that came into play
    uint8_t home, taken; // bit a block
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
    {"two senders to an abandoned heap", {{OP_SEND0}, {OP_SEND1}, {OP_SEND2}}, {0, 0, 0}, 1, 0},
    {"an abandoned heap is reclaimed under two senders",
     {{OP_SEND0}, {OP_SEND1}, {OP_RECLAIM, OP_REFILL}},
     {0, 0, 0},
     1,
     0},
    {"two threads reclaim an abandoned heap under a sender",
     {{OP_RECLAIM, OP_REFILL}, {OP_RECLAIM, OP_REFILL}, {OP_SEND0}},
     {0, 0, 0},
     1,
     0},
    {"reclaimed and ended again", {{OP_SEND0}, {OP_SEND1}, {OP_RECLAIM, OP_EXIT}}, {0, 0, 0}, 1, 0},
    {"an abandoned heap's run is adopted, then its adopter ends",
     {{OP_SEND0, OP_SEND1}, {OP_END}, {OP_TAKE_OVER, OP_EXIT}},
     {0, 0, 2},
     1,
     0},
    {"reclaimed while it is adopted", {{OP_SEND0}, {OP_RECLAIM, OP_REFILL}, {OP_TAKE_OVER}}, {0, 0, 2}, 1, 0},
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
    {"carried to a heap that is reclaimed", {{OP_CARRY0}, {OP_SEND1}, {OP_RECLAIM, OP_REFILL}}, {0, 0, 0}, 1, 0},
    {"three at the depot", {{OP_DEPOT_PUT0, OP_DEPOT_TAKE}, {OP_DEPOT_TAKE}, {OP_DEPOT_TAKE}}, {0, 0, 0}, 0, 0},
    {"two put, one takes", {{OP_DEPOT_PUT0}, {OP_DEPOT_PUT1}, {OP_DEPOT_TAKE, OP_DEPOT_TAKE}}, {0, 0, 0}, 0, 0},
};
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

static const struct scenario *scenario;
static enum mutant mutant;

// One step of the table, or one of plain_steps[], by thread `self`.
#define DO(name, address) perform(&m->machine, self, &steps[name##_step], address, 0, 0)
#define GIVE(name, address, value) perform(&m->machine, self, &steps[name##_step], address, 0, value)
#define PLAIN(name, address, value) perform(&m->machine, self, &plain_steps[name], address, 0, value)

static unsigned queue(unsigned heap) {
    return QUEUE1 + heap - 1;
}

static unsigned lock(unsigned heap) {
    return LOCK1 + heap - 1;
}

static unsigned status(unsigned heap) {
    return STATUS1 + heap - 1;
}

static unsigned other_of(const struct thread_state *t) {
    return 3u - t->own;
}

// ---- what the model knows -----------------------------------------------------------------------------------------

static void begin_hold(struct model *m, unsigned heap) {
    if (++m->holders[heap] > 1)
        violate(&m->machine, TWO_HOLDERS);
}

static void end_hold(struct model *m, unsigned heap) {
    m->holders[heap]--;
}

static void came_home(struct model *m, const struct thread_state *t, unsigned block) {
    if (m->owner != t->held)
        violate(&m->machine, STRANGER_PUT);
    if ((m->home >> block & 1) != 0)
        violate(&m->machine, TWICE);
    m->home |= (uint8_t)(1u << block);
}

// ---- beginnings of parts ------------------------------------------------------------------------------------------

static void begin_drain(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->rest = 0;
    t->after_drain = (uint8_t)after;
    t->pc = DRAIN_PEEK;
}

static void begin_go(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->after_go = (uint8_t)after;
    t->pc = GO_LOOK;
}

static void begin_send(struct thread_state *t, unsigned block, unsigned after) {
    t->block = (uint8_t)block;
    t->after_send = (uint8_t)after;
    t->pc = SEND_ROUTE;
}

// Sends one of the staged blocks, if there is any.
static int flush_one(struct thread_state *t, unsigned after) {
    for (unsigned block = 0; block < BLOCKS; block++) {
        if ((t->staged >> block & 1) != 0) {
            t->staged &= (uint8_t) ~(1u << block);
            begin_send(t, block, after);
            return 1;
        }
    }
    return 0;
}

static void begin_hold_of(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->after_hold = (uint8_t)after;
    t->pc = HOLD_LOCK;
}

static void begin_try_of(struct thread_state *t, unsigned heap, unsigned after) {
    t->held = (uint8_t)heap;
    t->after_hold = (uint8_t)after;
    t->pc = TRY_LOCK;
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
    case MOVE_LOCK:
        t->strays = mutant == MUTANT_MOVE_UNHELD;
        t->pc = t->strays ? MOVE_LOCK : AT_SCRIPT;
        break;
    case REFILL_LOAD:
        t->strays = mutant == MUTANT_BORROW_UNHELD;
        t->pc = t->strays ? REFILL_LOAD : AT_SCRIPT;
        break;
    case CARRY_LOOK:
        t->pc = CARRY_ROUTE;
        break;
    case RECLAIM_LOOK:
        t->pc = AT_SCRIPT;
        break;
    default:
        after_help(t);
    }
}

static void begin_operation(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    unsigned operation = t->at < SCRIPT ? scenario->script[self][t->at] : OP_END;
    t->at++;
    switch (operation) {
    case OP_SEND0:
    case OP_SEND1:
    case OP_SEND2:
        m->freed |= (uint8_t)(1u << (operation - OP_SEND0));
        use_item(&m->machine, self, operation - OP_SEND0);
        begin_send(t, operation - OP_SEND0, FLUSH);
        break;
    case OP_REFILL:
        if (t->own != 0)
            begin_hold_of(t, t->own, REFILL_LOAD);
        break;
    case OP_EXIT:
        if (t->own != 0)
            begin_hold_of(t, t->own, EXIT_FLUSH);
        break;
    case OP_TAKE_OVER:
        begin_try_of(t, other_of(t), MOVE_LOCK);
        break;
    case OP_BORROW:
        begin_try_of(t, 1, REFILL_LOAD);
        break;
    case OP_CARRY0:
        m->freed |= 1;
        use_item(&m->machine, self, 0);
        t->block = 0;
        t->pc = CARRY_ROUTE;
        break;
    case OP_RECLAIM:
        t->pc = RECLAIM_PEEK;
        break;
    case OP_DEPOT_PUT0:
    case OP_DEPOT_PUT1:
        t->block = (uint8_t)(operation - OP_DEPOT_PUT0);
        m->freed |= (uint8_t)(1u << t->block);
        use_item(&m->machine, self, t->block);
        t->pc = PUT_LOOK;
        break;
    case OP_DEPOT_TAKE:
        t->pc = TAKE_LOOK;
        break;
    default:
        t->at = SCRIPT;
    }
}

// ---- the protocol, a memory access a step -------------------------------------------------------------------------

// Between two operations: debts first, then what is staged.
static void step_script(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    if (t->pc == AT_SCRIPT) {
        begin_operation(m, self);
    } else if (t->owes) {
        t->helping = 1;
        after_help(t);
    } else {
        t->helping = 0;
        t->pc = AT_SCRIPT;
        flush_one(t, FLUSH);
    }
}

// A batch has been sent to a heap that has no thread.
static void owe_or_help(struct thread_state *t) {
    if (t->helping) {
        t->owes = mutant != MUTANT_NO_DEBT;
        return;
    }
    t->helping = 1;
    begin_try_of(t, t->target, HELP_FLUSH);
}

static void step_send(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case SEND_ROUTE:
        t->target = DO(hz4_way_read, ROUTE);
        t->pc = SEND_HEAD;
        break;
    case SEND_HEAD:
        t->head = DO(hz4_queue_look, queue(t->target));
        t->pc = SEND_LINK;
        break;
    case SEND_LINK:
        PLAIN(WRITE, NEXT1 + t->block, t->head);
        t->pc = SEND_PUSH;
        break;
    case SEND_PUSH:
        t->pc =
            perform(&m->machine, self, &steps[hz4_queue_push_step], queue(t->target), t->head, (uint8_t)(t->block + 1))
                ? SEND_FENCE
                : SEND_HEAD;
        break;
    case SEND_FENCE:
        DO(hz4_fence_sent, 0);
        t->pc = SEND_LOOK;
        break;
    case SEND_LOOK:
        t->pc = t->after_send;
        if (DO(hz_status_peek_abandoned, status(t->target)) && mutant != MUTANT_NO_STATUS_LOOK)
            owe_or_help(t);
        break;
    }
}

// Of whoever tries and does not wait, and of a helper.
static void step_help(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case TRY_LOCK:
        if (!PLAIN(LOCK, lock(t->held), 0)) {
            give_up(t);
            break;
        }
        begin_hold(m, t->held);
        if (t->after_hold == MOVE_LOCK || t->after_hold == HELP_FLUSH)
            begin_drain(t, t->held, t->after_hold);
        else
            t->pc = t->after_hold;
        break;
    case HELP_FLUSH: // what was for others goes on before the heap is let go
        if (flush_one(t, HELP_FLUSH))
            break;
        begin_go(t, t->held, HELP_SCAN);
        t->scan = 0;
        break;
    case HELP_SCAN:
        if (t->scan == 0 || t->scan >= HEAPS) // the first heap is done, or all are
            after_help(t);
        else if (!DO(hz_status_peek_abandoned, status(t->scan)))
            t->scan++;
        else
            t->pc = HELP_SCAN_QUEUE;
        break;
    case HELP_SCAN_QUEUE:
        if (DO(hz4_queue_look, queue(t->scan)) == 0) {
            t->scan++;
            t->pc = HELP_SCAN;
            break;
        }
        t->owes = peek(&m->machine, self, lock(t->scan)) == 0; // looks at all of them again if it can be had
        begin_try_of(t, t->scan, HELP_FLUSH);
        break;
    }
}

static void step_drain(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case HOLD_LOCK:
        if (!PLAIN(LOCK, lock(t->held), 0))
            break;
        begin_hold(m, t->held);
        begin_drain(t, t->held, t->after_hold);
        break;
    case DRAIN_PEEK:
        t->pc = DO(hz4_queue_look, queue(t->held)) == 0 ? t->after_drain : DRAIN_TAKE;
        break;
    case DRAIN_TAKE:
        t->rest = DO(hz4_queue_take, queue(t->held));
        t->pc = DRAIN_LINK;
        break;
    case DRAIN_LINK:
        t->pc = t->after_drain;
        if (t->rest == 0)
            break;
        t->link = PLAIN(READ, NEXT1 + t->rest - 1u, 0);
        t->pc = DRAIN_ROUTE;
        break;
    case DRAIN_ROUTE:
        t->pc = DRAIN_BITS;
        if (mutant != MUTANT_BLIND_DRAIN && DO(hz4_way_read, ROUTE) != t->held) {
            t->staged |= (uint8_t)(1u << (t->rest - 1));
            t->rest = t->link;
            t->pc = DRAIN_LINK;
        }
        break;
    case DRAIN_BITS:
        t->reg = PLAIN(READ, BITS, 0);
        t->pc = DRAIN_PUT;
        break;
    case DRAIN_PUT:
        came_home(m, t, t->rest - 1u);
        PLAIN(WRITE, BITS, t->reg | (uint8_t)(1u << (t->rest - 1)));
        t->rest = t->link;
        t->pc = DRAIN_LINK;
        break;
    }
}

static void step_release(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case GO_FLUSH:      // the end of its thread: what belongs to others goes on at once
        t->helping = 1; // holds a heap already: an abandoned addressee is looked after later
        if (t->own != t->held || !flush_one(t, GO_FLUSH))
            t->pc = GO_LOOK;
        break;
    case GO_LOOK:
        t->reg = DO(hz_status_peek_abandoned, status(t->held));
        t->pc = GO_UNLOCK;
        break;
    case GO_UNLOCK:
        end_hold(m, t->held);
        PLAIN(UNLOCK, lock(t->held), 0);
        t->pc = t->reg ? GO_FENCE : t->after_go;
        break;
    case GO_FENCE:
        DO(hz4_fence_released, 0);
        t->pc = GO_QUEUE;
        break;
    case GO_QUEUE:
        t->pc = DO(hz4_queue_look, queue(t->held)) == 0 || mutant == MUTANT_NO_LAST_LOOK ? t->after_go : GO_RELOCK;
        break;
    case GO_RELOCK:
        t->pc = t->after_go;
        if (PLAIN(LOCK, lock(t->held), 0)) {
            begin_hold(m, t->held);
            t->pc = GO_ALIVE;
        }
        break;
    case GO_ALIVE:
        if (DO(hz_status_peek_abandoned, status(t->held)))
            begin_drain(t, t->held, GO_FLUSH);
        else
            t->pc = GO_LOOK;
        break;
    }
}

static void step_own(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case REFILL_LOAD:
        t->reg = PLAIN(READ, BITS, 0);
        // Only who holds the run's owner takes from it.
        if (t->reg == 0 || DO(hz4_way_read, ROUTE) != t->held)
            end_visit(t, t->held);
        else
            t->pc = REFILL_STORE;
        break;
    case REFILL_STORE: {
        uint8_t bit = t->reg & (uint8_t)-t->reg;
        if ((m->home & bit) == 0 || m->owner != t->held)
            violate(&m->machine, TWICE);
        give_item(&m->machine, self, bit >> 1); // 1, 2, 4: block 0, 1, 2
        m->home &= (uint8_t)~bit;
        m->taken |= bit;
        PLAIN(WRITE, BITS, t->reg & (uint8_t)~bit);
        end_visit(t, t->held);
        break;
    }
    case EXIT_FLUSH:
        t->helping = 1; // holds a heap already: an abandoned addressee is looked after later
        if (!flush_one(t, EXIT_FLUSH))
            t->pc = EXIT_MARK;
        break;
    case EXIT_MARK:
        DO(hz_status_abandon_locked, status(t->own));
        m->alive[t->own] = 0;
        begin_go(t, t->own, FLUSH);
        break;
    }
}

// The other heap is held and drained.
static void step_move(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case MOVE_LOCK:
        if (PLAIN(LOCK, lock(t->own), 0)) {
            begin_hold(m, t->own);
            t->pc = MOVE_STORE;
        } else {
            end_visit(t, other_of(t));
        }
        break;
    case MOVE_STORE:
        if (DO(hz4_way_read, ROUTE) == other_of(t)) {
            GIVE(hz4_way_write, ROUTE, t->own);
            m->owner = t->own;
        }
        begin_go(t, t->own, MOVE_END);
        break;
    case MOVE_END:
        end_visit(t, other_of(t));
        break;
    }
}

static void step_carry(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case CARRY_ROUTE:
        begin_try_of(t, DO(hz4_way_read, ROUTE), CARRY_LOOK);
        break;
    case CARRY_LOOK: // now the owner is certain
        t->pc = CARRY_BITS;
        if (DO(hz4_way_read, ROUTE) != t->held && mutant != MUTANT_BLIND_CARRY)
            begin_go(t, t->held, CARRY_ROUTE);
        break;
    case CARRY_BITS:
        t->reg = PLAIN(READ, BITS, 0);
        t->pc = CARRY_PUT;
        break;
    case CARRY_PUT:
        came_home(m, t, t->block);
        PLAIN(WRITE, BITS, t->reg | (uint8_t)(1u << t->block));
        begin_go(t, t->held, FLUSH);
        break;
    }
}

static void step_reclaim(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    switch (t->pc) {
    case RECLAIM_PEEK:
        t->pc = AT_SCRIPT;
        if (DO(hz_status_peek_abandoned, STATUS1))
            begin_try_of(t, 1, RECLAIM_LOOK);
        break;
    case RECLAIM_LOOK:
        if (DO(hz_status_peek_abandoned, STATUS1) || mutant == MUTANT_BLIND_RECLAIM)
            t->pc = RECLAIM_STORE;
        else
            begin_go(t, 1, FLUSH);
        break;
    case RECLAIM_STORE:
        if (m->alive[1])
            violate(&m->machine, KILLED); // two threads have the heap
        m->alive[1] = 1;
        t->own = 1;
        DO(hz_status_reclaim_locked, STATUS1);
        begin_go(t, 1, FLUSH);
        break;
    }
}

// What finds no place in the depot stays with its thread.
static void keep_block(struct model *m, struct thread_state *t) {
    if (m->machine.memory[PLACE] == 0)
        violate(&m->machine, PLACE_REFUSED);
    m->taken |= (uint8_t)(1u << t->block);
    t->pc = AT_SCRIPT;
}

// The place holds a block + 1.
static void step_depot(struct model *m, unsigned self) {
    struct thread_state *t = &m->thread[self];
    uint8_t got = 0;
    switch (t->pc) {
    case PUT_LOOK:
        t->pc = PUT_FILL;
        if (!DO(hz4_place_is_empty, PLACE))
            keep_block(m, t);
        break;
    case PUT_FILL:
        t->pc = AT_SCRIPT;
        if (!GIVE(hz4_place_put, PLACE, (uint8_t)(t->block + 1)) && !m->machine.is_blocked)
            keep_block(m, t);
        break;
    case TAKE_LOOK:
        t->pc = DO(hz4_place_look, PLACE) == 0 ? AT_SCRIPT : TAKE_PLACE;
        break;
    case TAKE_PLACE:
        got = DO(hz4_place_take, PLACE);
        t->pc = AT_SCRIPT;
        if (got == 0 || m->machine.is_blocked)
            break;
        give_item(&m->machine, self, got - 1u);
        if ((m->taken >> (got - 1) & 1) != 0)
            violate(&m->machine, TWICE);
        m->taken |= (uint8_t)(1u << (got - 1));
        break;
    }
}

// Operations by their first place.
static const struct {
    enum place first;
    void (*step)(struct model *, unsigned);
} operations[] = {{PUT_LOOK, step_depot},  {RECLAIM_PEEK, step_reclaim}, {CARRY_ROUTE, step_carry},
                  {MOVE_LOCK, step_move},  {REFILL_LOAD, step_own},      {GO_FLUSH, step_release},
                  {HOLD_LOCK, step_drain}, {TRY_LOCK, step_help},        {SEND_ROUTE, step_send},
                  {AT_SCRIPT, step_script}};

static void step(void *model, unsigned self) {
    struct model *m = model;
    size_t i = 0;
    while (m->thread[self].pc < operations[i].first)
        i++;
    operations[i].step(m, self);
}

static int is_done(const void *model, unsigned self) {
    const struct thread_state *t = &((const struct model *)model)->thread[self];
    return t->pc == AT_SCRIPT && t->at >= SCRIPT;
}

// All threads are done: every freed block is home, taken, or in the remote queue of a heap that has a thread to look at
// it.
static void check_end(void *model) {
    struct model *m = model;
    const uint8_t *memory = m->machine.memory;
    uint8_t waiting = memory[PLACE] != 0 ? (uint8_t)(1u << (memory[PLACE] - 1)) : 0;
    for (unsigned heap = 1; heap < HEAPS; heap++) {
        unsigned count = 0;
        for (unsigned batch = memory[queue(heap)]; batch != 0 && batch <= BLOCKS && count++ < BLOCKS;
             batch = memory[NEXT1 + batch - 1]) {
            if ((waiting >> (batch - 1) & 1) != 0)
                violate(&m->machine, TWICE);
            waiting |= (uint8_t)(1u << (batch - 1));
            if (!m->alive[heap])
                violate(&m->machine, STRANDED);
        }
        if (memory[status(heap)] != (m->alive[heap] ? HZ_HEAP_ALIVE : HZ_HEAP_ABANDONED))
            violate(&m->machine, KILLED);
    }
    if (memory[BITS] != m->home)
        violate(&m->machine, LOST);
    if ((waiting & m->home) != 0 || (m->home & m->taken) != 0)
        violate(&m->machine, TWICE);
    if ((waiting | m->home | m->taken) != m->freed)
        violate(&m->machine, LOST);
}

// ---- runs ---------------------------------------------------------------------------------------------------------

// The violation that ends the search, or SOUND.
static int run(const struct scenario *what, struct findings *findings) {
    static const struct explored explored = {sizeof(struct model), step, is_done, check_end};
    scenario = what;
    struct model start;
    memset(&start, 0, sizeof start);
    start.machine.memory[ROUTE] = 1;
    start.owner = 1;
    start.alive[1] = !what->dead;
    start.alive[2] = !what->dead2;
    start.machine.memory[STATUS1] = what->dead ? HZ_HEAP_ABANDONED : HZ_HEAP_ALIVE;
    start.machine.memory[STATUS2] = what->dead2 ? HZ_HEAP_ABANDONED : HZ_HEAP_ALIVE;
    for (unsigned i = 0; i < THREADS; i++) {
        start.thread[i].own = what->own[i];
        start.machine.knows[i] = (1u << BLOCKS) - 1;
    }
    if (explore(&explored, &start, 1, findings) == 0)
        return SOUND;
    int violation = SOUND + 1;
    while (findings->violations[violation] == 0)
        violation++;
    return violation;
}

static const char *caught_by(void) {
    struct findings findings;
    for (size_t i = 0; i < SCENARIOS; i++)
        if (run(&scenarios[i], &findings) != SOUND)
            return scenarios[i].name;
    return NULL;
}

// Mutants that are changes of the table.
static void change_table(enum mutant which) {
    // ORDER: too weak on purpose.
    if (which == MUTANT_WEAK_ABANDON)
        steps[hz4_fence_released_step].order = memory_order_relaxed;
    plain_steps[LOCK].is_split = which == MUTANT_WEAK_TRY;
    steps[hz4_queue_take_step].is_split = which == MUTANT_WEAK_TAKE_ALL;
    steps[hz4_queue_push_step].is_split = which == MUTANT_WEAK_SEND;
    steps[hz4_place_take_step].is_split = which == MUTANT_WEAK_PLACE;
}

// The protocol, then its mutants if they are asked for.
static int run_all(unsigned mutants) {
    static struct step sound[STEPS];
    int failures = 0;
    unsigned caught = 0;
    memcpy(sound, steps, sizeof steps);
    for (unsigned which = MUTANT_NONE; which < mutants; which++) {
        size_t total = 0;
        const char *by = NULL;
        int found = SOUND;
        mutant = (enum mutant)which;
        change_table(mutant);
        for (size_t i = 0; i < SCENARIOS && by == NULL; i++) {
            struct findings findings;
            found = run(&scenarios[i], &findings);
            total += findings.states;
            by = found != SOUND ? scenarios[i].name : NULL;
            if (mutant == MUTANT_NONE)
                printf("  %-52s %9zu states\n", scenarios[i].name, findings.states);
        }
        if (mutant == MUTANT_NONE)
            memcpy(sound, steps, sizeof steps); // with what has been performed
        memcpy(steps, sound, sizeof steps);
        int is_right = (mutant == MUTANT_NONE) == (by == NULL);
        failures += !is_right;
        caught += mutant != MUTANT_NONE && by != NULL;
        printf("%-20s %9zu states: %s%s%s%s\n", mutant_names[mutant], total, violation_names[found],
               by != NULL ? ", in: " : "", by != NULL ? by : "", is_right ? "" : "   <-- WRONG");
    }
    mutant = MUTANT_NONE;
    change_table(mutant);
    if (mutants > 1)
        printf("mutants caught: %u of %u\n", caught, mutants - 1);
    return failures;
}

#define LOADS_IN_ORDER "x86 loads in order"
#define LOCKED_IN_ORDER "on x86 an atomic operation is in order whatever it asks for"

static const struct tolerated tolerated[] = {
    {"hz4_fence", "sent", CHANGE_ORDER, LOCKED_IN_ORDER},
    // Steps that are not in the model.
    {"hz_status", "abandon", -1, "hz4 has a lock in each heap"},
    {"hz_status", "is_abandoned", -1, "hz4 has a lock in each heap"},
    {"hz_status", "begin", -1, "the model's heaps have begun"},
    {"hz_status", "reclaim", -1, "hz4 has a lock in each heap"},
    {"hz_status", "acquire", -1, "hz4 has a lock in each heap"},
    {"hz_status", "hold", -1, "hz4 has a lock in each heap"},
    {"hz_status", "let_go", -1, "hz4 has a lock in each heap"},
    {"hz_status", "help", -1, "hz4 has a lock in each heap"},
    {"hz_status", "helped", -1, "hz4 has a lock in each heap"},
    {"hz_status", "is_helped", -1, "the model has no fork"},
    {"hz_status", "peek", -1, "the model has no fork"},
    {"hz_status", "survive", -1, "the model has no fork"},
    {"hz_status", "lose", -1, "the model has no fork"},
    {"hz4_way", "is_large", -1, "the model has no large runs"},
    {"hz4_way", "free_large", -1, "the model has no large runs"},
};

// With --changes, each entry of the table is changed in turn, which some scenario must notice.
int main(int argc, char **argv) {
    int has_changes = argc > 1 && strcmp(argv[1], "--changes") == 0;
    int is_sound_alone = argc > 1 && strcmp(argv[1], "--sound") == 0;
    int failures = run_all(has_changes || is_sound_alone ? 1 : MUTANT_COUNT);
    if (has_changes)
        failures += explore_changes(steps, STEPS, caught_by, tolerated, sizeof tolerated / sizeof *tolerated);
    return failures != 0;
}
