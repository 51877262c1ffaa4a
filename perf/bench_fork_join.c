/*
 * bench_fork_join.c - W8: what does a tree of tasks cost, all of them made and joined?
 *
 * W8.fib27: fib(n) below 2 returns n, else it makes a task for fib(n-1) and one for fib(n-2), and joins both: 635,621
 * calls. W8.skynet: a million leaves at a fan-out of 10, each node adds up what its ten children return: 1,111,111
 * tasks. Nothing is cut off.
 */
#include "bench.h"

enum { FAN_OUT = 10, LEVEL_BITS = 3, LEVELS = 6 };

/* --- fib ----------------------------------------------------------------------------------------------------- */

static int fib(void *arg, void **result)
{
    uintptr_t n = (uintptr_t)arg;
    if (n < 2) {
        *result = arg;
        return 0;
    }
    coil_task *a, *b;
    void *of_a, *of_b;
    COIL_TRY(coil_create_task(coil_coro_of(fib, (void *)(n - 1)), &a));
    COIL_TRY(coil_create_task(coil_coro_of(fib, (void *)(n - 2)), &b));
    COIL_TRY(coil_join(a, &of_a));
    COIL_TRY(coil_join(b, &of_b));
    *result = (void *)((uintptr_t)of_a + (uintptr_t)of_b);
    return 0;
}

/* --- skynet -------------------------------------------------------------------------------------------------- */

/* The leaves below a node begin with @number; a node of @level 0 is a leaf. */
static coil_coro node_of(uintptr_t number, uintptr_t level);

static int node(void *arg, void **result)
{
    uintptr_t number = (uintptr_t)arg >> LEVEL_BITS, level = (uintptr_t)arg & ((1u << LEVEL_BITS) - 1), sum = 0;
    if (level == 0) {
        *result = (void *)number;
        return 0;
    }
    coil_task *children[FAN_OUT];
    for (uintptr_t i = 0; i < FAN_OUT; i++)
        COIL_TRY(coil_create_task(node_of(number * FAN_OUT + i, level - 1), &children[i]));
    for (int i = 0; i < FAN_OUT; i++) {
        void *part;
        COIL_TRY(coil_join(children[i], &part));
        sum += (uintptr_t)part;
    }
    *result = (void *)sum;
    return 0;
}

static coil_coro node_of(uintptr_t number, uintptr_t level)
{
    return coil_coro_of(node, (void *)(number << LEVEL_BITS | level));
}

/* --- workload ------------------------------------------------------------------------------------------------ */

typedef struct tree {
    coil_coro root;
    uintptr_t right; /* what it returns */
} tree;

/* The root is a task like any other. */
static int round_of_tree(void *state, bench_lap *laps)
{
    const tree *t = state;
    coil_task *root;
    void *result;
    bench_lap_start(&laps[0]);
    COIL_TRY(coil_create_task(t->root, &root));
    COIL_TRY(coil_join(root, &result));
    bench_lap_stop(&laps[0]);
    return (uintptr_t)result == t->right ? 0 : coil_raise(COIL_EUSER(0), "%zu is wrong", (size_t)(uintptr_t)result);
}

static int run_tree(const bench_options *options, const char *name, tree t)
{
    const bench_figure figure = {name, BENCH_MS, 1};
    return bench_repeat_in_task(options, &figure, 1, round_of_tree, &t);
}

/* With --divide the trees shrink by whole levels, and their sums follow. */
static int run(const bench_options *options)
{
    uintptr_t n = 27, level = LEVELS, leaves = 1000000, right = 196418, below = 121393;
    for (uint64_t left = options->divide; left > 1 && n > 2; left = left * 10 / 16, n--) {
        uintptr_t next = right - below;
        right = below;
        below = next;
    }
    for (uint64_t left = options->divide; left > 1 && level > 1; left /= 10, level--)
        leaves /= FAN_OUT;
    COIL_TRY(run_tree(options, "W8.fib27", (tree){coil_coro_of(fib, (void *)n), right}));
    return run_tree(options, "W8.skynet", (tree){node_of(0, level), leaves * (leaves - 1) / 2});
}

const bench_workload bench_fork_join = {"fork_join", "W8: trees of tasks, fib(27) and skynet, made and joined", run};
