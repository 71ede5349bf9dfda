// SPDX-License-Identifier: Apache-2.0
// `trace:FILE`: replays what hzrun --record has recorded of a program. Each lane of the trace (a thread, or threads one
// after another) is replayed by one thread; with fewer threads each replays several lanes, with a multiple of the lanes
// the program runs several times side by side. Objects keep their sizes, alignments and order: an event waits for the
// events that came before it in the program, and no lane runs more than two frames ahead of another.
// The trace is read from its file a frame at a time, by the replaying thread that needs it, into harness memory of a
// fixed size: the cost is the same for all allocators and part of null's row. Layer: workloads.
#include "core.h"
#include "registry.h"
#include "trace/reader.h"
#include "trace/walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PUBLISH_EVERY 32u // events between two looks at the stop flag and publications of live bytes
#define LINE_BYTES 128u
#define PAGE_BYTES 4096u

struct slot { // an object; changed by whose turn it is
    unsigned char *block;
    uint64_t bytes : TRACE_SIZE_BITS;
    uint64_t owner : 16; // thread of the replay that allocated or last resized it
    uint64_t payload : 8;
};

// owner: the lane's thread, but for `done`.
struct lane {
    _Alignas(LINE_BYTES) _Atomic uint64_t done; // any reads: events replayed
    uint64_t events;                            // replayed: the owner's `done`
    uint64_t frame;                             // the frame under way, from 0
    struct trace_cursor cursor;
    uint64_t hash;
    uint64_t wanted; // events of `other` that must be done first; 0: none
    uint32_t other;
    uint32_t is_inside; // `frame` is under way
    uint32_t is_over;
};

struct frame {
    struct trace_frame frame;
    uint64_t starts[TRACE_LANES_MAX]; // events of each lane before this frame
    _Atomic uint32_t finished;        // lanes that are done with it
};

// The program once. Frame k lies in frames[k % 2]; the lane that finishes it last reads frame k + 2 in its place.
struct copy {
    struct trace_reader reader;
    struct frame *frames;
    struct slot *slots;
    struct lane *lanes;
    uint32_t first_thread;
    _Alignas(LINE_BYTES) _Atomic uint64_t loaded; // frames that are or were in memory
    _Atomic uint64_t end;                         // their number, once known
};

struct replay {
    struct copy *copies;
    uint32_t copy_count, lanes;
    struct trace_source source;
};

// What a thread counts; locals of the loop while it runs.
struct account {
    uint64_t allocated_bytes, freed_bytes;
    uint64_t allocs, frees_local, frees_remote, corruptions, failures, waits;
};

// ---- the file ------------------------------------------------------------------------------------------------------

// Reads the header, or remembers it from the last call for the same file.
static int header_of(const struct workload_params *params, struct trace_header *header, char *why, size_t why_bytes) {
    static char known[WORKLOAD_INPUT_BYTES];
    static struct trace_header known_header;
    static _Alignas(64) unsigned char memory[512 << 10];
    if (strcmp(known, params->input) == 0) {
        *header = known_header;
        return 1;
    }
    struct trace_source source;
    struct trace_reader reader;
    char what[200];
    if (trace_reader_memory_bytes() > sizeof memory)
        return registry_refuse(why, why_bytes, "trace: this libzstd wants more memory than is set aside for it");
    if (!trace_source_open(&source, params->input, what, sizeof what))
        return registry_refuse(why, why_bytes, "workload 'trace': %s", what);
    const int is_read = trace_reader_begin(&reader, &source, memory, what, sizeof what);
    trace_source_close(&source);
    if (!is_read)
        return registry_refuse(why, why_bytes, "workload 'trace': %s: %s", params->input, what);
    memcpy(known, params->input, sizeof known);
    known_header = *header = reader.header;
    return 1;
}

static int check_input(const struct workload_params *params, char *why, size_t why_bytes) {
    struct trace_source source;
    struct trace_header header;
    struct walk_totals totals;
    char what[200];
    if (!trace_source_open(&source, params->input, what, sizeof what))
        return registry_refuse(why, why_bytes, "workload 'trace': %s", what);
    const enum trace_result result = walk_trace(&source, &header, &totals, NULL, what, sizeof what);
    trace_source_close(&source);
    why[0] = '\0';
    if (result != TRACE_BAD && totals.objects == 0) {
        return registry_refuse(why, why_bytes, "workload 'trace': %s: no allocation in it%s - record a longer run",
                               params->input, result == TRACE_CUT ? ", for it is cut off" : "");
    }
    if (result != TRACE_END)
        registry_refuse(why, why_bytes, "workload 'trace': %s: %s", params->input, what);
    return result != TRACE_BAD;
}

static uint32_t own_threads(const struct workload_params *params) {
    struct trace_header header;
    char ignored[256];
    return header_of(params, &header, ignored, sizeof ignored) ? header.lanes : 1;
}

static uint32_t copies_of(const struct workload_params *params, const struct trace_header *header) {
    return params->threads <= header->lanes ? 1 : params->threads / header->lanes;
}

static int complete(struct workload_params *params, char *why, size_t why_bytes) {
    struct trace_header header;
    if (!header_of(params, &header, why, why_bytes))
        return 0;
    if (params->threads > header.lanes && params->threads % header.lanes != 0) {
        return registry_refuse(why, why_bytes,
                               "workload 'trace': %s has %" PRIu32 " lanes: 1 to %" PRIu32
                               " threads replay it, or a multiple of %" PRIu32 " several copies (got --threads=%" PRIu32
                               ")",
                               params->input, header.lanes, header.lanes, header.lanes, params->threads);
    }
    return 1;
}

// The thread with the most.
static uint64_t derived_ops(const struct workload_params *params) {
    struct trace_header header = {.lanes = 1}; // `complete` has read the file's
    char ignored[256];
    header_of(params, &header, ignored, sizeof ignored);
    return (header.objects * copies_of(params, &header) + params->threads - 1) / params->threads;
}

// ---- memory --------------------------------------------------------------------------------------------------------

// A bump pointer that only counts while there is no memory.
static void *take(unsigned char **base, uint64_t *used, uint64_t bytes) {
    void *start = *base == NULL ? NULL : *base + *used;
    *used += (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
    return start;
}

static uint64_t lay_out(const struct workload_params *params, const struct trace_header *header, unsigned char *base,
                        unsigned char **reading) {
    uint64_t used = 0;
    const uint32_t copy_count = copies_of(params, header);
    struct replay *replay = take(&base, &used, sizeof *replay);
    struct copy *copies = take(&base, &used, copy_count * sizeof *copies);
    if (base != NULL)
        *replay = (struct replay){.copies = copies, .copy_count = copy_count, .lanes = header->lanes};
    for (uint32_t i = 0; i < copy_count; i++) {
        struct frame *frames = take(&base, &used, 2 * sizeof *frames);
        struct lane *lanes = take(&base, &used, header->lanes * sizeof *lanes);
        struct slot *slots = take(&base, &used, header->slots * sizeof *slots);
        unsigned char *memory = take(&base, &used, trace_reader_memory_bytes());
        if (base != NULL) {
            copies[i].frames = frames;
            copies[i].lanes = lanes;
            copies[i].slots = slots;
            copies[i].first_thread = i * header->lanes;
            reading[i] = memory;
        }
    }
    return used;
}

static uint64_t memory_bytes(const struct workload_params *params) {
    struct trace_header header;
    char ignored[256];
    return header_of(params, &header, ignored, sizeof ignored) ? lay_out(params, &header, NULL, NULL) : 0;
}

// ---- frames --------------------------------------------------------------------------------------------------------

// Reads the next frame; by one thread at a time. A file that is damaged now was not when the runner checked it.
static void load(struct workload_run *run, struct copy *copy, uint32_t lanes) {
    const uint64_t number = atomic_load_explicit(&copy->loaded, memory_order_relaxed);
    if (atomic_load_explicit(&copy->end, memory_order_relaxed) != UINT64_MAX)
        return; // both of the last frames' ends ask for more
    struct frame *frame = &copy->frames[number % 2];
    const struct frame *before = &copy->frames[(number + 1) % 2];
    char what[200];
    const enum trace_result result = trace_reader_next(&copy->reader, &frame->frame, what, sizeof what);
    if (result == TRACE_BAD) {
        snprintf(run->trouble, sizeof run->trouble, "%s: %s", run->params.input, what);
        atomic_store_explicit(&run->stop, 1, memory_order_relaxed);
    }
    if (result != TRACE_FRAME) {
        atomic_store_explicit(&copy->end, number, memory_order_relaxed);
    } else {
        for (uint32_t i = 0; i < lanes; i++)
            frame->starts[i] = number == 0 ? 0 : before->starts[i] + before->frame.parts[i].events;
        atomic_store_explicit(&frame->finished, 0, memory_order_relaxed);
    }
    // ORDER: release publishes the frame, or the end, to the acquire in enter.
    atomic_store_explicit(&copy->loaded, number + 1, memory_order_release);
}

// 0: the frame is not there yet, or there is none any more.
static int enter(struct copy *copy, struct lane *lane, uint32_t index) {
    // ORDER: acquire pairs with the release in load.
    if (atomic_load_explicit(&copy->loaded, memory_order_acquire) <= lane->frame)
        return 0;
    if (lane->frame >= atomic_load_explicit(&copy->end, memory_order_relaxed)) {
        lane->is_over = 1;
        return 0;
    }
    const struct trace_part *part = &copy->frames[lane->frame % 2].frame.parts[index];
    lane->cursor = (struct trace_cursor){part->at, part->end, 0};
    lane->is_inside = 1;
    return 1;
}

static void leave(struct workload_run *run, struct copy *copy, struct lane *lane, uint32_t lanes) {
    struct frame *frame = &copy->frames[lane->frame % 2];
    lane->is_inside = 0;
    lane->frame++;
    // ORDER: acq_rel: who comes last has seen all others out of the frame before it reads another one into its place.
    if (atomic_fetch_add_explicit(&frame->finished, 1, memory_order_acq_rel) + 1 == lanes)
        load(run, copy, lanes);
}

static void prepare(struct workload_run *run) {
    struct trace_header header;
    unsigned char *reading[CORE_CHUNK * 4];
    char what[200];
    if (!header_of(&run->params, &header, run->trouble, sizeof run->trouble))
        return;
    lay_out(&run->params, &header, run->memory, reading);
    struct replay *replay = run->memory;
    if (!trace_source_open(&replay->source, run->params.input, run->trouble, sizeof run->trouble))
        return;
    for (uint32_t i = 0; i < replay->copy_count; i++) {
        struct copy *copy = &replay->copies[i];
        atomic_store_explicit(&copy->end, UINT64_MAX, memory_order_relaxed);
        if (!trace_reader_begin(&copy->reader, &replay->source, reading[i], what, sizeof what)) {
            snprintf(run->trouble, sizeof run->trouble, "%s: %s", run->params.input, what);
            return;
        }
        for (uint32_t k = 0; k < replay->lanes; k++)
            copy->lanes[k].hash = rng_mix(k + 1);
        load(run, copy, replay->lanes);
        load(run, copy, replay->lanes);
    }
}

// ---- events --------------------------------------------------------------------------------------------------------

OBJECT_INLINE void fill(const struct slot *slot, enum workload_touch touch) {
    if (slot->bytes == 0)
        return;
    if (touch == TOUCH_ENDS) {
        slot->block[0] = (unsigned char)slot->payload;
        slot->block[slot->bytes - 1] = (unsigned char)slot->payload;
    } else if (touch == TOUCH_ALL) {
        memset(slot->block, (int)slot->payload, slot->bytes);
    }
}

// 1 when a touched byte is wrong: of the first `bytes`, or with ends only the first and, if `with_last`, the last.
OBJECT_INLINE uint32_t is_bad(const unsigned char *block, uint64_t bytes, uint32_t with_last, unsigned char payload,
                              enum workload_touch touch, uint8_t mask) {
    unsigned char differs = 0;
    if (bytes == 0 || touch == TOUCH_NONE)
        return 0;
    if (touch == TOUCH_ENDS)
        differs = (block[0] ^ payload) | (with_last ? block[bytes - 1] ^ payload : 0);
    else
        for (uint64_t i = 0; i < bytes; i++)
            differs |= block[i] ^ payload;
    return (differs & mask) != 0;
}

OBJECT_INLINE unsigned char *allocate(const struct workload_run *run, const struct trace_event *event,
                                      struct account *account, enum workload_touch touch) {
    const struct allocator *allocator = &run->allocator;
    unsigned char *block = NULL;
    if (event->kind == TRACE_CALLOC) {
        block = allocator->calloc(1, event->bytes);
        account->corruptions += block != NULL && is_bad(block, event->bytes, 1, 0, touch, run->payload_mask);
    } else if (event->kind == TRACE_ALIGNED && (allocator->capabilities & ALLOCATOR_ALIGNED)) {
        block = allocator->alloc_aligned((size_t)1 << event->align_bits, event->bytes);
        const uint64_t wrong = (uintptr_t)block & (((uint64_t)1 << event->align_bits) - 1);
        account->corruptions += wrong != 0 && run->payload_mask != 0;
    } else if (event->kind == TRACE_REALLOC_NULL) {
        block = allocator->realloc(NULL, event->bytes);
    } else {
        block = allocator->alloc(event->bytes);
    }
    return block;
}

// Replays one event. 0: the allocator has no memory.
OBJECT_INLINE int play(const struct workload_run *run, uint32_t thread, struct slot *slots, struct lane *lane,
                       const struct trace_event *event, struct account *account, enum workload_touch touch) {
    struct slot *slot = &slots[event->slot];
    const uint64_t bytes = event->kind <= TRACE_REALLOC ? event->bytes : 0;
    lane->hash =
        rng_rotl(lane->hash ^ (bytes ^ (uint64_t)event->slot << 32 ^ (uint64_t)event->kind << 58), 29) * RNG_GAMMA;
    if (event->kind <= TRACE_REALLOC_NULL) {
        slot->block = allocate(run, event, account, touch);
        if (__builtin_expect(slot->block == NULL, 0) && bytes != 0) // malloc(0) may give NULL
            return 0;
        slot->bytes = bytes & TRACE_SIZE_MAX;
        slot->owner = thread & 0xffff;
        slot->payload = lane->hash & 0xff;
        if (slot->block != NULL)
            fill(slot, touch);
        account->allocated_bytes += bytes;
        account->allocs++;
        return 1;
    }
    if (event->kind == TRACE_USABLE) {
        const size_t usable = slot->block != NULL ? run->allocator.usable_size(slot->block) : 0;
        account->corruptions += usable != 0 && usable < slot->bytes; // 0: it cannot tell
        return 1;
    }
    const uint64_t old_bytes = slot->bytes;
    const unsigned char payload = (unsigned char)slot->payload;
    if (slot->block != NULL)
        account->corruptions += is_bad(slot->block, old_bytes, 1, payload, touch, run->payload_mask);
    if (event->kind == TRACE_FREE) {
        account->freed_bytes += old_bytes;
        run->allocator.free(slot->block);
        slot->block = NULL;
        account->frees_local += slot->owner == thread;
        account->frees_remote += slot->owner != thread;
        return 1;
    }
    unsigned char *block = run->allocator.realloc(slot->block, bytes);
    if (__builtin_expect(block == NULL, 0))
        return 0;
    account->allocated_bytes += bytes;
    account->freed_bytes += old_bytes;
    const uint64_t kept = bytes < old_bytes ? bytes : old_bytes;
    account->corruptions += is_bad(block, kept, bytes >= old_bytes, payload, touch, run->payload_mask);
    slot->block = block;
    slot->bytes = bytes & TRACE_SIZE_MAX;
    slot->owner = thread & 0xffff;
    fill(slot, touch);
    return 1;
}

static void publish(struct workload_counters *counters, const struct account *account) {
    atomic_store_explicit(&counters->allocated_bytes, account->allocated_bytes, memory_order_relaxed);
    atomic_store_explicit(&counters->freed_bytes, account->freed_bytes, memory_order_relaxed);
    atomic_store_explicit(&counters->allocs, account->allocs, memory_order_relaxed);
    atomic_store_explicit(&counters->frees_local, account->frees_local, memory_order_relaxed);
    atomic_store_explicit(&counters->frees_remote, account->frees_remote, memory_order_relaxed);
    atomic_store_explicit(&counters->corruptions, account->corruptions, memory_order_relaxed);
    atomic_store_explicit(&counters->failures, account->failures, memory_order_relaxed);
    atomic_store_explicit(&counters->waits, account->waits, memory_order_relaxed);
}

// A lane that waits looks here. 0: it still waits.
OBJECT_INLINE int may_go_on(const struct copy *copy, struct lane *lane) {
    if (lane->wanted != 0) {
        // ORDER: acquire pairs with the release in step: the other lane's event and what it did to the slot.
        if (atomic_load_explicit(&copy->lanes[lane->other].done, memory_order_acquire) < lane->wanted)
            return 0;
        lane->wanted = 0;
    }
    return 1;
}

enum step { STEP_WAITS, STEP_PAUSE, STEP_STOP };

// Replays a lane until it has to wait (or is over), has done its chunk, or everything stops.
OBJECT_INLINE enum step step(struct workload_run *run, uint32_t thread, struct copy *copy, uint32_t index,
                             struct account *account, enum workload_touch touch) {
    const uint32_t lanes = ((const struct replay *)run->memory)->lanes;
    const uint64_t slot_count = copy->reader.header.slots;
    struct lane *lane = &copy->lanes[index];
    struct trace_event event = {0};
    for (uint32_t i = 0; i < PUBLISH_EVERY; i++) {
        if (!lane->is_inside && !enter(copy, lane, index))
            return STEP_WAITS;
        if (!may_go_on(copy, lane))
            return STEP_WAITS;
        if (!trace_next(&lane->cursor, &event)) {
            leave(run, copy, lane, lanes);
            continue;
        }
        if (event.kind == TRACE_ORDER) {
            const struct frame *frame = &copy->frames[lane->frame % 2];
            lane->other = event.slot < lanes ? event.slot : index;
            lane->wanted = frame->starts[lane->other] + (uint64_t)event.position;
            continue;
        }
        // The runner has checked every event; a file changed since then must still not lead out of the table.
        if (event.slot >= slot_count)
            return STEP_STOP;
        if (!play(run, thread, copy->slots, lane, &event, account, touch)) {
            account->failures++;
            return STEP_STOP;
        }
        lane->events++;
        // ORDER: release publishes the event to lanes that wait for it in may_go_on.
        atomic_store_explicit(&lane->done, lane->events, memory_order_release);
    }
    return STEP_PAUSE;
}

// Lanes of a thread: index, index + threads, ... of one copy.
OBJECT_INLINE void replay_lanes(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    const struct replay *replay = run->memory;
    struct copy *copy = &replay->copies[replay->copy_count > 1 ? thread / replay->lanes : 0];
    const uint32_t stride = replay->copy_count > 1 ? replay->lanes : run->params.threads;
    const uint32_t first = thread - copy->first_thread;
    struct account account = {0};
    uint32_t spins = 0;
    uint32_t was_waiting = 0;
    for (;;) {
        uint32_t open = 0;
        uint32_t moved = 0;
        for (uint32_t i = first; i < replay->lanes; i += stride) {
            if (copy->lanes[i].is_over)
                continue;
            const uint64_t before = copy->lanes[i].events;
            const enum step result = step(run, thread, copy, i, &account, touch);
            if (result == STEP_STOP)
                atomic_store_explicit(&run->stop, 1, memory_order_relaxed);
            open += !copy->lanes[i].is_over;
            moved += result == STEP_PAUSE || copy->lanes[i].events != before;
        }
        publish(&run->counters[thread], &account);
        if (open == 0 || core_stopped(run))
            break;
        if (moved != 0) {
            spins = 0;
            was_waiting = 0;
        } else {
            account.waits += !was_waiting;
            was_waiting = 1;
            core_pause(run, &spins);
        }
    }
    uint64_t hash = rng_mix(thread + 1);
    for (uint32_t i = first; i < replay->lanes; i += stride)
        hash = rng_rotl(hash ^ copy->lanes[i].hash, 29) * RNG_GAMMA;
    publish(&run->counters[thread], &account);
    atomic_store_explicit(&run->counters[thread].stream_hash, hash, memory_order_relaxed);
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, replay_lanes, run, thread);
}

// What the program had not freed, by the thread that had allocated it.
static void tear_down(struct workload_run *run, uint32_t thread) {
    const struct replay *replay = run->memory;
    struct copy *copy = &replay->copies[replay->copy_count > 1 ? thread / replay->lanes : 0];
    struct workload_counters *counters = &run->counters[thread];
    uint64_t freed_bytes = atomic_load_explicit(&counters->freed_bytes, memory_order_relaxed);
    uint64_t corruptions = 0;
    for (uint64_t i = 0; i < copy->reader.header.slots; i++) {
        struct slot *slot = &copy->slots[i];
        if (slot->block == NULL || slot->owner != thread)
            continue;
        corruptions += run->params.touch == TOUCH_ALL
                           ? is_bad(slot->block, slot->bytes, 1, slot->payload & 0xff, TOUCH_ALL, run->payload_mask)
                       : run->params.touch == TOUCH_ENDS
                           ? is_bad(slot->block, slot->bytes, 1, slot->payload & 0xff, TOUCH_ENDS, run->payload_mask)
                           : 0;
        freed_bytes += slot->bytes;
        run->allocator.free(slot->block);
        slot->block = NULL;
        atomic_store_explicit(&counters->freed_bytes, freed_bytes, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&counters->corruptions, corruptions, memory_order_relaxed);
}

const struct workload trace_workload = {
    .name = "trace",
    .summary = "trace:FILE replays the allocations of a recorded program, with its threads or others",
    .source = "a recording by hzrun --record; docs/traces.md",
    .min_threads = 1,
    .defaults = {.touch = TOUCH_ENDS, .ops = REGISTRY_UNSET64, .min_bytes = 1, .max_bytes = 1}, // sizes are the trace's
    .used_params = WORKLOAD_USES_INPUT,
    .check_input = check_input,
    .own_threads = own_threads,
    .complete = complete,
    .derived_ops = derived_ops,
    .derived_from = "the file",
    .memory_bytes = memory_bytes,
    .prepare = prepare,
    .measured = measured,
    .tear_down = tear_down,
};
