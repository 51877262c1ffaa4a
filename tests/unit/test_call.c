/*
 * test_call.c - operations that lie in the frame of the waiting call: results, cancellation, timeouts, the end of the
 * loop
 *
 * Each test has a pair of connected sockets. What is cancelled must either not have happened, or be delivered.
 */
#include "coil_test.h"

#include <sys/socket.h>
#include <unistd.h>

#include "../../io/call.h"
#include "../../src/sync.h"

static int ends[2];

static void open_ends(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_ends(void)
{
    close(ends[0]);
    close(ends[1]);
}

/* A test in a task that has the sockets. */
#define ENDS_TEST(name)                \
    static void name##_with_ends(void); \
    TASK_TEST(name)                    \
    {                                  \
        open_ends();                   \
        name##_with_ends();            \
        close_ends();                  \
    }                                  \
    static void name##_with_ends(void)

static void peer_sends(const char *text)
{
    ck_assert_int_eq(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
}

static int receive(char *buf, size_t cap)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_RECV, ends[0]);
    c.op.data = buf;
    c.op.bytes = cap;
    return coil__call_result(coil__running_loop(), &c, "receiving");
}

/* --- results -------------------------------------------------------------------------------------------------- */

ENDS_TEST(a_call_returns_the_result_of_its_operation)
{
    char buf[16];
    peer_sends("hello");
    ck_assert_int_eq(receive(buf, sizeof buf), 5);
    ck_assert_mem_eq(buf, "hello", 5);
}

static int receive_body(void *arg, void **result)
{
    (void)result;
    char *buf = arg;
    int rc = receive(buf, 16);
    note("%d", rc);
    return rc;
}

ENDS_TEST(a_call_waits_while_others_run)
{
    char buf[16];
    coil_task *task = spawn(coil_coro_of(receive_body, buf));
    turns(3);
    TRACE_IS("");
    peer_sends("hi");
    OK(coil_join(task, NULL));
    TRACE_IS("2");
}

TASK_TEST(a_negative_result_is_raised_with_what_was_tried)
{
    coil__call c;
    char buf[1];
    coil__call_init(&c, COIL__OP_RECV, -1);
    c.op.data = buf;
    c.op.bytes = 1;
    RAISES(-EBADF, "receiving: Bad file descriptor", coil__call_result(coil__running_loop(), &c, "receiving"));
}

TASK_TEST(who_awaits_a_call_finds_a_negative_result_unraised)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_RECV, -1);
    ck_assert_int_eq(coil__call_await(coil__running_loop(), &c), 0);
    ck_assert_int_eq(c.op.res, -EBADF);
}

TEST(a_call_outside_tasks_is_refused)
{
    coil_loop *loop = new_test_loop();
    coil__call c;
    coil__call_init(&c, COIL__OP_RECV, 0);
    ck_assert_int_lt(coil__call_await(loop, &c), 0);
    coil_loop_free(loop);
}

/* --- cancellation --------------------------------------------------------------------------------------------- */

ENDS_TEST(a_cancelled_call_raises_when_the_kernel_has_let_go)
{
    char buf[16] = "";
    coil_task *task = spawn(coil_coro_of(receive_body, buf));
    turns(2);
    ck_assert(coil_task_cancel(task, "enough"));
    RAISES(-ECANCELED, "enough", coil_join(task, NULL));
    TRACE_IS("-125");
    peer_sends("kept");
    ck_assert_int_eq(receive(buf, sizeof buf), 4); /* nobody has taken it */
}

static int receive_then_sleep(void *arg, void **result)
{
    (void)result;
    int rc = receive(arg, 16);
    note("got %d", rc);
    rc = coil_sleep(0);
    note("slept %d", rc);
    return rc;
}

static coil__node *last_ready(const coil_loop *loop)
{
    return coil__list_empty(&loop->ready) ? NULL : coil__list_last(&loop->ready);
}

/* Until an operation has completed; its handle has not run when this returns. */
static void complete_something(void)
{
    coil_loop *loop = coil__running_loop();
    coil__node *before = last_ready(loop);
    while (last_ready(loop) == before)
        ck_assert_int_eq(loop->backend->ops->wait(loop->backend, COIL_SECONDS(5), &loop->ready), 0);
}

ENDS_TEST(a_cancellation_that_meets_a_completion_keeps_the_bytes)
{
    char buf[16] = "";
    coil_task *task = spawn(coil_coro_of(receive_then_sleep, buf));
    turns(2);
    peer_sends("bytes");
    complete_something();
    ck_assert(coil_task_cancel(task, NULL));
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    ck_assert_mem_eq(buf, "bytes", 5);
    TRACE_IS("got 5 slept -125");
}

static int cancel_self_then_receive(void *arg, void **result)
{
    (void)result;
    coil_task_cancel(coil_current_task(), NULL);
    return receive_body(arg, result);
}

ENDS_TEST(a_task_that_is_to_be_cancelled_begins_nothing)
{
    char buf[16] = "";
    peer_sends("there");
    RAISES(-ECANCELED, "", coil_join(spawn(coil_coro_of(cancel_self_then_receive, buf)), NULL));
    TRACE_IS("-125");
    ck_assert_int_eq(receive(buf, sizeof buf), 5);
}

static int receive_twice(void *arg, void **result)
{
    (void)result;
    int rc = receive(arg, 16);
    note("%d", rc);
    coil_error_release(coil_catch(rc));
    rc = receive(arg, 16);
    note("%d", rc);
    return rc;
}

ENDS_TEST(a_cancelled_task_may_call_again)
{
    char buf[16];
    coil_task *task = spawn(coil_coro_of(receive_twice, buf));
    turns(2);
    coil_task_cancel(task, NULL);
    turns(4);
    peer_sends("abc");
    OK(coil_join(task, NULL));
    TRACE_IS("-125 3");
}

ENDS_TEST(cancelling_twice_is_cancelling_once)
{
    char buf[16];
    coil_task *task = spawn(coil_coro_of(receive_body, buf));
    turns(2);
    coil_task_cancel(task, NULL);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    TRACE_IS("-125");
}

/* --- timeouts ------------------------------------------------------------------------------------------------- */

static int timed_receive(void *arg, int64_t delay)
{
    coil_timeout *t;
    OK(coil_timeout_new(delay, &t));
    OK(coil_timeout_enter(t));
    int rc = coil_timeout_exit(t, receive(arg, 16));
    coil_timeout_free(t);
    return rc;
}

ENDS_TEST(a_timeout_ends_a_call)
{
    char buf[16];
    RAISES(-ETIMEDOUT, "", timed_receive(buf, COIL_MS(10)));
    ck_assert_int_eq(now_ms(), 10);
    OK(coil_sleep(0)); /* nothing is left of it */
    peer_sends("late");
    ck_assert_int_eq(receive(buf, sizeof buf), 4);
}

static int send_late(void *arg)
{
    (void)arg;
    peer_sends("now");
    return 0;
}

static int send_and_complete(void *arg)
{
    (void)arg;
    peer_sends("now");
    complete_something();
    return 0;
}

/* Receives for 10 ms; at their end, before they expire in the same iteration, @happens. Nothing is left of it. */
static int receive_until(coil_callback *happens)
{
    char buf[16];
    OK(coil_loop_call_later(coil__running_loop(), COIL_MS(10), happens, NULL, NULL));
    int rc = timed_receive(buf, COIL_MS(10));
    coil_error_release(coil_catch(rc));
    OK(coil_sleep(0));
    OK(coil_sleep(COIL_MS(1)));
    return rc;
}

ENDS_TEST(a_timeout_in_the_moment_of_the_result_leaves_no_cancellation)
{
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(receive_until(send_and_complete), 3);
}

/* What has come, but not been collected when the call expires, is not taken. */
ENDS_TEST(a_timeout_in_the_moment_of_the_data_leaves_them)
{
    char buf[16];
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(receive_until(send_late), -ETIMEDOUT);
        ck_assert_int_eq(receive(buf, sizeof buf), 3);
    }
}

ENDS_TEST(an_outer_cancellation_outlives_the_timeout_of_a_call_that_succeeds)
{
    char buf[16];
    peer_sends("x");
    ck_assert_int_eq(timed_receive(buf, COIL_MS(10)), 1);
    coil_task_cancel(coil_current_task(), NULL);
    ck_assert_int_eq(coil_sleep(0), -ECANCELED);
    coil_task_uncancel(coil_current_task());
}

/* --- the end of the loop --------------------------------------------------------------------------------------- */

static int stop_when_waiting(void *arg)
{
    coil_loop_stop(arg);
    return 0;
}

TEST(a_loop_that_is_freed_takes_the_operation_back)
{
    char buf[16];
    coil_loop *loop = new_test_loop();
    coil_task *task;
    open_ends();
    OK(coil_loop_create_task(loop, coil_coro_of(receive_body, buf), NULL, &task));
    OK(coil_loop_call_later(loop, COIL_MS(1), stop_when_waiting, loop, NULL));
    OK(coil_loop_run_forever(loop));
    coil_release(task);
    trace[0] = '\0';
    coil_loop_free(loop);
    expect_report("Task was destroyed but it is pending!", 0, "");
    TRACE_IS("-5014"); /* COIL_EGENERATOREXIT */
    peer_sends("free");
    ck_assert_int_eq(read(ends[0], buf, sizeof buf), 4);
    close_ends();
}

/* --- several workers ------------------------------------------------------------------------------------------ */

enum { ROUNDS = 200, RECEIVERS = 4 };

typedef struct receiver {
    int fds[2];
    int sent, got, cancelled;
    coil_task *task;
    _Atomic bool begun; /* [CALLTEST-1] so that it can be cancelled in the middle only */
    _Atomic bool over;  /* [CALLTEST-1] release, acquire: what was counted */
} receiver;

static int receive_all(void *arg, void **result)
{
    receiver *r = arg;
    (void)result;
    store_release(&r->begun, true); /* [CALLTEST-1] */
    while (r->got < ROUNDS) {
        coil__call c;
        char buf[64];
        coil__call_init(&c, COIL__OP_RECV, r->fds[0]);
        c.op.data = buf;
        c.op.bytes = sizeof buf;
        int rc = coil__call_await(coil__running_loop(), &c);
        if (rc == 0) {
            ck_assert_int_gt(c.op.res, 0);
            for (int i = 0; i < c.op.res; i++)
                ck_assert_int_eq(buf[i], (char)(r->got++));
        } else {
            ck_assert_int_eq(rc, -ECANCELED);
            coil_error_release(coil_catch(rc));
            r->cancelled++;
        }
    }
    store_release(&r->over, true); /* [CALLTEST-1] */
    return 0;
}

/* Sends the bytes one by one, cancelling the receiver between them. */
static int send_and_cancel(void *arg, void **result)
{
    receiver *r = arg;
    (void)result;
    while (!load_acquire(&r->begun)) /* [CALLTEST-1] */
        OK(coil_sleep(0));
    while (!load_acquire(&r->over)) { /* [CALLTEST-1] */
        char c = (char)r->sent;
        if (r->sent < ROUNDS && r->sent % 3 != 0)
            coil_task_cancel(r->task, NULL);
        if (r->sent < ROUNDS)
            ck_assert_int_eq(write(r->fds[1], &c, 1), 1);
        r->sent++;
        if (r->sent < ROUNDS && r->sent % 2 == 0)
            coil_task_cancel(r->task, NULL);
        int rc = coil_sleep(0);
        ck_assert_int_eq(rc, 0);
    }
    return 0;
}

static int cancel_between_workers(void *arg, void **result)
{
    static receiver receivers[RECEIVERS];
    coil_task *senders[RECEIVERS];
    (void)arg;
    (void)result;
    for (unsigned i = 0; i < RECEIVERS; i++) {
        receiver *r = &receivers[i];
        coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = i % 4 + 1};
        *r = (receiver){.sent = 0};
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, r->fds), 0);
        OK(coil_create_task_with(coil_coro_of(receive_all, r), &o, &r->task));
        o.worker = (i + 1) % 4 + 1;
        OK(coil_create_task_with(coil_coro_of(send_and_cancel, r), &o, &senders[i]));
    }
    for (unsigned i = 0; i < RECEIVERS; i++) {
        int rc;
        OK(coil_join(senders[i], NULL));
        do /* the last request to cancel may come after the last byte */
            rc = coil_await(receivers[i].task, NULL);
        while (!coil_future_done(receivers[i].task));
        ck_assert(rc == 0 || rc == -ECANCELED);
        coil_error_release(coil_catch(rc));
        ck_assert_int_eq(receivers[i].got, ROUNDS);
        coil_release(receivers[i].task);
        close(receivers[i].fds[0]);
        close(receivers[i].fds[1]);
    }
    return 0;
}

TEST(calls_that_are_cancelled_from_other_workers_lose_no_byte)
{
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = 4,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(cancel_between_workers, NULL), NULL));
}

COIL_TEST_MAIN("call")
