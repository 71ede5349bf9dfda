// SPDX-License-Identifier: Apache-2.0
// A heap's status: its values, and the steps on it as functions. Layer: common.
#ifndef HZ_HEAP_STATES_H
#define HZ_HEAP_STATES_H

#include "protocol.h"

enum hz_heap_status {
    HZ_HEAP_UNUSED,    // no thread has had it yet
    HZ_HEAP_ALIVE,     // it has a thread
    HZ_HEAP_ABANDONED, // its thread has ended; a new thread may reclaim it
    HZ_HEAP_ACQUIRED,  // hz3, hz5: abandoned, and a thread holds it for a moment
    HZ_HEAP_HELD,      // hz3, hz5: alive, and its thread changes runs, in a slow path
    HZ_HEAP_HELPED,    // hz3, hz5: alive, and another thread drains its remote queue
    HZ_HEAP_LOST,      // in the child of a fork: a thread that is not there was changing it
};

HZ_PROTOCOL_WORD(hz_status, uint32_t)

#define HZ_STEP HZ_STEP_DEFINE
#include "heap_steps.h"

#endif
