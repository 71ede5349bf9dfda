// SPDX-License-Identifier: Apache-2.0
// The quarantine of the strict profile: a freed block waits until later frees have pushed it out, so that a second free
// or a use after free meets a block that is not live rather than somebody else's.
#include "hz5.h"

static void release_oldest(struct hz5_heap *heap) {
    struct hz5_quarantine *quarantine = heap->quarantine;
    struct hz5_entry oldest = quarantine->entries[quarantine->first];
    quarantine->first = (quarantine->first + 1) % HZ5_QUARANTINE_ENTRIES;
    quarantine->count--;
    struct hz5_desc *desc = hz5_desc_at(hz5_unit_of_pointer(oldest.block));
    quarantine->bytes -= atomic_load_explicit(&desc->block_bytes, memory_order_relaxed);
    hz5_block_to_run(heap, oldest.block, oldest.state);
}

void hz5_quarantine(struct hz5_heap *heap, void *block, struct hz5_block *state, unsigned size_class) {
    struct hz5_quarantine *quarantine = heap->quarantine;
    while (quarantine->count > 0 && (quarantine->count == HZ5_QUARANTINE_ENTRIES ||
                                     quarantine->bytes + sizeclass_bytes[size_class] > hz5_profile.quarantine_bytes))
        release_oldest(heap);
    uint32_t last = (quarantine->first + quarantine->count) % HZ5_QUARANTINE_ENTRIES;
    quarantine->entries[last] = (struct hz5_entry){block, state};
    quarantine->count++;
    quarantine->bytes += sizeclass_bytes[size_class];
}

void hz5_quarantine_flush(struct hz5_heap *heap) {
    while (heap->quarantine != NULL && heap->quarantine->count > 0)
        release_oldest(heap);
}
