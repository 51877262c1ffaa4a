#!/bin/sh
# usage.sh EXAMPLE ARGUMENT... - it can make nothing of these arguments: it says how it is used, and ends with 2.
set -u
. "$(dirname "$0")/expect_status.sh"

expect 2 timeout 20 "$@"
says "usage: $(basename "$1") "
