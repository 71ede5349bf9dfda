// SPDX-License-Identifier: Apache-2.0
// The trace reader fed with any bytes: the steps that the fuzz target and the deterministic mutations share. Layer:
// test.
#ifndef HZBENCH_TESTS_TRACE_FUZZ_H
#define HZBENCH_TESTS_TRACE_FUZZ_H

#include "../../workloads/trace/walk.h"

void trace_fuzz_repair(uint8_t *bytes, size_t count); // makes the checksums right
enum trace_result trace_fuzz_walk(const uint8_t *bytes, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
