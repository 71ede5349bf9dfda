// SPDX-License-Identifier: Apache-2.0
// The profile reader fed with any bytes: the step that the fuzz target and the deterministic mutations share. Layer:
// test.
#ifndef HZBENCH_TESTS_PROFILE_FUZZ_H
#define HZBENCH_TESTS_PROFILE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int profile_fuzz_read(const uint8_t *bytes, size_t count); // 1: accepted; aborts where a promise of the reader breaks
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
