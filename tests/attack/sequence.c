// SPDX-License-Identifier: Apache-2.0
// Draws the steps of a sequence, executes them and looks for primitives after each. What is drawn never depends on an
// address, so a seed gives every allocator the same steps. The child's own memory is static: it never calls malloc.
// Layer: test.
#include "attack.h"

#include "../support/random.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 48
#define FREED 32
#define IMAGES 128
#define MARKED_BYTES ((size_t)512) // at the start of a block; as many at its end
#define LOOKED_BYTES ((size_t)64)  // of them after every step; all when the block is freed, after the bug, at the end
#define WORDS_MOST 64
#define STACK_BYTES ((uintptr_t)1 << 20)

const char *const attack_bug_names[] = {
    "none", "overflow", "underflow", "write-after-free", "double-free", "stale-free", "interior", "foreign", "wild"};
const char *const attack_primitive_names[] = {"none",  "overlap",    "duplicate", "outside", "changed", "gone",
                                              "dirty", "misaligned", "short",     "written", "audit"};

enum operation { MALLOC, CALLOC, ALIGNED, REALLOC, FREE, USABLE };
static const char *const operation_names[] = {"malloc", "calloc", "aligned", "realloc", "free", "usable_size"};

struct block {
    unsigned char *at; // NULL: none
    size_t bytes;
    unsigned char mark;
};

struct range {
    uintptr_t from, to;
};

static struct range images[IMAGES];
static size_t image_count;

static struct block live[SLOTS];
static struct block freed[FREED]; // a ring, the newest before freed_next
static size_t freed_next, freed_count;
static unsigned char next_mark;

static struct attack_sequence *now;
static struct attack_report *report;

// ---- what is drawn ----

static uint32_t draw(uint32_t below) {
    struct attack_source *source = &now->source;
    uint32_t value = 0;
    if (source->end == NULL)
        value = (uint32_t)(test_random(&source->random) >> 32);
    else
        for (uint32_t most = 1; most < below && most != 0 && source->at < source->end; most <<= 8)
            value = value << 8 | *source->at++;
    value %= below;
    source->hash = (source->hash ^ value) * UINT64_C(0x100000001b3);
    return value;
}

static int is_drained(void) {
    return now->source.end != NULL && now->source.at == now->source.end;
}

// Of all kinds that allocators treat in different ways. Multiples of 16, and 8 more, fill a block of most allocators to
// its last byte.
static size_t draw_size(void) {
    const uint32_t kind = draw(32);
    if (kind < 12)
        return 16 * (size_t)draw(17) + 8 * (size_t)draw(2);
    if (kind < 20)
        return 1 + (size_t)draw(1024);
    if (kind < 26)
        return ((size_t)1024 << draw(6)) - 16 * (size_t)draw(3) + draw(2);
    if (kind < 31)
        return 1 + (size_t)draw(64u << 10);
    return ((size_t)64 << 10 << draw(7)) - 16 * (size_t)draw(3) + draw(4096);
}

// ---- what is told ----

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...) {
    static char line[400];
    if (!now->is_told)
        return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0 && write(STDOUT_FILENO, line, (size_t)length) < 0)
        _exit(2);
}

static void found(enum attack_primitive primitive, const void *at, size_t bytes) {
    tell("      %s: %p, %zu bytes\n", attack_primitive_names[primitive], at, bytes);
    report->primitive = primitive;
    report->hash = now->source.hash;
    report->is_ended = 1;
    _exit(0);
}

// ---- calls, by this thread or the other one ----

struct request {
    enum operation operation;
    void *at;
    size_t bytes, alignment;
    void *result;
    size_t usable;
};

static struct request request;
static sem_t asked, answered;
static pthread_t helper;
static int has_helper;

static void serve(void) {
    const struct allocator *heap = now->heap;
    switch (request.operation) {
    case MALLOC:
        request.result = heap->alloc(request.bytes);
        break;
    case CALLOC:
        request.result = heap->calloc(1, request.bytes);
        break;
    case ALIGNED:
        request.result = heap->alloc_aligned(request.alignment, request.bytes);
        break;
    case REALLOC:
        request.result = heap->realloc(request.at, request.bytes);
        break;
    case FREE:
        heap->free(request.at);
        break;
    case USABLE:
        request.usable = heap->usable_size(request.at);
        break;
    }
}

static void await(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0)
        continue;
}

static void *help(void *unused) {
    for (;;) {
        await(&asked);
        if (has_helper == 0)
            return unused;
        serve();
        sem_post(&answered);
    }
}

static void helper_begin(void) {
    has_helper = pthread_create(&helper, NULL, help, NULL) == 0;
}

static void helper_end(void) {
    has_helper = 0;
    sem_post(&asked);
    pthread_join(helper, NULL);
}

static void ask(struct request what, int is_there) {
    request = what;
    report->phase = ATTACK_PHASE_ALLOCATOR;
    if (is_there && has_helper) {
        sem_post(&asked);
        await(&answered);
    } else {
        serve();
    }
    report->phase = ATTACK_PHASE_HARNESS;
}

// ---- blocks ----

static size_t at_most(size_t bytes, size_t limit) {
    return bytes < limit ? bytes : limit;
}

static void fill(const struct block *block) {
    const size_t part = at_most(block->bytes, MARKED_BYTES);
    memset(block->at, block->mark, part);
    memset(block->at + block->bytes - part, block->mark, part);
}

static int is_all(const unsigned char *at, size_t bytes, unsigned char value) {
    return bytes == 0 || (*at == value && memcmp(at, at + 1, bytes - 1) == 0);
}

static void look(const struct block *block, size_t looked_bytes) {
    const size_t part = at_most(block->bytes, looked_bytes);
    report->phase = ATTACK_PHASE_LIVE;
    if (!is_all(block->at, part, block->mark) || !is_all(block->at + block->bytes - part, part, block->mark))
        found(ATTACK_PRIMITIVE_CHANGED, block->at, block->bytes);
    report->phase = ATTACK_PHASE_HARNESS;
}

static void look_at_all(size_t looked_bytes) {
    for (size_t i = 0; i < SLOTS; i++)
        if (live[i].at != NULL)
            look(&live[i], looked_bytes);
}

static int overlaps(const struct block *block, uintptr_t from, size_t bytes) {
    return block->at != NULL && (uintptr_t)block->at < from + bytes && from < (uintptr_t)block->at + block->bytes;
}

static int is_outside(uintptr_t from, size_t bytes) {
    int local;
    const struct range own[] = {
        {(uintptr_t)now->own, (uintptr_t)now->own + ATTACK_OWN_BYTES},
        {(uintptr_t)report, (uintptr_t)report + sizeof *report},
        {(uintptr_t)&local - STACK_BYTES, (uintptr_t)&local + STACK_BYTES / 64},
    };
    if (from + bytes < from || from < 4096)
        return 1;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (from < own[i].to && own[i].from < from + bytes)
            return 1;
    for (size_t i = 0; i < image_count; i++)
        if (from < images[i].to && images[i].from < from + bytes)
            return 1;
    return 0;
}

// Ends the sequence if a block of the allocator cannot lie there.
static void judge_place(const void *at, size_t bytes, size_t alignment) {
    const uintptr_t from = (uintptr_t)at;
    for (size_t i = 0; i < SLOTS; i++)
        if (live[i].at == at)
            found(ATTACK_PRIMITIVE_DUPLICATE, at, bytes);
    for (size_t i = 0; i < SLOTS; i++)
        if (overlaps(&live[i], from, bytes))
            found(ATTACK_PRIMITIVE_OVERLAP, at, bytes);
    if (is_outside(from, bytes))
        found(ATTACK_PRIMITIVE_OUTSIDE, at, bytes);
    if (from % (alignment != 0 ? alignment : bytes < 16 ? 8 : 16) != 0)
        found(ATTACK_PRIMITIVE_MISALIGNED, at, bytes);
}

static void admit(size_t slot, void *at, size_t bytes, size_t alignment, int is_zeroed) {
    if (at == NULL)
        return;
    judge_place(at, bytes, alignment);
    live[slot] = (struct block){at, bytes, (unsigned char)(next_mark++ | 0x80)};
    report->phase = ATTACK_PHASE_ADMIT;
    const size_t part = at_most(bytes, MARKED_BYTES);
    if (is_zeroed && (!is_all(at, part, 0) || !is_all(live[slot].at + bytes - part, part, 0)))
        found(ATTACK_PRIMITIVE_DIRTY, at, bytes);
    fill(&live[slot]);
    report->phase = ATTACK_PHASE_HARNESS;
}

static void forget(size_t slot) {
    freed[freed_next] = live[slot];
    freed_next = (freed_next + 1) % FREED;
    freed_count += freed_count < FREED;
    live[slot].at = NULL;
}

// The n-th slot from a drawn one on that is used, or is not.
static size_t slot_from(uint32_t drawn, int is_used) {
    for (size_t i = 0; i < SLOTS; i++) {
        const size_t slot = (drawn + i) % SLOTS;
        if ((live[slot].at != NULL) == is_used)
            return slot;
    }
    return SLOTS;
}

// ---- correct steps ----

static void step_release(size_t slot, int is_there) {
    look(&live[slot], MARKED_BYTES);
    void *at = live[slot].at;
    forget(slot);
    ask((struct request){.operation = FREE, .at = at}, is_there);
}

static void step_resize(size_t slot, size_t bytes, int is_there) {
    const struct block old = live[slot];
    look(&old, MARKED_BYTES);
    if (bytes == 0)
        bytes = 1; // what realloc to 0 does differs between allocators
    ask((struct request){.operation = REALLOC, .at = old.at, .bytes = bytes}, is_there);
    unsigned char *moved = request.result;
    if (moved == NULL)
        return;
    if (moved != old.at)
        forget(slot);
    live[slot].at = NULL;
    judge_place(moved, bytes, 0);
    const size_t kept = at_most(at_most(old.bytes, bytes), MARKED_BYTES);
    report->phase = ATTACK_PHASE_ADMIT;
    if (!is_all(moved, kept, old.mark))
        found(ATTACK_PRIMITIVE_CHANGED, moved, bytes);
    report->phase = ATTACK_PHASE_HARNESS;
    admit(slot, moved, bytes, 0, 0);
}

static void step_measure(size_t slot, int is_there) {
    ask((struct request){.operation = USABLE, .at = live[slot].at}, is_there);
    // 0: the backend does not know, or has refused and counted it
    if (request.usable != 0 && request.usable < live[slot].bytes)
        found(ATTACK_PRIMITIVE_SHORT, live[slot].at, live[slot].bytes);
}

static void step(enum operation operation, size_t bytes) {
    const uint32_t drawn = draw(SLOTS);
    const int is_there = draw(4) == 0;
    const size_t alignment = (size_t)16 << draw(11);
    const int is_allocation = operation == MALLOC || operation == CALLOC || operation == ALIGNED;
    const size_t slot = slot_from(drawn, !is_allocation);
    if (slot == SLOTS)
        return;
    tell("%5u %s%s slot %zu", report->step, operation_names[operation],
         is_there && has_helper ? " by the other thread" : "", slot);
    if (is_allocation) {
        if (operation == ALIGNED && bytes == 0)
            bytes = 1; // what memalign(n, 0) returns differs between allocators
        ask((struct request){.operation = operation, .bytes = bytes, .alignment = alignment}, is_there);
        tell(", %zu bytes", bytes);
        if (operation == ALIGNED)
            tell(" at a multiple of %zu", alignment);
        tell(": %p\n", request.result);
        admit(slot, request.result, bytes, operation == ALIGNED ? alignment : 0, operation == CALLOC);
        return;
    }
    tell(": %p, %zu bytes\n", (void *)live[slot].at, operation == REALLOC ? bytes : live[slot].bytes);
    if (operation == REALLOC)
        step_resize(slot, bytes, is_there);
    else if (operation == FREE)
        step_release(slot, is_there);
    else
        step_measure(slot, is_there);
}

// ---- the bug ----

static unsigned char own_copy[ATTACK_OWN_BYTES];

static unsigned char *own_block(uint32_t drawn) {
    return now->own + 4096 + 16 * (drawn % 64);
}

// What an attacker would write: sizes with the flags of headers, pointers to his own memory, as they are and as
// "safe linking" mangles them, pointers to blocks, zeros, noise.
static uint64_t draw_word(uintptr_t position) {
    const uint32_t kind = draw(8);
    const uint32_t drawn = draw(1u << 16);
    const uint64_t own = (uintptr_t)own_block(drawn);
    const size_t slot = slot_from(drawn, 1);
    switch (kind) {
    case 0:
        return 0;
    case 1:
        return (16 * (uint64_t)(drawn % 80)) | (drawn >> 8 & 1);
    case 2:
        return own;
    case 3:
        return own ^ position >> 12;
    case 4:
        return slot < SLOTS ? (uintptr_t)live[slot].at : 0;
    case 5:
        return freed_count != 0 ? (uintptr_t)freed[drawn % freed_count].at : 0;
    case 6:
        return drawn * UINT64_C(0x9e3779b97f4a7c15);
    default:
        return drawn;
    }
}

// Writes [at, at + bytes) and writes the live blocks that this reaches anew.
static void write_badly(unsigned char *at, size_t bytes) {
    uint64_t words[WORDS_MOST];
    const uintptr_t from = (uintptr_t)at;
    bytes = at_most(bytes, sizeof words);
    for (size_t i = 0; i < WORDS_MOST && i * 8 < bytes; i++)
        words[i] = draw_word(from + i * 8);
    tell(" writes %zu bytes at %p:", bytes, (void *)at);
    for (size_t i = 0; i < WORDS_MOST && i * 8 < bytes; i++)
        tell(" %#llx", (unsigned long long)words[i]);
    tell("\n");
    report->phase = ATTACK_PHASE_BUG;
    memcpy(at, words, bytes);
    report->phase = ATTACK_PHASE_HARNESS;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!overlaps(&live[i], from, bytes))
            continue;
        tell("      reaches slot %zu\n", i);
        report->reached++;
        fill(&live[i]);
    }
}

static size_t draw_length(void) {
    static const uint16_t lengths[] = {1, 8, 16, 24, 32, 48, 64, 128};
    const uint32_t kind = draw(10);
    const uint32_t other = draw(8 * WORDS_MOST);
    return kind < 8 ? lengths[kind] : 1 + other;
}

// A header as some allocators expect it, before `at` and where the block would end by it.
static void plant_header(unsigned char *at, size_t room_bytes) {
    const size_t bytes = 16 * (size_t)(2 + draw(64));
    const uint64_t header[2] = {0, bytes | draw(4)};
    const uint64_t next[2] = {bytes, 32 | 1};
    memcpy(at - sizeof header, header, sizeof header);
    if (bytes + sizeof next <= room_bytes)
        memcpy(at + bytes - sizeof next, next, sizeof next);
}

static void release_badly(void *at, uint32_t how, size_t bytes, int is_there) {
    tell(" %s%s %p\n", how == 0 ? "reallocates" : "frees", is_there && has_helper ? " by the other thread" : "", at);
    if (how != 0) {
        ask((struct request){.operation = FREE, .at = at}, is_there);
        return;
    }
    ask((struct request){.operation = REALLOC, .at = at, .bytes = bytes + 1}, is_there);
    // A block that a live one is moved to is the program's by now, and so is one that stayed.
    const size_t slot = slot_from(0, 0);
    if (request.result != at && slot < SLOTS)
        admit(slot, request.result, bytes + 1, 0, 0);
}

static int is_live_start(const void *at) {
    for (size_t i = 0; i < SLOTS; i++)
        if (live[i].at == at)
            return 1;
    return 0;
}

static void begin_bug(enum attack_bug bug) {
    tell("%5u BUG %s:", report->step, attack_bug_names[bug]);
    report->bug_step = report->step;
    report->bug = bug;
}

static void *foreign_pointer(uint32_t kind, uint32_t drawn, unsigned char *stack) {
    switch (kind) {
    case 0:
    case 1:
    case 2:
        return own_block(drawn);
    case 3:
        return now->own + (size_t)4096 * (1 + drawn % 2);
    case 4:
        return stack;
    default:
        return (void *)now->heap; // in the program
    }
}

// Returns 0 if the state of the program does not allow it yet.
static int try_bug(enum attack_bug bug) {
    _Alignas(16) unsigned char stack[4096];
    const uint32_t drawn = draw(1u << 16);
    const uint32_t how = draw(6);
    const int is_there = draw(4) == 0;
    const size_t length = draw_length();
    const size_t slot = slot_from(drawn, 1);
    if (bug <= ATTACK_BUG_UNDERFLOW || bug == ATTACK_BUG_INTERIOR) {
        if (slot == SLOTS || (bug == ATTACK_BUG_INTERIOR && live[slot].bytes < 17))
            return 0;
    } else if (bug < ATTACK_BUG_FOREIGN && freed_count == 0) {
        return 0;
    }
    const struct block *block = slot < SLOTS ? &live[slot] : &freed[0];
    // The newest are the likeliest to lie in a cache.
    const struct block *old =
        &freed[(freed_next + FREED - 1 - drawn % (how < 3 ? 4 : FREED) % (freed_count | (freed_count == 0))) % FREED];
    switch (bug) {
    case ATTACK_BUG_OVERFLOW:
        begin_bug(bug);
        write_badly(block->at + block->bytes, length);
        break;
    case ATTACK_BUG_UNDERFLOW:
        begin_bug(bug);
        write_badly(block->at - at_most(length, 64), at_most(length, 64));
        break;
    case ATTACK_BUG_WRITE_AFTER_FREE:
        if (old->bytes == 0)
            return 0;
        begin_bug(bug);
        write_badly(old->at, at_most(length, old->bytes));
        break;
    case ATTACK_BUG_DOUBLE_FREE:
    case ATTACK_BUG_STALE_FREE: // whichever of the two it is
        begin_bug(is_live_start(old->at) ? ATTACK_BUG_STALE_FREE : ATTACK_BUG_DOUBLE_FREE);
        release_badly(old->at, how, old->bytes, is_there);
        break;
    case ATTACK_BUG_INTERIOR: {
        unsigned char *at =
            block->at + (how < 5 ? 16 * (1 + drawn % ((block->bytes - 1) / 16)) : 1 + drawn % (block->bytes - 1));
        static unsigned char copy[2 * MARKED_BYTES];
        const size_t copied_bytes = at_most(block->bytes, sizeof copy);
        if (at - block->at >= 16 && at - block->at < (ptrdiff_t)copied_bytes)
            plant_header(at, copied_bytes - (size_t)(at - block->at));
        memcpy(copy, block->at, copied_bytes);
        begin_bug(bug);
        release_badly(at, how, 16, is_there);
        report->phase = ATTACK_PHASE_LIVE;
        if (memcmp(copy, block->at, copied_bytes) != 0)
            found(ATTACK_PRIMITIVE_CHANGED, block->at, block->bytes);
        fill(block);
        report->phase = ATTACK_PHASE_HARNESS;
        break;
    }
    case ATTACK_BUG_FOREIGN: {
        unsigned char *at = foreign_pointer(draw(6), drawn, stack + 2048);
        begin_bug(bug);
        plant_header(stack + 2048, sizeof stack - 2048);
        plant_header(own_block(drawn), ATTACK_OWN_BYTES / 4);
        memcpy(own_copy, now->own, ATTACK_OWN_BYTES);
        release_badly(at, how, 16, is_there);
        break;
    }
    case ATTACK_BUG_WILD:
        begin_bug(bug);
        release_badly((void *)(uintptr_t)(how < 3 ? 1 + drawn : (1 + drawn) * UINT64_C(0x9e3779b97f4a7c15)), how, 16,
                      is_there);
        break;
    default:
        return 0;
    }
    return 1;
}

// ---- the sequence ----

static int note_image(struct dl_phdr_info *info, size_t bytes, void *unused) {
    (void)bytes;
    (void)unused;
    for (int i = 0; i < info->dlpi_phnum && image_count < IMAGES; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const uintptr_t from = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD)
            images[image_count++] = (struct range){from, from + part->p_memsz};
    }
    return 0;
}

void attack_note_images(void) {
    image_count = 0;
    dl_iterate_phdr(note_image, NULL);
}

static uint64_t rejects(const struct allocator *heap) {
    struct allocator_stats stats = {0};
    if ((heap->capabilities & ALLOCATOR_STATS) == 0)
        return 0;
    heap->stats(&stats);
    uint64_t sum = 0;
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        sum += stats.rejects[reason] != ALLOCATOR_NOT_TOLD ? stats.rejects[reason] : 0;
    return sum;
}

static enum operation draw_operation(void) {
    static const unsigned char shares[] = {40, 8, 4, 10, 34, 4};
    uint32_t drawn = draw(100);
    int operation = MALLOC;
    while (drawn >= shares[operation])
        drawn -= shares[operation++];
    return (enum operation)operation;
}

static enum attack_bug draw_bug(uint32_t bugs) {
    uint32_t count = (uint32_t)__builtin_popcount(bugs);
    uint32_t drawn = draw(count);
    for (int bug = 0; bug < ATTACK_BUG_COUNT; bug++)
        if ((bugs >> bug & 1) != 0 && drawn-- == 0)
            return (enum attack_bug)bug;
    return ATTACK_BUG_NONE;
}

// Measures and frees what is left, whereby an allocator looks at what it keeps beside the blocks.
static void finish(void) {
    report->step++;
    look_at_all(MARKED_BYTES);
    tell("%5u measures and frees all\n", report->step);
    for (size_t i = 0; i < SLOTS; i++)
        if (live[i].at != NULL)
            step_measure(i, 0);
    for (size_t i = 0; i < SLOTS; i++)
        if (live[i].at != NULL)
            step_release(i, 0);
    report->step++;
    tell("%5u purge and audit\n", report->step);
    report->phase = ATTACK_PHASE_ALLOCATOR;
    now->heap->purge();
    const int contradictions = now->heap->verify();
    report->phase = ATTACK_PHASE_HARNESS;
    if (memcmp(own_copy, now->own, ATTACK_OWN_BYTES) != 0)
        found(ATTACK_PRIMITIVE_WRITTEN, now->own, ATTACK_OWN_BYTES);
    if (contradictions != 0)
        found(ATTACK_PRIMITIVE_AUDIT, NULL, (size_t)contradictions);
}

void attack_execute(struct attack_sequence *sequence) {
    now = sequence;
    report = sequence->report;
    report->phase = ATTACK_PHASE_ALLOCATOR;
    const uint64_t rejects_before = rejects(now->heap);
    const enum attack_bug bug = draw_bug(now->bugs);
    const uint32_t steps = 8 + draw(now->most - 7);
    // Of a fuzzer's bytes there are not many: the bug comes early.
    const uint32_t bug_step = 1 + draw(now->source.end == NULL || steps < 16 ? steps : 16);
    const size_t favoured[3] = {draw_size(), draw_size(), draw_size()};
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    if (draw(4) == 0)
        helper_begin();
    tell("bug %s, %u steps, %s\n", attack_bug_names[bug], steps, has_helper ? "two threads" : "one thread");
    enum operation operation = MALLOC;
    size_t bytes = 0;
    uint32_t again = 0;
    int is_done = bug == ATTACK_BUG_NONE;
    for (uint32_t i = 1; i <= steps && !is_drained(); i++) {
        report->step++;
        report->hash = now->source.hash;
        if (!is_done && i >= bug_step) {
            is_done = try_bug(bug);
            look_at_all(is_done ? MARKED_BYTES : LOOKED_BYTES);
            continue;
        }
        if (again != 0) {
            again--;
        } else {
            operation = draw_operation();
            const uint32_t which = draw(4);
            const size_t other = draw_size();
            bytes = which < 3 ? favoured[which] : other;
            // Caches of freed blocks fill and empty in bursts.
            again = draw(8) == 0 && operation != REALLOC ? draw(12) : 0;
        }
        step(operation, bytes);
        if (has_helper && draw(64) == 0) {
            helper_end();
            helper_begin();
        }
        look_at_all(LOOKED_BYTES);
    }
    if (!is_done) { // the bytes are at their end, or the program had no block for it
        report->step++;
        try_bug(bug);
    }
    finish();
    report->is_refused = rejects(now->heap) != rejects_before;
    report->hash = now->source.hash;
    report->is_ended = 1;
    _exit(0);
}
