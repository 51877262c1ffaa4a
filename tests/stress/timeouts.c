/*
 * timeouts.c - timeout scopes whose time comes on one worker while the task that entered them runs on another
 *
 * Tasks enter up to three scopes, one in another, and do something that ends at about the time of one of them: compute,
 * sleep, wait for ever, be rescheduled by another task. Others cancel them at any moment. Of each scope is checked:
 *
 *   -ETIMEDOUT comes out only of a scope whose deadline has passed, and of a cancellation
 *   a body that returned is not undone, and a scope that says that it has expired is past its deadline
 *   -ECANCELED reaches a body only if somebody asked for it or a scope around it is past its deadline
 *   after the outermost one: no cancellation is left but one that was asked for, none of those is lost, and
 *   coil_task_cancelling() is what it was
 */
#include "storm.h"

enum { TARGETS = 24, SNIPERS = 3, DEPTH = 3 };

typedef struct scope {
    coil_timeout *timeout;
    _Atomic int64_t deadline_ns; /* the earliest that was ever set */
} scope;

typedef struct traveller {
    target *target;
    uint64_t random;
    scope scopes[DEPTH];
    int depth;
} traveller;

static int64_t some_delay(traveller *t)
{
    static const int64_t most[] = {1, COIL_US(5), COIL_US(50), COIL_US(300), COIL_MS(2)};
    return (int64_t)(draw(&t->random) % (uint64_t)most[below(&t->random, 5)]);
}

static bool past_deadline(const traveller *t, int depth)
{
    for (int i = 0; i < depth; i++)
        if (now_ns() >= atomic_load(&t->scopes[i].deadline_ns))
            return true;
    return false;
}

static int wait_for_ever(void)
{
    coil_future *never;
    COIL_TRY(coil_create_future(&never));
    int rc = coil_await(never, NULL);
    coil_release(never);
    return rc;
}

static void set_deadline(scope *s, int64_t when_ns)
{
    int64_t before = atomic_load(&s->deadline_ns);
    while (when_ns < before && !atomic_compare_exchange_weak(&s->deadline_ns, &before, when_ns)) {
    }
}

static int reschedule(scope *s, int64_t delay_ns)
{
    int64_t when = now_ns() + delay_ns;
    set_deadline(s, when);
    int rc = dismiss(coil_timeout_reschedule(s->timeout, when));
    EXPECT(rc == 0 || rc == COIL_ERUNTIME, "%s", coil_error_name(rc));
    return 0;
}

typedef struct rescheduling {
    scope *scope;
    int64_t delay_ns;
} rescheduling;

static int reschedule_body(void *arg, void **result)
{
    rescheduling *r = arg;
    (void)result;
    return reschedule(r->scope, r->delay_ns);
}

/* Another task moves the innermost deadline, while this one waits for it or computes. */
static int be_rescheduled(traveller *t)
{
    rescheduling r = {&t->scopes[t->depth - 1], some_delay(t)};
    coil_task *other;
    COIL_TRY(coil_create_task(coil_coro_of(reschedule_body, &r), &other));
    compute((int64_t)(draw(&t->random) % 20000));
    int rc = 0, first = 0;
    do { /* r and the scope are ours: not before the other one has ended */
        rc = coil_await(other, NULL);
        first = first < 0 ? first : rc;
        dismiss(rc);
    } while (!coil_future_done(other));
    coil_release(other);
    return first < 0 ? coil_raise(-ECANCELED, NULL) : 0;
}

static int do_something(traveller *t)
{
    switch (below(&t->random, 8)) {
    case 0:
        return 0;
    case 1:
        compute(some_delay(t));
        return 7;
    case 2:
        COIL_TRY(coil_sleep(0));
        compute(some_delay(t));
        return 7;
    case 3:
        return coil_sleep(some_delay(t));
    case 4:
        for (int i = 0; i < 20; i++)
            COIL_TRY(coil_sleep(0));
        return 0;
    case 5:
        return t->depth > 0 ? be_rescheduled(t) : 0;
    case 6:
        if (t->depth > 0)
            reschedule(&t->scopes[below(&t->random, (unsigned)t->depth)], some_delay(t));
        return coil_sleep(some_delay(t));
    default:
        reschedule(&t->scopes[0], some_delay(t));
        return wait_for_ever();
    }
}

static int in_scope(traveller *t);

/* Something, or another scope; what it raises was asked for. */
static int body(traveller *t)
{
    int rc = t->depth < DEPTH && below(&t->random, 3) > 0 ? in_scope(t) : do_something(t);
    if (rc == -ECANCELED)
        EXPECT(asked(t->target) || past_deadline(t, t->depth), "a cancellation that nobody asked for, in a body");
    return rc;
}

static int in_scope(traveller *t)
{
    scope *s = &t->scopes[t->depth];
    int64_t when = below(&t->random, 20) == 0 ? COIL_FOREVER : now_ns() + some_delay(t);
    atomic_store(&s->deadline_ns, when);
    COIL_TRY(coil_timeout_at_new(when, &s->timeout));
    t->depth++;
    COIL_TRY(coil_timeout_enter(s->timeout));
    int in = body(t);
    int out = coil_timeout_exit(s->timeout, in);
    t->depth--;
    bool past = now_ns() >= atomic_load(&s->deadline_ns);
    EXPECT(out == in || (in == -ECANCELED && out == -ETIMEDOUT), "%d became %d", in, out);
    EXPECT(out == in || past, "-ETIMEDOUT before the deadline");
    EXPECT(!coil_timeout_expired(s->timeout) || past, "expired before the deadline");
    EXPECT(out == in || coil_timeout_expired(s->timeout), "-ETIMEDOUT of a scope that has not expired");
    coil_timeout_free(s->timeout);
    return out;
}

static int travel(void *arg, void **result)
{
    traveller t = {.target = open_target(arg), .random = new_stream()};
    (void)result;
    while (!close_target(t.target)) {
        int rc = dismiss(in_scope(&t));
        EXPECT(rc >= 0 || rc == -ECANCELED || rc == -ETIMEDOUT, "%s", coil_error_name(rc));
        if (rc == -ECANCELED)
            absolve(t.target);
        settle(t.target);
    }
    return 0;
}

static int root(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return run_targets(travel, TARGETS, SNIPERS);
}

int main(int argc, char **argv)
{
    return storm_main(argc, argv, root);
}
