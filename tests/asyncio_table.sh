#!/bin/sh
# asyncio_table.sh - docs/asyncio.md is complete and tells the truth about names:
# every name of tests/asyncio_names.txt (the public names of asyncio in CPython 3.11, and of what it uses of contextvars and
# concurrent.futures) has exactly one row that says something, no row is of another name, and every coil_ and COIL_ name on the
# page occurs in the public headers.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
page=$root/docs/asyncio.md
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# check MESSAGE - fails for each line of the standard input
check()
{
    while read -r name; do
        echo "$name: $1"
        echo "$name" >>"$work/failed"
    done
}

for needed in "$page" "$root/tests/asyncio_names.txt"; do
    [ -s "$needed" ] || { echo "$needed is missing"; exit 1; }
done
LC_ALL=C
export LC_ALL
: >"$work/failed"
sort "$root/tests/asyncio_names.txt" >"$work/names"
# shellcheck disable=SC2016 # the backquotes are Markdown's
sed -n 's/^| `\([^`]*\)` | .*[A-Za-z].* |$/\1/p' "$page" | sort >"$work/rows"
uniq "$work/rows" >"$work/distinct"
comm -23 "$work/names" "$work/distinct" | check "has no row in docs/asyncio.md"
comm -13 "$work/names" "$work/distinct" | check "has a row, but is not in tests/asyncio_names.txt"
uniq -d "$work/rows" | check "has more than one row"

words='s/[^A-Za-z0-9_][^A-Za-z0-9_]*/ /g'
sed "$words" "$root"/include/coil.h "$root"/include/coil/*.h | tr ' ' '\n' | grep '^[Cc][Oo][Ii][Ll]_.' | sort -u >"$work/declared"
sed "$words" "$page" | tr ' ' '\n' | grep -E '^(coil|COIL)_.' | sort -u >"$work/used"
comm -23 "$work/used" "$work/declared" | check "is in docs/asyncio.md, but not in the headers"

[ -s "$work/failed" ] && failed=1
echo "$(wc -l <"$work/names") names, $(wc -l <"$work/used") names of coil, $(wc -l <"$work/failed") failures"
exit $failed
