#!/bin/sh
# Compares what the example word_count says of a directory with find and wc: word_count.sh EXAMPLE DIRECTORY
set -eu
example=$1 directory=$2
files=$(find "$directory" -mindepth 1 -maxdepth 1 ! -name '.*' | wc -l)
words=$(find "$directory" -mindepth 1 -maxdepth 1 -type f ! -name '.*' -exec cat {} + | LC_ALL=C wc -w)
expected="$((files)) files, $((words)) words"
for workers in 1 2 7; do
    counted=$(COIL_WORKERS=$workers "$example" "$directory")
    if [ "$counted" != "$expected" ]; then
        echo "with $workers workers: $counted, not $expected"
        exit 1
    fi
done
if "$example" "$directory/there is no such directory" 2> /dev/null; then
    echo "a directory that does not exist was counted"
    exit 1
fi
