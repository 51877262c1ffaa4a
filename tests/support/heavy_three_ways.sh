#!/bin/sh
# heavy_three_ways.sh EXAMPLE - blocking lets nothing tick and is reported first; the two other ways let the program live.
# A machine that has more to do than this may stop the program in the middle of a step, which is then reported as well, but
# is nothing like the time that the whole computation takes.
set -eu
output=$("$1")
echo "$output"
ticks() {
    echo "$output" | sed -n "s/^$1: 148933 primes, \([0-9]*\) ticks meanwhile\$/\1/p"
}
[ "$(ticks 'blocking the loop')" -eq 0 ]
[ "$(ticks 'with checkpoints')" -ge 5 ]
[ "$(ticks 'in the executor')" -ge 5 ]
echo "$output" | awk '
    /^debug mode: <Task pending .*fn=async_main> held the loop for / { held[++n] = $(NF - 1); next }
    /^blocking the loop/ && n == 1 { blocked = held[1]; next }
    !/^(with checkpoints|in the executor): / { print "what is that: " $0; exit 1 }
    END {
        if (!blocked) exit 1
        for (i = 2; i <= n; i++) if (held[i] > blocked / 2) { print "held for " held[i]; exit 1 }
    }'
