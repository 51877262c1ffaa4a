/* Signals as callbacks of a loop, and Ctrl-C in runners. */
#include "asleep.h"
#include "net.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char word_a[] = "a", word_b[] = "b", word_first[] = "first", word_second[] = "second", word_on[] = "on",
            word_one[] = "one", word_two[] = "two";

/* --- handlers of loops ------------------------------------------------------------------------------------------- */

static int count(void *arg)
{
    (*(int *)arg)++;
    return 0;
}

static int note_word(void *arg)
{
    note("%s", (const char *)arg);
    return 0;
}

/* Runs the loop until what the signals have caused has run. */
static void settle(void)
{
    turns(4);
}

static void (*disposition(int signal))(int)
{
    struct sigaction now;
    ck_assert_int_eq(sigaction(signal, NULL, &now), 0);
    return now.sa_handler;
}

TASK_TEST(a_signal_runs_the_handler_on_the_loop)
{
    int n = 0;
    OK(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, count, &n));
    raise(SIGUSR1);
    ck_assert_int_eq(n, 0);
    settle();
    ck_assert_int_eq(n, 1);
    raise(SIGUSR1);
    settle();
    ck_assert_int_eq(n, 2);
}

TASK_TEST(a_burst_of_signals_runs_the_handler_once)
{
    int n = 0;
    OK(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, count, &n));
    for (int i = 0; i < 100; i++)
        raise(SIGUSR1);
    settle();
    ck_assert_int_eq(n, 1);
}

TASK_TEST(a_second_handler_replaces_the_first)
{
    coil_loop *loop = coil_get_running_loop();
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, note_word, word_first));
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, note_word, word_second));
    raise(SIGUSR1);
    settle();
    TRACE_IS("second");
}

TASK_TEST(each_signal_has_a_handler_of_its_own)
{
    coil_loop *loop = coil_get_running_loop();
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, note_word, word_one));
    OK(coil_loop_add_signal_handler(loop, SIGUSR2, note_word, word_two));
    raise(SIGUSR2);
    raise(SIGUSR1);
    settle();
    TRACE_IS("two one");
}

static void ignore(int signal)
{
    (void)signal;
}

TASK_TEST(removing_a_handler_restores_what_was_there)
{
    coil_loop *loop = coil_get_running_loop();
    int n = 0;
    signal(SIGUSR1, ignore);
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, count, &n));
    ck_assert_int_eq(coil_loop_remove_signal_handler(loop, SIGUSR1), 1);
    ck_assert(disposition(SIGUSR1) == ignore);
    ck_assert_int_eq(coil_loop_remove_signal_handler(loop, SIGUSR1), 0);
    raise(SIGUSR1);
    settle();
    ck_assert_int_eq(n, 0);
}

TASK_TEST(a_handler_removed_before_it_runs_does_not_run)
{
    coil_loop *loop = coil_get_running_loop();
    int n = 0;
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, count, &n));
    raise(SIGUSR1);
    ck_assert_int_eq(coil_loop_remove_signal_handler(loop, SIGUSR1), 1);
    settle();
    ck_assert_int_eq(n, 0);
}

static int remove_itself(void *arg)
{
    coil_loop *loop = coil_get_running_loop();
    note("%d", coil_loop_remove_signal_handler(loop, SIGUSR1));
    return coil_raise(*(int *)arg, "on purpose");
}

TASK_TEST(a_handler_may_remove_itself_and_its_errors_are_reported)
{
    int code = -EIO;
    OK(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, remove_itself, &code));
    raise(SIGUSR1);
    settle();
    TRACE_IS("1");
    expect_report("Exception in callback", -EIO, "on purpose");
}

TASK_TEST(what_is_over_a_handler_stays_when_it_is_removed)
{
    coil_loop *loop = coil_get_running_loop();
    int n = 0;
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, count, &n));
    signal(SIGUSR1, ignore);
    ck_assert_int_eq(coil_loop_remove_signal_handler(loop, SIGUSR1), 1);
    ck_assert(disposition(SIGUSR1) == ignore);
}

TASK_TEST(signals_that_cannot_be_handled_are_refused)
{
    coil_loop *loop = coil_get_running_loop();
    int n;
    RAISES(COIL_ERUNTIME, "sig 9 cannot be caught", coil_loop_add_signal_handler(loop, SIGKILL, count, &n));
    RAISES(COIL_ERUNTIME, "sig 19 cannot be caught", coil_loop_add_signal_handler(loop, SIGSTOP, count, &n));
    RAISES(-EINVAL, "invalid signal number 0", coil_loop_add_signal_handler(loop, 0, count, &n));
    RAISES(-EINVAL, "invalid signal number 65", coil_loop_add_signal_handler(loop, 65, count, &n));
    RAISES(-EINVAL, "invalid signal number 32", coil_loop_add_signal_handler(loop, 32, count, &n));
    RAISES(-EINVAL, "invalid signal number -1", coil_loop_remove_signal_handler(loop, -1));
    ck_assert_int_eq(coil_loop_remove_signal_handler(loop, SIGKILL), 0);
}

TEST(closing_the_loop_restores_what_was_there)
{
    int n = 0;
    coil_loop *loop = new_test_loop();
    signal(SIGUSR1, ignore);
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, count, &n));
    ck_assert(disposition(SIGUSR1) != ignore);
    raise(SIGUSR1);
    OK(coil_loop_close(loop));
    ck_assert(disposition(SIGUSR1) == ignore);
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_add_signal_handler(loop, SIGUSR1, count, &n));
    coil_loop_free(loop);
    ck_assert_int_eq(n, 0);
}

TEST(a_signal_belongs_to_one_loop)
{
    int n = 0;
    coil_loop *first = new_test_loop(), *second = new_test_loop();
    OK(coil_loop_add_signal_handler(first, SIGUSR1, count, &n));
    RAISES(COIL_EBUSY, "sig 10 is handled by another event loop",
           coil_loop_add_signal_handler(second, SIGUSR1, count, &n));
    ck_assert_int_eq(coil_loop_remove_signal_handler(second, SIGUSR1), 0);
    coil_loop_free(first);
    OK(coil_loop_add_signal_handler(second, SIGUSR1, count, &n));
    coil_loop_free(second);
}

static coil_contextvar *letter;

static int note_letter(void *arg)
{
    void *value;
    (void)arg;
    OK(coil_contextvar_get(letter, &value));
    note("%s", (char *)value);
    return 0;
}

TASK_TEST(a_handler_runs_in_the_context_it_was_added_in)
{
    OK(coil_contextvar_new("letter", NULL, &letter));
    OK(coil_contextvar_set(letter, word_a, NULL));
    OK(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, note_letter, NULL));
    OK(coil_contextvar_set(letter, word_b, NULL));
    for (int i = 0; i < 2; i++) {
        raise(SIGUSR1);
        settle();
    }
    TRACE_IS("a a");
}

typedef struct sleeping {
    pid_t thread; /* the loop's */
    sem_t running;
} sleeping;

static int tell_that_it_runs(void *arg)
{
    sem_post(&((sleeping *)arg)->running);
    return 0;
}

static void *send_to_sleeping(void *arg)
{
    sleeping *s = arg;
    while (sem_wait(&s->running) != 0)
        ;
    wait_until_asleep(s->thread);
    kill(getpid(), SIGUSR1);
    return NULL;
}

static int stop_loop(void *loop)
{
    coil_loop_stop(loop);
    return 0;
}

/* The signal comes while the loop sleeps in the kernel, on whichever thread. */
TEST(a_signal_wakes_a_sleeping_loop)
{
    coil_loop *loop;
    pthread_t thread;
    sleeping s = {.thread = (pid_t)syscall(SYS_gettid)};
    sem_init(&s.running, 0, 0);
    OK(coil_new_event_loop(NULL, &loop));
    OK(coil_loop_add_signal_handler(loop, SIGUSR1, stop_loop, loop));
    OK(coil_loop_call_soon(loop, tell_that_it_runs, &s, NULL));
    pthread_create(&thread, NULL, send_to_sleeping, &s);
    OK(coil_loop_run_forever(loop));
    pthread_join(thread, NULL);
    coil_loop_free(loop);
}

static int wait_for_event(void *event, void **result)
{
    (void)result;
    return coil_event_wait(event);
}

static int set_event(void *event)
{
    note("worker %u", coil_worker_number());
    coil_event_set(event);
    return 0;
}

static int handle_in_runtime(void *arg, void **result)
{
    coil_event *event;
    (void)arg, (void)result;
    OK(coil_event_new(&event));
    OK(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, set_event, event));
    coil_task *waiting = spawn(coil_coro_of(wait_for_event, event));
    OK(coil_sleep(COIL_MS(1)));
    kill(getpid(), SIGUSR1);
    OK(coil_join(waiting, NULL));
    coil_event_free(event);
    return 0;
}

TEST(in_a_runtime_a_handler_runs_on_worker_0)
{
    coil_runtime_options options = {.size = sizeof options, .workers = 3};
    trace[0] = '\0';
    OK(coil_runtime_run(&options, coil_coro_of(handle_in_runtime, NULL), NULL));
    TRACE_IS("worker 0");
}

/* --- Ctrl-C ------------------------------------------------------------------------------------------------------ */

static int interrupted_with_clean_up(void *arg, void **result)
{
    (void)arg, (void)result;
    raise(SIGINT);
    int rc = coil_sleep(COIL_SECONDS(10));
    coil_error *error = coil_catch(rc);
    note("%s", coil_error_name(rc));
    OK(coil_sleep(COIL_MS(1)));
    note("cleaned");
    return coil_raise_error(error);
}

TEST(sigint_cancels_the_main_task_and_ends_the_run_with_keyboard_interrupt)
{
    signal(SIGINT, SIG_DFL);
    RAISES(COIL_EKEYBOARDINTERRUPT, "", coil_run(coil_coro_of(interrupted_with_clean_up, NULL), NULL));
    TRACE_IS("CancelledError cleaned");
    ck_assert(disposition(SIGINT) == SIG_DFL);
    ck_assert_str_eq(coil_error_name(COIL_EKEYBOARDINTERRUPT), "KeyboardInterrupt");
}

static int swallow(void *arg, void **result)
{
    (void)result;
    raise(SIGINT);
    ck_assert_int_eq(coil_sleep(COIL_SECONDS(10)), -ECANCELED);
    note("%s", (char *)arg);
    return 0;
}

TEST(a_main_task_that_swallows_the_cancellation_has_its_result)
{
    signal(SIGINT, SIG_DFL);
    OK(coil_run(coil_coro_of(swallow, word_on), NULL));
    TRACE_IS("on");
}

/* Does not end for one cancellation. */
static int stubborn(void *arg, void **result)
{
    (void)arg, (void)result;
    raise(SIGINT);
    while (coil_sleep(COIL_MS(1)) != -ECANCELED) {
    }
    note("once");
    raise(SIGINT);
    int rc = coil_sleep(COIL_SECONDS(1000));
    note("again %s", coil_error_name(rc));
    return rc;
}

TEST(a_second_sigint_does_not_wait_for_the_main_task)
{
    signal(SIGINT, SIG_DFL);
    RAISES(COIL_EKEYBOARDINTERRUPT, "", coil_run(coil_coro_of(stubborn, NULL), NULL));
    TRACE_IS("once again CancelledError");
    ck_assert(disposition(SIGINT) == SIG_DFL);
}

static int interrupt_and_return(void *arg, void **result)
{
    (void)arg;
    raise(SIGINT);
    *result = NULL;
    return 0;
}

TEST(a_sigint_that_comes_when_the_main_task_is_done_is_not_lost)
{
    signal(SIGINT, SIG_DFL);
    RAISES(COIL_EKEYBOARDINTERRUPT, "", coil_run(coil_coro_of(interrupt_and_return, NULL), NULL));
}

static int look_at_sigint(void *arg, void **result)
{
    (void)result;
    note("%d", disposition(SIGINT) == (void (*)(int))(uintptr_t)arg);
    return 0;
}

TEST(a_program_that_has_decided_about_sigint_is_left_alone)
{
    signal(SIGINT, ignore);
    OK(coil_run(coil_coro_of(look_at_sigint, (void *)(uintptr_t)ignore), NULL));
    signal(SIGINT, SIG_IGN);
    OK(coil_run(coil_coro_of(look_at_sigint, (void *)SIG_IGN), NULL));
    TRACE_IS("1 1");
}

static int handle_sigint(void *arg, void **result)
{
    int n = 0;
    (void)arg, (void)result;
    coil_loop *loop = coil_get_running_loop();
    OK(coil_loop_add_signal_handler(loop, SIGINT, count, &n));
    raise(SIGINT);
    settle();
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(coil_loop_remove_signal_handler(loop, SIGINT), 1);
    ck_assert(disposition(SIGINT) == SIG_DFL);
    return 0;
}

TEST(a_handler_of_the_program_replaces_the_runner_s)
{
    signal(SIGINT, SIG_DFL);
    OK(coil_run(coil_coro_of(handle_sigint, NULL), NULL));
    ck_assert(disposition(SIGINT) == SIG_DFL);
}

TEST(a_runner_can_be_interrupted_and_run_again)
{
    coil_runner *runner;
    signal(SIGINT, SIG_DFL);
    OK(coil_runner_new(NULL, &runner));
    for (int i = 0; i < 3; i++) {
        RAISES(COIL_EKEYBOARDINTERRUPT, "",
               coil_runner_run(runner, coil_coro_of(i % 2 ? stubborn : interrupted_with_clean_up, NULL), NULL));
        OK(coil_runner_run(runner, coil_coro_of(swallow, word_on), NULL));
    }
    coil_runner_free(runner);
    trace[0] = '\0';
}

static void interrupt_runtime(bool exact)
{
    coil_runtime_options options = {.size = sizeof options, .workers = exact ? 1 : 3, .exact = exact};
    signal(SIGINT, SIG_DFL);
    RAISES(COIL_EKEYBOARDINTERRUPT, "",
           coil_runtime_run(&options, coil_coro_of(interrupted_with_clean_up, NULL), NULL));
    TRACE_IS("CancelledError cleaned");
    RAISES(COIL_EKEYBOARDINTERRUPT, "", coil_runtime_run(&options, coil_coro_of(stubborn, NULL), NULL));
    trace[0] = '\0';
    ck_assert(disposition(SIGINT) == SIG_DFL);
}

TEST(sigint_interrupts_a_runtime)
{
    interrupt_runtime(false);
}

TEST(sigint_interrupts_an_exact_runtime)
{
    interrupt_runtime(true);
}

static void *run_elsewhere(void *arg)
{
    OK(coil_run(coil_coro_of(look_at_sigint, arg), NULL));
    return NULL;
}

TEST(a_run_on_another_thread_leaves_sigint_alone)
{
    pthread_t thread;
    signal(SIGINT, SIG_DFL);
    pthread_create(&thread, NULL, run_elsewhere, (void *)SIG_DFL);
    pthread_join(thread, NULL);
    TRACE_IS("1");
}

/* The status of a process that does @fn. */
static int status_of(void (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        fclose(stderr);
        fn();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void main_that_is_interrupted(void)
{
    _exit(coil_main(coil_coro_of(interrupted_with_clean_up, NULL)));
}

TEST(coil_main_dies_of_an_interrupt)
{
    int status = status_of(main_that_is_interrupted);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGINT);
}

static int deaf(void *arg, void **result)
{
    (void)arg, (void)result;
    while (raise(SIGINT) == 0) {
    }
    return 0;
}

static void main_that_computes(void)
{
    coil_run(coil_coro_of(deaf, NULL), NULL);
}

TEST(a_third_sigint_ends_a_program_that_does_not_listen)
{
    int status = status_of(main_that_computes);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGINT);
}

COIL_TEST_MAIN("signal")
