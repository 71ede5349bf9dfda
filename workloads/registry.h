// SPDX-License-Identifier: Apache-2.0
// The workloads there are, and the one line that refuses parameters. Layer: workloads.
#ifndef HZBENCH_REGISTRY_H
#define HZBENCH_REGISTRY_H

#include "workload.h"

extern const struct workload local_workload, remote_workload, mixed_workload, larson_workload, xmalloc_workload,
    pipeline_workload, churn_workload, phase_workload, bleed_workload, large_workload, pingpong_workload,
    burst_lifo_workload, burst_fifo_workload, burst_random_workload, replace_workload, trace_workload, fill_50_workload,
    fill_90_workload, fill_99_workload, idle_workload, fresh_workload, grow_double_workload, grow_step_workload,
    aligned_workload, sharing_thrash_workload, sharing_scratch_workload, fleet_workload, profile_workload, app_workload,
    program_workload;

#define REGISTRY_UNSET64 UINT64_MAX
#define REGISTRY_UNSET32 UINT32_MAX

// Writes one line into `why` and returns 0, so that checks can `return registry_refuse(...)`.
int registry_refuse(char *why, size_t why_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
