#!/bin/sh
# failing_consumers.sh EXAMPLE - whatever the consumers do, nothing is lost and nothing hangs; a seed tells all of a run.
set -eu
for seed in $(seq 20); do
    output=$(timeout 20 "$1" "$seed") || { echo "seed $seed: status $?"; exit 1; }
    case $output in
    *"finished: 12 of 12 items consumed, "*) ;;
    *) echo "seed $seed: $output"; exit 1 ;;
    esac
    [ "$output" = "$("$1" "$seed")" ] || { echo "seed $seed: two runs differ"; exit 1; }
done
