// SPDX-License-Identifier: Apache-2.0
// Where stress.c gets its table from: the loader (stress_loader.c), or the sources it is linked with (stress_linked.c).
#ifndef STRESS_BACKEND_H
#define STRESS_BACKEND_H

#include "../../allocators/allocator.h"

// A complete table for `spec`; ends the process with status 3 when there is none.
const struct allocator *stress_backend_open(const char *spec, char **argv);

#endif
