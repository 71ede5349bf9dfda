// SPDX-License-Identifier: Apache-2.0
// How long after the threads have ended memory is read again: twice, when --settle lets it. Layer: runner, plan.
#ifndef HZBENCH_SETTLE_H
#define HZBENCH_SETTLE_H

#include <stdint.h>

#define SETTLE_SHORT_NS UINT64_C(100000000) // rss_100ms
#define SETTLE_LONG_NS UINT64_C(1000000000) // rss_1s

#endif
