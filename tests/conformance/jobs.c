/*
 * jobs.c - executor jobs: an executor that runs each job when the clock says so
 *
 * A loop's first job brings an executor of ours, as its default one. Submitting makes a job outstanding (clock.c),
 * and it counts as running at once; when it is chosen it runs on a thread of its own, which the loop's thread
 * joins. A shutdown that waits does so in a helper thread of the library, before a gate, which the clock opens when
 * no job is outstanding.
 *
 * I1 world_lock() guards the variables of this file, which several workers use; the semaphores are waited for outside
 * I2 `expected` helpers are on their way to their gates; a shutdown and the clock wait for them before they look at
 *    `gates`. Only one does at a time: the clock is asked when all workers sleep.
 *
 * Source: the section "Time, jobs and threads" of the scenario language.
 */
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "builtins.h"
#include "format.h"
#include "world.h"

struct executor {
    coil_executor executor;
    coil_loop *loop;
};

struct job {
    struct outstanding outstanding;
    int64_t due;
    coil_job *job;
};

struct job_call {
    const native *job;
    arguments args;
};

/* How long the job will take that a task, or a callback's thread, is about to submit. */
struct request {
    struct request *next;
    const void *who;
    int64_t ticks;
};

static struct request *requests; /* one for whoever has ever submitted */
static size_t unfinished;        /* jobs */

/* --- requests ---------------------------------------------------------------------------------------------------- */

/* A task, which may get to another thread before its job is submitted; else this thread. */
static const void *requester(void)
{
    static _Thread_local char thread;
    coil_task *task = coil_get_running_loop() ? coil_current_task() : NULL;
    return task ? (const void *)task : &thread;
}

static struct request *find_request(const void *who)
{
    struct request *r = requests;
    while (r && r->who != who)
        r = r->next;
    return r;
}

static void note_request(int64_t ticks)
{
    const void *who = requester();
    struct request *fresh = keep(sizeof *fresh);
    world_lock();
    struct request *r = find_request(who);
    if (!r) {
        r = fresh;
        r->who = who;
        r->next = requests;
        requests = r;
    }
    r->ticks = ticks > 0 ? ticks : 0;
    world_unlock();
}

static int64_t requested_ticks(void)
{
    const void *who = requester();
    world_lock();
    const struct request *r = find_request(who);
    int64_t ticks = r ? r->ticks : 0;
    world_unlock();
    return ticks;
}

/* --- jobs -------------------------------------------------------------------------------------------------------- */

static int64_t job_due(const struct outstanding *o)
{
    return ((const struct job *)o)->due;
}

static void *run_job(void *job)
{
    coil_job_run(((struct job *)job)->job);
    return NULL;
}

static void job_go(struct outstanding *o)
{
    pthread_t thread;
    world_lock();
    unfinished--;
    world_unlock();
    if (pthread_create(&thread, NULL, run_job, o) != 0)
        die("cannot start a thread");
    pthread_join(thread, NULL);
}

static int submit(coil_executor *executor, coil_job *job)
{
    (void)executor;
    struct job *j = keep(sizeof *j);
    j->outstanding = (struct outstanding){.due = job_due, .go = job_go};
    j->due = world_now + requested_ticks();
    j->job = job;
    coil_job_start(job);
    outstanding_add(&j->outstanding);
    world_lock();
    unfinished++;
    world_unlock();
    return 0;
}

/* --- shutdown ---------------------------------------------------------------------------------------------------- */

/* On the stack of the helper that waits there. */
struct gate {
    struct gate *next;
    sem_t open;
};

static struct gate *gates; /* in the order of their shutdowns */
static size_t expected;    /* I2 */
static sem_t arrived, gone;
static pthread_key_t helper; /* has a value in helpers, whose ends it tells */

static void wait_for(sem_t *what)
{
    while (sem_wait(what) != 0)
        ;
}

static void wait_for_helpers(void)
{
    world_lock();
    size_t n = expected;
    expected = 0;
    world_unlock();
    for (; n > 0; n--)
        wait_for(&arrived);
}

static void helper_ends(void *own)
{
    (void)own;
    sem_post(&gone);
}

static void wait_at_gate(void)
{
    struct gate gate = {0}, **end = &gates;
    sem_init(&gate.open, 0, 0);
    world_lock();
    while (*end)
        end = &(*end)->next;
    *end = &gate;
    world_unlock();
    pthread_setspecific(helper, &helper);
    sem_post(&arrived);
    wait_for(&gate.open);
    sem_destroy(&gate.open);
}

/* The library says so at once, on the loop's thread; then it waits in a helper, unless the loop is being closed. */
static int shutdown_(coil_executor *executor, int64_t timeout_ns)
{
    if (timeout_ns > 0) {
        wait_at_gate();
    } else if (!coil_loop_is_closed(((struct executor *)(void *)executor)->loop)) {
        wait_for_helpers(); /* one at a time, so that they are at their gates in order */
        world_lock();
        expected++;
        world_unlock();
    }
    return 0;
}

bool jobs_open_gate(void)
{
    wait_for_helpers();
    world_lock();
    struct gate *gate = unfinished == 0 ? gates : NULL;
    if (gate)
        gates = gate->next;
    world_unlock();
    if (!gate)
        return false;
    sem_post(&gate->open);
    wait_for(&gone); /* what it had to tell the loop has been posted */
    return true;
}

/* --- executors --------------------------------------------------------------------------------------------------- */

static void free_(coil_executor *executor)
{
    (void)executor; /* like all that is kept */
}

static const coil_executor_ops ops = {submit, shutdown_, free_};

static void settle_executor(coil_loop *loop, struct loop_state *state, struct executor *e)
{
    if (state->executor_settled || coil_loop_is_closed(loop))
        return;
    state->executor_settled = true;
    e->loop = loop;
    coil_executor_init(&e->executor, &ops);
    coil_loop_set_default_executor(loop, &e->executor);
    coil_executor_release(&e->executor);
}

/*
 * asyncio makes its default executor at the first use, unless it was shut down or the loop is closed. Under the
 * lock, so that nobody else submits a job before ours is the loop's.
 */
static void provide_executor(coil_loop *loop)
{
    struct loop_state *state = world_state_of(loop);
    struct executor *e = keep(sizeof *e);
    world_lock();
    settle_executor(loop, state, e);
    world_unlock();
}

void jobs_init(void)
{
    sem_init(&arrived, 0, 0);
    sem_init(&gone, 0, 0);
    if (pthread_key_create(&helper, helper_ends) != 0)
        die("cannot make a key");
}

/* --- the jobs of the language ------------------------------------------------------------------------------------ */

static int j_echo(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = args->items[0];
    return 0;
}

static int j_add(value *self, const arguments *args, value **out)
{
    return native_find(value_builtins, "add")->run(self, args, out);
}

static int j_sum(value *self, const arguments *args, value **out)
{
    const value *list = args->items[0];
    if (list->type != VALUE_LIST)
        die("a list is needed");
    *out = value_int(0);
    for (size_t i = 0; i < list->as.list.n; i++) {
        arguments two = {.n = 2, .items = (value *[]){*out, list->as.list.items[i]}};
        COIL_TRY(j_add(self, &two, out));
    }
    return 0;
}

static int j_fail(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    return error_raise(args->items[0]);
}

static int j_ctx(value *self, const arguments *args, value **out)
{
    (void)self;
    if (args->items[0]->type != VALUE_VAR)
        die("a context variable is needed");
    return native_find(var_methods, "get")->run(args->items[0], &(arguments){0}, out);
}

static int j_log(value *self, const arguments *args, value **out)
{
    (void)self;
    world_log(format_plain(args->items[0]));
    *out = args->items[0];
    return 0;
}

const native jobs[] = {
    {"j_echo", j_echo, 1, 1, false}, {"j_add", j_add, 2, 2, false}, {"j_sum", j_sum, 1, 1, false},
    {"j_fail", j_fail, 1, 1, false}, {"j_ctx", j_ctx, 1, 1, false}, {"j_log", j_log, 1, 1, false},
    {0},
};

static int call_job(void *arg, void **result)
{
    const struct job_call *call = arg;
    value *out = &value_none;
    COIL_TRY(call->job->run(NULL, &call->args, &out));
    *result = value_pack(out);
    return 0;
}

/* --- builtins ---------------------------------------------------------------------------------------------------- */

/* JOB, TICKS, and the job's arguments; the ticks are for submit(), which the same task or callback calls next. */
static struct job_call *job_argument(const arguments *args)
{
    struct job_call *call = keep(sizeof *call);
    if (args->items[0]->type != VALUE_JOB)
        die("an executor job is needed");
    call->job = args->items[0]->as.call.native;
    call->args = (arguments){.n = args->n - 2, .items = args->items + 2};
    if (call->args.n < call->job->min || call->args.n > call->job->max)
        die("wrong number of arguments for %s", call->job->name);
    note_request(int_argument(args, 1, NULL, 0));
    return call;
}

static int run_in_executor(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_future *future;
    provide_executor(world_loop());
    COIL_TRY(coil_loop_run_in_executor(world_loop(), NULL, call_job, job_argument(args), &future));
    *out = world_registered(future);
    return 0;
}

static int to_thread(value *self, const arguments *args, value **out)
{
    (void)self;
    void *result = NULL;
    provide_executor(world_loop());
    COIL_TRY(coil_to_thread(call_job, job_argument(args), &result));
    *out = value_unpack(result);
    return 0;
}

static int shutdown_default_executor(value *self, const arguments *args, value **out)
{
    (void)self, (void)args, (void)out;
    struct loop_state *state = world_state_of(world_loop());
    world_lock();
    state->executor_settled = true;
    world_unlock();
    return coil_loop_shutdown_default_executor(world_loop());
}

const native job_builtins[] = {
    {"run_in_executor", run_in_executor, 2, SIZE_MAX, false},
    {"to_thread", to_thread, 2, SIZE_MAX, true},
    {"shutdown_default_executor", shutdown_default_executor, 0, 0, true},
    {0},
};
