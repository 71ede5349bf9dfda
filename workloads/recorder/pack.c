// SPDX-License-Identifier: Apache-2.0
// Recording to trace. A recording may be of a killed process or damaged: whatever its bytes say, this stays inside its
// buffers, and calls that make no sense (a free of what was never allocated) are left out and counted. Layer: recorder.
#include "pack.h"

#include "recording.h"

#include "../trace/source.h"
#include "../trace/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_CHUNKS 32 // between two words about progress: 2 MiB

#define DATA_BYTES (RECORDING_CHUNK_BYTES - (uint32_t)sizeof(struct recording_chunk))

struct call {
    enum recording_kind kind;
    uint64_t ticket, address, bytes;
    uint32_t align_bits;
};

struct lane {
    uint32_t *chunks; // their numbers in the file, oldest first
    uint32_t chunk_count, chunk_room, chunk_next;
    uint8_t *data; // the chunk under way and slack
    uint32_t at, used;
    uint64_t ticket, address; // of the call before
    struct call call;         // the next one
    uint32_t resizing;        // slot of the object whose REALLOC_OLD has been, or WRITER_NO_SLOT
    uint64_t resizing_address;
};

// From the address of a live object to its slot: open addressing, power of two, at most half full; address 0: empty.
struct place {
    uint64_t address;
    uint32_t slot;
};

struct pack {
    struct trace_source source;
    struct lane *lanes;
    uint32_t lane_count, lane_room;
    uint32_t *heap; // lanes, that with the lowest ticket first
    uint32_t heap_count;
    struct place *places;
    uint64_t place_room, place_count;
    struct writer *writer;
    struct pack_result *result;
    uint64_t threads, left_out;
    void (*progress)(uint64_t done, uint64_t whole);
    uint64_t chunks_read;
    int is_out_of_memory;
};

// ---- places --------------------------------------------------------------------------------------------------------

static uint64_t home(const struct pack *pack, uint64_t address) {
    return (address * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (pack->place_room - 1);
}

static uint64_t find(const struct pack *pack, uint64_t address) {
    uint64_t i = home(pack, address);
    while (pack->places[i].address != 0 && pack->places[i].address != address)
        i = (i + 1) & (pack->place_room - 1);
    return i;
}

static int grow_places(struct pack *pack) {
    struct place *old = pack->places;
    const uint64_t old_room = pack->place_room;
    pack->place_room = old_room == 0 ? 4096 : old_room * 2;
    pack->places = calloc(pack->place_room, sizeof *pack->places);
    if (pack->places == NULL) {
        pack->places = old;
        pack->place_room = old_room;
        pack->is_out_of_memory = 1;
        return 0;
    }
    for (uint64_t i = 0; i < old_room; i++)
        if (old[i].address != 0)
            pack->places[find(pack, old[i].address)] = old[i];
    free(old);
    return 1;
}

// The slot of the object at an address, which is forgotten; WRITER_NO_SLOT when there is none.
static uint32_t forget(struct pack *pack, uint64_t address) {
    uint64_t hole = find(pack, address);
    if (address == 0 || pack->places[hole].address == 0)
        return WRITER_NO_SLOT;
    const uint32_t slot = pack->places[hole].slot;
    // Moves back what follows, so that no search ends at the hole too early.
    for (uint64_t i = (hole + 1) & (pack->place_room - 1); pack->places[i].address != 0;
         i = (i + 1) & (pack->place_room - 1)) {
        const uint64_t wanted = home(pack, pack->places[i].address);
        if (((i - wanted) & (pack->place_room - 1)) >= ((i - hole) & (pack->place_room - 1))) {
            pack->places[hole] = pack->places[i];
            hole = i;
        }
    }
    pack->places[hole].address = 0;
    pack->place_count--;
    return slot;
}

static void remember(struct pack *pack, uint32_t lane, uint64_t address, uint32_t slot) {
    if (slot == WRITER_NO_SLOT || (pack->place_count * 2 >= pack->place_room && !grow_places(pack)))
        return;
    const uint32_t unseen = forget(pack, address); // its free was not seen, or the address would not be given again
    if (unseen != WRITER_NO_SLOT)
        writer_call(pack->writer, lane, TRACE_FREE, unseen, 0);
    pack->places[find(pack, address)] = (struct place){address, slot};
    pack->place_count++;
}

// ---- reading -------------------------------------------------------------------------------------------------------

static int load_chunk(struct pack *pack, struct lane *lane) {
    struct recording_chunk head;
    if (lane->chunk_next == lane->chunk_count)
        return 0;
    const uint64_t offset = (uint64_t)lane->chunks[lane->chunk_next++] * RECORDING_CHUNK_BYTES;
    if (lane->data == NULL) {
        lane->data = calloc(1, DATA_BYTES + RECORDING_EVENT_BYTES);
        pack->is_out_of_memory |= lane->data == NULL;
    }
    lane->at = lane->used = 0;
    lane->ticket = lane->address = 0;
    if (pack->progress != NULL && ++pack->chunks_read % PROGRESS_CHUNKS == 0)
        pack->progress(pack->chunks_read * RECORDING_CHUNK_BYTES, pack->source.bytes);
    if (lane->data == NULL || pack->source.read(&pack->source, offset, &head, sizeof head) != (int64_t)sizeof head)
        return 0;
    const uint32_t used = atomic_load_explicit(&head.used, memory_order_relaxed);
    const int64_t got = pack->source.read(&pack->source, offset + sizeof head, lane->data, DATA_BYTES);
    lane->used = used <= DATA_BYTES && got >= (int64_t)used ? used : 0;
    return 1;
}

// The lane's next call into lane->call. 0: it has no more.
static int read_call(struct pack *pack, struct lane *lane) {
    for (;;) {
        while (lane->at >= lane->used)
            if (!load_chunk(pack, lane))
                return 0;
        const uint8_t *at = lane->data + lane->at;
        struct call *call = &lane->call;
        uint64_t value = 0;
        call->kind = (enum recording_kind) * at++;
        if (call->kind >= RECORDING_THREAD) {
            pack->threads += call->kind == RECORDING_THREAD;
            pack->left_out += call->kind == RECORDING_LEFT_OUT;
            pack->result->calls += call->kind == RECORDING_LEFT_OUT;
            lane->at++;
            continue;
        }
        at = trace_get_varint(at, &value);
        call->ticket = lane->ticket += value;
        at = trace_get_varint(at, &value);
        lane->address += (uint64_t)trace_unzigzag(value);
        call->address = lane->address << 3;
        call->align_bits = 0;
        call->bytes = 0;
        if (call->kind == RECORDING_ALIGNED)
            call->align_bits = *at++;
        if (call->kind <= RECORDING_ALIGNED || call->kind == RECORDING_REALLOC_NEW)
            at = trace_get_varint(at, &call->bytes);
        lane->at = (uint32_t)(at - lane->data);
        if (lane->at <= lane->used) {
            pack->result->calls += call->kind != RECORDING_REALLOC_OLD;
            return 1;
        }
    }
}

static struct lane *lane_at(struct pack *pack, uint32_t index) {
    if (index >= pack->lane_room) {
        const uint32_t room = index < 64 ? 64 : index * 2;
        struct lane *lanes = realloc(pack->lanes, room * sizeof *lanes);
        if (lanes == NULL)
            return NULL;
        memset(lanes + pack->lane_room, 0, (room - pack->lane_room) * sizeof *lanes);
        pack->lanes = lanes;
        pack->lane_room = room;
    }
    pack->lane_count = index >= pack->lane_count ? index + 1 : pack->lane_count;
    return &pack->lanes[index];
}

static int add_chunk(struct lane *lane, uint32_t number) {
    if (lane->chunk_count == lane->chunk_room) {
        const uint32_t room = lane->chunk_room == 0 ? 16 : lane->chunk_room * 2;
        uint32_t *chunks = realloc(lane->chunks, room * sizeof *chunks);
        if (chunks == NULL)
            return 0;
        lane->chunks = chunks;
        lane->chunk_room = room;
    }
    lane->chunks[lane->chunk_count++] = number;
    return 1;
}

// Which chunks each lane has, in the order in which it got them: that of the file.
static const char *index_chunks(struct pack *pack) {
    for (uint64_t number = 1; (number + 1) * RECORDING_CHUNK_BYTES <= pack->source.bytes; number++) {
        struct recording_chunk head;
        if (pack->source.read(&pack->source, number * RECORDING_CHUNK_BYTES, &head, sizeof head) !=
            (int64_t)sizeof head)
            return "cannot be read";
        if (head.magic != RECORDING_MAGIC || head.lane >= RECORDING_LANES_MAX)
            continue; // reserved, not used
        struct lane *lane = lane_at(pack, head.lane);
        if (lane == NULL || !add_chunk(lane, (uint32_t)number))
            return "more than there is memory for";
    }
    return NULL;
}

// ---- merging -------------------------------------------------------------------------------------------------------

static uint64_t ticket_at(const struct pack *pack, uint32_t position) {
    return pack->lanes[pack->heap[position]].call.ticket;
}

static void sink(struct pack *pack, uint32_t position) {
    for (;;) {
        uint32_t least = position;
        for (uint32_t child = 2 * position + 1; child <= 2 * position + 2 && child < pack->heap_count; child++)
            least = ticket_at(pack, child) < ticket_at(pack, least) ? child : least;
        if (least == position)
            return;
        const uint32_t lane = pack->heap[position];
        pack->heap[position] = pack->heap[least];
        pack->heap[least] = lane;
        position = least;
    }
}

static int fits(const struct call *call) {
    return call->bytes <= TRACE_SIZE_MAX && call->align_bits <= TRACE_ALIGN_BITS_MAX;
}

static void birth(struct pack *pack, uint32_t index, enum trace_kind kind, const struct call *call) {
    if (call->address == 0 || !fits(call)) {
        pack->left_out++;
        return;
    }
    remember(pack, index, call->address, writer_birth(pack->writer, index, kind, call->bytes, call->align_bits));
}

static void finish_resize(struct pack *pack, struct lane *lane, uint32_t index, const struct call *call) {
    const uint32_t slot = lane->resizing;
    lane->resizing = WRITER_NO_SLOT;
    if (slot == WRITER_NO_SLOT) {
        birth(pack, index, TRACE_REALLOC_NULL, call);
    } else if (call->bytes == 0 || !fits(call)) { // realloc(p, 0) frees here and keeps there: a free is what it meant
        writer_call(pack->writer, index, TRACE_FREE, slot, 0);
        if (call->address != 0)
            birth(pack, index, TRACE_MALLOC, call);
    } else if (call->address == 0) {
        pack->left_out++;
        remember(pack, index, lane->resizing_address, slot);
    } else {
        writer_call(pack->writer, index, TRACE_REALLOC, slot, call->bytes);
        remember(pack, index, call->address, slot);
    }
}

static void play(struct pack *pack, struct lane *lane, uint32_t index) {
    const struct call *call = &lane->call;
    uint32_t slot = WRITER_NO_SLOT;
    switch (call->kind) {
    case RECORDING_MALLOC:
        birth(pack, index, TRACE_MALLOC, call);
        break;
    case RECORDING_CALLOC:
        birth(pack, index, TRACE_CALLOC, call);
        break;
    case RECORDING_ALIGNED:
        birth(pack, index, TRACE_ALIGNED, call);
        break;
    case RECORDING_REALLOC_OLD:
        lane->resizing = forget(pack, call->address);
        lane->resizing_address = call->address;
        break;
    case RECORDING_REALLOC_NEW:
        finish_resize(pack, lane, index, call);
        break;
    case RECORDING_FREE:
        slot = forget(pack, call->address);
        pack->left_out += slot == WRITER_NO_SLOT;
        if (slot != WRITER_NO_SLOT)
            writer_call(pack->writer, index, TRACE_FREE, slot, 0);
        break;
    case RECORDING_USABLE:
        slot = pack->places[find(pack, call->address)].slot;
        if (pack->places[find(pack, call->address)].address != 0)
            writer_call(pack->writer, index, TRACE_USABLE, slot, 0);
        break;
    default:
        break;
    }
}

static const char *merge(struct pack *pack) {
    pack->heap = malloc((pack->lane_count + 1) * sizeof *pack->heap);
    if (pack->heap == NULL || !grow_places(pack))
        return "more than there is memory for";
    for (uint32_t i = 0; i < pack->lane_count; i++) {
        pack->lanes[i].resizing = WRITER_NO_SLOT;
        if (read_call(pack, &pack->lanes[i]))
            pack->heap[pack->heap_count++] = i;
    }
    for (uint32_t i = pack->heap_count; i-- > 0;)
        sink(pack, i);
    while (pack->heap_count != 0 && !pack->is_out_of_memory) {
        struct lane *lane = &pack->lanes[pack->heap[0]];
        play(pack, lane, pack->heap[0] % TRACE_LANES_MAX);
        if (!read_call(pack, lane))
            pack->heap[0] = pack->heap[--pack->heap_count];
        sink(pack, 0);
    }
    return pack->is_out_of_memory ? "more than there is memory for" : NULL;
}

static const char *read_head(struct pack *pack) {
    struct recording_head head;
    if (pack->source.read(&pack->source, 0, &head, sizeof head) != (int64_t)sizeof head ||
        head.magic != RECORDING_MAGIC || head.chunk_bytes != RECORDING_CHUNK_BYTES)
        return "not a recording of this build's libhzrecord.so";
    struct pack_result *result = pack->result;
    result->is_ended = atomic_load_explicit(&head.is_ended, memory_order_relaxed);
    result->is_full = atomic_load_explicit(&head.is_full, memory_order_relaxed);
    const uint64_t timed = atomic_load_explicit(&head.timed, memory_order_relaxed);
    const uint64_t timed_ns = atomic_load_explicit(&head.timed_ns, memory_order_relaxed);
    result->call_ns = timed != 0 ? (double)timed_ns / (double)timed : 0;
    memcpy(result->header.program, head.program, TRACE_PROGRAM_BYTES);
    return NULL;
}

static void forget_all(struct pack *pack) {
    for (uint32_t i = 0; i < pack->lane_room; i++) {
        free(pack->lanes[i].chunks);
        free(pack->lanes[i].data);
    }
    free(pack->lanes);
    free(pack->heap);
    free(pack->places);
    trace_source_close(&pack->source);
}

int pack_recording(const char *from, const char *to, int is_compressed, void (*progress)(uint64_t done, uint64_t whole),
                   struct pack_result *result, char *why, size_t why_bytes) {
    struct pack pack = {.result = result, .progress = progress};
    memset(result, 0, sizeof *result);
    if (!trace_source_open(&pack.source, from, why, why_bytes))
        return 0;
    const char *what = read_head(&pack);
    what = what != NULL ? what : index_chunks(&pack);
    FILE *file = what == NULL ? fopen(to, "w+b") : NULL;
    int is_written = 0;
    if (what != NULL) {
        snprintf(why, why_bytes, "%s: %s - record it again", from, what);
    } else if (file == NULL) {
        snprintf(why, why_bytes, "%s: %s - give another file", to, strerror(errno));
    } else {
        const uint32_t lanes = pack.lane_count < 1                 ? 1
                               : pack.lane_count > TRACE_LANES_MAX ? TRACE_LANES_MAX
                                                                   : pack.lane_count;
        pack.writer = writer_begin(file, lanes, is_compressed);
        what = pack.writer == NULL ? "more than there is memory for" : merge(&pack);
        result->header.threads = pack.threads;
        result->header.left_out = pack.left_out;
        is_written = pack.writer != NULL && writer_finish(pack.writer, &result->header, why, why_bytes);
        if (what != NULL) {
            snprintf(why, why_bytes, "%s: %s - record a smaller load", from, what);
            is_written = 0;
        }
    }
    if (file != NULL && fclose(file) != 0 && is_written) {
        snprintf(why, why_bytes, "%s: %s - give another file", to, strerror(errno));
        is_written = 0;
    }
    if (file != NULL && !is_written)
        remove(to);
    forget_all(&pack);
    return is_written;
}
