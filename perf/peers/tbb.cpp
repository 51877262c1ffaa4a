/*
 * tbb.cpp - the program tbb-peer: W8 on oneTBB, the mark for coil's fork and join
 *
 *   tbb-peer fork_join WORKERS    fib(27) and skynet, once to warm up and once measured
 *
 * The same work as coil-bench fork_join: fib(n) below 2 returns n, else it makes a task for fib(n-1) and one for
 * fib(n-2) and joins both; skynet has a million leaves at a fan-out of 10, and each node joins its ten children. No
 * cut-off. The calling thread is one of the workers. Prints lines like "tbb W8.fib27 40.1 ms".
 */
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

static uint64_t fib(uint64_t n)
{
    if (n < 2)
        return n;
    uint64_t a, b;
    tbb::task_group group;
    group.run([&a, n] { a = fib(n - 1); });
    group.run([&b, n] { b = fib(n - 2); });
    group.wait();
    return a + b;
}

static uint64_t skynet(uint64_t number, uint64_t size)
{
    if (size == 1)
        return number;
    uint64_t parts[10], sum = 0;
    tbb::task_group group;
    for (uint64_t i = 0; i < 10; i++)
        group.run([&parts, i, number, size] { parts[i] = skynet(number + i * (size / 10), size / 10); });
    group.wait();
    for (uint64_t part : parts)
        sum += part;
    return sum;
}

template <typename Work>
static void measure(tbb::task_arena &arena, const char *name, int workers, uint64_t right, Work work)
{
    double ms = 0;
    for (int round = 0; round < 2; round++) {
        uint64_t result = 0;
        auto start = std::chrono::steady_clock::now();
        arena.execute([&] { result = work(); });
        ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
        if (result != right) {
            std::fprintf(stderr, "tbb-peer: %s: %" PRIu64 " is wrong\n", name, result);
            std::exit(1);
        }
    }
    std::printf("tbb %s_%dw %.2f ms\n", name, workers, ms);
}

int main(int argc, char **argv)
{
    bool help = argc == 2 && std::strcmp(argv[1], "--help") == 0;
    int workers = argc == 3 ? std::atoi(argv[2]) : 0;
    if (help || workers < 1 || std::strcmp(argv[1], "fork_join") != 0) {
        std::fprintf(help ? stdout : stderr, "usage: tbb-peer fork_join WORKERS\n");
        return help ? 0 : 2;
    }
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(workers));
    tbb::task_arena arena(workers);
    measure(arena, "W8.fib27", workers, 196418, [] { return fib(27); });
    measure(arena, "W8.skynet", workers, UINT64_C(499999500000), [] { return skynet(0, 1000000); });
}
