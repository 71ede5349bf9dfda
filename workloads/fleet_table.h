// SPDX-License-Identifier: Apache-2.0
// The ten production profiles of workloads/fleet as a table that the build generates. Layer: workloads.
#ifndef HZBENCH_FLEET_TABLE_H
#define HZBENCH_FLEET_TABLE_H

#include <stdint.h>

#define FLEET_PROFILES 10

struct fleet_row {
    uint64_t bytes;
    double rate; // allocations a second
    double live; // mean number of live objects
};

struct fleet_profile {
    const struct fleet_row *rows;
    uint32_t count;
};

extern const struct fleet_profile fleet_profiles[FLEET_PROFILES];

#endif
