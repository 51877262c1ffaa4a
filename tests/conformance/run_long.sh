#!/bin/sh
# Runs many random scenarios, in blocks of a thousand: see run_seeds.sh. About an hour for a hundred thousand.
#
#   run_long.sh BUILD/tests [THOUSANDS]
#
# The blocks take turns between the backends, the library's debug mode off and on, some sizes, and mixes of features:
# most often any, sometimes a narrow one.
set -u
programs=$1 thousands=${2-100}
here=$(cd "$(dirname "$0")" && pwd)

backends="uring epoll"
"$programs/coil_on_uring" true > /dev/null || backends="epoll epoll"
sizes="30 120 40 60 20"
mixes="- - - agen,cancel,waitfor,timeout,driver - - - exec,cancel,waitfor,driver,thread - -
    agen,exec,callback,group,handler,driver - - queue,cond,sem,barrier,lock,event,cancel - - stream,thread,cancel,waitfor"

# nth N WORD... - the word number N, counted from 0 and around the end
nth()
{
    n=$1
    shift
    shift $((n % $#))
    echo "$1"
}

failed=0 block=0
while [ "$block" -lt "$thousands" ]; do
    first=$((block * 1000 + 1)) last=$((block * 1000 + 1000))
    # shellcheck disable=SC2086 # lists of words
    backend=$(nth $block $backends) size=$(nth $((block / 2)) $sizes) mix=$(nth $block $mixes)
    debug=$((block / 2 % 2))
    COIL_BACKEND=$backend COIL_DEBUG=$debug \
        sh "$here/run_seeds.sh" "$programs/run-scenario" "$first-$last:$size:${mix#-}"
    case $? in
    0) ;;
    77) exit 77 ;;
    *) failed=$((failed + 1)) ;;
    esac
    block=$((block + 1))
    echo "$block of $thousands blocks done ($backend, COIL_DEBUG=$debug), $failed with failures"
done
[ "$failed" -eq 0 ]
