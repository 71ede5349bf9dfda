// SPDX-License-Identifier: Apache-2.0
// The words of hz4's protocol, their values, and the steps on them as functions.
#ifndef HZ4_STATES_H
#define HZ4_STATES_H

#include "../common/protocol.h"

#define HZ4_ROUTE_NONE 0u       // the granule holds nothing
#define HZ4_ROUTE_LARGE 1u      // first granule of a run that is one live block; nobody owns it
#define HZ4_ROUTE_LARGE_FREE 2u // the same in a thread's cache

HZ_PROTOCOL_WORD(hz4_queue, uint64_t)
HZ_PROTOCOL_WORD(hz4_way, uint32_t)
HZ_PROTOCOL_WORD(hz4_place, uint64_t)

#define HZ_STEP HZ_STEP_DEFINE
#include "hz4_steps.h"

#endif
