#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a node runs, in a folder that `scripts/cluster submit` made: task.sh HOST TASK..., one after the other. Needs no Python.
# Each task leaves results/HOST/TASK/ with the runner's files and `state`, one line: "running START", "done START END PLAN",
# or "failed START END CODE WHY". A task that was stopped goes on where it was: the same runner command resumes its file.
# shellcheck disable=SC2154,SC2119,SC2120,SC2317 # what "environment" sets; `task` sets arguments of its own; `stop` is a trap
set -eu

host=$1
shift
# Slurm runs a copy of this file, in a folder of its own.
dir=${HZBENCH_PLAN_DIR:-$(cd -P "$(dirname "$0")" && pwd)}
# shellcheck disable=SC1091 # made by submit: plan, build, from, results and the exported variables
. "$dir/environment"
if [ "$host" = - ]; then # Slurm chose it, and the task
    host=$SLURMD_NODENAME
    set -- "$(printf %03d "$SLURM_ARRAY_TASK_ID")"
fi

child=
stop() {
    stopped=yes
    # shellcheck disable=SC2086 # one word or none
    [ -z "$child" ] || kill -TERM $child 2>/dev/null || true
}
stopped=
trap stop TERM INT HUP

# Runs a command so that a signal for this shell ends the command, which then tidies up. Returns its exit code.
run() {
    "$@" &
    child=$!
    code=0
    wait $child || code=$?
    while kill -0 $child 2>/dev/null; do # the signal ended the wait, not the command
        code=0
        wait $child || code=$?
    done
    child=
    return $code
}

say() { # a state, all at once: a full disk leaves the one before
    echo "$1" >"$out/state.part" && mv "$out/state.part" "$out/state"
}

# Builds for this node from the source that came along, once.
build() {
    programs=$dir/build-$host
    [ ! -x "$programs/runner" ] || return 0
    (cd "$dir/source" && scripts/configure "$programs" && ninja -C "$programs") >"$out/build.log" 2>&1 </dev/null
}

task() {
    mkdir -p "$out" || return 3 # no set -e in here: a caller looks at the code
    if [ "$anywhere" = yes ]; then # one node is enough for a task
        for state in "$results"/*/"$name/state"; do
            case $(cat "$state" 2>/dev/null) in "done "*" $plan") return 0 ;; esac
        done
    fi
    case $(cat "$out/state" 2>/dev/null) in "done "*" $plan") return 0 ;; esac
    start=$(date +%s)
    say "running $start" || return 3
    programs=$dir/build/libexec/hzbench
    [ "$build" = once ] || build || { say "failed $start $(date +%s) 3 the build failed: $out/build.log"; return 3; }
    cd "$from" || return 3
    number=0
    worst=0
    while read -r line; do
        number=$((number + 1))
        code=0
        eval "set -- $line" # quoted by submit
        run "$programs/runner" "$@" --quiet --output="$out/$number.csv" </dev/null >>"$out/log" 2>&1 || code=$?
        case $code in
        0) ;;
        4 | 5) worst=$code ;; # rows that say so are results
        *)
            why=$(grep '^runner: ' "$out/log" | tail -n 1 | cut -c 1-300)
            [ -z "$stopped" ] || why='stopped by a signal'
            say "failed $start $(date +%s) $code $why"
            return "$code"
            ;;
        esac
    done <"$dir/tasks/$name"
    (cd "$out" && sha256sum -- *.csv *.json) >"$out/MANIFEST.sha256" || return 3
    say "done $start $(date +%s) $worst $plan"
}

ended=0
for name; do
    out=$results/$host/$name
    code=0
    task || code=$?
    [ $code -eq 0 ] || ended=$code
    [ -z "$stopped" ] || break
done
[ -n "${SLURM_JOB_ID:-}" ] || rm -f "$results/$host/pid"
exit $ended
