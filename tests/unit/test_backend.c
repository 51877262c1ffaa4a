/*
 * test_backend.c - the two backends by themselves, without a loop: waiting, waking, operations, cancellation, closing
 *
 * $COIL_BACKEND says which coil__backend is tested.
 */
#include "backend.h"

#include <poll.h>
#include <pthread.h>

#include "seccomp.h"

#include "../../src/base/clock.h"

/* --- waiting and waking --------------------------------------------------------------------------------------- */

TEST(a_wait_with_nothing_to_do_makes_no_system_call)
{
    open_backend();
    uint64_t before = backend->counters.kernel_waits;
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(waits(0), 0);
    ck_assert_uint_eq(backend->counters.kernel_waits, before);
    close_backend();
}

TEST(a_wait_is_over_when_its_time_is_and_not_before)
{
    open_backend();
    for (int i = 0; i < 5; i++) {
        int64_t start = coil__monotonic_ns();
        ck_assert_int_eq(waits(COIL_US(1300)), 0);
        ck_assert_int_ge(coil__monotonic_ns() - start, COIL_US(1300));
    }
    ck_assert(coil__list_empty(&ready));
    close_backend();
}

static void wake(void)
{
    uint64_t one = 1;
    ck_assert_int_eq(write(wake_fd, &one, sizeof one), sizeof one);
}

TEST(every_wake_up_ends_a_wait)
{
    open_backend();
    for (int i = 0; i < 100; i++) {
        wake();
        ck_assert_int_eq(waits(COIL_FOREVER), 0); /* would hang */
    }
    close_backend();
}

TEST(a_wake_up_ends_one_wait_only)
{
    open_backend();
    wake();
    wake();
    ck_assert_int_eq(waits(COIL_FOREVER), 0);
    int64_t start = coil__monotonic_ns();
    ck_assert_int_eq(waits(COIL_MS(2)), 0);
    ck_assert_int_ge(coil__monotonic_ns() - start, COIL_MS(2));
    close_backend();
}

TEST(a_wake_up_seen_in_passing_ends_the_next_wait)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    for (int i = 0; i < 3; i++) {
        wake();
        submit(&op, COIL__OP_RECV, ends[0], buf, sizeof buf);
        cancel(&op);
        ck_assert_int_eq(waits(0), 0); /* enters the kernel, and takes what it finds */
        wake();
        ck_assert_int_eq(waits(COIL_FOREVER), 0);
        ck_assert_ptr_eq(next(), &op);
    }
    close_backend();
}

static void *wake_later(void *barrier)
{
    pthread_barrier_wait(barrier);
    wake();
    return NULL;
}

TEST(another_thread_ends_a_wait)
{
    open_backend();
    for (int i = 0; i < 20; i++) {
        pthread_barrier_t barrier;
        pthread_t thread;
        pthread_barrier_init(&barrier, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, wake_later, &barrier), 0);
        pthread_barrier_wait(&barrier);
        ck_assert_int_eq(waits(COIL_FOREVER), 0);
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&barrier);
    }
    close_backend();
}

/* --- operations ----------------------------------------------------------------------------------------------- */

TEST(a_receive_completes_when_data_arrive)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    submit(&op, COIL__OP_RECV, ends[0], buf, sizeof buf);
    ck_assert_int_eq(waits(0), 0);
    ck_assert(coil__list_empty(&ready));
    ck_assert_uint_eq(backend->in_flight, 1);
    ck_assert_int_eq(write(ends[1], "data", 4), 4);
    ck_assert_ptr_eq(next(), &op);
    ck_assert_int_eq(op.res, 4);
    ck_assert_mem_eq(buf, "data", 4);
    ck_assert_uint_eq(backend->in_flight, 0);
    close_backend();
}

TEST(a_receive_finds_data_that_are_there_already)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    for (int hint = 0; hint < 2; hint++) {
        ck_assert_int_eq(write(ends[1], "data", 4), 4);
        coil__op_init(&op, COIL__OP_RECV, ends[0], &no_ops);
        op.data = buf;
        op.bytes = sizeof buf;
        op.wait_first = hint;
        backend->ops->submit(backend, &op);
        ck_assert_ptr_eq(next(), &op);
        ck_assert_int_eq(op.res, 4);
    }
    close_backend();
}

TEST(the_end_of_a_stream_is_a_receive_of_nothing)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    submit(&op, COIL__OP_RECV, ends[0], buf, sizeof buf);
    shutdown(ends[1], SHUT_WR);
    ck_assert_ptr_eq(next(), &op);
    ck_assert_int_eq(op.res, 0);
    close_backend();
}

/* Fills the socket, so that a send has to wait. */
static void fill(int fd)
{
    static char block[64 * 1024];
    while (send(fd, block, sizeof block, MSG_DONTWAIT) > 0) {
    }
}

static size_t empty(int fd)
{
    static char block[64 * 1024];
    ssize_t n;
    size_t total = 0;
    while ((n = recv(fd, block, sizeof block, MSG_DONTWAIT)) > 0)
        total += (size_t)n;
    return total;
}

TEST(a_receive_and_a_send_can_wait_on_the_same_socket)
{
    struct coil__op receive, send;
    char buf[8];
    open_backend();
    fill(ends[0]);
    submit(&receive, COIL__OP_RECV, ends[0], buf, sizeof buf);
    submit(&send, COIL__OP_SEND, ends[0], (char[]){"late"}, 4);
    ck_assert_int_eq(waits(0), 0);
    ck_assert(coil__list_empty(&ready));
    ck_assert_int_eq(write(ends[1], "data", 4), 4);
    ck_assert_ptr_eq(next(), &receive);
    ck_assert_int_eq(receive.res, 4);
    empty(ends[1]);
    ck_assert_ptr_eq(next(), &send);
    ck_assert_int_eq(send.res, 4);
    close_backend();
}

TEST(a_poll_tells_the_events)
{
    struct coil__op op;
    open_backend();
    coil__op_init(&op, COIL__OP_POLL, ends[0], &no_ops);
    op.events = POLLIN;
    backend->ops->submit(backend, &op);
    ck_assert_int_eq(waits(0), 0);
    ck_assert(coil__list_empty(&ready));
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    ck_assert_ptr_eq(next(), &op);
    ck_assert_int_eq(op.res & POLLIN, POLLIN);
    close_backend();
}

TEST(a_bad_descriptor_is_the_operations_result)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    submit(&op, COIL__OP_RECV, 999, buf, sizeof buf);
    ck_assert_ptr_eq(next(), &op);
    ck_assert_int_eq(op.res, -EBADF);
    close_backend();
}

TEST(a_descriptor_number_can_be_used_again_after_it_was_forgotten)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    for (int i = 0; i < 3; i++) {
        submit(&op, COIL__OP_RECV, ends[0], buf, sizeof buf);
        ck_assert_int_eq(waits(0), 0);
        ck_assert_int_eq(write(ends[1], "data", 4), 4);
        ck_assert_ptr_eq(next(), &op);
        backend->ops->forget(backend, ends[0]);
        close(ends[0]);
        close(ends[1]);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    }
    close_backend();
}

/* --- many ----------------------------------------------------------------------------------------------------- */

#define MANY 6000

TEST(more_operations_than_a_queue_has_room_for_complete_all_at_once)
{
    struct coil__op *ops = calloc(MANY, sizeof *ops);
    open_backend();
    for (size_t i = 0; i < MANY; i++) {
        coil__op_init(&ops[i], COIL__OP_POLL, ends[0], &no_ops);
        ops[i].events = POLLIN;
        backend->ops->submit(backend, &ops[i]);
    }
    ck_assert_int_eq(waits(0), 0);
    ck_assert(coil__list_empty(&ready));
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_int_eq(next()->res & POLLIN, POLLIN);
    ck_assert_uint_eq(backend->in_flight, 0);
    ck_assert_uint_eq(backend->counters.submissions, MANY);
    ck_assert_uint_eq(backend->counters.completions, MANY);
    close_backend();
    free(ops);
}

/* --- cancelling and closing ----------------------------------------------------------------------------------- */

TEST(a_cancelled_operation_completes_as_cancelled)
{
    struct coil__op op;
    char buf[8];
    open_backend();
    for (int submitted = 0; submitted < 2; submitted++) {
        submit(&op, COIL__OP_RECV, ends[0], buf, sizeof buf);
        if (submitted)
            ck_assert_int_eq(waits(0), 0);
        cancel(&op);
        ck_assert_ptr_eq(next(), &op);
        ck_assert_int_eq(op.res, -ECANCELED);
    }
    ck_assert_int_eq(write(ends[1], "kept", 4), 4);
    ck_assert_uint_eq(empty(ends[0]), 4);
    close_backend();
}

TEST(a_cancellation_that_comes_too_late_changes_nothing)
{
    struct coil__op op;
    char buf[8] = "";
    open_backend();
    submit(&op, COIL__OP_RECV, ends[0], buf, sizeof buf);
    ck_assert_int_eq(waits(0), 0);
    ck_assert_int_eq(write(ends[1], "data", 4), 4);
    cancel(&op);
    ck_assert_ptr_eq(next(), &op);
    ck_assert(op.res == 4 || op.res == -ECANCELED);
    ck_assert_uint_eq(empty(ends[0]), op.res == 4 ? 0 : 4); /* read or left: never lost */
    close_backend();
}

TEST(closing_completes_everything)
{
    struct coil__op ops[20];
    char buf[8];
    open_backend();
    for (size_t i = 0; i < 20; i++) {
        submit(&ops[i], COIL__OP_RECV, ends[0], buf, sizeof buf);
        if (i == 10)
            ck_assert_int_eq(waits(0), 0);
    }
    backend->ops->close(backend, &ready);
    for (size_t i = 0; i < 20; i++) {
        ck_assert_int_eq(next()->res, -ECANCELED);
        ck_assert(!ops[i].in_flight);
    }
    ck_assert(coil__list_empty(&ready));
    close(ends[0]);
    close(ends[1]);
    close(wake_fd);
}

/* --- other threads -------------------------------------------------------------------------------------------- */

static void *open_and_receive(void *op)
{
    static char buf[8];
    open_backend();
    submit(op, COIL__OP_RECV, ends[0], buf, sizeof buf);
    ck_assert_int_eq(waits(0), 0);
    return NULL;
}

static void in_another_thread(struct coil__op *op)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, open_and_receive, op), 0);
    pthread_join(thread, NULL);
}

TEST(another_thread_can_take_a_backend_over_with_its_operations)
{
    struct coil__op op;
    in_another_thread(&op);
    ck_assert_int_eq(backend->ops->attach(backend), 0);
    ck_assert_int_eq(waits(0), 0);
    if (coil__list_empty(&ready)) {
        ck_assert_int_eq(write(ends[1], "data", 4), 4);
        ck_assert_ptr_eq(next(), &op);
        ck_assert_int_eq(op.res, 4);
    } else {
        ck_assert_int_eq(next()->res, COIL_ECLOSED); /* the end of the thread has ended its requests */
    }
    wake();
    ck_assert_int_eq(waits(COIL_FOREVER), 0);
    close_backend();
}

TEST(another_thread_can_close_a_backend)
{
    struct coil__op op;
    in_another_thread(&op);
    backend->ops->close(backend, &ready);
    ck_assert_ptr_eq(next(), &op);
    ck_assert(op.res == -ECANCELED || op.res == COIL_ECLOSED);
    close(ends[0]);
    close(ends[1]);
    close(wake_fd);
}

/* --- older kernels -------------------------------------------------------------------------------------------- */

TEST(without_epoll_pwait2_a_wait_still_lasts_long_enough)
{
    if (!forks())
        return;
    ck_assert_int_eq(forbid(SYS_epoll_pwait2, ENOSYS), 0);
    open_backend();
    int64_t start = coil__monotonic_ns();
    ck_assert_int_eq(waits(COIL_US(1300)), 0);
    ck_assert_int_ge(coil__monotonic_ns() - start, COIL_US(1300));
    close_backend();
}

COIL_TEST_MAIN("backend")
