#!/bin/sh
# seccomp.sh PROFILE UNDER_PROFILE ON_URING CC PROGRAM... - docs/seccomp/coil.json holds what docs/io.md
# promises: it is JSON, coil finds io_uring under it, each PROGRAM succeeds on io_uring and on epoll, new
# namespaces are forbidden; and without the three names io_uring is refused.
#
# Programs run under an equal filter (support/under_profile.c). Exit status: 0; 77 if the kernel has no filters,
# or no io_uring.
set -u
profile=$1 under_profile=$2 on_uring=$3 cc=$4
shift 4
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

fail() {
    echo "$*"
    exit 1
}

# rules - a line for each name of the profile: name, action, error, condition.
rules() {
    tr -d ' \n\t' <"$profile" | sed 's/{"names":/\n&/g' | grep '^{"names":' | while read -r rule; do
        action=$(echo "$rule" | sed 's/.*"action":"\([A-Z_]*\)".*/\1/')
        error=$(echo "$rule" | sed -n 's/.*"errnoRet":\([0-9]*\).*/\1/p')
        args=$(echo "$rule" |
            sed -n 's/.*"index":\([0-9]*\),"value":\([0-9]*\),"valueTwo":\([0-9]*\),"op":"\([A-Z_]*\)".*/\1 \2 \3 \4/p')
        echo "$rule" | sed 's/.*"names":\[\([^]]*\)\].*/\1/' | tr -d '"' | tr ',' '\n' |
            sed "s/\$/ $action ${error:-0} ${args:-- - - -}/"
    done
}

# Numbers for the names that this machine has: the C preprocessor knows.
{
    echo '#include <sys/syscall.h>'
    rules | while read -r name rest; do
        echo "#ifdef __NR_$name"
        echo "rule __NR_$name $rest"
        echo "#endif"
    done
} | $cc -E -P -x c - | sed -n 's/ *- *- *- *- *$/ - - - -/; /^rule /p' >"$work/rules"
[ "$(wc -l <"$work/rules")" -gt 200 ] || fail "hardly any rules in $profile"
[ "$(rules | cut -d' ' -f1 | sort | uniq -d)" = "" ] || fail "a name twice: $(rules | cut -d' ' -f1 | sort | uniq -d)"
if command -v python3 >/dev/null; then
    python3 -m json.tool "$profile" >/dev/null || fail "$profile is not JSON"
fi

"$under_profile" "$work/rules" "$on_uring" true
status=$?
[ "$status" -ne 77 ] || "$on_uring" true || exit 77 # refused without a filter, too
[ "$status" -eq 0 ] || fail "io_uring does not work under $profile"

for backend in uring epoll; do
    for program; do
        COIL_BACKEND=$backend timeout 120 "$under_profile" "$work/rules" "$program" >"$work/out" 2>&1 ||
            { cat "$work/out"; fail "$program fails on $backend under $profile"; }
    done
done

"$under_profile" "$work/rules" unshare --user true 2>/dev/null && fail "$profile lets programs make namespaces"

# The default profiles of containers, as far as io_uring goes.
rules | grep '^io_uring' | cut -d' ' -f1 | sed 's/^/__NR_/' | { echo '#include <sys/syscall.h>'; cat; } |
    $cc -E -P -x c - | grep '^[0-9]' | sed 's/^/rule /; s/$/ /' >"$work/io_uring"
[ "$(wc -l <"$work/io_uring")" -eq 3 ] || fail "io_uring has three calls"
grep -vF -f "$work/io_uring" "$work/rules" >"$work/without"
"$under_profile" "$work/without" "$on_uring" true >"$work/out"
[ $? -eq 77 ] || fail "io_uring works without the names: the filter is none"
COIL_BACKEND='' COIL_LOG=1 "$under_profile" "$work/without" "$1" 2>&1 |
    grep -q 'backend epoll: io_uring refused: EPERM' ||
    fail "no fallback without the names"
echo "$(wc -l <"$work/rules") system calls allowed or answered"
