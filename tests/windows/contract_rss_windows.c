// SPDX-License-Identifier: Apache-2.0
// The working set, for the contract test.
#include "../contract/contract.h"

#include <windows.h>

#include <psapi.h>

uint64_t contract_rss_bytes(void) {
    PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof counters};
    return GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) ? counters.WorkingSetSize : 0;
}
