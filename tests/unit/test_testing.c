/*
 * test_testing.c - the test kit (coil_testing.h): what it says of tests that leave something behind, and its faults
 *
 * Bodies of tests are run here as COIL_TEST runs them, and what they would fail with is looked at.
 */
#include <coil_testing.h>
#include <fcntl.h>
#include <unistd.h>

#include "coil_test.h"

/* What a test with this body fails with; "" if it passes. */
static const char *said_of(void (*body)(int))
{
    const char *said = coil_testing_run_test(body, 0, true);
    return said ? said : "";
}

#define SAYS(text, part) ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not say \"%s\"", text, part)

/* --- leaks --- */

static int wait_for_ever(void *arg, void **result)
{
    coil_future *never;
    (void)arg;
    (void)result;
    COIL_TRY(coil_create_future(&never));
    return coil_join(never, NULL);
}

static void leave_nothing(int i)
{
    (void)i;
    coil_task *task;
    OK(coil_create_task(coil_coro_of(wait_for_ever, NULL), &task));
    turns(1);
    coil_task_cancel(task, NULL); /* it has not ended yet when the body returns, but needs nothing to do so */
    coil_release(task);
}

TEST(a_test_that_cleans_up_passes)
{
    ck_assert_str_eq(said_of(leave_nothing), "");
    ck_assert_ptr_null(coil_testing_loop());
}

static int made_in_line;

static void leave_a_task(int i)
{
    (void)i;
    made_in_line = __LINE__ + 1;
    OK(coil_create_task(coil_coro_of(wait_for_ever, NULL), NULL));
}

TEST(a_task_that_is_left_is_named_with_its_maker)
{
    char where[80];
    const char *said = said_of(leave_a_task);
    SAYS(said, "left by the test\n  task <Task pending name='Task-");
    SAYS(said, "fn=wait_for_ever");
    snprintf(where, sizeof where, "made by leave_a_task at test_testing.c:%d", made_in_line);
    if (system("addr2line --version >/dev/null 2>&1") == 0)
        SAYS(said, where);
}

static int make_child(coil_group *group, void *arg)
{
    (void)arg;
    made_in_line = __LINE__ + 1;
    return coil_group_create_task(group, coil_coro_of(wait_for_ever, NULL), NULL, NULL);
}

static int run_group(void *arg, void **result)
{
    (void)result;
    return coil_group_run(make_child, arg);
}

static void leave_a_group(int i)
{
    (void)i;
    OK(coil_create_task(coil_coro_of(run_group, NULL), NULL));
    turns(2);
}

TEST(the_maker_of_a_groups_task_is_who_asked_the_group)
{
    char where[80];
    const char *said = said_of(leave_a_group);
    snprintf(where, sizeof where, "made by make_child at test_testing.c:%d", made_in_line);
    if (system("addr2line --version >/dev/null 2>&1") == 0)
        SAYS(said, where);
}

static int tick(void *arg)
{
    (void)arg;
    return 0;
}

static void leave_a_timer(int i)
{
    (void)i;
    OK(coil_loop_call_later(coil_get_running_loop(), COIL_SECONDS(2.5), tick, NULL, NULL));
}

TEST(a_timer_that_is_left_is_named)
{
    const char *said = said_of(leave_a_timer);
    SAYS(said, "left by the test\n  timer: callback tick at test_testing.c:");
    SAYS(said, ", due in 2.500 s");
}

static void leave_a_cancelled_timer(int i)
{
    (void)i;
    coil_handle *handle;
    OK(coil_loop_call_later(coil_get_running_loop(), COIL_SECONDS(2), tick, NULL, &handle));
    coil_handle_cancel(handle);
    coil_handle_release(handle);
}

TEST(a_cancelled_timer_is_not_left)
{
    ck_assert_str_eq(said_of(leave_a_cancelled_timer), "");
}

static int opened;

static void leave_a_descriptor(int i)
{
    (void)i;
    opened = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

TEST(a_descriptor_that_is_left_is_named)
{
    char expected[80];
    const char *said = said_of(leave_a_descriptor);
    snprintf(expected, sizeof expected, "left by the test\n  descriptor %d: /dev/null", opened);
    ck_assert_str_eq(said, expected);
    close(opened);
}

static int serve_nobody(coil_stream *stream, void *arg)
{
    (void)arg;
    coil_stream_free(stream);
    return 0;
}

static coil_server *server;

static void leave_a_server(int i)
{
    (void)i;
    OK(coil_start_server(serve_nobody, NULL, "127.0.0.1", "0", NULL, &server));
    opened = coil_server_port(server);
}

TEST(a_server_that_is_left_is_named_with_its_address)
{
    char expected[80];
    const char *said = said_of(leave_a_server);
    SAYS(said, "descriptor ");
    snprintf(expected, sizeof expected, " at 127.0.0.1:%d", opened);
    SAYS(said, expected);
    coil_server_free(server);
}

static int replaced[2];

static void replace_a_descriptor(int i)
{
    (void)i;
    close(replaced[0]);
    ck_assert_int_eq(open("/dev/zero", O_RDONLY | O_CLOEXEC), replaced[0]);
}

TEST(a_descriptor_with_the_number_of_another_is_left_too)
{
    ck_assert_int_eq(pipe(replaced), 0);
    SAYS(said_of(replace_a_descriptor), ": /dev/zero");
    close(replaced[0]);
    close(replaced[1]);
}

static coil_future *kept;

static void leave_a_future(int i)
{
    (void)i;
    OK(coil_create_future(&kept));
}

TEST(a_future_that_is_left_is_noticed)
{
    SAYS(said_of(leave_a_future), "the loop itself: a task, future or handle of it was not released");
    coil_release(kept);
}

static int run_out(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_raise(COIL_EUSER(1), "out of tea");
}

static void leave_an_error(int i)
{
    (void)i;
    OK(coil_create_task(coil_coro_of(run_out, NULL), NULL));
}

TEST(an_error_that_nobody_looks_at_is_left)
{
    const char *said = said_of(leave_an_error);
    SAYS(said, "left by the test\n  Task exception was never retrieved");
    SAYS(said, "out of tea");
}

static int ignore(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)context;
    ++*(int *)arg;
    return 0;
}

static int ignored;

static void leave_an_error_that_is_expected(int i)
{
    (void)i;
    coil_loop_set_exception_handler(coil_get_running_loop(), ignore, &ignored);
    OK(coil_create_task(coil_coro_of(run_out, NULL), NULL));
    turns(3);
}

TEST(a_handler_of_the_tests_own_takes_the_errors)
{
    ck_assert_str_eq(said_of(leave_an_error_that_is_expected), "");
    ck_assert_int_eq(ignored, 1);
}

static void leave_many(int i)
{
    for (i = 0; i < 500; i++)
        OK(coil_create_task(coil_coro_of(wait_for_ever, NULL), NULL));
}

TEST(a_long_report_is_cut)
{
    const char *said = said_of(leave_many);
    ck_assert_uint_gt(strlen(said), 8000);
    ck_assert_str_eq(said + strlen(said) - 3, "...");
}

/* --- the loop --- */

static coil_loop *used;

static void use_the_loop(int i)
{
    used = coil_get_running_loop();
    ck_assert_ptr_eq(used, coil_testing_loop());
    ck_assert(coil_loop_get_debug(used));
    ck_assert_int_eq(i, 0);
    ck_assert_int_eq(coil_loop_time(used), 0);
    OK(coil_sleep(COIL_SECONDS(3600)));
    ck_assert_int_eq(coil_loop_time(used), COIL_SECONDS(3600));
}

TEST(a_virtual_clock_begins_at_0_in_each_test)
{
    ck_assert_str_eq(said_of(use_the_loop), "");
    ck_assert_str_eq(said_of(use_the_loop), "");
}

static void look_at_the_loop(int i)
{
    ck_assert_int_eq(i, 7);
    used = coil_get_running_loop();
}

TEST(a_test_between_begin_and_end_uses_that_loop)
{
    OK(coil_testing_begin(NULL));
    coil_loop *loop = coil_testing_loop();
    ck_assert_ptr_eq(coil_get_event_loop(), loop);
    ck_assert_ptr_null(coil_testing_run_test(look_at_the_loop, 7, false));
    ck_assert_ptr_eq(used, loop);
    RAISES(COIL_EBUSY, "the test has a loop already", coil_testing_begin(NULL));
    ck_assert_ptr_null(coil_testing_end());
    ck_assert_ptr_null(coil_testing_end());
}

static int nothing(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 0;
}

TEST(a_loop_that_the_test_closed_itself_is_freed)
{
    OK(coil_testing_begin(NULL));
    OK(coil_loop_run_until_complete(coil_testing_loop(), coil_coro_of(nothing, NULL), NULL));
    OK(coil_loop_close(coil_testing_loop()));
    ck_assert_ptr_null(coil_testing_end());
}

COIL_TEST(the_macro_makes_a_test_for_check)
{
    ck_assert_ptr_nonnull(coil_current_task());
    ck_assert_coil_ok(coil_sleep(COIL_MS(1)));
    ck_assert_coil_raises(coil_timeout_run(COIL_MS(1), coil_coro_of(wait_for_ever, NULL), NULL), -ETIMEDOUT);
}
END_COIL_TEST
COIL_TEST_REGISTER(the_macro_makes_a_test_for_check, 0)

COIL_TEST_VIRTUAL(the_macro_has_a_virtual_variant)
{
    ck_assert_coil_ok(coil_sleep(COIL_SECONDS(3600)));
}
END_COIL_TEST
COIL_TEST_REGISTER(the_macro_has_a_virtual_variant, 0)

COIL_TEST_MAIN("testing")
