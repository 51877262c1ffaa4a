#!/bin/sh
# shared_loop_tests.sh EXAMPLE - the second test fails after the first, and passes alone.
set -u
. "$(dirname "$0")/expect_status.sh"

expect 1 "$1"
says '50%: Checks: 2, Failures: 1'
says ':F:second:second:0: the letter is not there: QueueEmpty'
says 'Task was destroyed but it is pending!'

expect 0 env CK_RUN_CASE=second "$1"
says '100%: Checks: 1, Failures: 0'
