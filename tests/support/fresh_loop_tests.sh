#!/bin/sh
# fresh_loop_tests.sh EXAMPLE - both tests pass; if the first leaves something behind, it is the first that fails.
set -u
. "$(dirname "$0")/expect_status.sh"

expect 0 "$1"
says '100%: Checks: 2, Failures: 0'

expect 1 "$1" --careless
says '50%: Checks: 2, Failures: 1'
says ':F:tests:first:0: left by the test'
says 'task <Task pending'
says 'fn=open_letters'
