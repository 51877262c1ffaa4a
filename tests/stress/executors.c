/*
 * executors.c - blocking work among workers
 *
 * Tasks on all workers submit jobs to the default executor and to a pool of their own, and wait; other tasks cancel
 * them before and while they run, and replace the default executor. In rounds, since each runtime begins without an
 * executor, which all workers ask for at once, and ends with jobs under way. Checked: a result comes back to who
 * submitted the job, once; every job either runs or was cancelled before it began; every result that nobody takes
 * is dropped.
 */
#include "../support/stress.h"

enum { TASKS = 24, ROUND_MS = 250 };

typedef struct job {
    uint32_t spin;
    atomic_int runs;
    struct job *older;
} job;

static atomic_long submitted, results, cancelled, dropped, ran, replaced;
static atomic_bool over;
static _Atomic(coil_future *) current[TASKS]; /* a reference each, for whoever cancels it */
static coil_executor *pool;
static _Atomic(job *) jobs; /* all: one that was cancelled may still run */
static coil_executor *executors[4096];

static job *new_job(uint32_t spin)
{
    job *j = calloc(1, sizeof *j);
    j->spin = spin;
    j->older = atomic_load(&jobs);
    while (!atomic_compare_exchange_weak(&jobs, &j->older, j)) {
    }
    atomic_fetch_add(&submitted, 1);
    return j;
}

static void free_jobs(void)
{
    for (job *j = jobs, *older; j; j = older) {
        older = j->older;
        free(j);
    }
}

/* A result is memory of its own, so that a leak or a double free shows. */
static void drop_result(void *result)
{
    free(result);
    atomic_fetch_add(&dropped, 1);
}

static int work(void *arg, void **result)
{
    job *j = arg;
    coil_job_set_result_drop(drop_result);
    stress_spin(j->spin);
    MUST(atomic_fetch_add(&j->runs, 1) == 0);
    atomic_fetch_add(&ran, 1);
    *result = malloc(sizeof(job *));
    *(job **)*result = j;
    return 0;
}

/* For others to cancel; what was there before goes. */
static void show(size_t number, coil_future *f)
{
    coil_release(atomic_exchange(&current[number], f ? coil_retain(f) : NULL));
}

static int round_trip(size_t number, uint64_t *random)
{
    void *result = NULL;
    coil_future *f;
    job *j = new_job(stress_random(random, 4) == 0 ? stress_random(random, 200000) : stress_random(random, 2000));
    stress_ok(coil_loop_run_in_executor(coil_get_running_loop(), stress_random(random, 3) ? NULL : pool, work, j, &f));
    show(number, f);
    int rc = stress_caught(coil_await(f, NULL));
    show(number, NULL);
    if (rc == 0) {
        stress_ok(coil_future_take(f, &result));
        MUST(*(job **)result == j && atomic_load(&j->runs) == 1);
        free(result);
        atomic_fetch_add(&results, 1);
    } else {
        MUST(rc == -ECANCELED && coil_future_cancelled(f));
        atomic_fetch_add(&cancelled, 1);
    }
    coil_release(f);
    return 0;
}

static int to_thread(uint64_t *random)
{
    void *result;
    job j = {.spin = stress_random(random, 2000)};
    atomic_fetch_add(&submitted, 1);
    stress_ok(coil_to_thread(work, &j, &result));
    MUST(*(job **)result == &j);
    free(result);
    atomic_fetch_add(&results, 1);
    return 0;
}

static int submitter(void *arg, void **result)
{
    (void)result;
    size_t number = (size_t)(uintptr_t)arg;
    uint64_t random = stress_random_state(number);
    do {
        if (stress_random(&random, 8) == 0)
            COIL_TRY(to_thread(&random));
        else
            COIL_TRY(round_trip(number, &random));
    } while (!atomic_load(&over));
    return 0;
}

/* Cancels a job from whatever worker this is. */
static void cancel_one(uint64_t *random)
{
    size_t number = stress_random(random, TASKS);
    coil_future *f = atomic_exchange(&current[number], NULL);
    if (f)
        coil_future_cancel(f, NULL);
    coil_release(f);
}

/* A new default executor; the one before ends its jobs. */
static void replace(void)
{
    long n = atomic_fetch_add(&replaced, 1);
    if (n >= (long)(sizeof executors / sizeof *executors))
        return;
    stress_ok(coil_thread_pool_new(2, &executors[n]));
    coil_loop_set_default_executor(coil_get_running_loop(), executors[n]);
}

static int canceller(void *arg, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)arg + 100);
    while (!atomic_load(&over)) {
        cancel_one(&random);
        if (stress_random(&random, 64) == 0)
            replace();
        stress_ok(coil_sleep(COIL_US(50)));
    }
    return 0;
}

static void end_executors(void)
{
    for (size_t i = 0; i < sizeof executors / sizeof *executors && executors[i]; i++) {
        coil_executor_shutdown(executors[i], true);
        coil_executor_release(executors[i]);
    }
    coil_executor_shutdown(pool, true);
    coil_executor_release(pool);
}

/* Jobs that the runtime's end finds queued or running: their results come too late. */
static void leave_some(uint64_t *random)
{
    for (int i = 0; i < 8; i++) {
        coil_future *f;
        job *j = new_job(stress_random(random, 200000));
        stress_ok(coil_loop_run_in_executor(coil_get_running_loop(), i % 2 ? NULL : pool, work, j, &f));
        coil_release(f);
    }
}

static int one_round(void *arg, void **result)
{
    (void)result;
    coil_task *tasks[TASKS + 2];
    uint64_t random = stress_random_state((uintptr_t)arg + 200);
    atomic_store(&over, false);
    for (uintptr_t i = 0; i < TASKS; i++)
        stress_ok(coil_create_task(coil_coro_of(submitter, (void *)i), &tasks[i]));
    for (uintptr_t i = 0; i < 2; i++)
        stress_ok(coil_create_task(coil_coro_of(canceller, (void *)i), &tasks[TASKS + i]));
    stress_ok(coil_sleep(COIL_MS(ROUND_MS)));
    atomic_store(&over, true);
    for (int i = 0; i < TASKS + 2; i++)
        stress_ok(coil_join(tasks[i], NULL));
    for (int i = 0; i < TASKS; i++)
        show((size_t)i, NULL);
    leave_some(&random);
    return 0;
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    stress_ok(coil_thread_pool_new(3, &pool));
    for (uintptr_t i = 0; i == 0 || stress_time_left(); i++)
        stress_run(one_round, (void *)i);
    end_executors();
    free_jobs();
    printf("%ld jobs, %ld ran, %ld results, %ld cancelled, %ld results dropped, %ld executors\n", submitted, ran,
           results, cancelled, dropped, replaced);
    MUST(atomic_load(&ran) == atomic_load(&results) + atomic_load(&dropped));
    return 0;
}
