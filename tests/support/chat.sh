#!/bin/sh
# chat.sh SERVER CLIENT - three people chat: three clients with pipes for keyboards, each with a file for a screen.
# shellcheck source=tests/support/kit.sh
. "$(dirname "$0")/kit.sh"
server=$1 client=$2

# shows NAME LINE - waits until somebody's screen has LINE.
shows() {
    comes "$dir/$1" "\\|^$2\$|p" >/dev/null
}

start server "$server"
server_id=${pids# }

for name in ann bob cid; do
    mkfifo "$dir/$name.keys"
    "$client" "$port" "$name" <"$dir/$name.keys" >"$dir/$name" 2>&1 &
    pids="$pids $!"
    eval "$name=$!"
    case $name in
    ann) exec 5>"$dir/ann.keys" && echo /who >&5 && shows ann '* ann is here' ;;
    bob) exec 6>"$dir/bob.keys" && shows ann '* bob has joined' ;;
    cid) exec 7>"$dir/cid.keys" && shows bob '* cid has joined' ;;
    esac
done

echo 'good morning' >&5
shows bob 'ann: good morning'
shows cid 'ann: good morning'
echo '/nick robert' >&6
shows ann '* bob is now called robert'
echo 'hello from cid' >&7
shows ann 'cid: hello from cid'
shows bob 'cid: hello from cid'
if grep -q '^ann: ' "$dir/ann"; then
    fails "ann hears herself"
fi

# One quits, one's input ends, and the third loses the server.
echo /quit >&6
# shellcheck disable=SC2154 # bob and the others are set by eval
wait "$bob" || fails "bob ended with status $?"
shows ann '* robert has left'
exec 7>&-
# shellcheck disable=SC2154
wait "$cid" || fails "cid ended with status $?"
shows ann '* cid has left'
kill "$server_id"
# shellcheck disable=SC2154
wait "$ann" || fails "ann ended with status $?"
