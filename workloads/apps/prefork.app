# SPDX-License-Identifier: Apache-2.0
# summary: a server that fills its heap and then forks eight workers, which read it and replace parts of it
# packages: hzbench
# programs: sh
# proof: hzbench-forks
# ops: 400000
# unit: requests
# threads: 1
# kind: batch

# Beside this file in a build; where executables are when installed.
work() {
    program=$APPS/hzbench-forks
    [ -x "$program" ] || program=$APPS/../../../libexec/hzbench/hzbench-forks
    exec "$program" prefork "$OPS" "$SEED" "$DIR/stream_hash"
}
