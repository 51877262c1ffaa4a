#!/bin/sh
# Runs random scenarios on an interpreter and on CPython's asyncio, and compares the traces.
#
#   run_seeds.sh INTERPRETER FIRST-LAST:SIZE[:FEATURE,...]...
#
# Prints a line for each block of seeds. Exit status: 0 if every trace was equal, 77 if the conformance kit or its
# Python is not there (kit.sh).
set -u
if [ $# -lt 2 ]; then
    echo "usage: $0 INTERPRETER FIRST-LAST:SIZE[:FEATURE,...]..." >&2
    exit 2
fi
interpreter=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/conformance/kit.sh
. "$here/kit.sh"

output=$(mktemp) || exit 2
trap 'rm -f "$output"' EXIT
trap 'exit 2' HUP INT TERM
status=0
for block; do
    IFS=: read -r seeds size features << END
$block
END
    "$python" "$kit/compare.py" --impl "$interpreter {}" --seeds "$seeds" --size "$size" --features "$features" -j 2 \
        --minimise-time 30 --max-fail 5 > "$output" 2>&1 || {
        status=1
        cat "$output"
    }
    echo "seeds $seeds, size $size${features:+, only $features}: $(tail -n 1 "$output")"
done
exit $status
