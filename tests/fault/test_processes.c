/*
 * test_processes.c - subprocesses, pipes and signal handlers without memory, at every point where they ask for it
 *
 * The n-th allocation fails, for n = 1, 2, 3, ... until the program passes without a failure. It neither hangs nor
 * crashes, and leaves no child; under a sanitizer it leaks nothing. Descriptors are counted here.
 */
#include "net.h"

#include <sys/wait.h>

#include "../../src/base/alloc.h"

enum { ALLOCATIONS_MAX = 2000 };

static int count(void *arg)
{
    (*(int *)arg)++;
    return 0;
}

static int talk(coil_process *p)
{
    coil_process_data out = {0}, err = {0};
    int rc = coil_process_communicate(p, "text\n", 5, &out, &err);
    if (rc == 0) {
        ck_assert_str_eq(out.data, "text\n");
        ck_assert_str_eq(err.data, "error\n");
    }
    free(out.data);
    free(err.data);
    return rc;
}

/* A process that was not talked to ends when its pipes are closed; but it is to have ended when the test looks. */
static int finish_process(coil_process *p, int rc)
{
    coil_error *error = coil_catch(rc);
    coil__alloc_fail_at(0);
    for (int i = 0; i < 10; i++)
        (void)!coil_sleep(0);
    coil_error_release(coil_catch(coil_process_kill(p)));
    rc = coil_process_wait(p, NULL);
    coil_process_free(p);
    return error ? coil_raise_error(error) : rc;
}

static bool failed;

static int use_everything(void *arg, void **result)
{
    int n = 0;
    coil_process *p;
    coil_process_options options = {.size = sizeof options,
                                    .argv = (const char *const[]){"sh", "-c", "cat; echo error >&2", NULL},
                                    .stdin_to = COIL_SUBPROCESS_PIPE,
                                    .stdout_to = COIL_SUBPROCESS_PIPE,
                                    .stderr_to = COIL_SUBPROCESS_PIPE};
    (void)arg, (void)result;
    COIL_TRY(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, count, &n));
    COIL_TRY(coil_create_subprocess_exec(&options, &p));
    int rc = talk(p);
    failed = coil__testing_allocations_left() == 0;
    return finish_process(p, rc);
}

static int ignore_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
    return 0;
}

/* A child that was killed because its pipes found no memory is left to whoever starts the next. */
static void take_children(const coil_loop_options *options)
{
    siginfo_t info;
    (void)waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
    OK(coil_run_with(options, coil_coro_of(use_everything, NULL), NULL));
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}

TEST(a_process_without_memory_fails_in_good_order)
{
    coil_loop_options options = {.size = sizeof options, .default_exception_handler = ignore_report};
    OK(coil_run_with(&options, coil_coro_of(use_everything, NULL), NULL)); /* so that everything has been opened once */
    int before = open_descriptors(), failures = 0, rc;
    bool pending = true;
    for (uint64_t n = 1; pending; n++) {
        ck_assert_uint_lt(n, ALLOCATIONS_MAX);
        failed = true; /* it may not get as far as to tell */
        coil__alloc_fail_at(n);
        rc = coil_run_with(&options, coil_coro_of(use_everything, NULL), NULL);
        coil__alloc_fail_at(0);
        ck_assert_msg(rc == 0 || rc == -ENOMEM, "allocation %d: %s", (int)n, coil_error_name(rc));
        coil_error_release(coil_catch(rc));
        failures += rc != 0;
        pending = failed;
        take_children(&options);
        ck_assert_int_eq(open_descriptors(), before);
    }
    ck_assert_int_gt(failures, 10);
}

COIL_TEST_MAIN("processes")
