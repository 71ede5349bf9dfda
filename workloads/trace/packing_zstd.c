// SPDX-License-Identifier: Apache-2.0
// Compression by libzstd. Layer: trace.
#define ZSTD_STATIC_LINKING_ONLY // a decompressor in memory of our own
#include "packing.h"

#include <zstd.h>

#define LEVEL 15 // frames are small and written once; beyond it time grows and the file hardly shrinks

int packing_is_there(void) {
    return 1;
}

size_t packing_state_bytes(void) {
    return ZSTD_estimateDCtxSize();
}

int packing_unpack(void *state, void *raw, size_t raw_bytes, const void *packed, size_t packed_bytes) {
    ZSTD_DCtx *context = ZSTD_initStaticDCtx(state, packing_state_bytes());
    return context != NULL && ZSTD_decompressDCtx(context, raw, raw_bytes, packed, packed_bytes) == raw_bytes;
}

size_t packing_pack(void *packed, size_t packed_bytes, const void *raw, size_t raw_bytes) {
    const size_t bytes = ZSTD_compress(packed, packed_bytes, raw, raw_bytes, LEVEL);
    return ZSTD_isError(bytes) || bytes >= raw_bytes ? 0 : bytes;
}
