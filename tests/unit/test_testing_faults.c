/*
 * test_testing_faults.c - the test kit's faults: the n-th allocation, the n-th request to the kernel
 */
#include <coil_testing.h>

#include "net.h"

/* --- allocations --- */

COIL_TEST_VIRTUAL(the_next_allocation_fails_once)
{
    coil_queue *queue;
    coil_testing_fail_allocation(1);
    ck_assert_uint_eq(coil_testing_allocations_left(), 1);
    ck_assert_coil_raises(coil_queue_new(0, &queue), -ENOMEM);
    ck_assert_uint_eq(coil_testing_allocations_left(), 0);
    ck_assert_coil_ok(coil_queue_new(0, &queue));
    coil_queue_free(queue);
}
END_COIL_TEST
COIL_TEST_REGISTER(the_next_allocation_fails_once, 0)

static int return_at_once(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 0;
}

/* Runs a task to its end with the n-th allocation failing. True: the failure is still to come. */
static bool task_survives(uint64_t n)
{
    coil_task *task;
    coil_testing_fail_allocation(n);
    int rc = coil_create_task(coil_coro_of(return_at_once, NULL), &task);
    if (rc == 0)
        rc = coil_join(task, NULL);
    ck_assert_msg(rc == 0 || rc == -ENOMEM, "%s", coil_error_name(rc));
    bool to_come = coil_testing_allocations_left() > 0;
    ck_assert_msg(rc == -ENOMEM || to_come, "allocation %lu was not missed", (unsigned long)n);
    coil_testing_fail_allocation(0);
    return to_come;
}

COIL_TEST_VIRTUAL(each_allocation_of_a_piece_of_code_can_be_tried)
{
    uint64_t n = 1;
    while (!task_survives(n))
        n++;
    ck_assert_uint_gt(n, 1);
}
END_COIL_TEST
COIL_TEST_REGISTER(each_allocation_of_a_piece_of_code_can_be_tried, 0)

/* --- requests --- */

static int visit(const coil_server *server, const char *text)
{
    char port[16];
    const char *line;
    size_t n;
    coil_stream *stream;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    COIL_TRY(coil_open_connection("127.0.0.1", port, &stream));
    int rc = coil_stream_write(stream, text, strlen(text));
    if (rc == 0)
        rc = coil_stream_drain(stream);
    if (rc == 0)
        rc = coil_stream_readline(stream, &line, &n);
    if (rc == 0 && n != strlen(text))
        rc = -ECONNRESET;
    coil_stream_close(stream);
    coil_stream_free(stream);
    return rc;
}

COIL_TEST(the_next_request_fails_with_the_code)
{
    coil_loop *loop = coil_testing_loop();
    coil_server *server = listen_with(echo, NULL, NULL);
    turns(2); /* it accepts */
    ck_assert_coil_ok(coil_testing_fail_operation(loop, 1, -ENETDOWN));
    ck_assert_uint_eq(coil_testing_operations_left(loop), 1);
    ck_assert_coil_raises(visit(server, "tea\n"), -ENETDOWN);
    ck_assert_uint_eq(coil_testing_operations_left(loop), 0);
    ck_assert_coil_ok(visit(server, "tea\n"));
    finish_server(server);
}
END_COIL_TEST
COIL_TEST_REGISTER(the_next_request_fails_with_the_code, 0)

static int ignore(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)context;
    (void)arg;
    return 0;
}

COIL_TEST(each_request_of_a_piece_of_code_can_be_tried)
{
    coil_loop *loop = coil_testing_loop();
    coil_loop_set_exception_handler(loop, ignore, NULL); /* the server reports what its clients die of */
    bool to_come = false;
    int failures = 0;
    for (uint64_t n = 1; !to_come; n++) {
        coil_server *server = listen_with(echo, NULL, NULL);
        ck_assert_coil_ok(coil_testing_fail_operation(loop, n, -ECONNRESET));
        int rc = visit(server, "tea\n");
        failures += rc < 0;
        coil_error_release(coil_catch(rc));
        finish_server(server);
        to_come = coil_testing_operations_left(loop) > 0;
        ck_assert_coil_ok(coil_testing_fail_operation(loop, 0, -ECONNRESET));
        ck_assert_uint_lt(n, 100);
    }
    ck_assert_int_ge(failures, 2);
}
END_COIL_TEST
COIL_TEST_REGISTER(each_request_of_a_piece_of_code_can_be_tried, 0)

COIL_TEST(an_operation_on_a_file_can_be_made_to_fail)
{
    coil_file *file;
    ck_assert_coil_ok(coil_testing_fail_operation(coil_testing_loop(), 1, -EIO));
    ck_assert_coil_raises(coil_file_open("/proc/self/exe", O_RDONLY, 0, &file), -EIO);
    ck_assert_coil_ok(coil_file_open("/proc/self/exe", O_RDONLY, 0, &file));
    ck_assert_coil_ok(coil_file_close(file));
}
END_COIL_TEST
COIL_TEST_REGISTER(an_operation_on_a_file_can_be_made_to_fail, 0)

COIL_TEST(a_failure_that_never_comes_ends_with_the_loop)
{
    coil_loop *loop = coil_testing_loop();
    ck_assert_coil_ok(coil_testing_fail_operation(loop, 1000, -EIO));
    ck_assert_coil_ok(coil_testing_fail_operation(loop, 2000, -EIO));
    ck_assert_uint_eq(coil_testing_operations_left(loop), 2000);
}
END_COIL_TEST
COIL_TEST_REGISTER(a_failure_that_never_comes_ends_with_the_loop, 0)

COIL_TEST(a_failure_needs_a_code_that_is_one)
{
    coil_loop *loop = coil_testing_loop();
    ck_assert_coil_raises(coil_testing_fail_operation(loop, 1, 0), -EINVAL);
    ck_assert_coil_raises(coil_testing_fail_operation(loop, 1, -EAGAIN), -EINVAL);
    ck_assert_uint_eq(coil_testing_operations_left(loop), 0);
}
END_COIL_TEST
COIL_TEST_REGISTER(a_failure_needs_a_code_that_is_one, 0)

TEST(a_loop_that_has_not_run_can_be_made_to_fail)
{
    OK(coil_testing_begin(NULL));
    OK(coil_testing_fail_operation(coil_testing_loop(), 1, -EIO));
    ck_assert_uint_eq(coil_testing_operations_left(coil_testing_loop()), 1);
    OK(coil_loop_close(coil_testing_loop()));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_testing_fail_operation(coil_testing_loop(), 1, -EIO));
    ck_assert_uint_eq(coil_testing_operations_left(coil_testing_loop()), 0);
    ck_assert_ptr_null(coil_testing_end());
}

COIL_TEST_MAIN("testing_faults")
