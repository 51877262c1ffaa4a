/*
 * combinators.c - random trees of gather, wait, wait_for, shield and as_completed, on several workers
 *
 * Each node of a tree runs a function of its kind, most of them in a task of their own; others cancel the task of the
 * root at any moment, and nodes cancel each other. Of each node is checked:
 *
 *   it ends exactly once, also if nobody waits for it any more
 *   it is cancelled only with a reason: it was asked for, or a node above it was, or ran out of time
 *   what a combinator gives out is what its children came to, and as many are done as it was asked to wait for
 *   -ETIMEDOUT comes out only after the time, and a shielded node knows nothing of what happens above it
 *
 * and of the root's task that no cancellation is lost, but where asyncio 3.11 swallows it: in wait_for, or for an
 * error.
 */
#include "storm.h"
#include <stddef.h>

enum { TARGETS = 16, SNIPERS = 3, CHILDREN = 5, DEPTH = 3, FAILED = 1, PENDING = 1 };
enum kind { LEAF, GATHER, GATHER_OUTCOMES, WAIT, WAIT_FOR, SHIELD, AS_COMPLETED, KINDS };

typedef struct tree {
    target *target;
    _Atomic(struct node *) nodes; /* newest first; freed when none is alive */
    _Atomic unsigned alive;
    uint64_t snipes;              /* of the target when the tree began */
    bool sniped;                  /* it was asked to be cancelled before */
    bool swallowed;               /* by the target's own task */
} tree;

typedef struct node {
    tree *tree;
    struct node *parent, *next;
    uint64_t random;
    unsigned depth;
    bool shielded;              /* its parent's reasons are none of its */
    _Atomic bool asked;
    _Atomic int64_t deadline_ns; /* of its children */
    _Atomic unsigned ended;
    _Atomic int rc;             /* PENDING: its function has not returned */
} node;

static node *new_node(tree *t, node *parent, uint64_t random)
{
    node *n = calloc(1, sizeof *n);
    EXPECT(n, "no memory");
    n->tree = t;
    n->parent = parent;
    n->random = random;
    n->depth = parent ? parent->depth + 1 : 0;
    atomic_store(&n->deadline_ns, INT64_MAX);
    atomic_store(&n->rc, PENDING);
    n->next = atomic_load(&t->nodes);
    while (!atomic_compare_exchange_weak(&t->nodes, &n->next, n)) {
    }
    atomic_fetch_add(&t->alive, 1);
    return n;
}

/* Whether somebody may have cancelled it. */
static bool reason(const node *n)
{
    if (atomic_load(&n->asked))
        return true;
    for (int64_t now = now_ns(); n->parent && !n->shielded; n = n->parent)
        if (atomic_load(&n->parent->asked) || now >= atomic_load(&n->parent->deadline_ns))
            return true;
    return !n->shielded && (n->tree->sniped || atomic_load(&n->tree->target->snipes) != n->tree->snipes);
}

static void end(node *n)
{
    EXPECT(atomic_fetch_add(&n->ended, 1) == 0, "a node has ended twice");
    atomic_fetch_sub(&n->tree->alive, 1);
}

static int run_node(node *n);

static int node_body(void *arg, void **result)
{
    node *n = arg;
    int rc = run_node(n);
    *result = n;
    end(n);
    return rc;
}

static void node_drop(void *arg)
{
    end(arg);
}

static coil_coro coro_of(node *n)
{
    return coil_coro_make(node_body, n, node_drop, 0, "node");
}

static int code_of(const node *n)
{
    int rc = atomic_load(&n->rc);
    return rc == PENDING ? -ECANCELED : rc; /* it never ran */
}

static int64_t some_time(node *n)
{
    static const int64_t most[] = {1, COIL_US(20), COIL_US(100), COIL_MS(1)};
    return (int64_t)(draw(&n->random) % (uint64_t)most[below(&n->random, 4)]) + 1;
}

/* --- children ---------------------------------------------------------------------------------------------------- */

typedef struct brood {
    size_t count;
    node *nodes[CHILDREN];
    coil_awaitable awaitables[CHILDREN]; /* tasks that are ours, or coroutines; the last may be a duplicate */
} brood;

static void make_brood(node *n, brood *b, bool tasks_only)
{
    b->count = 1 + below(&n->random, CHILDREN);
    for (size_t i = 0; i < b->count; i++) {
        b->nodes[i] = new_node(n->tree, n, draw(&n->random));
        b->awaitables[i] = coil_awaitable_of_coro(coro_of(b->nodes[i]));
        if (tasks_only || below(&n->random, 2) == 0) {
            coil_task *task;
            EXPECT(coil_create_task(b->awaitables[i].coro, &task) == 0, "no task");
            b->awaitables[i] = coil_awaitable_of_future(task);
        }
    }
    if (b->count > 1 && b->awaitables[0].future && b->awaitables[b->count - 1].future && below(&n->random, 4) == 0) {
        coil_future *last = b->awaitables[b->count - 1].future;
        atomic_store(&b->nodes[b->count - 1]->asked, true);
        coil_future_cancel(last, NULL);
        coil_release(last);
        b->nodes[b->count - 1] = b->nodes[0];
        b->awaitables[b->count - 1] = coil_awaitable_of_future(coil_retain(b->awaitables[0].future));
    }
}

static void release_brood(const brood *b)
{
    for (size_t i = 0; i < b->count; i++)
        coil_release(b->awaitables[i].future);
}

static bool some_child_came_to(const brood *b, int rc)
{
    for (size_t i = 0; i < b->count; i++)
        if (code_of(b->nodes[i]) == rc || (rc == -ECANCELED && reason(b->nodes[i])))
            return true;
    return false;
}

/* Cancels a child that is a task, now and then. */
static void tease(node *n, const brood *b)
{
    size_t i = below(&n->random, (unsigned)b->count);
    if (!b->awaitables[i].future || below(&n->random, 6) > 0)
        return;
    atomic_store(&b->nodes[i]->asked, true);
    coil_future_cancel(b->awaitables[i].future, NULL);
}

/* --- kinds of nodes ---------------------------------------------------------------------------------------------- */

static int leaf(node *n)
{
    switch (below(&n->random, 8)) {
    case 0:
        return coil_raise(COIL_EUSER(FAILED), NULL);
    case 1:
        return coil_sleep(some_time(n));
    case 2:
        compute(some_time(n) / 8);
        return 0;
    case 3:
        COIL_TRY(coil_sleep(0));
        compute(some_time(n) / 8);
        return coil_sleep(0);
    default:
        for (unsigned i = below(&n->random, 5); i > 0; i--)
            COIL_TRY(coil_sleep(0));
        return 0;
    }
}

static void check_outcomes(const brood *b, coil_future *f, bool errors_too)
{
    size_t count = 0;
    const coil_outcome *o = coil_gather_outcomes(f, &count);
    EXPECT(o && count == b->count, "%zu outcomes", count);
    for (size_t i = 0; i < count; i++) {
        const node *c = b->nodes[i];
        int code = code_of(c);
        EXPECT(o[i].code == code || (o[i].code == -ECANCELED && reason(c)), "%d is not %d", o[i].code, code);
        EXPECT(o[i].code == 0 || errors_too, "an error among the results");
        EXPECT(o[i].value == (o[i].code == 0 ? c : NULL), "a wrong value");
    }
}

static int gather(node *n, bool errors_too)
{
    brood b;
    coil_future *f;
    make_brood(n, &b, false);
    EXPECT(coil_gather(b.awaitables, b.count, errors_too, &f) == 0, "no gathering");
    tease(n, &b);
    int rc = coil_await(f, NULL);
    if (rc == 0)
        check_outcomes(&b, f, errors_too);
    else if (rc == -ECANCELED)
        EXPECT(reason(n) || (!errors_too && some_child_came_to(&b, rc)), "a gathering was cancelled");
    else
        EXPECT(!errors_too && some_child_came_to(&b, rc), "%s", coil_error_name(rc));
    coil_release(f);
    release_brood(&b);
    return rc;
}

static bool failed(const brood *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (coil_future_done(b->awaitables[i].future) && code_of(b->nodes[i]) < 0)
            return true;
    return false;
}

static int wait(node *n)
{
    brood b;
    make_brood(n, &b, true);
    coil_future *futures[CHILDREN];
    for (size_t i = 0; i < b.count; i++)
        futures[i] = b.awaitables[i].future;
    size_t distinct = b.count - (b.count > 1 && futures[b.count - 1] == futures[0]), done = 0;
    enum coil_return_when when = (enum coil_return_when)below(&n->random, 3);
    int64_t time = below(&n->random, 2) == 0 ? COIL_FOREVER : some_time(n), start = now_ns();
    tease(n, &b);
    int rc = coil_wait(futures, b.count, time, when, &done);
    bool timed_out = time != COIL_FOREVER && now_ns() - start >= time;
    size_t enough = when == COIL_FIRST_COMPLETED || (when == COIL_FIRST_EXCEPTION && failed(&b)) ? 1 : distinct;
    EXPECT(rc == 0 || (rc == -ECANCELED && reason(n)), "%s", coil_error_name(rc));
    EXPECT(rc < 0 || done <= distinct, "%zu of %zu are done", done, distinct);
    EXPECT(rc < 0 || timed_out || done >= enough, "%zu of %zu are done", done, distinct);
    for (size_t i = 0; i < b.count; i++)
        tease(n, &b);
    release_brood(&b);
    return rc;
}

static int wait_for(node *n)
{
    node *c = new_node(n->tree, n, draw(&n->random));
    void *value = NULL;
    int64_t time = below(&n->random, 10) == 0 ? 0 : some_time(n);
    atomic_store(&n->deadline_ns, now_ns() + time);
    int rc;
    if (below(&n->random, 2) == 0) {
        rc = coil_wait_for(coro_of(c), time, &value);
    } else {
        coil_task *task;
        EXPECT(coil_create_task(coro_of(c), &task) == 0, "no task");
        rc = coil_wait_for(task, time, &value);
        coil_release(task);
    }
    bool late = now_ns() >= atomic_load(&n->deadline_ns);
    EXPECT(rc < 0 || value == c, "a wrong value");
    EXPECT(rc != -ETIMEDOUT || late || code_of(c) == rc, "-ETIMEDOUT before the time");
    EXPECT(rc != -ECANCELED || reason(n) || code_of(c) == rc, "a cancellation that nobody asked for");
    EXPECT(rc == -ETIMEDOUT || rc == -ECANCELED || rc == code_of(c), "%s", coil_error_name(rc));
    if (n->depth == 0)
        n->tree->swallowed = true;
    return rc;
}

static int shield(node *n)
{
    node *c = new_node(n->tree, n, draw(&n->random));
    coil_future *outer;
    void *value = NULL;
    c->shielded = true;
    EXPECT(coil_shield(coro_of(c), &outer) == 0, "no shield");
    if (below(&n->random, 4) == 0) {
        atomic_store(&n->asked, true);
        coil_future_cancel(outer, NULL);
    }
    int rc = coil_await(outer, &value);
    EXPECT(rc < 0 || value == c, "a wrong value");
    EXPECT(rc != -ECANCELED || reason(n) || code_of(c) == rc, "a shielding future was cancelled");
    EXPECT(rc == -ECANCELED || rc == code_of(c), "%s", coil_error_name(rc));
    coil_release(outer);
    return rc;
}

/* Each of the coroutines in a task of its own. */
static void take_all(coil_as_completed *it, coil_task **tasks, size_t count)
{
    coil_coro coro;
    for (size_t i = 0; i < count; i++) {
        EXPECT(coil_as_completed_next(it, &coro) == 0, "too few");
        EXPECT(coil_create_task(coro, &tasks[i]) == 0, "no task");
    }
    EXPECT(dismiss(coil_as_completed_next(it, &coro)) == COIL_ESTOPITERATION, "too many");
}

static void check_completed(const brood *b, coil_task *const *tasks, size_t count, bool timed_out)
{
    bool seen[CHILDREN] = {false};
    for (size_t i = 0; i < count; i++) {
        void *value = NULL;
        int rc = dismiss(coil_future_result(tasks[i], &value));
        EXPECT(rc != -ETIMEDOUT || timed_out || some_child_came_to(b, rc), "-ETIMEDOUT before the time");
        EXPECT(rc >= 0 || rc == -ETIMEDOUT || some_child_came_to(b, rc), "%s", coil_error_name(rc));
        size_t at = 0;
        while (rc == 0 && b->nodes[at] != value)
            EXPECT(++at < b->count, "a wrong value");
        EXPECT(rc < 0 || !seen[at], "a value that was given out before");
        seen[at] |= rc == 0;
    }
}

static int as_completed(node *n)
{
    brood b;
    coil_as_completed *it;
    coil_task *tasks[CHILDREN];
    size_t done = 0;
    make_brood(n, &b, false);
    size_t count = b.count - (b.count > 1 && b.awaitables[0].future == b.awaitables[b.count - 1].future &&
                              b.awaitables[0].future);
    int64_t time = below(&n->random, 2) == 0 ? COIL_FOREVER : some_time(n), start = now_ns();
    EXPECT(coil_as_completed_new(b.awaitables, b.count, time, &it) == 0, "no iterator");
    take_all(it, tasks, count);
    coil_as_completed_release(it);
    tease(n, &b);
    int rc = coil_wait(tasks, count, COIL_FOREVER, COIL_ALL_COMPLETED, &done);
    EXPECT(rc == 0 || (rc == -ECANCELED && reason(n)), "%s", coil_error_name(rc));
    EXPECT(rc < 0 || done == count, "%zu of %zu", done, count);
    if (rc == 0)
        check_completed(&b, tasks, count, time != COIL_FOREVER && now_ns() - start >= time);
    for (size_t i = 0; i < count; i++) {
        if (rc < 0)
            coil_future_cancel(tasks[i], NULL);
        coil_release(tasks[i]);
    }
    release_brood(&b);
    return rc;
}

static int run_kind(node *n)
{
    switch ((enum kind)(n->depth < DEPTH ? below(&n->random, KINDS) : LEAF)) {
    case GATHER:
        return gather(n, false);
    case GATHER_OUTCOMES:
        return gather(n, true);
    case WAIT:
        return wait(n);
    case WAIT_FOR:
        return wait_for(n);
    case SHIELD:
        return shield(n);
    case AS_COMPLETED:
        return as_completed(n);
    default:
        return leaf(n);
    }
}

static int run_node(node *n)
{
    int rc = run_kind(n);
    atomic_store(&n->rc, rc);
    return rc;
}

/* --- trees ------------------------------------------------------------------------------------------------------- */

/* The target has something to do until the nodes have ended that nobody waits for. */
static void await_nodes(tree *t)
{
    for (int64_t limit = now_ns() + 60 * INT64_C(1000000000); atomic_load(&t->alive) > 0;) {
        EXPECT(now_ns() < limit, "%u nodes do not end", atomic_load(&t->alive));
        if (dismiss(coil_sleep(COIL_US(50))) == -ECANCELED)
            absolve(t->target);
    }
    for (node *n = atomic_load(&t->nodes), *next; n; n = next) {
        next = n->next;
        EXPECT(atomic_load(&n->ended) == 1, "a node has ended %u times", atomic_load(&n->ended));
        free(n);
    }
}

static int grow_trees(void *arg, void **result)
{
    target *t = open_target(arg);
    uint64_t random = new_stream();
    (void)result;
    while (!close_target(t)) {
        tree here = {.target = t, .snipes = atomic_load(&t->snipes)};
        here.sniped = asked(t);
        int rc = dismiss(node_body(new_node(&here, NULL, draw(&random)), result));
        if (rc < 0 || here.swallowed)
            forgive(t);
        settle(t);
        await_nodes(&here);
    }
    return 0;
}

/* What nobody waits for may fail. */
static int take_no_notice(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)context;
    (void)arg;
    return 0;
}

static int root(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_loop_set_exception_handler(coil_get_running_loop(), take_no_notice, NULL);
    return run_targets(grow_trees, TARGETS, SNIPERS);
}

int main(int argc, char **argv)
{
    return storm_main(argc, argv, root);
}
