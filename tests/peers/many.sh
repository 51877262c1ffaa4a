#!/bin/sh
# many.sh PEER CROWD CLIENTS KIB - many connections at once, three times; nothing is left behind, and the
# server's memory does
# not grow by more than that after the first time.
# shellcheck source=tests/support/kit.sh
. "$(dirname "$0")/../support/kit.sh"
peer=$1 crowd=$2 clients=$3 growth=$4
start many "$peer" many "$clients"
for round in 1 2 3; do
    status=0
    timeout 50 "$crowd" "$port" "$clients" || status=$?
    [ $status -eq 0 ] || exit $status
    tries=0
    until [ "$(grep -c ^gone "$dir/many")" -ge $round ]; do
        tries=$((tries + 1))
        [ $tries -le 400 ] || fails "the server still has connections"
        sleep 0.05
    done
done
cat "$dir/many"
awk -v growth="$growth" '/^gone/ { if ($3 > 0) bad = "descriptors were left open"
               if (++n == 1) first = $4
               if (n == 3 && $4 > first + growth) bad = "memory has grown from " first " to " $4 " KiB" }
     END { if (bad) { print bad; exit 1 } }' "$dir/many"
