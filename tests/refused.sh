#!/bin/sh
# refused.sh REFUSE ON_URING INTERPRETER DATADIR NAME... - where io_uring is refused, programs run on epoll and
# do the same
#
# Each error that means "not here" is tried, with COIL_BACKEND unset: the log says why, and scenarios leave the
# traces that they leave anywhere. ENOMEM means something else: it is reported, and nothing runs. Exit status
# 77: the kernel has no filters.
set -u
refuse=$1 on_uring=$2 interpreter=$3 data=$4
shift 4
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
unset COIL_BACKEND

fail() {
    echo "$*"
    exit 1
}

"$refuse" EPERM true || exit $?
"$refuse" EPERM "$on_uring" true >"$work/out"
[ $? -eq 77 ] || fail "io_uring is not refused: the filter is none"

for error in EPERM ENOSYS EINVAL; do
    COIL_LOG=1 "$refuse" "$error" "$interpreter" "$data/$1.scn" >/dev/null 2>"$work/log"
    grep -q "^coil: backend epoll: io_uring refused: $error" "$work/log" ||
        fail "$error: the log says: $(cat "$work/log")"
    printf '#!/bin/sh\nexec "%s" %s "%s" "$@"\n' "$refuse" "$error" "$interpreter" >"$work/interpreter"
    chmod +x "$work/interpreter"
    sh "$here/conformance/run_data.sh" "$work/interpreter" "$data" "$@" || exit 1
done

COIL_LOG=1 "$refuse" ENOMEM "$interpreter" "$data/$1.scn" >"$work/out" 2>&1
grep -q 'main raised MemoryError(no memory for an io_uring: .* (ulimit -l): raise it' "$work/out" ||
    fail "ENOMEM is not reported: $(cat "$work/out")"
! grep -q 'backend epoll' "$work/out" || fail "ENOMEM falls back"
