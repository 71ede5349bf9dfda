// SPDX-License-Identifier: Apache-2.0
// The self-describing record of a libhz5.so: what this build is, so that a result row proves which hz5 was measured and
// that no diagnostic build posed as a speed build. Public; reached through `allocator.contract`.
#ifndef HZ5_DESCRIPTOR_H
#define HZ5_DESCRIPTOR_H

#include "../allocator.h"

#define HZ5_DESCRIPTOR_VERSION 1u

enum hz5_feature {
    HZ5_FEATURE_EXACT_START = 1u << 0,     // a free is accepted only at the exact start of a block
    HZ5_FEATURE_LIVE_STATE = 1u << 1,      // ... and only while the block is live
    HZ5_FEATURE_REMOTE_VERIFIED = 1u << 2, // ... also from other threads, at the free itself
    HZ5_FEATURE_NOTHING_IN_BAND = 1u << 3, // freed memory is neither read nor written
    HZ5_FEATURE_PAGE_TRIM = 1u << 4,       // unused pages of live runs can be returned
};

struct hz5_descriptor_v1 {
    struct allocator_contract head; // version, size, text; features: enum hz5_feature
    const char *version;            // of hzbench
    const char *source_commit;      // of the tree it was built from; "unknown" outside a checkout
    const char *compiler;
    const char *(*profile)(void); // in force in this process
};

extern const struct hz5_descriptor_v1 hz5_descriptor;

#endif
