/*
 * test_scopes.c - timeouts and groups whose task runs on one worker while another cancels it
 *
 * A runtime of two workers. A test is a task that is pinned to the first; what meets it is pinned to the second. So
 * that the other side comes in the middle of a step the test does not suspend but spins until it sees that it did.
 */
#include <coil/runtime.h>
#include <sched.h>
#include <stdatomic.h>

#include "workers.h"

static int run_pinned(void *arg, void **result)
{
    (void)result;
    return coil_join(on_worker(0, run_test_body, arg), NULL);
}

static void run_on_two_workers(void (*fn)(void))
{
    struct test_body body = {fn};
    coil_runtime_options options = {.size = sizeof options, .workers = 2};
    OK(coil_runtime_run(&options, coil_coro_of(run_pinned, &body), NULL));
}

#define TWO_WORKERS_TEST(name)           \
    static void name##_task(void);       \
    TEST(name)                           \
    {                                    \
        run_on_two_workers(name##_task); \
    }                                    \
    static void name##_task(void)

static void spin_until_cancelling(unsigned n)
{
    while (coil_task_cancelling(coil_current_task()) < n)
        sched_yield();
}

static void nothing_is_left(void)
{
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 0);
    OK(coil_sleep(0));
}

static int cancel_task(void *arg, void **result)
{
    (void)result;
    coil_future_cancel(arg, NULL);
    return 0;
}

/* --- timeouts ---------------------------------------------------------------------------------------------------------- */

static int expire_now(void *arg, void **result)
{
    (void)result;
    return coil_timeout_reschedule(arg, 0);
}

/* On the other worker, as soon as it can. */
static coil_task *expire(coil_timeout *t)
{
    return on_worker(1, expire_now, t);
}

static coil_timeout *enter_for_ever(void)
{
    coil_timeout *t;
    OK(coil_timeout_new(COIL_FOREVER, &t));
    OK(coil_timeout_enter(t));
    return t;
}

TWO_WORKERS_TEST(timeout_that_comes_in_the_step_that_leaves_its_scope_comes_after_it)
{
    coil_timeout *t = enter_for_ever();
    coil_task *other = expire(t);
    spin_until_cancelling(1);
    ck_assert(coil_timeout_expired(t));
    ck_assert_int_eq(coil_timeout_exit(t, 7), 7);
    ck_assert(!coil_timeout_expired(t));
    nothing_is_left();
    OK(coil_join(other, NULL));
    coil_timeout_free(t);
}

TWO_WORKERS_TEST(timeout_that_is_taken_back_leaves_what_another_has_asked_for)
{
    coil_timeout *t = enter_for_ever();
    coil_task *other = expire(t), *canceller = on_worker(1, cancel_task, coil_current_task());
    spin_until_cancelling(2);
    ck_assert_int_eq(coil_timeout_exit(t, 7), 7);
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 1);
    RAISES(-ECANCELED, "", coil_sleep(0));
    ck_assert_uint_eq(coil_task_uncancel(coil_current_task()), 0);
    nothing_is_left();
    OK(coil_join(other, NULL));
    OK(coil_join(canceller, NULL));
    coil_timeout_free(t);
}

TWO_WORKERS_TEST(timeout_is_not_kept_from_its_error_by_one_that_comes_later)
{
    coil_timeout *outer = enter_for_ever(), *inner = enter_for_ever();
    coil_future *never;
    OK(coil_create_future(&never));
    coil_task *first = expire(inner);
    int rc = coil_await(never, NULL);
    ck_assert_int_eq(rc, -ECANCELED);
    coil_task *second = expire(outer);
    spin_until_cancelling(2);
    rc = coil_timeout_exit(inner, rc);
    ck_assert_int_eq(rc, -ETIMEDOUT);
    RAISES(-ETIMEDOUT, "", coil_timeout_exit(outer, rc));
    ck_assert(coil_timeout_expired(inner));
    ck_assert(!coil_timeout_expired(outer));
    nothing_is_left();
    OK(coil_join(first, NULL));
    OK(coil_join(second, NULL));
    coil_release(never);
    coil_timeout_free(inner);
    coil_timeout_free(outer);
}

TWO_WORKERS_TEST(timeout_that_was_met_in_a_later_step_times_out)
{
    coil_timeout *t = enter_for_ever();
    coil_task *other = expire(t);
    spin_until_cancelling(1);
    int rc = coil_sleep(0);
    ck_assert_int_eq(rc, -ECANCELED);
    RAISES(-ETIMEDOUT, "", coil_timeout_exit(t, rc));
    nothing_is_left();
    OK(coil_join(other, NULL));
    coil_timeout_free(t);
}

TWO_WORKERS_TEST(timeout_cannot_be_rescheduled_once_it_has_gone_off_elsewhere)
{
    coil_timeout *t = enter_for_ever();
    coil_task *other = expire(t);
    spin_until_cancelling(1);
    RAISES(COIL_ERUNTIME, "Cannot change state of expiring Timeout", coil_timeout_reschedule(t, COIL_FOREVER));
    ck_assert_int_eq(coil_timeout_exit(t, 7), 7);
    OK(coil_join(other, NULL));
    coil_timeout_free(t);
}

/* --- groups ------------------------------------------------------------------------------------------------------------ */

/* When it is told to: the group's callback is registered by then, and will run on the other worker too. */
static int raise_error(void *arg, void **result)
{
    _Atomic bool *go = arg;
    (void)result;
    while (!*go)
        sched_yield();
    return coil_raise(COIL_EUSER(1), NULL);
}

static void fail_in(coil_group *group)
{
    _Atomic bool go = false;
    coil_task_options options = {.size = sizeof options, .migration = COIL_PINNED, .worker = 2};
    unsigned before = coil_task_cancelling(coil_current_task());
    OK(coil_group_create_task(group, coil_coro_of(raise_error, (void *)&go), &options, NULL));
    go = true;
    spin_until_cancelling(before + 1);
}

static int spin_while_a_child_fails(coil_group *group, void *arg)
{
    (void)arg;
    fail_in(group);
    return 7;
}

TWO_WORKERS_TEST(group_takes_back_a_cancellation_that_its_body_has_not_met)
{
    RAISES(COIL_EGROUP, "unhandled errors in a TaskGroup", coil_group_run(spin_while_a_child_fails, NULL));
    nothing_is_left();
}

static int spin_then_suspend(coil_group *group, void *arg)
{
    spin_while_a_child_fails(group, arg);
    return coil_sleep(0);
}

TWO_WORKERS_TEST(group_absorbs_a_cancellation_that_its_body_has_met)
{
    RAISES(COIL_EGROUP, "unhandled errors in a TaskGroup", coil_group_run(spin_then_suspend, NULL));
    nothing_is_left();
}

static int set_flag(void *arg, void **result)
{
    _Atomic bool *flag = arg;
    (void)result;
    *flag = true;
    return 0;
}

/* What the other worker has begun is over: here the failed child's callback, without which leaving the group would wait. */
static void spin_until_other_has_gone_on(void)
{
    _Atomic bool gone_on = false;
    coil_detach(on_worker(1, set_flag, (void *)&gone_on));
    while (!gone_on)
        sched_yield();
}

static int spin_until_cancelled_by_others(coil_group *group, void *canceller)
{
    *(coil_task **)canceller = on_worker(1, cancel_task, coil_current_task());
    spin_until_cancelling(1);
    fail_in(group);
    spin_until_other_has_gone_on();
    return 7;
}

TWO_WORKERS_TEST(group_that_raises_errors_leaves_what_another_has_asked_for)
{
    coil_task *canceller;
    RAISES(COIL_EGROUP, "unhandled errors in a TaskGroup", coil_group_run(spin_until_cancelled_by_others, &canceller));
    ck_assert_uint_eq(coil_task_cancelling(coil_current_task()), 1);
    RAISES(-ECANCELED, "", coil_sleep(0));
    coil_task_uncancel(coil_current_task());
    nothing_is_left();
    OK(coil_join(canceller, NULL));
}

/* --- gather ------------------------------------------------------------------------------------------------------------ */

struct swallower {
    coil_future *never;
    _Atomic int *waiting;
};

/* Takes no notice of its cancellation, and ends at once. */
static int swallow(void *arg, void **result)
{
    struct swallower *s = arg;
    (void)result;
    (*s->waiting)++;
    int rc = coil_await(s->never, NULL);
    ck_assert_int_eq(rc, -ECANCELED);
    coil_error_release(coil_catch(rc));
    return 0;
}

static void cancel_a_gathering(void)
{
    _Atomic int waiting = 0;
    struct swallower children[2];
    coil_awaitable aws[2];
    coil_future *all;
    for (int i = 0; i < 2; i++) {
        children[i].waiting = &waiting;
        OK(coil_create_future(&children[i].never));
        aws[i].future = on_worker(1, swallow, &children[i]);
    }
    OK(coil_gather(aws, 2, true, &all));
    while (waiting < 2)
        sched_yield();
    ck_assert(coil_future_cancel(all, NULL));
    RAISES(-ECANCELED, "", coil_await(all, NULL));
    coil_release(all);
    for (int i = 0; i < 2; i++) {
        coil_release(aws[i].future);
        coil_release(children[i].never);
    }
}

TWO_WORKERS_TEST(gather_that_was_cancelled_raises_although_its_children_swallow_that)
{
    for (int i = 0; i < 200; i++)
        cancel_a_gathering();
}

COIL_TEST_MAIN("scopes")
