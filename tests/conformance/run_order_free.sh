#!/bin/sh
# Runs scenarios again and again on a runtime of several workers, and compares their traces with those of CPython's
# asyncio, without what depends on the order in which ready tasks run.
#
#   run_order_free.sh INTERPRETER WORKERS REPETITIONS DATADIR LIST [NAME...]
#
# Without names every name in LIST is run (order_free.txt says how it looks); of those that it leaves out only the end
# counts. Exit status: 0 if all traces were equal.
set -u
if [ $# -lt 5 ]; then
    echo "usage: $0 INTERPRETER WORKERS REPETITIONS DATADIR LIST [NAME...]" >&2
    exit 2
fi
interpreter=$1 workers=$2 repetitions=$3 data=$4 list=$5
here=$(cd "$(dirname "$0")" && pwd)
shift 5
# shellcheck disable=SC2046 # words
[ $# -gt 0 ] || set -- $(sed 's/^- \([a-z0-9-]*\):.*/\1/' "$list" | grep '^[a-z]')

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
passed=0 failed=0

# same NAME - whether the traces of the repetitions in $work/out are as they should be
same()
{
    if grep -q "^- $1:" "$list"; then
        return 0
    fi
    awk -f "$here/order_free.awk" "$data/$1.trace" "$work/out" > "$work/difference"
}

for name; do
    : > "$work/difference"
    # A repetition that hangs is ended, and reported, by the interpreter.
    "$interpreter" --workers "$workers" --repeat "$repetitions" "$data/$name.scn" > "$work/out" 2> "$work/err"
    status=$?
    if [ "$status" -eq 0 ] && [ "$(grep -c '^=$' "$work/out")" -eq "$repetitions" ] && same "$name"; then
        passed=$((passed + 1))
        continue
    fi
    failed=$((failed + 1))
    echo "FAILED $name with $workers workers (exit status $status)"
    cat "$work/difference"
    head -n 60 "$work/err"
    [ "$status" -eq 0 ] || awk '$0 == "=" { text = ""; next } { text = text "  " $0 "\n" } END { printf "%s", text }' \
        "$work/out"
    echo "  again: COIL_BACKEND=${COIL_BACKEND-} sh $0 $interpreter $workers 100 $data $list $name"
done

echo "$workers workers: $passed scenarios passed $repetitions times, $failed failed"
[ "$failed" -eq 0 ]
