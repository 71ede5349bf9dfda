#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the profiles of this directory as a C table: generate.py OUTPUT TCMALLOC_0.csv TCMALLOC_1.csv ..."""

import csv
import sys

output, *inputs = sys.argv[1:]
with open(output, "w") as out:
    out.write('// Generated from workloads/fleet/*.csv by generate.py: size, rate, live.\n#include "fleet_table.h"\n\n')
    counts = []
    for number, name in enumerate(inputs):
        out.write(f"static const struct fleet_row rows_{number}[] = {{\n")
        with open(name, newline="") as file:
            rows = [(int(size), float(rate), float(live)) for size, rate, live in csv.reader(file)]
        if not rows or any(size < 1 or rate <= 0 or live <= 0 for size, rate, live in rows):
            sys.exit(f"{name}: a row without size, rate or live objects")
        out.writelines(f"    {{{size}, {rate!r}, {live!r}}},\n" for size, rate, live in rows)
        out.write("};\n\n")
        counts.append(len(rows))
    out.write("const struct fleet_profile fleet_profiles[FLEET_PROFILES] = {\n")
    out.writelines(f"    {{rows_{number}, {count}}},\n" for number, count in enumerate(counts))
    out.write("};\n")
