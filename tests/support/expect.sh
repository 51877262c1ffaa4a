#!/bin/sh
# expect.sh EXPECTED PROGRAM ARGUMENT... - runs PROGRAM; its output must be the text in the file EXPECTED, its status 0.
# Both output streams count, as a reader at a terminal sees them.
set -u
expected=$1
shift
output=$(mktemp) || exit 1
trap 'rm -f "$output"' EXIT
"$@" >"$output" 2>&1
status=$?
if ! diff -u "$expected" "$output"; then
    echo "the output differs from $expected"
    exit 1
fi
if [ "$status" -ne 0 ]; then
    echo "$1 ended with status $status"
    exit 1
fi
