# SPDX-License-Identifier: Apache-2.0
"""Sets and gets on a memcached: memcached-load.py SOCKET OPERATIONS CONNECTIONS SEED. Fails unless each was answered.

One set to two gets, keys at random, values of 64 B to 16 KiB (log-uniform), in batches, the connections in turn; each
third round of batches on new connections, because memcached's buffers belong to connections.
"""

import random
import socket
import sys
from io import BufferedReader
from typing import TypeAlias

BATCH = 30
KEYS = 5000

Connection: TypeAlias = tuple[socket.socket, BufferedReader]  # and what it answers


def connect(path: str, count: int) -> list[Connection]:
    connections = []
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        connections.append((connection, connection.makefile("rb")))
    return connections


def main(path: str, operations: int, connection_count: int, seed: int) -> None:
    rng = random.Random(seed)
    payload = b"x" * 16384
    connections: list[Connection] = []
    done = batches = 0
    while done < operations:
        if batches % (3 * connection_count) == 0:
            for connection, answers in connections:
                answers.close()
                connection.close()
            connections = connect(path, connection_count)
        connection, answers = connections[batches % connection_count]
        kinds, request = [], []
        for number in range(min(BATCH, operations - done)):
            key = b"key-%d" % rng.randrange(KEYS)
            kinds.append(number % 3 == 0)
            if kinds[-1]:
                size = int(2 ** rng.uniform(6, 14))
                request.append(b"set %s 0 0 %d\r\n%s\r\n" % (key, size, payload[:size]))
            else:
                request.append(b"get %s\r\n" % key)
        connection.sendall(b"".join(request))
        for is_set in kinds:
            line = answers.readline()
            if is_set:
                if line != b"STORED\r\n":
                    sys.exit(f"memcached answered {line!r} to a set")
                continue
            while line != b"END\r\n":
                if not line.startswith(b"VALUE "):
                    sys.exit(f"memcached answered {line!r} to a get")
                answers.read(int(line.split()[3]) + 2)
                line = answers.readline()
        done += len(kinds)
        batches += 1


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
