// SPDX-License-Identifier: Apache-2.0
// What libhzrecord.so leaves behind: a file of chunks, mapped and shared, so that what a killed process has written is
// there. A chunk belongs to one lane (a thread, or threads one after another) and holds its calls as varints: what
// kind, when (a ticket of one counter of the process), where, how big. pack.h turns it into a trace. Layer: recorder.
#ifndef HZBENCH_RECORDER_RECORDING_H
#define HZBENCH_RECORDER_RECORDING_H

#include <stdatomic.h>
#include <stdint.h>

#define RECORDING_ENV "HZRECORD"             // path of the trace; a process records to PATH.PID.part
#define RECORDING_QUIET_ENV "HZRECORD_QUIET" // present: who started the program tells of a full disk, once for all
#define RECORDING_SUFFIX ".part"
#define RECORDING_MAGIC UINT64_C(0x3164726f63657a68) // "hzecord1"
#define RECORDING_CHUNK_BYTES (64u << 10)
#define RECORDING_GROW_BYTES (4u << 20) // the file grows by so much; what stays empty is cut off at the end
#define RECORDING_EVENT_BYTES 48u       // the longest event
#define RECORDING_LANES_MAX 65536u
#define RECORDING_TEXT_BYTES 32u

enum recording_kind {
    RECORDING_MALLOC,
    RECORDING_CALLOC,
    RECORDING_ALIGNED,     // log2 of the alignment follows
    RECORDING_REALLOC_OLD, // its ticket is from before the call
    RECORDING_REALLOC_NEW, // address 0: failed, the old one lives on; size 0 with address 0: freed
    RECORDING_FREE,        // its ticket is from before the call
    RECORDING_USABLE,
    RECORDING_THREAD,   // a thread begins in this lane; nothing follows
    RECORDING_LEFT_OUT, // a call without effect: failed, or free(NULL); nothing follows
};

// Chunk 0.
struct recording_head {
    uint64_t magic;
    uint32_t chunk_bytes;
    int32_t pid;
    _Atomic uint32_t chunks;   // that were given out, this one included
    _Atomic uint32_t is_ended; // the process came to its exit handlers
    _Atomic uint32_t is_full;  // recording stopped early: no room on the disk
    char program[RECORDING_TEXT_BYTES];
    _Atomic uint64_t timed_ns, timed; // time that sampled calls spent in the recorder
};

struct recording_chunk {
    uint64_t magic;
    uint32_t lane;
    uint32_t number;       // of this lane, from 0
    _Atomic uint32_t used; // bytes of data that are whole events
    uint32_t reserved;
    uint8_t data[];
};

#endif
