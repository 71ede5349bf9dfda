// SPDX-License-Identifier: Apache-2.0
// Ageing: what happens to a heap before the measured part of a workload that is asked for on an aged one (--age). Each
// thread fills a number of bytes with objects of the workload's own sizes, replaces them as the kind says, and frees
// all but a share, chosen at random, that lives until the tear-down. The events are a function of parameters and seed,
// and have a hash of their own. For workloads of core.h. Layer: workloads.
#ifndef HZBENCH_AGE_H
#define HZBENCH_AGE_H

#include "workload.h"

// Of params->age_bytes and age_live_ppm when a kind is asked for and they are not.
#define AGE_BYTES (UINT64_C(64) << 20)
#define AGE_LIVE_PPM 100000u

// Of all threads, behind the workload's own memory; 0 without ageing, UINT64_MAX when the sum does not fit.
uint64_t age_memory_bytes(const struct workload_params *params);
// `memory` is so many bytes, zeroed and aligned to a page.
void age_prepare(struct workload_run *run, void *memory);
void age_thread(struct workload_run *run, uint32_t thread);
void age_tear_down(struct workload_run *run, uint32_t thread);
uint64_t age_hash(const struct workload_run *run); // of all threads' events

#endif
