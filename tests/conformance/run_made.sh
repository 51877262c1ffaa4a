#!/bin/sh
# Runs the random scenarios of make_seeds.sh on an interpreter, and compares their traces with those that CPython's
# asyncio left.
#
#   run_made.sh INTERPRETER DIR
#
# Exit status: 0 if every trace was equal, 77 if the conformance kit or its Python is not there (kit.sh).
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 INTERPRETER DIR" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/conformance/kit.sh
. "$here/kit.sh"
if [ ! -f "$2/stamp" ]; then
    echo "$2 is not complete: make_seeds.sh makes it" >&2
    exit 2
fi
COIL_COMPARE="$python $kit/compare.py" exec sh "$here/run_data.sh" "$1" "$2"
