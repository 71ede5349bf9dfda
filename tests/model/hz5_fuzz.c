// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: bytes become operations on hz5's table, checked against a shadow of what is live. Misuse is part of
// the input: every refusal is predicted and counted. Layer: test; linked with the allocator's sources under other
// names.
#include "../../allocators/allocator.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 64

extern const struct allocator hzbench_allocator;
void hz_test_free_sized(void *block, size_t bytes); // renamed by support/rename_malloc.h
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct shadow {
    unsigned char *at;
    size_t bytes;
    unsigned char mark;
};

static struct shadow live[SLOTS];
static uint64_t expected_rejects;

static void wrong(const char *what, uint64_t value) {
    fprintf(stderr, "hz5_fuzz: %s (%llu)\n", what, (unsigned long long)value);
    abort();
}

static uint64_t rejects(void) {
    struct allocator_stats stats;
    hzbench_allocator.verify(); // the audit: what it finds is counted
    hzbench_allocator.stats(&stats);
    uint64_t sum = 0;
    for (int reason = 0; reason < ALLOCATOR_REJECT_COUNT; reason++)
        sum += stats.rejects[reason];
    return sum;
}

static void mark(struct shadow *slot, size_t from) {
    size_t part = slot->bytes < 4096 ? slot->bytes : 4096;
    if (from < part)
        memset(slot->at + from, slot->mark, part - from);
    if (slot->bytes > 0)
        slot->at[slot->bytes - 1] = slot->mark;
}

static void check(const struct shadow *slot, size_t bytes, int last) {
    size_t part = bytes < 4096 ? bytes : 4096;
    for (size_t i = 0; i < part; i++)
        if (slot->at[i] != slot->mark)
            wrong("a live block changed at byte", i);
    if (last && bytes > 0 && slot->at[bytes - 1] != slot->mark)
        wrong("a live block changed at its end", bytes);
}

static void admit(struct shadow *slot, void *at, size_t bytes, unsigned char seed) {
    for (size_t i = 0; i < SLOTS; i++) {
        const struct shadow *other = &live[i];
        if (other != slot && other->at != NULL && at != NULL && (uintptr_t)other->at < (uintptr_t)at + bytes &&
            (uintptr_t)at < (uintptr_t)other->at + other->bytes)
            wrong("two live blocks overlap", bytes);
    }
    if (at != NULL && hzbench_allocator.usable_size(at) < bytes)
        wrong("usable size is below the request", bytes);
    if (at != NULL && hzbench_allocator.owns(at) != 1)
        wrong("owns() denies a live block", bytes);
    *slot = (struct shadow){at, at != NULL ? bytes : 0, seed};
}

static void release(struct shadow *slot) {
    if (slot->at == NULL)
        return;
    check(slot, slot->bytes, 1);
    hzbench_allocator.free(slot->at);
    slot->at = NULL;
}

static void *free_there(void *at) {
    hzbench_allocator.free(at);
    return NULL;
}

static void release_there(struct shadow *slot) {
    if (slot->at == NULL)
        return;
    check(slot, slot->bytes, 1);
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_there, slot->at) != 0)
        return;
    pthread_join(thread, NULL);
    slot->at = NULL;
}

// A pointer into a live block that is not its start, or behind it.
static void refuse(const struct shadow *slot, uint8_t how, uint16_t offset) {
    uintptr_t value = slot->at == NULL ? (uintptr_t)offset << 40 | 1 : (uintptr_t)slot->at + 1 + offset;
    for (size_t i = 0; i < SLOTS; i++)
        if ((uintptr_t)live[i].at == value)
            return; // by chance the start of another block
    void *pointer = (void *)value;
    expected_rejects++;
    switch (how % 4) {
    case 0:
        hzbench_allocator.free(pointer);
        break;
    case 1:
        if (hzbench_allocator.realloc(pointer, 64) != NULL)
            wrong("realloc takes a bad pointer", value);
        break;
    case 2:
        if (hzbench_allocator.usable_size(pointer) != 0)
            wrong("usable_size takes a bad pointer", value);
        break;
    case 3:
        hz_test_free_sized(pointer, 8);
        break;
    }
}

struct reader {
    const uint8_t *at, *end;
};

static uint8_t next(struct reader *reader) {
    return reader->at < reader->end ? *reader->at++ : 0;
}

// Sizes of every octave from two bytes.
static size_t next_size(struct reader *reader) {
    unsigned octave = next(reader) % 22;
    size_t low = (size_t)1 << octave;
    return low + next(reader) * low / 256 - (octave > 3 && next(reader) % 4 == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    setenv("HZ5_OPTIONS", "reject=count", 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct reader reader = {data, data + bytes};
    expected_rejects = rejects();
    while (reader.at < reader.end) {
        uint8_t operation = next(&reader);
        struct shadow *slot = &live[next(&reader) % SLOTS];
        size_t size;
        switch (operation % 16) {
        case 0:
        case 1:
        case 2:
            release(slot);
            size = next_size(&reader);
            admit(slot, hzbench_allocator.alloc(size), size, operation);
            if (slot->at != NULL)
                mark(slot, 0);
            break;
        case 3:
            release(slot);
            size = next_size(&reader);
            admit(slot, hzbench_allocator.calloc(1, size), size, 0);
            if (slot->at != NULL)
                check(slot, slot->bytes, 1);
            break;
        case 4: {
            release(slot);
            size_t alignment = (size_t)1 << (4 + next(&reader) % 14);
            size = next_size(&reader);
            void *at = hzbench_allocator.alloc_aligned(alignment, size);
            if ((uintptr_t)at % alignment != 0)
                wrong("misaligned", alignment);
            admit(slot, at, size, operation);
            if (at != NULL)
                mark(slot, 0);
            break;
        }
        case 5:
        case 6:
            if (slot->at == NULL)
                break;
            size = next_size(&reader);
            check(slot, slot->bytes, 1);
            {
                size_t old_bytes = slot->bytes;
                unsigned char old_mark = slot->mark;
                void *moved = hzbench_allocator.realloc(slot->at, size);
                if (moved == NULL)
                    break;
                slot->at = NULL;
                admit(slot, moved, size, old_mark);
                check(slot, old_bytes < size ? old_bytes : size, old_bytes <= 4096 && old_bytes <= size);
                mark(slot, 0);
            }
            break;
        case 7:
        case 8:
        case 9:
            release(slot);
            break;
        case 10:
            if (slot->at == NULL)
                break;
            size = slot->bytes;
            check(slot, size, 1);
            hz_test_free_sized(slot->at, size);
            slot->at = NULL;
            break;
        case 11:
            release_there(slot);
            break;
        case 12:
            if (slot->at != NULL) { // twice, with nothing in between that could hand it out again
                void *at = slot->at;
                release(slot);
                hzbench_allocator.free(at);
                expected_rejects++;
            }
            break;
        case 13:
        case 14: {
            uint8_t how = next(&reader);
            uint16_t offset = (uint16_t)(next(&reader) << 8 | next(&reader));
            refuse(slot, how, offset);
            break;
        }
        case 15:
            if (next(&reader) % 8 == 0)
                hzbench_allocator.purge();
            break;
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        release(&live[i]);
    if (rejects() != expected_rejects)
        wrong("rejects differ from the prediction by", rejects() - expected_rejects);
    if (hzbench_allocator.verify() != 0)
        wrong("verify", 1);
    hzbench_allocator.purge(); // what waits to be drained is an estimate in the account
    struct allocator_stats stats;
    hzbench_allocator.stats(&stats);
    if (stats.live_bytes != 0)
        wrong("live bytes at the end", stats.live_bytes);
    return 0;
}
