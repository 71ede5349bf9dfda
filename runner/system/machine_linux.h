// SPDX-License-Identifier: Apache-2.0
// For the doctor's files on Linux. Layer: runner.
#ifndef HZBENCH_MACHINE_LINUX_H
#define HZBENCH_MACHINE_LINUX_H

#include <stddef.h>

// First line of a small file of the system, without its end; empty when it cannot be read.
void machine_read_line(const char *path, char *out, size_t out_bytes);

#endif
