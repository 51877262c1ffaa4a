# kit.sh - sourced by scripts that need servers in the background, and a directory that goes with the script
#
# start NAME COMMAND... runs a server whose first line says "listening on port N", and sets $port; needs PROGRAM... ends
# the script with 77 if one is missing.
set -eu
dir=$(mktemp -d)
pids=
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    # shellcheck disable=SC2086 # the ids are words
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

needs() {
    for needed; do
        command -v "$needed" >/dev/null || { echo "there is no $needed"; exit 77; }
    done
}

# comes FILE EXPRESSION - waits until FILE has a line that the expression of sed finds, and prints what that prints
comes() {
    tries=0
    until found=$(sed -n "$2" "$1" 2>/dev/null) && [ -n "$found" ]; do
        tries=$((tries + 1))
        [ $tries -le 400 ] || { echo "$1 has no such line as $2:" >&2; cat "$1" >&2; return 1; }
        sleep 0.05
    done
    echo "$found"
}

start() {
    out=$dir/$1
    shift
    "$@" >"$out" &
    pids="$pids $!"
    # shellcheck disable=SC2034 # for who sources this
    port=$(comes "$out" 's/^listening on port \([0-9]*\).*/\1/p')
}

fails() {
    echo "$*"
    exit 1
}
