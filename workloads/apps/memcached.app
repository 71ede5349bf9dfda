# SPDX-License-Identifier: Apache-2.0
# summary: memcached, large values kept in malloc's memory by connections; sets and gets from memcached-load.py
# packages: memcached python3
# programs: memcached python3
# proof: memcached
# ops: 20000
# unit: requests
# threads: 64
# kind: server
# user: nobody

serve() {
    exec memcached -s "$DIR/socket" -m 64 -t "$THREADS" -I 1m
}

ready() {
    python3 "$APPS/memcached-load.py" "$DIR/socket" 1 1 1
}

load() {
    python3 "$APPS/memcached-load.py" "$DIR/socket" "$OPS" "$THREADS" "$SEED"
}
