#!/bin/sh
# http_hello.sh PROGRAM [GET_USERNAME] - docs/examples/http_hello.c, asked by curl, and ended by SIGTERM
# shellcheck source=tests/support/kit.sh
. "$(dirname "$0")/kit.sh"
program=$1 get_username=${2:-}
needs curl
start out "$program"
url=http://127.0.0.1:$port

# says EXPECTED CURL_ARGUMENT...
says() {
    expected=$1
    shift
    heard=$(curl -s --max-time 20 --noproxy '*' "$@")
    [ "$heard" = "$expected" ] || fails "curl $*: heard \"$heard\", not \"$expected\""
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
        fails "get_username found a name"
    fi
    grep -q 'there is no such user' "$dir/errors" || { cat "$dir/errors"; exit 1; }
fi

server_id=${pids# }
kill -TERM "$server_id"
wait "$server_id"
pids=
