# SPDX-License-Identifier: Apache-2.0
"""What scripts do all day: python-work.py OPERATIONS. An operation makes a record, serialises, parses, indexes and
caches it."""

import collections
import json
import random
import sys

rng = random.Random(1)
cache = collections.OrderedDict()
index = collections.defaultdict(list)
words = ["".join(rng.choices("abcdefghij", k=rng.randrange(3, 12))) for _ in range(500)]
total = 0
for number in range(int(sys.argv[1])):
    record = {
        "id": number,
        "title": " ".join(rng.choices(words, k=8)),
        "tags": sorted(set(rng.choices(words, k=5))),
        "body": "\n".join(" ".join(rng.choices(words, k=12)) for _ in range(rng.randrange(1, 6))),
    }
    text = json.dumps(record)
    parsed = json.loads(text)
    for tag in parsed["tags"]:
        index[tag].append(number)
    cache[text[:40]] = parsed
    if len(cache) > 2000:
        cache.popitem(last=False)
    total += sum(len(word) for word in parsed["body"].upper().split())
print(total, len(index), max(len(entries) for entries in index.values()))
