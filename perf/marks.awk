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

# at_most WHAT of coil itself is at most LIMIT
function at_most(name, limit)
{
    if (("coil", name) in v)
        mark("coil " name, v["coil", name], limit, 1)
}

# The cheapest of the servers that are plain liburing.
function best_uring(name,    best)
{
    best = ("raw-uring", name) in v ? v["raw-uring", name] : 0
    if ((("raw-multishot", name) in v) && (best == 0 || v["raw-multishot", name] < best))
        best = v["raw-multishot", name]
    if (best > 0)
        v["raw-liburing", name] = best
}

function echo_marks(workers,    name)
{
    name = "W9.echo" workers "_64c"
    best_uring(name ".server_cpu")
    compare("coil", name ".server_cpu", "raw-liburing", name ".server_cpu", 1.2, 1)
    compare("coil", "W9.echo" workers "_1000c.server_cpu", "raw-epoll", "W9.echo" workers "_1000c.server_cpu", 1.1, 1)
    at_most(name ".allocations", 0.001)
    at_most("W9.echo" workers "_1000c.allocations", 0.001)
    at_most(name ".waits_loop", 1)
    at_most("W9.echo" workers "_1000c.waits_loop", 1)
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
    echo_marks(1)
    echo_marks(2)
    at_most("W9.idle1_10000c", 4096 + 1024) # bytes
    compare("coil", "W12.file.direct_qd16", "fio", "W12.file.direct_qd16", 0.95, 0)
    compare("coil", "W12.file.cached_qd16", "fio", "W12.file.cached_qd16", 0.95, 0)
    compare("coil", "W10.http1.server_cpu", "nginx", "W10.http1.server_cpu", 1, 1)
    compare("coil", "W11.stall.p99.9", "libuv", "W11.stall.p99.9", 0.5, 1)
    compare("coil", "W11.stall.p99.9", "tokio", "W11.stall.p99.9", 1, 1)
    compare("coil-1-worker", "instructions.switch", "coil", "instructions.switch", 1.1, 1)
    compare("coil-1-worker", "instructions.spawn_join", "coil", "instructions.spawn_join", 1.1, 1)
    compare("coil-1-worker", "instructions.queue", "coil", "instructions.queue", 1.1, 1)
}
