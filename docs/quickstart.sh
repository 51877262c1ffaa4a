#!/bin/sh
# quickstart.sh - from a fresh checkout to a measured server: installs what is missing, builds coil, serves TCP echo on a
# loopback port under load for three seconds with every byte checked, then runs three examples. Asks nothing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=tests/support/packages.sh
. tests/support/packages.sh
bin=build/release
connections=64

want_to_build
want check pkg-config --exists 'check >= 0.15'
install_missing

echo "== building build/release"
examples="hello_run three_requests task_repr"
cmake --preset release >/dev/null
# shellcheck disable=SC2086,SC2046 # targets are words
cmake --build --preset release --parallel "$(nproc)" \
    --target coil-echo-server coil-loadgen $(printf 'example_%s ' $examples)

scratch=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

echo
echo "== an echo server under load: $connections connections, 64-byte messages"
"$bin/perf/coil-echo-server" >"$scratch/server" &
server=$!
while ! grep -q '^listening' "$scratch/server"; do
    kill -0 "$server" 2>/dev/null || { echo "the server did not start" >&2; exit 1; }
    sleep 0.05
done
listening=$(head -n 1 "$scratch/server")
port=$(echo "$listening" | sed 's/^listening on [^ ]*:\([0-9]*\).*/\1/')
backend=$(echo "$listening" | sed 's/.*backend=\([^ ]*\).*/\1/')

"$bin/perf/coil-loadgen" --port "$port" --connections "$connections" --seconds 3 --server-pid "$server" \
    --format lines >"$scratch/results"
kill -TERM "$server"
wait "$server" || { echo "the server ended with status $?" >&2; exit 1; }
server=

# value SUFFIX - the figure named W9.echo1_64c<SUFFIX>
value() {
    awk -v name="W9.echo1_${connections}c$1" '$2 == name { printf "%s %s", $3, $4 }' "$scratch/results"
}
row() {
    printf '  %-24s %s\n' "$1" "$2"
}
row "requests" "$(value '')"
row "latency, median" "$(value .p50)"
row "latency, 99 %" "$(value .p99)"
row "latency, 99.9 %" "$(value .p99.9)"
row "server CPU a request" "$(value .server_cpu)"
row "backend" "$backend"
row "kernel" "$(uname -r)"
row "server, after SIGTERM" "exit status 0"

for example in $examples; do
    echo
    echo "== docs/examples/$example.c"
    "$bin/docs/examples/$example"
done
