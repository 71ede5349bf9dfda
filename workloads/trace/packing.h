// SPDX-License-Identifier: Apache-2.0
// Compression of a frame: zstd, or nothing where the library is missing. Decompression works in a caller's memory, so
// that a replay takes none from the allocator it measures. Layer: trace.
#ifndef HZBENCH_TRACE_PACKING_H
#define HZBENCH_TRACE_PACKING_H

#include <stddef.h>
#include <stdint.h>

int packing_is_there(void);

size_t packing_state_bytes(void); // for packing_unpack; 16-byte aligned
// 1 when exactly `raw_bytes` came out.
int packing_unpack(void *state, void *raw, size_t raw_bytes, const void *packed, size_t packed_bytes);

// Bytes written to `packed`, or 0 when it did not become smaller.
size_t packing_pack(void *packed, size_t packed_bytes, const void *raw, size_t raw_bytes);

#endif
