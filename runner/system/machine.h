// SPDX-License-Identifier: Apache-2.0
// What the system tells about the machine it runs on: facts for run.json and the doctor, and the host's identity.
// One implementation a system (machine_linux.c, machine_windows.c). Layer: runner.
#ifndef HZBENCH_MACHINE_H
#define HZBENCH_MACHINE_H

#include <stddef.h>

extern const char *const machine_facts[]; // names, in the order of run.json; ends with NULL

// One fact as the system words it; empty when it does not tell.
void machine_read(const char *fact, char *out, size_t out_bytes);

// Machine id and host name: for a hash, never to be shown.
void machine_identity(char *out, size_t out_bytes);

// "none", "container", "virtual machine (name)", "wine 8.0".
void machine_virtualisation(char *out, size_t out_bytes);

#endif
