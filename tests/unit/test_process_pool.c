/*
 * test_process_pool.c - executors made of processes: what jobs get and give, who waits, and what is refused
 *
 * Crashes and ends: test_process_pool_ends.c.
 */
#define _GNU_SOURCE /* pipe2 */
#include "process_jobs.h"

#include <sys/resource.h>

#include "base/alloc.h"

/* --- results and errors ------------------------------------------------------------------------------------------ */

TASK_TEST(a_job_gets_bytes_and_gives_bytes)
{
    coil_executor *pool = new_pool(1, 0);
    gives(submit(pool, "echo", "bytes", 5), "bytes", 5);
    gives(submit(pool, "twice", "ab", 2), "abab", 4);
    gives(submit(pool, "echo", NULL, 0), "", 0);
    end_pool(pool);
}

TASK_TEST(jobs_run_in_other_processes)
{
    coil_executor *pool = new_pool(1, 0);
    ids first = ask_ids(pool), second = ask_ids(pool);
    ck_assert_int_ne(first.worker, getpid());
    ck_assert_int_ne(first.server, getpid());
    ck_assert_int_eq(first.worker, second.worker);
    end_pool(pool);
}

TASK_TEST(as_many_workers_as_allowed_run_at_the_same_time)
{
    enum { WORKERS = 3 };
    gate g;
    coil_future *futures[WORKERS];
    pid_t seen[WORKERS];
    gate_init(&g);
    coil_executor *pool = new_pool(WORKERS, 0);
    for (int i = 0; i < WORKERS; i++)
        futures[i] = occupy(pool, &g);
    for (int i = 0; i < WORKERS; i++) {
        seen[i] = arrives(&g).worker;
        for (int j = 0; j < i; j++)
            ck_assert_int_ne(seen[i], seen[j]);
    }
    for (int i = 0; i < WORKERS; i++)
        let_one_pass(&g);
    for (int i = 0; i < WORKERS; i++)
        OK(coil_join(futures[i], NULL));
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(errors_of_jobs_keep_their_code_and_message)
{
    coil_executor *pool = new_pool(1, 0);
    RAISES(COIL_EUSER(1), "no luck with cards", run(pool, "no_luck", "cards", 5));
    RAISES(-ENOTTY, "", run(pool, "bare_code", NULL, 0));
    OK(run(pool, "echo", "x", 1));
    end_pool(pool);
}

TASK_TEST(many_jobs_come_back_to_who_submitted_them)
{
    enum { JOBS = 300 };
    coil_future *futures[JOBS];
    coil_executor *pool = new_pool(3, 0);
    for (int i = 0; i < JOBS; i++)
        futures[i] = submit(pool, "echo", &i, sizeof i);
    for (int i = 0; i < JOBS; i++)
        gives(futures[i], &i, sizeof i);
    end_pool(pool);
}

TASK_TEST(large_buffers_do_not_block_the_loop)
{
    size_t n = (size_t)16 << 20;
    char *bytes = pattern(n);
    coil_executor *pool = new_pool(1, 0);
    pid_t worker = ask_ids(pool).worker;
    kill(worker, SIGSTOP); /* it reads nothing */
    coil_future *future = submit(pool, "twice", bytes, n);
    turns(100);
    ck_assert(!coil_future_done(future));
    kill(worker, SIGCONT);
    void *value;
    OK(coil_await(future, &value));
    coil_process_result *result = value;
    ck_assert_uint_eq(result->n, 2 * n);
    ck_assert_int_eq(memcmp(result->data, bytes, n), 0);
    ck_assert_int_eq(memcmp((char *)result->data + n, bytes, n), 0);
    coil_release(future);
    end_pool(pool);
    free(bytes);
}

static void free_and_count(void *bytes)
{
    free(bytes);
    atomic_fetch_add(&drops, 1);
}

TASK_TEST(bytes_that_are_taken_are_dropped_whatever_happens)
{
    nothing_counted_yet();
    coil_future *future;
    coil_executor *pool = new_pool(1, 0);
    coil_process_call call = call_of("echo", pattern(1000), 1000);
    call.drop = free_and_count;
    OK(coil_to_process(pool, &call, NULL));
    end_pool(coil_executor_retain(pool)); /* with the jobs */
    ck_assert_int_eq(drops, 1);
    call.data = pattern(1000);
    RAISES(COIL_ERUNTIME, "cannot schedule new futures after shutdown",
           coil_loop_run_in_process(this_loop(), pool, &call, &future));
    ck_assert_int_eq(drops, 2);
    call.data = pattern(1000);
    call.name = "unheard of";
    RAISES(COIL_ELOOKUP, "no job 'unheard of' is registered", coil_to_process(pool, &call, NULL));
    ck_assert_int_eq(drops, 3);
    coil_executor_release(pool);
}

/* --- wrong use --------------------------------------------------------------------------------------------------- */

TASK_TEST(a_process_pool_takes_no_functions)
{
    coil_future *future = NULL;
    coil_executor *pool = new_pool(1, 0);
    RAISES(COIL_ETYPE, "a process pool runs registered jobs only: coil_loop_run_in_process",
           coil_loop_run_in_executor(this_loop(), pool, answer, NULL, &future));
    ck_assert_ptr_null(future);
    end_pool(pool);
}

TASK_TEST(a_process_pool_is_no_default_executor_for_functions)
{
    coil_executor *pool = new_pool(1, 0);
    coil_loop_set_default_executor(this_loop(), pool);
    RAISES(COIL_ETYPE, "a process pool runs registered jobs only: coil_loop_run_in_process",
           coil_to_thread(answer, NULL, NULL));
    OK(coil_loop_shutdown_default_executor(this_loop()));
    coil_executor_release(pool);
}

TASK_TEST(a_thread_pool_takes_no_process_calls)
{
    coil_executor *pool;
    OK(coil_thread_pool_new(1, &pool));
    RAISES(COIL_ETYPE, "the executor is not a process pool", run(pool, "echo", NULL, 0));
    end_pool(pool);
}

TASK_TEST(a_negative_timeout_is_refused)
{
    coil_executor *pool = new_pool(1, 0);
    coil_process_call call = call_of("echo", NULL, 0);
    call.timeout_ns = -1;
    RAISES(-EINVAL, "the timeout of job 'echo' is negative", coil_to_process(pool, &call, NULL));
    end_pool(pool);
}

TEST(jobs_are_registered_before_the_fork_server_is_made_possible)
{
    RAISES(COIL_ERUNTIME, "jobs are registered before coil_process_init()", coil_process_register("late", echo));
}

TEST(a_pool_has_not_too_many_workers)
{
    coil_executor *pool;
    coil_process_pool_options options = {.size = sizeof options, .workers_max = COIL_PROCESS_WORKERS_MAX + 1};
    RAISES(-EINVAL, "a process pool has at most 1024 workers", coil_process_pool_new(&options, &pool));
}

static int without_init(void)
{
    coil_executor *pool = NULL;
    int rc = coil_process_pool_new(NULL, &pool);
    coil_error *e = coil_catch(rc);
    bool clear = strcmp(coil_error_message(e), "process pools need coil_process_init(argc, argv) first in main()") == 0;
    coil_error_release(e);
    return rc == COIL_ERUNTIME && clear && !pool ? 0 : 1;
}

TEST(a_pool_without_coil_process_init_is_an_error)
{
    ck_assert_int_eq(status_of("without-init"), 0);
}

TEST(a_program_that_no_pool_has_executed_is_no_fork_server)
{
    setenv("COIL_FORK_SERVER", "1", 1);
    ck_assert_int_eq(status_of("alone"), 1);
}

static int bad_names(void)
{
    static const char long_name[] = "0123456789012345678901234567890123456789012345678901234567890123";
    _Static_assert(sizeof long_name - 1 == COIL_PROCESS_NAME_MAX + 1, "one too many");
    bool right = coil_process_register("", echo) == -EINVAL && coil_process_register(long_name, echo) == -EINVAL &&
                 coil_process_register(long_name + 1, echo) == 0 &&
                 coil_process_register(long_name + 1, echo) == -EINVAL;
    return right ? 0 : 1;
}

TEST(names_of_jobs_are_not_empty_nor_long_nor_taken)
{
    ck_assert_int_eq(status_of("bad-names"), 0);
}

/* --- cancellation and the bounded queue -------------------------------------------------------------------------- */

TASK_TEST(a_queued_job_can_be_cancelled)
{
    nothing_counted_yet();
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(1, 0);
    coil_future *first = occupy(pool, &g), *second;
    coil_process_call call = call_of("die", pattern(8), 8);
    call.drop = free_and_count;
    OK(coil_loop_run_in_process(this_loop(), pool, &call, &second));
    arrives(&g);
    ck_assert(coil_future_cancel(second, NULL));
    turns(2);
    let_one_pass(&g);
    OK(coil_join(first, NULL));
    coil_executor_shutdown(pool, true);
    ck_assert_int_eq(drops, 1);
    ck_assert(coil_future_cancelled(second));
    coil_release(second);
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(a_job_that_runs_goes_on_when_its_future_is_cancelled)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(1, 0);
    coil_future *job = occupy(pool, &g);
    ids who = arrives(&g);
    ck_assert(coil_future_cancel(job, NULL));
    turns(2);
    let_one_pass(&g);
    ck_assert_int_eq(ask_ids(pool).worker, who.worker); /* it was not killed */
    coil_release(job);
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(a_full_queue_refuses_jobs_until_there_is_room)
{
    gate g;
    coil_future *refused = NULL;
    coil_process_call call = call_of("echo", "x", 1);
    gate_init(&g);
    coil_executor *pool = new_pool(1, 2);
    coil_future *first = occupy(pool, &g);
    arrives(&g);
    coil_future *second = submit(pool, "echo", "2", 1), *third = submit(pool, "echo", "3", 1);
    RAISES(COIL_EQUEUEFULL, "the process pool's queue is full: 2 jobs wait",
           coil_loop_run_in_process(this_loop(), pool, &call, &refused));
    ck_assert_ptr_null(refused);
    ck_assert(coil_future_cancel(second, NULL));
    turns(2);
    coil_future *fourth = submit(pool, "echo", "4", 1); /* in the place of the one that was cancelled */
    let_one_pass(&g);
    OK(coil_join(first, NULL));
    gives(third, "3", 1);
    gives(fourth, "4", 1);
    coil_release(second);
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(a_task_waits_for_room_in_the_queue)
{
    gate g;
    gate_init(&g);
    producer p = {.pool = new_pool(1, 1)};
    coil_future *first = occupy(p.pool, &g);
    arrives(&g);
    coil_task *task = spawn(coil_coro_of(produce, &p));
    turns(20);
    ck_assert_int_eq(p.submitted, 1);
    let_one_pass(&g);
    OK(coil_join(task, NULL));
    OK(coil_join(first, NULL));
    for (int i = 0; i < 4; i++)
        gives(p.futures[i], &i, sizeof i);
    end_pool(p.pool);
    gate_fini(&g);
}

TASK_TEST(room_is_not_lost_with_who_waited_for_it)
{
    gate g;
    gate_init(&g);
    producer gone = {.pool = new_pool(1, 1)}, stays = {.pool = gone.pool};
    coil_future *first = occupy(gone.pool, &g);
    arrives(&g);
    coil_future *second = submit(gone.pool, "echo", "2", 1);
    coil_task *one = spawn(coil_coro_of(produce, &gone)), *two = spawn(coil_coro_of(produce, &stays));
    turns(4);
    coil_task_cancel(one, NULL);
    RAISES(-ECANCELED, "", coil_join(one, NULL));
    let_one_pass(&g);
    OK(coil_join(two, NULL));
    ck_assert_int_eq(gone.submitted, 0);
    OK(coil_join(first, NULL));
    gives(second, "2", 1);
    for (int i = 0; i < 4; i++)
        gives(stays.futures[i], &i, sizeof i);
    end_pool(gone.pool);
    gate_fini(&g);
}

/* The room has been given, but the task that waited is cancelled before it runs. */
TASK_TEST(room_that_came_too_late_goes_to_the_next)
{
    gate g;
    gate_init(&g);
    producer gone = {.pool = new_pool(1, 1)};
    coil_future *first = occupy(gone.pool, &g);
    arrives(&g);
    coil_future *second = occupy(gone.pool, &g);
    coil_task *task = spawn(coil_coro_of(produce, &gone));
    turns(4);
    let_one_pass(&g);
    arrives(&g); /* the second is out of the queue, and the task has got its room; it has not run */
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    let_one_pass(&g);
    OK(coil_join(first, NULL));
    OK(coil_join(second, NULL));
    turns(4);
    gives(submit(gone.pool, "echo", "x", 1), "x", 1);
    end_pool(gone.pool);
    gate_fini(&g);
}

/* --- without resources ------------------------------------------------------------------------------------------- */

static int fillers[256];
static size_t filler_count;

/* No descriptor is left. */
static void use_up_fds(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = sizeof fillers / sizeof *fillers;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int fd; (fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0;)
        fillers[filler_count++] = fd;
}

static void give_fds_back(void)
{
    while (filler_count > 0)
        close(fillers[--filler_count]);
}

TASK_TEST(without_descriptors_a_job_fails_and_a_pool_recovers)
{
    coil_executor *pool = new_pool(2, 0);
    use_up_fds();
    RAISES(-EMFILE, "can't start the fork server for job 'echo': Too many open files", run(pool, "echo", "x", 1));
    give_fds_back();
    OK(run(pool, "echo", "x", 1));
    end_pool(pool);
}

TASK_TEST(a_job_waits_for_the_workers_that_there_are)
{
    gate g;
    gate_init(&g);
    coil_executor *pool = new_pool(2, 0);
    coil_future *first = occupy(pool, &g);
    ids who = arrives(&g);
    use_up_fds();
    coil_future *second = submit(pool, "tell_ids", NULL, 0), *third = submit(pool, "tell_ids", NULL, 0);
    let_one_pass(&g);
    OK(coil_join(first, NULL));
    gives(second, &who, sizeof who);
    gives(third, &who, sizeof who);
    give_fds_back();
    end_pool(pool);
    gate_fini(&g);
}

TASK_TEST(without_memory_nothing_is_submitted)
{
    nothing_counted_yet();
    int rc = -ENOMEM, tries = 0;
    coil_executor *pool = new_pool(1, 1);
    for (uint64_t n = 1; rc < 0; n++) {
        coil_process_call call = call_of("echo", pattern(10), 10);
        call.drop = free_and_count;
        ck_assert_uint_lt(n, 100);
        coil__alloc_fail_at(n);
        rc = coil_to_process(pool, &call, NULL);
        coil__alloc_fail_at(0);
        ck_assert(rc == 0 || code_of(rc) == -ENOMEM);
        tries++;
    }
    ck_assert_int_gt(tries, 2);
    end_pool(pool);
    ck_assert_int_eq(drops, tries);
}

TEST(without_memory_there_is_no_pool)
{
    int rc = -ENOMEM;
    coil_executor *pool;
    for (uint64_t n = 1; rc < 0; n++) {
        ck_assert_uint_lt(n, 100);
        coil__alloc_fail_at(n);
        rc = coil_process_pool_new(NULL, &pool);
        coil__alloc_fail_at(0);
        ck_assert(rc == 0 || code_of(rc) == -ENOMEM);
    }
    end_pool(pool);
}

/* --- more than one loop ------------------------------------------------------------------------------------------ */

static int share(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 50; i++) {
        coil_process_call call = call_of("echo", &i, sizeof i);
        coil_process_result *r;
        COIL_TRY(coil_to_process(arg, &call, &r));
        bool right = r->n == sizeof i && memcmp(r->data, &i, sizeof i) == 0;
        coil_process_result_free(r);
        if (!right)
            return COIL_EUSER(1);
    }
    return 0;
}

static void *run_share(void *arg)
{
    return coil_run(coil_coro_of(share, arg), NULL) < 0 ? arg : NULL;
}

TEST(loops_of_several_threads_share_a_process_pool)
{
    pthread_t threads[3];
    coil_executor *pool = new_pool(2, 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_share, pool), 0);
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    end_pool(pool);
}

static int share_among_tasks(void *arg, void **result)
{
    (void)result;
    coil_task *tasks[8];
    for (int i = 0; i < 8; i++)
        COIL_TRY(coil_create_task(coil_coro_of(share, arg), &tasks[i]));
    for (int i = 0; i < 8; i++)
        COIL_TRY(coil_join(tasks[i], NULL));
    return 0;
}

TEST(workers_of_a_runtime_share_a_process_pool)
{
    coil_executor *pool = new_pool(2, 3);
    coil_runtime_options options = {.size = sizeof options, .workers = 3};
    OK(coil_runtime_run(&options, coil_coro_of(share_among_tasks, pool), NULL));
    end_pool(pool);
}

/* --- main -------------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "without-init") == 0)
        return without_init();
    if (argc == 2 && strcmp(argv[1], "bad-names") == 0)
        return bad_names();
    register_jobs();
    coil_process_init(argc, argv);
    return coil_test_main("process_pool");
}
