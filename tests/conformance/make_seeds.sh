#!/bin/sh
# Makes random scenarios, with the traces that CPython's asyncio leaves: a test sets them up for run_made.sh.
#
#   make_seeds.sh DIR FIRST-LAST:SIZE...
#
# DIR belongs to this script: what else is in it goes. Nothing happens if it is up to date. Exit status: 77 if the
# conformance kit or its Python is not there (kit.sh).
set -eu
if [ $# -lt 2 ]; then
    echo "usage: $0 DIR FIRST-LAST:SIZE..." >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/conformance/kit.sh
. "$here/kit.sh"
exec "$python" -B "$here/make_seeds.py" "$kit" "$@"
