#!/bin/sh
# http_hello.sh PROGRAM [GET_USERNAME] - docs/examples/http_hello.c, asked by curl, and ended by SIGTERM
set -eu
program=$1 get_username=${2:-}
command -v curl >/dev/null || { echo "no curl"; exit 77; }
dir=$(mktemp -d)
pid=
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

"$program" >"$dir/out" &
pid=$!
tries=0
until port=$(sed -n 's/^listening on port \([0-9]*\),.*/\1/p' "$dir/out") && [ -n "$port" ]; do
    tries=$((tries + 1))
    [ $tries -le 400 ] || { echo "the server does not listen"; exit 1; }
    sleep 0.05
done
url=http://127.0.0.1:$port

# says EXPECTED CURL_ARGUMENT...
says() {
    expected=$1
    shift
    heard=$(curl -s --max-time 20 --noproxy '*' "$@")
    [ "$heard" = "$expected" ] || { echo "curl $*: heard \"$heard\", not \"$expected\""; exit 1; }
}

says 'Hello, me!' -A me "$url/"
says 'Hello, me!' -A me --http1.0 "$url/"
says 'there is no /x' "$url/x?y"
says '200 404 ' -o "$dir/1" -o "$dir/2" -w '%{http_code} ' "$url/" "$url/x" # on one connection
says '200' -o "$dir/1" -w '%{http_code}' --head "$url/"
head -c 3000000 /dev/urandom >"$dir/body"
curl -s --max-time 20 --noproxy '*' --data-binary "@$dir/body" -H 'Content-Type: x/y' -o "$dir/back" "$url/echo"
cmp "$dir/body" "$dir/back"
curl -s --max-time 20 --noproxy '*' -T - -X POST -o "$dir/back" "$url/echo" <"$dir/body"
cmp "$dir/body" "$dir/back"

if [ -n "$get_username" ]; then
    if "$get_username" "$url" 7 2>"$dir/errors"; then
        echo "get_username found a name"
        exit 1
    fi
    grep -q 'there is no such user' "$dir/errors" || { cat "$dir/errors"; exit 1; }
fi

kill -TERM "$pid"
wait "$pid"
pid=
