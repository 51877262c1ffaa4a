#!/bin/sh
# headers.sh LIBRARY CC [CXX] - the public headers hold what they promise:
# each compiles alone as strict C17 and as C++17; and LIBRARY, the shared one, exports what they declare and nothing else.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
library=$1
cc=$2
cxx=${3:-}
failed=0
warnings='-Wall -Wextra -Wshadow -Wconversion -Wundef -Wpedantic -Werror'
cd "$root/include" || exit 1

for header in coil.h coil/*.h coil_*.h; do
    if [ "$header" = coil_testing.h ] && ! echo '#include <check.h>' | $cc -E - >/dev/null 2>&1; then
        continue
    fi
    # Included twice: the guard works.
    text="#include <$header>
#include <$header>"
    echo "$text" | $cc -std=c17 $warnings -Wstrict-prototypes -fsyntax-only -I. -x c - || {
        echo "$header does not compile alone as C17"
        failed=1
    }
    if [ -n "$cxx" ]; then
        echo "$text" | $cxx -std=c++17 $warnings -fsyntax-only -I. -x c++ - || {
            echo "$header does not compile alone as C++17"
            failed=1
        }
    fi
    case $header in
    coil/errno.h) ;; # redefines errno: for those who ask for it
    coil/*) grep -q "#include <$header>" coil.h || {
        echo "coil.h does not include $header"
        failed=1
    } ;;
    esac
done

# The README's program is C++ as well.
if [ -n "$cxx" ]; then
    $cxx -std=c++17 $warnings -fsyntax-only -I. -x c++ "$root/docs/examples/first_program.c" || failed=1
fi

declared=$(mktemp) || exit 1
exported=$(mktemp) || exit 1
trap 'rm -f "$declared" "$exported"' EXIT

# exports_are LIBRARY HEADER...
# coil__alloc_fail_at is the fault tests' way in, coil__testing_* that of the test kit (src/testing.h).
exports_are() {
    exporter=$1
    shift
    sed -n 's/^COIL_\(ANY_THREAD\|ON_LOOP\|IN_TASK\)[^(]*[ *]\(coil_[a-z0-9_]*\)(.*/\2/p' "$@" | sort -u >"$declared"
    nm -D --defined-only "$exporter" | sed -n 's/.* [TDBRW] //p' | grep -v -x -e coil__alloc_fail_at -e "coil__testing_.*" |
        sort -u >"$exported"
    if ! diff "$declared" "$exported"; then
        echo "$exporter: < declared but not exported   > exported but not declared"
        failed=1
    fi
}
exports_are "$library" coil/*.h
http=$(dirname "$library")/libcoil-http.so
[ ! -e "$http" ] || exports_are "$http" coil_http.h
exit $failed
