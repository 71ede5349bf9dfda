# SPDX-License-Identifier: Apache-2.0
# summary: redis-server under redis-benchmark: SET, LPUSH, SADD and HSET of 512-byte values
# packages: redis-server redis-tools
# programs: redis-server redis-cli redis-benchmark
# proof: redis-server
# ops: 40000
# unit: requests
# threads: 64
# kind: server

serve() {
    exec redis-server --port 0 --unixsocket "$DIR/socket" --save '' --appendonly no --dir "$DIR" --daemonize no
}

ready() {
    [ "$(redis-cli -s "$DIR/socket" ping)" = PONG ]
}

# Equal shares of four commands; what they leave behind is the heap.
load() {
    redis-benchmark -s "$DIR/socket" -t set,lpush,sadd,hset -n $((OPS / 4)) -c $((THREADS * 8)) -P 8 -r 20000 -d 512 --csv
    redis-cli -s "$DIR/socket" dbsize
}
