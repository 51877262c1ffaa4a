#!/bin/sh
# tools.sh ECHO_SERVER CHAT_SERVER TOOL - the examples' servers against curl, nc or socat.
# shellcheck source=tests/support/kit.sh
. "$(dirname "$0")/../support/kit.sh"
echo_server=$1 chat_server=$2 tool=$3
needs "$tool"

# talk PORT - sends its input, shuts its side down, and prints what comes until the other end closes
talk() {
    case $tool in
    nc) timeout 15 nc -N 127.0.0.1 "$1" ;;
    socat) timeout 15 socat -t 15 - "TCP:127.0.0.1:$1" ;;
    curl) timeout 15 curl --silent --no-buffer --max-time 9 "telnet://127.0.0.1:$1" ;;
    esac
}

# curl ends with its input, whatever is still to come: there the input stays open until the answer is complete.
feed() {
    cat "$1"
    [ "$tool" != curl ] || {
        tries=0
        until cmp -s "$1" "$2" || [ $tries -gt 100 ]; do
            tries=$((tries + 1))
            sleep 0.05
        done
    }
}

start echo "$echo_server"
# Text for curl, which takes the byte 255 for a command of telnet's.
bytes=400000
[ "$tool" != curl ] || bytes=400 # it takes its time over more
od -An -tx1 -v -N"$bytes" /dev/urandom >"$dir/sent"
: >"$dir/received"
feed "$dir/sent" "$dir/received" | talk "$port" >"$dir/received" || [ "$tool" = curl ]
cmp "$dir/sent" "$dir/received" || fails "the echo is another text"

[ "$tool" != curl ] || exit 0 # it is no chat client: it does not always send a line before the next
start chat "$chat_server"
mkfifo "$dir/keys"
talk "$port" <"$dir/keys" >"$dir/screen" &
talker=$!
pids="$pids $talker"
exec 5>"$dir/keys"
printf 'ann\n/who\n' >&5
comes "$dir/screen" '/ann is here/p' >/dev/null || fails "the chat does not answer"
{
    printf 'bob\ngood morning\n'
    comes "$dir/screen" '/bob: good morning/p' >&2
    printf '/quit\n'
} 2>/dev/null | talk "$port" >"$dir/other" || fails "$tool has ended with $?"
comes "$dir/screen" '/good morning/p' >/dev/null || fails "ann has not heard bob"
printf '/quit\n' >&5
exec 5>&-
wait "$talker" || fails "$tool has ended with $?"
