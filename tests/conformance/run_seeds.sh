#!/bin/sh
# Runs random scenarios on an interpreter and on CPython's asyncio, and compares the traces.
#
#   run_seeds.sh INTERPRETER FIRST-LAST:SIZE[:FEATURE,...]...
#
# Prints a line for each block of seeds. Needs the conformance kit ($COIL_CONFORMANCE_KIT, else ../shared/conformance
# beside the project) and CPython 3.11.7 ($COIL_PYTHON, else python3.11 or python3). Exit status: 0 if every trace was
# equal, 77 if the kit or that Python is not there.
set -u
if [ $# -lt 2 ]; then
    echo "usage: $0 INTERPRETER FIRST-LAST:SIZE[:FEATURE,...]..." >&2
    exit 2
fi
interpreter=$1
shift
kit=${COIL_CONFORMANCE_KIT-$(cd "$(dirname "$0")/../.." && pwd)/../shared/conformance}

find_python()
{
    for candidate in ${COIL_PYTHON-python3.11 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:3] != (3, 11, 7))' 2> /dev/null; then
            echo "$candidate"
            return
        fi
    done
}

python=$(find_python)
if [ ! -f "$kit/compare.py" ]; then
    echo "skipped: there is no conformance kit at $kit"
    exit 77
elif [ -z "$python" ]; then
    echo "skipped: there is no CPython 3.11.7"
    exit 77
fi

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
