// SPDX-License-Identifier: Apache-2.0
// The one way to say that a number was not measured: an empty cell in the CSV, never 0. Layer: runner, system.
#ifndef HZBENCH_MEASURED_H
#define HZBENCH_MEASURED_H

#include <stdint.h>

#define NOT_MEASURED UINT64_MAX

#endif
