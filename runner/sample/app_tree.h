// SPDX-License-Identifier: Apache-2.0
// The processes of a program under test: how much memory they hold together, and their end. Layer: runner.
#ifndef HZBENCH_APP_TREE_H
#define HZBENCH_APP_TREE_H

#include <stdint.h>

// Proportional set size of all descendants of this process but those of `except` (0: none): memory that several of them
// share is counted once. Bytes; NOT_MEASURED when /proc does not show one of them, such as a setuid program of another
// user: the sum of the others would be a wrong number.
uint64_t app_tree_pss(int except);

// Kills all descendants of this process and waits for them.
void app_tree_kill(void);

#endif
