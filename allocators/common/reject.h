// SPDX-License-Identifier: Apache-2.0
// Pointers that are refused: what is said, what is counted, and whether the process goes on. Why a pointer is refused
// is each allocator's own matter; nothing here touches a heap. Layer: common.
#ifndef HZ_REJECT_H
#define HZ_REJECT_H

#include "../allocator.h"
#include "compiler.h"

enum reject_operation { REJECT_FREE, REJECT_REALLOC, REJECT_USABLE_SIZE, REJECT_RETURN, REJECT_REUSE };

// One line, then the end of the process (the default), or only the line, or only the count.
HZ_HIDDEN void reject(const void *pointer, enum reject_operation operation, enum allocator_reject reason);
HZ_HIDDEN void reject_add(enum allocator_reject reason, uint64_t count); // what was not refused where it happened
HZ_HIDDEN void reject_read(struct allocator_stats *out);
HZ_HIDDEN int reject_set_policy(const char *name); // abort, report, count; 0: none of these
HZ_HIDDEN const char *reject_policy(void);

#endif
