#!/bin/sh
# lines.sh ON_TERMINAL EXAMPLE - the lines of a file by its name, of a redirected one, of a pipe, a slow one, and a terminal.
set -eu
on_terminal=$1 example=$2
file=$(mktemp)
trap 'rm -f "$file"' EXIT
printf 'one\n\nthree' >"$file"
numbered=$(printf '1 one\n2 \n3 three\n3 lines; 0 tenths of a second')

# is WHAT TEXT - the output in TEXT is the numbered lines; how long that took is the machine's business.
is() {
    [ "$(echo "$2" | sed 's/[0-9]* tenths/0 tenths/')" = "$numbered" ] || { echo "$1: $2"; exit 1; }
}

is file "$("$example" "$file")"
is 'redirected file' "$("$example" <"$file")"
is pipe "$(cat "$file" | "$example")"
slow=$({ printf 'one\n\n'; sleep 1; printf three; } | "$example")
is 'slow pipe' "$slow"
tenths=$(echo "$slow" | sed -n 's/.*; \([0-9]*\) tenths.*/\1/p')
[ "$tenths" -ge 5 ] || { echo "the loop has slept: $slow"; exit 1; }
[ "$("$example" </dev/null)" = '0 lines; 0 tenths of a second' ]
if "$example" "$file/none" 2>/dev/null; then
    echo "a file that is not there was read"
    exit 1
fi
"$on_terminal" 'send=first\n' 'expect=1 first' 'send=second\n' 'expect=2 second' 'send=\x04' 'expect=2 lines;' -- "$example"
