#!/usr/bin/env python3
"""ideal_stall.py - what W11 would come to if scheduling cost nothing

    ideal_stall.py [MESSAGES_A_SECOND [STALLS_A_SECOND]]     40000, 640

Messages arrive at random and take 5 us of a worker, the stalls among them a millisecond more; nothing is preempted. "One
queue" is the best that any scheduler of two workers can do, "two queues" are two loops with half of the connections each. The
machine has a core for each worker, and another for the generator. Prints latencies of messages that are no stalls.
"""
import random
import sys

WORKERS = 2
MESSAGE, STALL = 5e-6, 1e-3
SECONDS, ROUNDS = 60, 3


def quantiles(rate, stalls, choose, seed):
    rng = random.Random(seed)
    free = [0.0] * WORKERS  # when each worker will have done what was given to it
    latencies = []
    now = 0.0
    while now < SECONDS:
        now += rng.expovariate(rate)
        stalls_now = rng.random() < stalls / rate
        worker = choose(rng, free)
        free[worker] = max(now, free[worker]) + MESSAGE + (STALL if stalls_now else 0)
        if not stalls_now:
            latencies.append(free[worker] - now)
    latencies.sort()
    return [latencies[int(len(latencies) * q)] * 1e6 for q in (0.5, 0.99, 0.999)]


def one_queue(rng, free):
    return min(range(WORKERS), key=free.__getitem__)


def two_queues(rng, free):
    return rng.randrange(WORKERS)


def main():
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 40000
    stalls = float(sys.argv[2]) if len(sys.argv) > 2 else 640
    results = {}
    for choose in (one_queue, two_queues):
        rounds = [quantiles(rate, stalls, choose, seed) for seed in range(ROUNDS)]
        results[choose] = [sorted(values)[ROUNDS // 2] for values in zip(*rounds)]
        p50, p99, p999 = results[choose]
        print(f"{choose.__name__}: p50 {p50:.0f} us, p99 {p99:.0f} us, p99.9 {p999:.0f} us")
    print(f"p99.9 of one queue / of two queues: {results[one_queue][2] / results[two_queues][2]:.2f}")


if __name__ == "__main__":
    main()
