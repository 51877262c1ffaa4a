/*
 * test_overflow.c - a task that overflows its stack is reported by name, on the thread that called coil_run()
 *
 * The overflow happens in a child, whose standard error is read. Under sanitizers, whose handlers are chained to, it ends
 * otherwise than by the signal.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "dying.h"
#include "sanitized.h"

static __attribute__((noinline)) int recurse(int depth)
{
    volatile char frame[256];
    frame[0] = (char)depth;
    int below = depth == INT32_MAX ? 0 : recurse(depth + 1);
    return frame[0] + below;
}

static int fall(void *arg, void **result)
{
    (void)arg;
    (void)result;
    COIL_TRY(coil_sleep(0));
    return recurse(0) > 0 ? 0 : -EINVAL;
}

static int start_the_fall(void *arg, void **result)
{
    coil_task_options options = {.size = sizeof options, .name = "Icarus", .stack_bytes = 32 * 1024};
    coil_task *task;
    (void)arg;
    (void)result;
    COIL_TRY(coil_create_task_with(coil_coro_of(fall, NULL), &options, &task));
    int rc = coil_await(task, NULL);
    coil_release(task);
    return rc;
}

static void *run_the_fall(void *unused)
{
    (void)unused;
    if (coil_run(coil_coro_of(start_the_fall, NULL), NULL) < 0)
        _exit(1);
    return NULL;
}

static void fall_on_this_thread(void)
{
    run_the_fall(NULL);
}

static void fall_on_another_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_the_fall, NULL) == 0)
        pthread_join(thread, NULL);
}

static int do_nothing(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 0;
}

static void fall_in_the_second_run(void)
{
    if (coil_run(coil_coro_of(do_nothing, NULL), NULL) == 0)
        run_the_fall(NULL);
}

static void check_report(int status)
{
#ifdef COIL_TEST_SANITIZED
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    const char *report = "coil: task 'Icarus' overflowed its 128 KiB stack\n";
#else
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
    const char *report = "coil: task 'Icarus' overflowed its 32 KiB stack\n";
#endif
    ck_assert_msg(strstr(said, report) != NULL, "it said: %s", said);
}

TEST(overflow_is_reported_by_name_on_the_thread_that_runs_the_loop)
{
    check_report(status_of(fall_on_this_thread));
}

TEST(overflow_is_reported_by_name_on_another_thread)
{
    check_report(status_of(fall_on_another_thread));
}

TEST(overflow_is_reported_in_a_second_run)
{
    check_report(status_of(fall_in_the_second_run));
}

COIL_TEST_MAIN("overflow")
