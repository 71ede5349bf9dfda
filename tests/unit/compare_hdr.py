# SPDX-License-Identifier: Apache-2.0
"""The runner's percentiles against those of npm's hdr-histogram-js, on several distributions: equal to the nanosecond.

compare_hdr.py PROGRAM MODULES    exit 1 when node or the module is not there (scripts/setup nodejs npm)
"""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = """
const hdr = require(process.argv[1]);
const h = hdr.build({lowestDiscernibleValue: 1, highestTrackableValue: 2 ** 40 - 1, numberOfSignificantValueDigits: 2,
                     bitBucketSize: 64});
for (const line of require('fs').readFileSync(0, 'utf8').split('\\n')) if (line) h.recordValue(Number(line));
for (const p of [1, 25, 50, 90, 99, 99.9, 99.99]) console.log(h.getValueAtPercentile(p));
"""


def main() -> int:
    program, modules = sys.argv[1:]
    node, module = shutil.which("node"), Path(modules) / "hdr-histogram-js"
    if node is None or not module.is_dir():
        print("node or hdr-histogram-js is not installed: scripts/setup nodejs npm")
        return 1
    draw = random.Random(5)
    distributions: dict[str, Callable[[], int]] = {
        "log-uniform": lambda: int(2 ** draw.uniform(0, 36)),
        "short calls": lambda: draw.randrange(15, 300),
        "exponential": lambda: int(draw.expovariate(1 / 80_000)),
        "two humps": lambda: int(draw.gauss(40, 5)) if draw.random() < 0.99 else int(draw.gauss(50_000, 900)),
    }
    for name, one in distributions.items():
        numbers = [max(0, one()) for _ in range(50_000)]
        values = "\n".join(map(str, numbers)) + "\n"
        ours, theirs = (
            subprocess.run(command, input=values, capture_output=True, text=True, check=True).stdout.split()
            for command in ([program], [node, "-e", SCRIPT, str(module)])
        )
        # Theirs is the end of the bucket even where the largest value lies below it.
        theirs = [str(min(int(v), max(numbers))) for v in theirs]
        print(name, ours, "equal" if ours == theirs else f"is not {theirs}")
        if ours != theirs:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
