// SPDX-License-Identifier: Apache-2.0
// What the tables of workloads leave open, and the one line that refuses parameters. A new workload is a file here and
// an entry of the list in meson.build. Layer: workloads.
#ifndef HZBENCH_REGISTRY_H
#define HZBENCH_REGISTRY_H

#include "workload.h"

#define REGISTRY_UNSET64 UINT64_MAX
#define REGISTRY_UNSET32 UINT32_MAX

#define REGISTRY_HANDOVER_BATCH 8 // one cache line of words (docs/method.md)

// Writes one line into `why` and returns 0, so that checks can `return registry_refuse(...)`.
int registry_refuse(char *why, size_t why_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
