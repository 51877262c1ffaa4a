#!/bin/sh
# chat.sh SERVER CLIENT - three people chat: three clients with pipes for keyboards, each with a file for a screen.
set -eu
server=$1 client=$2
dir=$(mktemp -d)
pids=
cleanup() {
    # shellcheck disable=SC2086 # the ids are words
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

# comes FILE LINE - waits until FILE has LINE.
comes() {
    tries=0
    until grep -qxF -- "$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -le 400 ] || { echo "\"$2\" did not come; $1 is:"; cat "$1"; exit 1; }
        sleep 0.05
    done
}

"$server" >"$dir/server" &
pids=$!
tries=0
until port=$(sed -n 's/^listening on port //p' "$dir/server") && [ -n "$port" ]; do
    tries=$((tries + 1))
    [ $tries -le 400 ] || { echo "the server does not listen"; exit 1; }
    sleep 0.05
done

for name in ann bob cid; do
    mkfifo "$dir/$name.keys"
    "$client" "$port" "$name" <"$dir/$name.keys" >"$dir/$name" 2>&1 &
    pids="$pids $!"
    eval "$name=$!"
    case $name in
    ann) exec 5>"$dir/ann.keys" && echo /who >&5 && comes "$dir/ann" '* ann is here' ;;
    bob) exec 6>"$dir/bob.keys" && comes "$dir/ann" '* bob has joined' ;;
    cid) exec 7>"$dir/cid.keys" && comes "$dir/bob" '* cid has joined' ;;
    esac
done

echo 'good morning' >&5
comes "$dir/bob" 'ann: good morning'
comes "$dir/cid" 'ann: good morning'
echo '/nick robert' >&6
comes "$dir/ann" '* bob is now called robert'
echo 'hello from cid' >&7
comes "$dir/ann" 'cid: hello from cid'
comes "$dir/bob" 'cid: hello from cid'
if grep -q '^ann: ' "$dir/ann"; then
    echo "ann hears herself"
    exit 1
fi

# One quits, one's input ends, and the third loses the server.
echo /quit >&6
# shellcheck disable=SC2154 # bob and the others are set by eval
wait "$bob" || { echo "bob ended with status $?"; exit 1; }
comes "$dir/ann" '* robert has left'
exec 7>&-
# shellcheck disable=SC2154
wait "$cid" || { echo "cid ended with status $?"; exit 1; }
comes "$dir/ann" '* cid has left'
kill "${pids%% *}"
# shellcheck disable=SC2154
wait "$ann" || { echo "ann ended with status $?"; exit 1; }
