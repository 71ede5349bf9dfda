#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the heads of the .app files as a C table: generate.py OUTPUT NAME.app ... The lines are explained in
README.md."""

import re
import sys
from pathlib import Path

NEEDED = ("summary", "packages", "programs", "proof", "ops", "unit", "threads", "kind")
OPTIONAL = {"user": "", "stop": "TERM"}

output, *inputs = sys.argv[1:]
text = (
    '// Generated from the heads of workloads/apps/*.app by generate.py.\n#include "app_table.h"\n\n#include'
    " <stddef.h>\n\n"
)
text += "const struct app apps[] = {\n"
for path in map(Path, inputs):
    head = dict(OPTIONAL)
    for line in path.read_text().splitlines():
        match = re.fullmatch(r"# (\w+): (.+)", line)
        if match and match[1] in (*NEEDED, *OPTIONAL):
            head[match[1]] = match[2].strip()
    missing = [name for name in NEEDED if name not in head]
    if missing or head["kind"] not in ("server", "batch") or re.search(r'["\\]', "".join(head.values())):
        sys.exit(
            f"{path}: the head lacks"
            f" {', '.join(missing) or 'a kind that is server or batch, or holds a quote'} (README.md)"
        )
    quoted = ", ".join(f'"{head[name]}"' for name in ("summary", "packages", "proof", "user", "stop", "unit"))
    text += (
        f'    {{"{path.stem}", {quoted}, {int(head["ops"])}, {int(head["threads"])},'
        f' {int(head["kind"] == "server")}}},\n'
    )
text += "    {NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0},\n};\n"
Path(output).write_text(text)
