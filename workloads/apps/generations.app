# SPDX-License-Identifier: Apache-2.0
# summary: each process replaces a part of the heap that it was born with, forks its successor and ends
# packages: hzbench
# programs: sh
# proof: hzbench-forks
# ops: 20000
# unit: requests
# threads: 1
# kind: batch

# Beside this file in a build; where executables are when installed.
work() {
    program=$APPS/hzbench-forks
    [ -x "$program" ] || program=$APPS/../../../libexec/hzbench/hzbench-forks
    exec "$program" generations "$OPS" "$SEED" "$DIR/stream_hash"
}
