// SPDX-License-Identifier: Apache-2.0
// A build without libzstd: writes frames as they are and cannot read compressed ones. Layer: trace.
#include "packing.h"

int packing_is_there(void) {
    return 0;
}

size_t packing_state_bytes(void) {
    return 16;
}

int packing_unpack(void *state, void *raw, size_t raw_bytes, const void *packed, size_t packed_bytes) {
    (void)state, (void)raw, (void)raw_bytes, (void)packed, (void)packed_bytes;
    return 0;
}

size_t packing_pack(void *packed, size_t packed_bytes, const void *raw, size_t raw_bytes) {
    (void)packed, (void)packed_bytes, (void)raw, (void)raw_bytes;
    return 0;
}
