# SPDX-License-Identifier: Apache-2.0
"""A large allocation costs the same number of instructions however many free extents are too short for it.

usage: holes.py SCRIPTS BUDGET ALLOCATOR...
"""

import sys
from pathlib import Path

FEW, MANY = 1_000, 100_000
ROUNDS = 2000
MOST_GROWTH = 1.3


def main() -> bool:
    sys.path.insert(0, sys.argv[1])
    from hzbench.instructions import object_costs, run

    failed = False
    for allocator in sys.argv[3:]:
        per_call = []
        for holes in (FEW, MANY):
            once, twice = (
                object_costs(run(Path(sys.argv[2]), allocator, "holes", holes, n), "malloc")
                for n in (ROUNDS, 2 * ROUNDS)
            )
            if once is None or twice is None:
                print(f"{allocator}: no function called malloc in the profile")
                return True
            per_call.append((twice[2] - once[2]) / ROUNDS)
        growth = per_call[1] / per_call[0]
        print(
            f"{allocator}: {per_call[0]:.0f} instructions with {FEW} holes, {per_call[1]:.0f} with {MANY}:"
            f" {growth:.2f} times"
        )
        failed |= growth >= MOST_GROWTH
    return failed


if __name__ == "__main__":
    sys.exit(main())
