// SPDX-License-Identifier: Apache-2.0
// explorer.h
#include "explorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ORDER: comments here: a memory order is what a step of a table asks for; none of this program's accesses has one.

// ---- the machine --------------------------------------------------------------------------------------------------

static int acquires(const struct step *step) {
    // ORDER: asks.
    return step->order == memory_order_acquire || step->order == memory_order_acq_rel ||
           step->order == memory_order_seq_cst;
}

static int releases(const struct step *step) {
    // ORDER: asks.
    return step->order == memory_order_release || step->order == memory_order_acq_rel ||
           step->order == memory_order_seq_cst;
}

void violate(struct machine *machine, unsigned violation) {
    if (machine->bad == SOUND)
        machine->bad = (uint8_t)violation;
}

// Place of the thread's youngest store to the address that is still on its way, or -1.
static int own_store(const struct machine *machine, unsigned thread, unsigned address) {
    int place = (int)machine->buffer[thread].count - 1;
    while (place >= 0 && machine->buffer[thread].address[place] != address)
        place--;
    return place;
}

uint8_t peek(const struct machine *machine, unsigned thread, unsigned address) {
    int place = own_store(machine, thread, address);
    return place >= 0 ? machine->buffer[thread].value[place] : machine->memory[address];
}

static uint8_t load(struct machine *machine, unsigned thread, const struct step *step, unsigned address) {
    int place = own_store(machine, thread, address);
    if (place < 0 && acquires(step))
        machine->knows[thread] |= machine->carries[address];
    return peek(machine, thread, address);
}

static int must_wait(struct machine *machine, unsigned thread) {
    machine->is_blocked |= machine->buffer[thread].count != 0;
    return machine->is_blocked;
}

static void store(struct machine *machine, unsigned thread, const struct step *step, unsigned address, uint8_t value) {
    uint8_t carries = releases(step) ? machine->knows[thread] : 0;
    // ORDER: asks.
    if (step->order == memory_order_seq_cst) {
        if (must_wait(machine, thread))
            return;
        machine->memory[address] = value;
        machine->carries[address] = carries;
        return;
    }
    unsigned place = machine->buffer[thread].count;
    if (place == BUFFER) {
        machine->is_blocked = 1;
        return;
    }
    machine->buffer[thread].address[place] = (uint8_t)address;
    machine->buffer[thread].value[place] = value;
    machine->buffer[thread].carries[place] = carries;
    machine->buffer[thread].count++;
}

// The oldest store of the thread becomes visible.
static void drain_one(struct machine *machine, unsigned thread) {
    uint8_t *address = machine->buffer[thread].address;
    uint8_t *value = machine->buffer[thread].value;
    uint8_t *carries = machine->buffer[thread].carries;
    machine->memory[address[0]] = value[0];
    machine->carries[address[0]] = carries[0];
    memmove(address, address + 1, BUFFER - 1);
    memmove(value, value + 1, BUFFER - 1);
    memmove(carries, carries + 1, BUFFER - 1);
    address[BUFFER - 1] = value[BUFFER - 1] = carries[BUFFER - 1] = 0;
    machine->buffer[thread].count--;
}

// One atomic operation. Whether it has changed the word; *old is what it has found.
static int change(struct machine *machine, unsigned thread, const struct step *step, unsigned address,
                  const uint8_t *expected, uint8_t value, uint8_t *old) {
    if (step->is_split) {
        *old = load(machine, thread, step, address);
        if (expected != NULL && *old != *expected && !step->is_blind)
            return 0;
        struct step plain = *step;
        // ORDER: asks.
        plain.order = releases(step) ? memory_order_release : memory_order_relaxed;
        store(machine, thread, &plain, address, value);
        return 1;
    }
    if (must_wait(machine, thread))
        return 0;
    *old = machine->memory[address];
    if (expected != NULL && *old != *expected && !step->is_blind)
        return 0;
    if (acquires(step))
        machine->knows[thread] |= machine->carries[address];
    machine->memory[address] = value;
    machine->carries[address] |= releases(step) ? machine->knows[thread] : 0; // what earlier releases carry stays
    return 1;
}

uint8_t perform(struct machine *machine, unsigned thread, struct step *step, unsigned address, uint8_t expected,
                uint8_t value) {
    uint8_t old = 0;
    step->performed++;
    switch (step->kind) {
    case STEP_LOAD:
        return load(machine, thread, step, address);
    case STEP_LOOK:
        return load(machine, thread, step, address) == step->from;
    case STEP_STORE:
        if (step->from != HZ_ANY && peek(machine, thread, address) != step->from)
            violate(machine, UNEXPECTED);
        store(machine, thread, step, address, step->to);
        return 1;
    case STEP_COVER:
        store(machine, thread, step, address, step->to);
        return 1;
    case STEP_PUT:
        store(machine, thread, step, address, value);
        return 1;
    case STEP_SWAP:
        return (uint8_t)change(machine, thread, step, address, &step->from, step->to, &old);
    case STEP_FILL:
        return (uint8_t)change(machine, thread, step, address, &step->from, value, &old);
    case STEP_PUSH:
        return (uint8_t)change(machine, thread, step, address, &expected, value, &old);
    case STEP_EXCHANGE:
        change(machine, thread, step, address, NULL, step->to, &old);
        return old;
    case STEP_OR:
        old = step->is_split ? peek(machine, thread, address) : machine->memory[address];
        change(machine, thread, step, address, NULL, old | value, &old);
        return old;
    case STEP_FENCE:
        // ORDER: asks.
        if (step->order == memory_order_seq_cst)
            must_wait(machine, thread);
        return 1;
    }
    return 0;
}

void use_item(struct machine *machine, unsigned thread, unsigned item) {
    uint8_t others = (uint8_t) ~(1u << item);
    for (unsigned i = 0; i < ADDRESSES_MAX; i++)
        machine->carries[i] &= others;
    for (unsigned t = 0; t < THREADS; t++) {
        machine->knows[t] &= others;
        for (unsigned i = 0; i < BUFFER; i++)
            machine->buffer[t].carries[i] &= others;
    }
    machine->knows[thread] |= (uint8_t)(1u << item);
}

void give_item(struct machine *machine, unsigned thread, unsigned item) {
    if ((machine->knows[thread] >> item & 1) == 0)
        violate(machine, UNORDERED);
}

int store_is_under_way(const struct machine *machine, unsigned but_of, unsigned address) {
    for (unsigned t = 0; t < THREADS; t++)
        if (t != but_of && own_store(machine, t, address) >= 0)
            return 1;
    return 0;
}

// ---- search -------------------------------------------------------------------------------------------------------

#define STATES_MAX ((size_t)1 << 22)

static struct {
    uint8_t *states; // one behind the other
    uint32_t *table; // number of a state + 1
    size_t bytes, count, room, table_size;
} known;

static uint8_t *state_at(size_t number) {
    return known.states + number * known.bytes;
}

static uint64_t hash_of(const uint8_t *bytes) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < known.bytes; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

// Where the state is in the table, or would be.
static uint32_t *find(const uint8_t *state) {
    size_t at = (size_t)hash_of(state) & (known.table_size - 1);
    while (known.table[at] != 0 && memcmp(state_at(known.table[at] - 1), state, known.bytes) != 0)
        at = (at + 1) & (known.table_size - 1);
    return &known.table[at];
}

static void enlarge(void) {
    known.room = known.room == 0 ? (size_t)1 << 12 : known.room * 2;
    known.table_size = known.room * 2;
    known.states = known.room <= STATES_MAX ? realloc(known.states, known.room * known.bytes) : NULL;
    free(known.table);
    known.table = calloc(known.table_size, sizeof *known.table);
    if (known.states == NULL || known.table == NULL) {
        fprintf(stderr, "explorer: no room for %zu states\n", known.room);
        exit(3);
    }
    for (size_t i = 0; i < known.count; i++)
        *find(state_at(i)) = (uint32_t)i + 1;
}

static void remember(const void *state) {
    if (known.count == known.room)
        enlarge();
    uint32_t *place = find(state);
    if (*place != 0)
        return;
    memcpy(state_at(known.count), state, known.bytes);
    *place = (uint32_t)++known.count;
}

static int has_ended(const struct explored *explored, const void *state) {
    const struct machine *machine = state;
    for (unsigned t = 0; t < THREADS; t++)
        if (machine->buffer[t].count != 0 || !explored->is_done(state, t))
            return 0;
    return 1;
}

// Remembers all that may come next. How many states differ from this one.
static unsigned go_on(const struct explored *explored, const void *state, void *next) {
    struct machine *machine = next;
    unsigned others = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        memcpy(next, state, known.bytes);
        if (machine->buffer[t].count != 0) {
            drain_one(machine, t);
            remember(next);
            others++;
            memcpy(next, state, known.bytes);
        }
        if (explored->is_done(next, t))
            continue;
        explored->step(next, t);
        if (machine->is_blocked || memcmp(next, state, known.bytes) == 0)
            continue;
        remember(next);
        others++;
    }
    return others;
}

size_t explore(const struct explored *explored, const void *start, int stops_at_first, struct findings *findings) {
    size_t bad = 0;
    size_t ends = 0;
    void *state = malloc(explored->model_bytes);
    void *next = malloc(explored->model_bytes);
    if (known.bytes != explored->model_bytes) {
        free(known.states);
        known.states = NULL;
        known.room = 0;
    }
    known.bytes = explored->model_bytes;
    known.count = 0;
    if (known.table != NULL)
        memset(known.table, 0, known.table_size * sizeof *known.table);
    memset(findings, 0, sizeof *findings);
    remember(start);
    for (size_t i = 0; i < known.count && !(stops_at_first && bad != 0); i++) {
        struct machine *machine = state;
        memcpy(state, state_at(i), known.bytes);
        int is_end = has_ended(explored, state);
        ends += (size_t)is_end;
        if (machine->bad == SOUND && is_end)
            explored->check_end(state);
        else if (machine->bad == SOUND && go_on(explored, state, next) == 0)
            violate(machine, STUCK);
        bad += machine->bad != SOUND;
        findings->violations[machine->bad]++;
    }
    if (bad == 0 && ends == 0) { // it goes on for ever
        findings->violations[STUCK]++;
        bad++;
    }
    findings->states = known.count;
    free(state);
    free(next);
    return bad;
}

// ---- changes of a table -------------------------------------------------------------------------------------------

static const char *const change_names[CHANGE_COUNT] = {"from", "to", "order", "split", "blind"};

static int is_conditional(const struct step *step) {
    return step->kind == STEP_SWAP || step->kind == STEP_FILL || step->kind == STEP_PUSH;
}

// The step with the `variant`th change of the kind; 0 when there are no more of it.
static int make_change(struct step *step, enum change what, unsigned variant, uint8_t max) {
    int has_from = step->kind == STEP_LOOK || step->kind == STEP_SWAP || step->kind == STEP_FILL;
    int has_to =
        step->kind == STEP_STORE || step->kind == STEP_COVER || step->kind == STEP_SWAP || step->kind == STEP_EXCHANGE;
    uint8_t *value = what == CHANGE_FROM ? &step->from : &step->to;
    switch (what) {
    case CHANGE_FROM:
    case CHANGE_TO:
        if (!(what == CHANGE_FROM ? has_from : has_to) || variant >= max)
            return 0;
        *value = (uint8_t)(variant >= *value ? variant + 1 : variant);
        return 1;
    case CHANGE_ORDER:
        if (variant != 0 || step->order == memory_order_relaxed)
            return 0;
        step->order = memory_order_relaxed;
        return 1;
    case CHANGE_SPLIT:
        step->is_split = 1;
        return variant == 0 && (is_conditional(step) || step->kind == STEP_EXCHANGE || step->kind == STEP_OR);
    default:
        step->is_blind = 1;
        return variant == 0 && is_conditional(step);
    }
}

static const struct tolerated *find_tolerated(const struct step *step, int what, const struct tolerated *tolerated,
                                              size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(tolerated[i].word, step->word) == 0 &&
            (tolerated[i].name == NULL || strcmp(tolerated[i].name, step->name) == 0) &&
            (tolerated[i].change < 0 || tolerated[i].change == what))
            return &tolerated[i];
    return NULL;
}

static uint8_t max_of_word(const struct step *steps, size_t count, const char *word) {
    uint8_t max = 1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(steps[i].word, word) != 0)
            continue;
        max = steps[i].from != HZ_ANY && steps[i].from > max ? steps[i].from : max;
        max = steps[i].to != HZ_ANY && steps[i].to > max ? steps[i].to : max;
    }
    return max;
}

int explore_changes(struct step *steps, size_t count, const char *(*is_noticed)(void),
                    const struct tolerated *tolerated, size_t tolerated_count) {
    int failures = 0;
    unsigned noticed = 0;
    unsigned all = 0;
    uint8_t *is_needed = calloc(tolerated_count + 1, 1);
    for (size_t i = 0; i < count; i++) {
        uint8_t max = max_of_word(steps, count, steps[i].word);
        const struct step sound = steps[i];
        if (sound.performed == 0) {
            const struct tolerated *found = find_tolerated(&sound, -1, tolerated, tolerated_count);
            if (found != NULL && found->change < 0) {
                is_needed[found - tolerated] = 1;
                continue;
            }
            printf("%s_%s: no scenario performs it   <-- WRONG\n", sound.word, sound.name);
            failures++;
            continue;
        }
        for (int what = 0; what < CHANGE_COUNT; what++) {
            for (unsigned variant = 0; make_change(&steps[i], (enum change)what, variant, max); variant++) {
                char text[32];
                snprintf(text, sizeof text, what == CHANGE_FROM || what == CHANGE_TO ? "%s %u" : "%s",
                         change_names[what], what == CHANGE_FROM ? steps[i].from : steps[i].to);
                const char *by = is_noticed();
                const struct tolerated *found = find_tolerated(&sound, what, tolerated, tolerated_count);
                all++;
                noticed += by != NULL;
                if (by == NULL) {
                    printf("%s_%s: %s: %s\n", sound.word, sound.name, text,
                           found != NULL ? found->why : "nothing notices it   <-- WRONG");
                    failures += found == NULL;
                    if (found != NULL)
                        is_needed[found - tolerated] = 1;
                }
                steps[i] = sound;
            }
            steps[i] = sound;
        }
    }
    for (size_t i = 0; i < tolerated_count; i++) {
        if (is_needed[i])
            continue;
        printf("%s_%s: tolerated, but every change of it is noticed   <-- WRONG\n", tolerated[i].word,
               tolerated[i].name != NULL ? tolerated[i].name : "*");
        failures++;
    }
    printf("changes of the table noticed: %u of %u, wrong: %d\n", noticed, all, failures);
    free(is_needed);
    return failures;
}
