#!/bin/sh
# asyncio.sh PEER BYTES - a stock asyncio client against coil's servers, and coil's client against a stock
# asyncio server.
# shellcheck source=tests/support/kit.sh
. "$(dirname "$0")/../support/kit.sh"
peer=$1 bytes=$2
stranger=$(dirname "$0")/stranger.py
needs python3 sha256sum

start echo "$peer" echo
timeout 60 python3 "$stranger" echo "$port" "$bytes" || fails "echo"

# As ssh does: the client's side is shut, and the server goes on sending.
start late "$peer" late 500000
timeout 60 python3 "$stranger" late "$port" 500000 || fails "half-close of the client"

start stranger python3 "$stranger" serve "$bytes"
head -c "$bytes" /dev/urandom >"$dir/in"
timeout 60 "$peer" pipe "$port" "$dir/in" "$dir/out" || fails "coil's client"
sums=$(comes "$dir/stranger" '/^[0-9a-f]\{64\} /p')
ours=$(sha256sum "$dir/in" "$dir/out" | cut -d' ' -f1 | paste -sd' ')
[ "$sums" = "$ours" ] || fails "the server has received and sent $sums; the client has sent and received $ours"
