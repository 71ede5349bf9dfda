# SPDX-License-Identifier: Apache-2.0
"""Objects of all sizes: JSON there and back, dictionaries that grow and shrink, threads, slices of large buffers."""

import hashlib
import json
import threading

records = [
    {"id": i, "name": f"name {i * 7919 % 1000}", "tags": [str(j) for j in range(i % 9)], "x": i / 7}
    for i in range(12000)
]
text = json.dumps(records)
back = json.loads(text)
assert back == records
print(len(text), hashlib.sha256(text.encode()).hexdigest())

words: dict[str, list[int]] = {}
for i in range(150000):
    words.setdefault(f"w{i * 31 % 20011}", []).append(i)
for key in list(words)[::2]:
    del words[key]
print(len(words), sum(map(len, words.values())))

results = [""] * 4


def work(number: int) -> None:
    parts = [bytes([number]) * (i % 3000) for i in range(4000)]
    results[number] = hashlib.sha256(b"".join(parts)).hexdigest()


threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results)
