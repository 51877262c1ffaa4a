/*
 * test_process_pool_ends.c - how things end in a pool of processes: jobs, workers, fork servers, pools, and the program
 *
 * What jobs get and give: test_process_pool.c.
 */
#define _GNU_SOURCE /* pipe2 */
#include "process_jobs.h"
#include "threads.h"

#include <sys/prctl.h>

#include "io/process_pool.h"

/* --- crashes ----------------------------------------------------------------------------------------------------- */

TASK_TEST(a_crash_fails_its_job_alone)
{
    gate g;
    gate_init(&g);
    int killed = SIGSEGV;
    coil_executor *pool = new_pool(2, 0);
    coil_future *other = occupy(pool, &g);
    ids who = arrives(&g);
    RAISES(COIL_EBROKENPROCESS, "the worker process that ran job 'die' was killed by signal 11 (SIGSEGV)",
           run(pool, "die", &killed, sizeof killed));
    coil_future *after = submit(pool, "echo", "x", 1);
    gives(after, "x", 1);
    let_one_pass(&g);
    gives(other, &who, sizeof who);
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(a_job_that_exits_has_failed)
{
    coil_executor *pool = new_pool(1, 0);
    RAISES(COIL_EBROKENPROCESS, "the worker process that ran job 'leave' exited with status 3",
           run(pool, "leave", "\3", 1));
    OK(run(pool, "echo", "x", 1));
    end_pool(pool);
}

TASK_TEST(a_worker_can_be_killed_while_it_runs_a_job)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(1, 0);
    coil_future *job = occupy(pool, &g), *next = submit(pool, "echo", "x", 1);
    kill(arrives(&g).worker, SIGKILL);
    RAISES(COIL_EBROKENPROCESS, "the worker process that ran job 'wait_at' was killed by signal 9 (SIGKILL)",
           coil_join(job, NULL));
    gives(next, "x", 1);
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(an_idle_worker_that_was_killed_is_replaced)
{
    coil_executor *pool = new_pool(1, 0);
    pid_t first = ask_ids(pool).worker;
    kill(first, SIGKILL);
    int rc;
    while ((rc = run(pool, "echo", "x", 1)) == COIL_EBROKENPROCESS) /* it got the job before it was known to be dead */
        ck_assert_str_eq(caught(rc), "the worker process that ran job 'echo' was killed by signal 9 (SIGKILL)");
    OK(rc);
    ck_assert_int_ne(ask_ids(pool).worker, first);
    end_pool(pool);
}

TASK_TEST(a_worker_that_closes_its_socket_is_killed)
{
    coil_executor *pool = new_pool(1, 0);
    RAISES(COIL_EBROKENPROCESS, "the worker process that ran job 'close_everything' was killed by signal 9 (SIGKILL)",
           run(pool, "close_everything", NULL, 0));
    OK(run(pool, "echo", "x", 1));
    end_pool(pool);
}

TASK_TEST(a_process_that_a_worker_leaves_behind_hides_nothing)
{
    coil_executor *pool = new_pool(1, 0);
    RAISES(COIL_EBROKENPROCESS, "the worker process that ran job 'fork_and_die' was killed by signal 9 (SIGKILL)",
           run(pool, "fork_and_die", NULL, 0));
    OK(run(pool, "echo", "x", 1));
    end_pool(pool);
}

TASK_TEST(a_worker_that_sends_nonsense_is_killed)
{
    coil_executor *pool = new_pool(1, 0);
    RAISES(COIL_EBROKENPROCESS, "the worker process that ran job 'talk_nonsense' sent no proper answer",
           run(pool, "talk_nonsense", NULL, 0));
    OK(run(pool, "echo", "x", 1));
    end_pool(pool);
}

TASK_TEST(without_its_fork_server_a_pool_starts_another)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(2, 0);
    coil_future *job = occupy(pool, &g);
    ids who = arrives(&g);
    kill(who.server, SIGKILL);
    RAISES(COIL_EBROKENPROCESS, "the fork server was killed by signal 9 (SIGKILL) while its worker ran job 'wait_at'",
           coil_join(job, NULL));
    ids after = ask_ids(pool);
    ck_assert_int_ne(after.server, who.server);
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(a_job_is_killed_when_its_time_is_up)
{
    coil_executor *pool = new_pool(1, 0);
    coil_process_call call = call_of("stay", NULL, 0);
    call.timeout_ns = COIL_MS(20);
    RAISES(-ETIMEDOUT, "job 'stay' did not end within 0.02 s: its worker process was killed",
           coil_to_process(pool, &call, NULL));
    call.name = "echo";
    call.timeout_ns = COIL_FOREVER;
    OK(coil_to_process(pool, &call, NULL));
    end_pool(pool);
}

TASK_TEST(the_time_of_a_job_begins_when_a_worker_has_it)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(1, 0);
    coil_future *first = occupy(pool, &g), *second;
    coil_process_call call = call_of("echo", "x", 1);
    arrives(&g);
    call.timeout_ns = COIL_SECONDS(30);
    OK(coil_loop_run_in_process(this_loop(), pool, &call, &second));
    let_one_pass(&g);
    OK(coil_join(first, NULL));
    gives(second, "x", 1);
    end_pool(pool);
    gate_fini(&g);
}

/* --- shutting down ----------------------------------------------------------------------------------------------- */

TASK_TEST(shutdown_waits_for_queued_jobs)
{
    coil_future *futures[20];
    coil_executor *pool = new_pool(2, 0);
    for (int i = 0; i < 20; i++)
        futures[i] = submit(pool, "echo", &i, sizeof i);
    coil_executor_shutdown(pool, true);
    coil_executor_shutdown(pool, true);
    end_pool(pool);
    for (int i = 0; i < 20; i++)
        gives(futures[i], &i, sizeof i);
}

TASK_TEST(shutdown_within_a_time_lets_the_jobs_go_on)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(1, 1);
    coil_future *job = occupy(pool, &g);
    arrives(&g);
    coil_future *queued = submit(pool, "echo", "x", 1);
    producer waiting = {.pool = pool};
    coil_task *task = spawn(coil_coro_of(produce, &waiting));
    turns(4);
    OK(coil_executor_shutdown_within(pool, 0));
    RAISES(-ETIMEDOUT, "", coil_executor_shutdown_within(pool, COIL_MS(1)));
    RAISES(COIL_ERUNTIME, "cannot schedule new futures after shutdown", coil_join(task, NULL));
    RAISES(COIL_ERUNTIME, "cannot schedule new futures after shutdown", run(pool, "echo", NULL, 0));
    let_one_pass(&g);
    OK(coil_executor_shutdown_within(pool, COIL_FOREVER));
    OK(coil_join(job, NULL));
    gives(queued, "x", 1);
    coil_executor_release(pool);
    gate_fini(&g);
}

TASK_TEST(a_stopped_worker_does_not_hold_up_the_end)
{
    coil_executor *pool;
    coil_process_pool_options options = {.size = sizeof options, .workers_max = 2};
    OK(coil__process_pool_new(&options, COIL_MS(10), &pool));
    kill(ask_ids(pool).worker, SIGSTOP);
    end_pool(pool);
}

TASK_TEST(a_stopped_server_does_not_hold_up_the_end)
{
    coil_executor *pool;
    coil_process_pool_options options = {.size = sizeof options, .workers_max = 2};
    OK(coil__process_pool_new(&options, COIL_MS(10), &pool));
    kill(ask_ids(pool).server, SIGSTOP);
    end_pool(pool);
}

static int leave_jobs(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_executor *pool = new_pool(2, 0);
    for (int i = 0; i < 8; i++)
        coil_release(submit(pool, "twice", "x", 1));
    coil_executor_release(pool);
    return 0;
}

TEST(a_loop_may_end_before_its_jobs)
{
    begin_threads();
    size_t before = live_threads();
    for (int i = 0; i < 3; i++)
        OK(coil_run(coil_coro_of(leave_jobs, NULL), NULL));
    while (live_threads() > before) /* the pools' end when the jobs have */
        sched_yield();
    ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0);
}

TASK_TEST(nothing_is_left_of_a_pool)
{
    gate g;
    gate_init(&g);
    int before = count_fds(), killed = SIGKILL;
    for (int i = 0; i < 3; i++) {
        coil_executor *pool = new_pool(2, 0);
        coil_future *job = occupy(pool, &g);
        arrives(&g);
        ck_assert_int_eq(code_of(run(pool, "die", &killed, sizeof killed)), COIL_EBROKENPROCESS);
        let_one_pass(&g);
        OK(coil_join(job, NULL));
        ids who = ask_ids(pool);
        end_pool(pool);
        ck_assert_int_lt(kill(who.worker, 0), 0);
        ck_assert_int_lt(kill(who.server, 0), 0);
        ck_assert_int_eq(count_fds(), before);
        ck_assert_int_lt(waitpid(-1, NULL, WNOHANG), 0); /* no child, so no zombie */
    }
    gate_fini(&g);
}

/* --- what a worker inherits -------------------------------------------------------------------------------------- */

TASK_TEST(workers_begin_with_clean_descriptors_and_signals)
{
    sigset_t some;
    int leaked = dup(STDERR_FILENO); /* not closed by an exec */
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    coil_executor *pool = new_pool(1, 0);
    coil_process_result *result;
    coil_process_call call = call_of("look_around", NULL, 0);
    OK(coil_to_process(pool, &call, &result));
    const surroundings *s = result->data;
    ck_assert_int_eq(s->descriptors, 4); /* the standard ones and its socket */
    ck_assert_int_eq(s->blocked, 0);
    ck_assert_int_eq(s->handled, 0);
    ck_assert(s->interrupts_ignored);
    ck_assert(!s->marked); /* programs that it executes are no fork servers */
    coil_process_result_free(result);
    end_pool(pool);
    close(leaked);
}

TASK_TEST(an_interrupt_does_not_end_a_job)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(1, 0);
    coil_future *job = occupy(pool, &g);
    ids who = arrives(&g);
    kill(who.worker, SIGINT); /* as a terminal does */
    kill(who.server, SIGINT);
    let_one_pass(&g);
    gives(job, &who, sizeof who);
    end_pool(pool);
    gate_fini(&g);
}

static int echo_once(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_executor *pool;
    coil_process_call call = call_of("look_around", NULL, 0);
    COIL_TRY(coil_process_pool_new(NULL, &pool));
    coil_process_result *seen;
    COIL_TRY(coil_to_process(pool, &call, &seen));
    int descriptors = ((surroundings *)seen->data)->descriptors;
    coil_process_result_free(seen);
    end_pool(pool);
    return descriptors == 4 ? 0 : COIL_ERUNTIME;
}

static int without_standard_files(void)
{
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    int rc = coil_run(coil_coro_of(echo_once, NULL), NULL);
    return rc == 0 ? 0 : 1;
}

TEST(a_pool_works_without_standard_files)
{
    ck_assert_int_eq(status_of("without-files"), 0);
}

static int wait_for_ever(void *arg, void **result)
{
    coil_executor *pool = new_pool(1, 0);
    (void)result;
    return coil_join(occupy(pool, arg), NULL);
}

TEST(servers_and_workers_end_with_a_process_that_was_killed)
{
    gate g;
    int status;
    gate_init(&g);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* who loses its parent becomes a child of this process */
    pid_t parent = fork();
    if (parent == 0)
        _exit(coil_run(coil_coro_of(wait_for_ever, &g), NULL) < 0);
    ids who = arrives(&g);
    kill(parent, SIGKILL);
    for (int ends = 0; ends < 2; ends++) { /* the worker's: reaped by the server, or here */
        pid_t pid = waitpid(-1, &status, 0);
        ck_assert(pid == parent || pid == who.server || pid == who.worker);
        ck_assert(WIFSIGNALED(status) || pid == who.server);
    }
    while (waitpid(-1, &status, 0) > 0) {
    }
    ck_assert_int_eq(errno, ECHILD);
    ck_assert_int_lt(kill(who.worker, 0), 0);
    ck_assert_int_lt(kill(who.server, 0), 0);
    gate_fini(&g);
}

/* --- main -------------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    register_jobs();
    coil_process_init(argc, argv);
    if (argc == 2 && strcmp(argv[1], "without-files") == 0)
        return without_standard_files();
    return coil_test_main("process_pool_ends");
}
