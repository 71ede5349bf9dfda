// SPDX-License-Identifier: Apache-2.0
// What the doctor finds on Windows. Layer: runner.
#include "doctor.h"

#include "system/os.h"
#include "system/process.h"

#include <stdio.h>
#include <string.h>
#include <windows.h>

#define WATCH_NS UINT64_C(500000000)
#define BUSY_PERCENT 5.0
#define SMALL_BYTES (UINT64_C(1) << 30)

static void check_wine(void) {
    const int is_wine = strcmp(process_platform(), "wine") == 0;
    doctor_report("Windows", is_wine ? "numbers from wine are for tests only: measure on Windows" : NULL, "%s",
                  is_wine ? "this is wine" : "native");
}

static uint64_t value_of(const FILETIME *time) {
    return (uint64_t)time->dwHighDateTime << 32 | time->dwLowDateTime;
}

static void check_load(void) {
    FILETIME idle, kernel, user;
    if (!GetSystemTimes(&idle, &kernel, &user)) {
        doctor_report("load", NULL, "not known");
        return;
    }
    const uint64_t idle_before = value_of(&idle), all_before = value_of(&kernel) + value_of(&user);
    os_sleep_ns(WATCH_NS);
    GetSystemTimes(&idle, &kernel, &user);
    const double all = (double)(value_of(&kernel) + value_of(&user) - all_before); // the kernel's contain the idle ones
    const double busy = all > 0 ? 100 * (1 - (double)(value_of(&idle) - idle_before) / all) : 0;
    doctor_report("load", busy > BUSY_PERCENT ? "stop other programs; more --runs spread what is left" : NULL,
                  "%.1f %% of all CPUs busy with something else", busy);
}

static void check_power(void) {
    SYSTEM_POWER_STATUS power;
    const int on_battery = GetSystemPowerStatus(&power) && power.ACLineStatus == 0;
    doctor_report("power", on_battery ? "the CPUs are slowed down: plug in" : NULL, "%s",
                  on_battery ? "battery" : "mains, or not known");
}

static void check_memory(void) {
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    if (!GlobalMemoryStatusEx(&memory)) {
        doctor_report("free memory", NULL, "not known");
        return;
    }
    doctor_report("free memory",
                  memory.ullAvailPhys < SMALL_BYTES ? "below 1 GiB working sets are trimmed: close other programs"
                                                    : NULL,
                  "%.1f GiB", (double)memory.ullAvailPhys / (double)(UINT64_C(1) << 30));
    doctor_report("commit limit",
                  memory.ullAvailPageFile < SMALL_BYTES ? "allocations will fail: enlarge the page file" : NULL,
                  "%.1f GiB left", (double)memory.ullAvailPageFile / (double)(UINT64_C(1) << 30));
}

void doctor_check_system(void) {
    check_wine();
    check_power();
    check_load();
    check_memory();
}
