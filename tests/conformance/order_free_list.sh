#!/bin/sh
# Checks that order_free.txt has all the scenarios of the conformance kit whose traces do not depend on the order of
# steps, or leaves them out with a reason.
#
#   order_free_list.sh LIST
#
# Exit status: 0 if it has, 77 if the conformance kit is not there.
set -u
LC_ALL=C
export LC_ALL
list=$1
here=$(cd "$(dirname "$0")" && pwd)
kit=${COIL_CONFORMANCE_KIT-$here/../../../shared/conformance}
if [ ! -f "$kit/ORDER-FREE" ]; then
    echo "skipped: there is no conformance kit at $kit"
    exit 77
fi
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
status=0

if grep -nvE '^(#.*|[a-z0-9-]+|- [a-z0-9-]+: .+)?$' "$list"; then
    echo "$list: a line is a name, or '- NAME: REASON' for one that is left out, or a comment"
    status=1
fi
sed 's/\.scn$//' "$kit/ORDER-FREE" | sort > "$work/kit"
sed 's/^- \([a-z0-9-]*\): .*/\1/' "$list" | grep '^[a-z]' | sort > "$work/ours"
# diff calls ours +
diff -u "$work/kit" "$work/ours" || status=1
exit $status
