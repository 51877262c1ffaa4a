# marks.awk - reads medians (CONTENDER NAME VALUE UNIT), prints how coil stands beside what it has to reach.
#
# A mark without both of its figures is left out, so that any sections of run.sh can be run. Wall times and latencies are
# better the smaller they are; the ratio is always coil's figure over the other's.

function mark(what, ratio, limit, at_most,    met)
{
    met = at_most ? ratio <= limit : ratio >= limit
    printf "mark %-58s %6.2f   at %s %.2f   %s\n", what, ratio, at_most ? "most" : "least", limit, met ? "met" : "MISSED"
}

# compare NAME of coil (as contender @c) with OTHER's @other_name
function compare(c, name, other, other_name, limit, at_most)
{
    if (((c, name) in v) && ((other, other_name) in v) && v[other, other_name] > 0)
        mark(c " " name " / " other " " other_name, v[c, name] / v[other, other_name], limit, at_most)
}

function speedup(c, name)
{
    return v[c, name "_1w"] / v[c, name "_2w"]
}

function compare_speedups(name)
{
    if ((("coil", name "_2w") in v) && (("tbb", name "_2w") in v) && (("coil", name "_1w") in v))
        mark("speed-up " name " on 2 workers: coil / tbb", speedup("coil", name) / speedup("tbb", name), 0.95, 0)
}

NF >= 4 && $1 != "#" { v[$1, $2] = $3 }

END {
    for (workers = 1; workers <= 2; workers++) {
        compare("coil", "W8.fib27_" workers "w", "tbb", "W8.fib27_" workers "w", 2, 1)
        compare("coil", "W8.skynet_" workers "w", "tbb", "W8.skynet_" workers "w", 2, 1)
    }
    compare_speedups("W8.fib27")
    compare_speedups("W8.skynet")
    compare("coil", "W4.post", "tokio", "W4.post_mpsc", 0.8, 0)
    compare("coil", "W11.stall.p99.9", "libuv", "W11.stall.p99.9", 0.5, 1)
    compare("coil", "W11.stall.p99.9", "tokio", "W11.stall.p99.9", 1, 1)
    compare("coil-1-worker", "instructions.switch", "coil", "instructions.switch", 1.1, 1)
    compare("coil-1-worker", "instructions.spawn_join", "coil", "instructions.spawn_join", 1.1, 1)
    compare("coil-1-worker", "instructions.queue", "coil", "instructions.queue", 1.1, 1)
}
