#!/bin/sh
# keystrokes.sh ON_TERMINAL EXAMPLE - keys come at once, without Enter and before the slow one is done, and after it; twice: with
# q and with Ctrl-D at the end. Then without a terminal: the end of the file ends the program.
set -eu
on_terminal=$1 example=$2

"$on_terminal" 'expect=press keys' send=a 'expect=key a' send=b 'expect=key b' 'never=slow one' \
    'expect=[the slow one has worked for 2 s]' send=c 'expect=key c' send=q expect=bye \
    -- "$example" 2
"$on_terminal" 'expect=press keys' send=x 'expect=key x' 'send=\x04' expect=bye 'never=slow one' -- "$example"

output=$(printf 'hi' | "$example")
[ "$output" = "$(printf 'press keys, q to quit\nkey h\nkey i\nbye')" ] || { echo "$output"; exit 1; }
