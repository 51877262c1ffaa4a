#!/bin/sh
# run.sh [--long] - everything, on a machine that has nothing installed: packages, release build, all tests.
#
#   --long                the stress programs too (an hour or two), and 100,000 random scenarios (an hour), where the kit is
#   COIL_CMAKE_ARGS=...   more arguments for cmake, such as -DCOIL_WERROR=ON
#
# Can be called from anywhere. Its exit status is 0 if everything passed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=tests/support/packages.sh
. tests/support/packages.sh

long=
case ${1-} in
"") ;;
--long) long=1 ;;
*)
    echo "usage: $0 [--long]" >&2
    exit 2
    ;;
esac

want_to_build
want g++ command -v c++
want check pkg-config --exists 'check >= 0.15'
want valgrind command -v valgrind
install_missing

echo "== configuring and building build/release"
# shellcheck disable=SC2086 # arguments are words
cmake --preset release ${COIL_CMAKE_ARGS:-}
cmake --build --preset release --parallel "$(nproc)"

echo "== testing"
status=0
ctest --preset release ${long:+-C long} || status=$?
if [ -n "$long" ]; then
    echo "== comparing random scenarios with CPython's asyncio"
    sh tests/conformance/run_long.sh build/release/tests || { [ $? -eq 77 ] || status=1; }
fi
exit $status
