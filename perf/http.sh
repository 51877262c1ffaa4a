#!/bin/sh
# W10: coil-http-server beside nginx, with wrk as the client. Prints one result a line: CONTENDER NAME VALUE UNIT.
#
#   perf/http.sh BUILD_DIRECTORY [ROUNDS]     default: 5 rounds
#
#   W10.http1.server_cpu    user and system time of the server for a request; server on core 0, wrk on core 1
#   W10.http1.rate          requests a second
#
# Contenders take turns within each round. PRIORITY goes in front of servers and wrk ("chrt --rr 1" if that is allowed).
# Needs wrk and nginx (on Debian: nginx-light); without them it says so and ends with 77.
set -eu
build=$(cd "$1" && pwd)
rounds=${2:-5}
seconds=${W10_SECONDS:-2}
scratch=$(mktemp -d)
server=
chrt --rr 1 true 2>/dev/null && priority="chrt --rr 1" || priority=
priority=${PRIORITY-$priority}
command -v wrk >/dev/null || { echo "# W10 skipped: no wrk" >&2; exit 77; }
nginx=$(command -v nginx || command -v /usr/sbin/nginx) || { echo "# W10 skipped: no nginx" >&2; exit 77; }

finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM

# Ticks of user and system time; fields 14 and 15.
ticks() {
    sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

# measure CONTENDER PORT: the server runs as $server
measure() {
    # shellcheck disable=SC2086 # words
    timeout 60 $priority taskset -c 1 wrk -t1 -c64 -d1s "http://127.0.0.1:$2/" >/dev/null
    before=$(ticks "$server")
    # shellcheck disable=SC2086
    timeout 60 $priority taskset -c 1 wrk -t1 -c64 "-d${seconds}s" "http://127.0.0.1:$2/" >"$scratch/wrk"
    after=$(ticks "$server")
    awk -v contender="$1" -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" '
        / requests in / { requests = $1 }
        /^Requests\/sec:/ { rate = $2 }
        /Non-2xx|Socket errors/ { failed = 1 }
        END {
            if (failed || !requests) { print "# " contender ": failed" > "/dev/stderr"; exit 1 }
            printf "%s W10.http1.server_cpu %.3f us\n", contender, ticks / hertz * 1e6 / requests
            printf "%s W10.http1.rate %.0f requests/s\n", contender, rate
        }' "$scratch/wrk"
}

coil_once() {
    mkfifo "$scratch/line"
    # shellcheck disable=SC2086
    $priority taskset -c 0 "$build/perf/coil-http-server" --backend "$2" >"$scratch/line" &
    server=$!
    read -r line <"$scratch/line"
    rm "$scratch/line"
    port=${line#listening on 127.0.0.1:}
    measure "$1" "${port%% *}"
    kill "$server"
    wait "$server"
    server=
}

nginx_once() {
    cat >"$scratch/nginx.conf" <<END
worker_processes 1;
daemon off;
master_process off;
pid $scratch/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $scratch/1; proxy_temp_path $scratch/2; fastcgi_temp_path $scratch/3;
    uwsgi_temp_path $scratch/4; scgi_temp_path $scratch/5;
    server {
        listen 127.0.0.1:${NGINX_PORT:-18089};
        location / { default_type text/plain; return 200 "Hello, World!"; }
    }
}
END
    # shellcheck disable=SC2086
    $priority taskset -c 0 "$nginx" -c "$scratch/nginx.conf" -p "$scratch" 2>"$scratch/errors" &
    server=$!
    tries=0
    until wget -q -O /dev/null "http://127.0.0.1:${NGINX_PORT:-18089}/" 2>/dev/null ||
        timeout 5 wrk -t1 -c1 -d1s "http://127.0.0.1:${NGINX_PORT:-18089}/" 2>/dev/null | grep -q Requests/sec; do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || { cat "$scratch/errors" >&2; return 1; }
    done
    measure nginx "${NGINX_PORT:-18089}"
    kill "$server"
    wait "$server" || true
    server=
}

round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "# http: round $round of $rounds" >&2
    coil_once coil uring
    coil_once coil-epoll epoll
    nginx_once
done
