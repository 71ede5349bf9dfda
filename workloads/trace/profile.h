// SPDX-License-Identifier: Apache-2.0
// What a walk over a trace shows: how many objects of which size lived how long and who freed them, and how much was
// alive when. Printed as the shareable profile (docs/traces.md) or, with the rest, as the tables of `hztrace info`.
// Layer: trace.
#ifndef HZBENCH_TRACE_PROFILE_H
#define HZBENCH_TRACE_PROFILE_H

#include "walk.h"

#include <stdio.h>

struct profile;

struct profile *profile_begin(void); // NULL: no memory
struct walk_visitor profile_visitor(struct profile *profile);
void profile_end(struct profile *profile);

int profile_print(const struct profile *profile, const struct trace_header *header, const struct walk_totals *totals,
                  FILE *out);
void profile_print_info(const struct profile *profile, const struct trace_header *header,
                        const struct walk_totals *totals, FILE *out);

#endif
