#!/bin/sh
# Runs scenarios on an interpreter and compares their traces with the ones that CPython's asyncio left.
#
#   run_data.sh INTERPRETER DATADIR [NAME...]
#
# INTERPRETER is called with the path of a scenario. Without names every DATADIR/*.scn is run. A scenario that was made
# from a seed is called seed-N-size-S; COIL_COMPARE, if set, is the command that makes it smaller. The first
# failures are explained, and after fifty it stops. Exit status: 0 if every trace was equal.
set -u
if [ $# -lt 2 ]; then
    echo "usage: $0 INTERPRETER DATADIR [NAME...]" >&2
    exit 2
fi
interpreter=$1 data=$2
shift 2
if [ $# -eq 0 ]; then
    for file in "$data"/*.scn; do
        name=${file##*/}
        set -- "$@" "${name%.scn}"
    done
fi

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
passed=0 failed=0
explained=10 enough=50

# explain NAME - what is different, and how to see it again
explain()
{
    with="COIL_BACKEND=${COIL_BACKEND-} COIL_DEBUG=${COIL_DEBUG-}"
    diff -u "$data/$1.trace" "$work/out" | head -n 30
    head -n 10 "$work/err"
    echo "  again:    $with $interpreter $data/$1.scn | diff $data/$1.trace -"
    [ -n "${COIL_COMPARE-}" ] || return 0
    seed=${1#seed-} size=${1##*-}
    echo "  minimise: $with $COIL_COMPARE --impl '$interpreter {}' --seeds ${seed%%-*} --size $size"
}

for name; do
    timeout 60 "$interpreter" "$data/$name.scn" > "$work/out" 2> "$work/err"
    status=$?
    if [ "$status" -eq 0 ] && cmp -s "$work/out" "$data/$name.trace"; then
        passed=$((passed + 1))
        continue
    fi
    failed=$((failed + 1))
    echo "FAILED $name (exit status $status)"
    [ "$failed" -gt "$explained" ] || explain "$name"
    [ "$failed" -lt "$enough" ] || break
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
