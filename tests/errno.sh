#!/bin/sh
# errno.sh CC [CXX] - with <coil/errno.h> a compiler looks errno up at each use, also at -O3; without it it need not, which
# is what docs/thread-local.md warns of: the count is printed.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
source=$root/tests/support/errno_twice.c
failed=0

# lookups FUNCTION COMMAND... - the calls of FUNCTION in the assembly of errno_twice.c
lookups() {
    function=$1
    shift
    "$@" -I "$root/include" -S -o - "$source" | grep -cE "(call|callq|bl|jmp|b)[[:space:]]+$function"
}

for cc in "$1 -std=gnu17" ${2:+"$2 -std=gnu++17 -x c++"}; do
    for level in -O1 -O2 -O3; do
        # shellcheck disable=SC2086 # words
        safe=$(lookups coil_errno_location $cc $level -DWITH_COIL) plain=$(lookups __errno_location $cc $level)
        echo "$cc $level: $safe lookups for two uses; plain errno: $plain"
        [ "$safe" -eq 2 ] || failed=1
    done
done
exit $failed
