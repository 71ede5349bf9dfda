# SPDX-License-Identifier: Apache-2.0
# summary: PostgreSQL under pgbench: TPC-B-like transactions over a socket, one process a connection
# packages: postgresql
# programs: initdb postgres pgbench psql
# proof: postgres
# ops: 1000
# unit: transactions
# threads: 32
# kind: server
# user: postgres
# stop: INT

prepare() {
    initdb -D "$DIR/data" -U hzbench -A trust --no-sync --no-instructions
}

serve() {
    exec postgres -D "$DIR/data" -k "$DIR" -c listen_addresses= -c shared_buffers=16MB -c fsync=off \
        -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off
}

ready() {
    psql -h "$DIR" -U hzbench -d postgres -c 'select 1'
    pgbench -h "$DIR" -U hzbench -i -s 1 -q postgres
}

load() {
    pgbench -h "$DIR" -U hzbench -n -c "$THREADS" -j 1 -t $((OPS / THREADS)) postgres >"$DIR/pgbench.txt"
    cat "$DIR/pgbench.txt"
    grep -q "actually processed: $OPS/$OPS" "$DIR/pgbench.txt"
}
