/*
 * runtime.c - runtimes: options and environment, starting and ending the workers
 *
 * Called by the thread that makes the runtime, which is worker 0 whenever it runs it. The other workers' threads start with
 * the runtime and end when its facade, worker 0's loop, is closed: then all tasks have ended (the runner has seen to that), or
 * the runtime could not be made.
 *
 * I1 coil__parallel counts this runtime from before the first thread starts until after the last one has ended
 */
#include "worker.h"

#include <coil/errno.h>
#include <coil/executor.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/alloc.h"
#include "../src/base/fence.h"
#include "../src/error.h"
#include "../src/executor.h"
#include "../src/runner.h"

/* --- options ------------------------------------------------------------------------------------------------------------------ */

/* A number of the environment; *value as it was without one. */
static int number_of_environment(const char *name, unsigned long long most, unsigned long long *value)
{
    const char *word = getenv(name);
    if (!word || !*word)
        return 0;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(word, &end, 10);
    if (errno != 0 || *end || *word < '0' || *word > '9' || n > most)
        return coil_raise(-EINVAL, "%s='%s' is not a number from 0 to %llu", name, word, most);
    *value = n;
    return 0;
}

static int unsigned_of_environment(const char *name, unsigned most, unsigned *value)
{
    unsigned long long n = *value;
    COIL_TRY(number_of_environment(name, most, &n));
    *value = (unsigned)n;
    return 0;
}

static int ring_mode_of_environment(enum coil_ring_mode *mode)
{
    const char *word = getenv("COIL_RING_MODE");
    if (!word || !*word)
        return 0;
    if (!strcmp(word, "defer"))
        *mode = COIL_RING_DEFER;
    else if (!strcmp(word, "shared"))
        *mode = COIL_RING_SHARED;
    else
        return coil_raise(-EINVAL, "unknown COIL_RING_MODE '%s' (defer, shared)", word);
    return 0;
}

static int apply_environment(coil_runtime_options *o)
{
    unsigned pin = o->pin_cpus;
    unsigned long long stack = o->loop.stack_bytes, stall_ms = ULLONG_MAX;
    COIL_TRY(unsigned_of_environment("COIL_WORKERS", COIL_WORKERS_MAX, &o->workers));
    COIL_TRY(unsigned_of_environment("COIL_PIN_CPUS", 1, &pin));
    COIL_TRY(unsigned_of_environment("COIL_BUDGET", UINT_MAX, &o->budget));
    COIL_TRY(unsigned_of_environment("COIL_BLOCKING_THREADS", 1 << 16, &o->blocking_threads));
    COIL_TRY(number_of_environment("COIL_STACK_BYTES", (size_t)1 << 30, &stack));
    COIL_TRY(number_of_environment("COIL_STALL_MS", INT_MAX, &stall_ms));
    COIL_TRY(ring_mode_of_environment(&o->ring_mode));
    o->pin_cpus = pin != 0;
    o->loop.stack_bytes = (size_t)stack;
    if (stall_ms != ULLONG_MAX)
        o->stall_ns = stall_ms > 0 ? COIL_MS(stall_ms) : COIL_FOREVER;
    return 0;
}

static unsigned cpu_count(void)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return 1;
    int n = CPU_COUNT(&cpus);
    return n < COIL_WORKERS_MAX ? (unsigned)n : COIL_WORKERS_MAX;
}

static int check_options(coil_runtime_options *o)
{
    if (o->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_runtime_options.size is %zu, not %zu", o->size, sizeof *o);
    if (o->loop.size == 0)
        o->loop.size = sizeof o->loop;
    COIL_TRY(apply_environment(o));
    if (o->workers > COIL_WORKERS_MAX)
        return coil_raise(-EINVAL, "%u workers are more than %d", o->workers, COIL_WORKERS_MAX);
    if (o->exact && o->workers > 1)
        return coil_raise(-EINVAL, "asyncio's exact order needs one worker, not %u", o->workers);
    if (o->ring_mode > COIL_RING_SHARED)
        return coil_raise(-EINVAL, "unknown ring mode %d", (int)o->ring_mode);
    if (o->stall_ns < 0)
        return coil_raise(-EINVAL, "a stall cannot last less than no time");
    if (o->workers == 0)
        o->workers = o->exact ? 1 : cpu_count();
    if (o->budget == 0)
        o->budget = 128;
    if (o->stall_ns == 0)
        o->stall_ns = COIL_SECONDS(1);
    return 0;
}

/* --- making the workers ---------------------------------------------------------------------------------------------------------- */

static void adopt_loop(coil_runtime *rt, unsigned i)
{
    coil_loop *loop = rt->loops[i];
    loop->facade = rt->facade;
    loop->members = rt->loops;
    loop->member_count = rt->count;
    loop->index = i;
    loop->parallel = rt->count > 1;
    loop->newest_first = !loop->parallel;
    loop->place = &coil__workers_place;
    loop->worker = &rt->workers[i];
    loop->ring_mode = (int)rt->options.ring_mode;
    loop->budget = loop->budget_full = rt->options.budget;
    coil__worker_init(&rt->workers[i], rt, i);
}

static int make_loops(coil_runtime *rt)
{
    for (unsigned i = 0; i < rt->count; i++)
        COIL_TRY(coil_new_event_loop(&rt->options.loop, &rt->loops[i]));
    rt->facade = rt->loops[0];
    return 0;
}

static int set_blocking_threads(coil_runtime *rt)
{
    coil_executor *executor;
    if (rt->options.blocking_threads == 0)
        return 0;
    COIL_TRY(coil_thread_pool_new(rt->options.blocking_threads, &executor));
    coil_loop_set_default_executor(rt->facade, executor);
    coil_executor_release(executor);
    return 0;
}

/* --- threads --------------------------------------------------------------------------------------------------------------------- */

/* This thread, a worker's, on one CPU. As good as without if that is refused. */
static void pin_cpu(const coil__worker *w)
{
    const cpu_set_t *all = &w->runtime->cpus;
    size_t skip = w->number % (size_t)CPU_COUNT(all), cpu = 0;
    while (!CPU_ISSET(cpu, all) || skip-- > 0)
        cpu++;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

static void report_start(coil__worker *w, int rc)
{
    coil_runtime *rt = w->runtime;
    coil_error *error = coil_catch(rc);
    pthread_mutex_lock(&rt->start_mutex);
    w->started = rc;
    w->start_error = error;
    pthread_cond_broadcast(&rt->start_changed);
    pthread_mutex_unlock(&rt->start_mutex);
}

/* The kernel's side of a worker's loop is broken: what is bound to it will not go on. The others do. */
static void report_failure(const coil__worker *w)
{
    coil_error *e = coil_error_new(w->loop->failure, "worker %u has ended: its loop's backend failed", w->number);
    coil_exception_context context = {.message = "Unhandled exception in event loop", .error = e};
    coil_loop_call_exception_handler(w->runtime->facade, &context);
    coil_error_release(e);
}

/*
 * Nothing runs here any more. Waits until that is so of all workers, and it is this one's turn to close: until then another may
 * run a handle that belongs to this one's backend, and afterwards it is gone for good.
 */
static void wait_for_turn(coil__worker *w)
{
    coil_runtime *rt = w->runtime;
    pthread_mutex_lock(&rt->start_mutex);
    rt->left++;
    pthread_cond_broadcast(&rt->start_changed);
    while (rt->closing < w->number)
        pthread_cond_wait(&rt->start_changed, &rt->start_mutex);
    pthread_mutex_unlock(&rt->start_mutex);
}

/* Lets the workers close one after the other, when all have left. */
static void close_workers(coil_runtime *rt)
{
    pthread_mutex_lock(&rt->start_mutex);
    while (rt->left + 1 < rt->running)
        pthread_cond_wait(&rt->start_changed, &rt->start_mutex);
    pthread_mutex_unlock(&rt->start_mutex);
    for (unsigned i = 1; i < rt->running; i++) {
        pthread_mutex_lock(&rt->start_mutex);
        rt->closing = i;
        pthread_cond_broadcast(&rt->start_changed);
        pthread_mutex_unlock(&rt->start_mutex);
        pthread_join(rt->workers[i].thread, NULL);
    }
}

void *coil__worker_main(void *arg)
{
    coil__worker *w = arg;
    coil_loop *loop = w->loop;
    if (w->runtime->options.pin_cpus)
        pin_cpu(w);
    int rc = coil__loop_enter(loop);
    report_start(w, rc < 0 ? rc : 0);
    if (rc == 0) {
        do
            coil__loop_run_once(loop);
        while (!coil__loop_stopping(loop) && loop->failure == 0);
        coil__loop_leave(loop);
    }
    if (loop->failure < 0)
        report_failure(w);
    wait_for_turn(w);
    loop->place = NULL; /* it is a loop of its own for as long as it takes to close it, in its own thread */
    coil_loop_close(loop);
    return NULL;
}

enum { STARTING = 1 };

/* Waits for the answer of the thread. */
static int await_start(coil_runtime *rt, coil__worker *w)
{
    pthread_mutex_lock(&rt->start_mutex);
    while (w->started == STARTING)
        pthread_cond_wait(&rt->start_changed, &rt->start_mutex);
    int rc = w->started;
    coil_error *error = w->start_error;
    w->start_error = NULL;
    pthread_mutex_unlock(&rt->start_mutex);
    const char *why = coil_error_message(error);
    if (rc < 0)
        rc = coil_raise(rc, "worker %u could not open its event loop: %s", w->number, *why ? why : coil_strerror(rc));
    coil_error_release(error);
    return rc < 0 ? rc : 0;
}

static int start_thread(coil_runtime *rt, coil__worker *w)
{
    w->started = STARTING;
    if (pthread_create(&w->thread, NULL, coil__worker_main, w) != 0) /* whatever it lacks */
        return coil_raise(-EAGAIN, "cannot start the thread of worker %u", w->number);
    rt->running++;
    return await_start(rt, w);
}

static int start_workers(coil_runtime *rt)
{
    rt->running = 1;
    for (unsigned i = 1; i < rt->count; i++)
        COIL_TRY(start_thread(rt, &rt->workers[i]));
    if (rt->options.pin_cpus)
        pin_cpu(&rt->workers[0]);
    return 0;
}

/* --- ending ------------------------------------------------------------------------------------------------------------------------ */

/*
 * What a worker's loop still has becomes the facade's, which is a loop of its own from now on. One whose thread has never
 * started has its place still.
 */
static void fold(coil_loop *facade, coil_loop *loop)
{
    loop->place = NULL;
    facade->task_count += coil__roll_fold(&loop->made, &facade->tasks);
    facade->objects += loop->objects;
    loop->objects = 0;
}

void coil__runtime_end_workers(coil_loop *facade)
{
    coil_runtime *rt = coil__worker_of(facade)->runtime;
    for (unsigned i = 1; i < rt->running; i++)
        coil_loop_stop(rt->loops[i]);
    close_workers(rt);
    coil__watchdog_stop(rt);
    coil__executor_gather(facade);
    facade->task_count += coil__roll_fold(&facade->made, &facade->tasks);
    facade->task_count += coil__roll_fold(&facade->foreign, &facade->tasks);
    for (unsigned i = 1; i < rt->count; i++)
        fold(facade, rt->loops[i]);
    facade->objects += load_relaxed(&facade->foreign_objects); /* [OBJ-1] */
    facade->place = NULL;
    facade->newest_first = false;
    if (rt->options.pin_cpus)
        (void)sched_setaffinity(0, sizeof rt->cpus, &rt->cpus);
    if (facade->parallel)
        fetch_sub_acq_rel(&coil__parallel, 1); /* [PAR-1] I1 */
    facade->parallel = false;
    for (unsigned i = 1; i < rt->count; i++)
        coil_loop_free(rt->loops[i]);
    facade->members = NULL;
}

static void free_runtime(coil_runtime *rt)
{
    coil__list chain;
    coil__list_init(&chain);
    while (coil__inject_pop(&rt->inject, 1, SIZE_MAX, &chain) > 0)
        while (!coil__list_empty(&chain)) /* tasks that a failing end has left; the facade's list has unwound them */
            coil__list_pop(&chain);
    coil__inject_fini(&rt->inject);
    coil__idle_fini(&rt->idle);
    pthread_cond_destroy(&rt->start_changed);
    pthread_mutex_destroy(&rt->start_mutex);
    pthread_mutex_destroy(&rt->clock_mutex);
    coil__free(rt->loops);
    coil__free(rt->workers);
    coil__free(rt);
}

/* --- runtimes ------------------------------------------------------------------------------------------------------------------------ */

static int allocate(coil_runtime *rt)
{
    rt->count = rt->options.workers;
    rt->loops = coil__calloc(rt->count * sizeof(coil_loop *));
    rt->workers = coil__calloc_aligned(alignof(coil__worker), rt->count * sizeof *rt->workers);
    if (!rt->loops || !rt->workers)
        return coil_raise(-ENOMEM, NULL);
    return 0;
}

static void init_sync(coil_runtime *rt)
{
    coil__idle_init(&rt->idle, rt->count);
    coil__inject_init(&rt->inject);
    pthread_mutex_init(&rt->clock_mutex, NULL);
    pthread_mutex_init(&rt->start_mutex, NULL);
    pthread_cond_init(&rt->start_changed, NULL);
    if (sched_getaffinity(0, sizeof rt->cpus, &rt->cpus) < 0)
        rt->options.pin_cpus = false;
}

static int start(coil_runtime *rt)
{
    COIL_TRY(make_loops(rt));
    if (!rt->options.exact) {
        for (unsigned i = 0; i < rt->count; i++)
            adopt_loop(rt, i);
        if (rt->count > 1) {
            coil__fence_init();
            fetch_add_relaxed(&coil__parallel, 1); /* [PAR-1] I1 */
        }
        COIL_TRY(coil__watchdog_start(rt));
        COIL_TRY(start_workers(rt));
    }
    COIL_TRY(set_blocking_threads(rt));
    return coil__runner_adopt(rt->facade, &rt->runner);
}

/* What start() has left behind where it failed. */
static void undo_start(coil_runtime *rt)
{
    for (unsigned i = 1; i < rt->count && !(rt->facade && rt->facade->place); i++)
        coil_loop_free(rt->loops[i]);
    coil_loop_free(rt->loops[0]);
}

static int make(coil_runtime_options *options, coil_runtime **runtime)
{
    coil_runtime *rt = coil__calloc(sizeof *rt);
    if (!rt)
        return coil_raise(-ENOMEM, NULL);
    rt->options = *options;
    int rc = allocate(rt);
    if (rc < 0) {
        coil__free(rt->loops);
        coil__free(rt->workers);
        coil__free(rt);
        return rc;
    }
    init_sync(rt);
    rc = start(rt);
    if (rc < 0) {
        coil_error *e = coil_catch(rc);
        undo_start(rt);
        free_runtime(rt);
        return coil_raise_error(e);
    }
    *runtime = rt;
    return 0;
}

int coil_runtime_new(const coil_runtime_options *options, coil_runtime **runtime)
{
    coil_runtime_options o = {.size = sizeof o};
    if (options && options->size != sizeof o)
        return coil_raise(-EINVAL, "coil_runtime_options.size is %zu, not %zu", options->size, sizeof o);
    if (options)
        o = *options;
    if (coil__current()->loop)
        return coil_raise(COIL_EBUSY, "a runtime cannot be made in a running event loop");
    COIL_TRY(check_options(&o));
    COIL_TRY(make(&o, runtime));
    coil_set_event_loop((*runtime)->facade);
    return 0;
}

coil_loop *coil_runtime_loop(coil_runtime *runtime)
{
    return runtime->facade;
}

int coil_runtime_enter(coil_runtime *runtime, coil_coro coro, void **result)
{
    return coil_runner_run(runtime->runner, coro, result);
}

int coil_runtime_close(coil_runtime *runtime)
{
    return coil_runner_close(runtime->runner);
}

void coil_runtime_free(coil_runtime *runtime)
{
    if (!runtime)
        return;
    coil_runner_free(runtime->runner);
    free_runtime(runtime);
}

int coil_runtime_run(const coil_runtime_options *options, coil_coro coro, void **result)
{
    coil_runtime *rt;
    int rc = coil__runner_check("asyncio.run()");
    if (rc == 0)
        rc = coil_runtime_new(options, &rt);
    if (rc < 0) {
        coil_coro_drop(coro);
        return rc;
    }
    rc = coil_runtime_enter(rt, coro, result);
    coil_error *e = coil_catch(rc);
    rc = coil_runtime_close(rt);
    coil_error *closing = coil_catch(rc);
    coil_runtime_free(rt);
    if (e)
        coil_error_release(closing);
    return coil_raise_error(e ? e : closing);
}

int coil_runtime_main(const coil_runtime_options *options, coil_coro coro)
{
    return coil__exit_status(&coro, coil_runtime_run(options, coro, NULL));
}

/* --- looking at the workers ------------------------------------------------------------------------------------------------------------ */

unsigned coil_worker_count(void)
{
    const coil_loop *loop = coil__current()->loop;
    if (!loop)
        return 0;
    return loop->place ? loop->member_count : 1;
}

unsigned coil_worker_number(void)
{
    const coil_loop *loop = coil__current()->loop;
    return loop ? loop->index : 0;
}

int coil_worker_get_stats(unsigned number, coil_worker_stats *stats)
{
    coil_assert(stats->size == sizeof *stats);
    const coil_loop *loop = coil__current()->loop;
    if (!loop)
        return coil_raise(COIL_ENOLOOP, "no running event loop");
    if (!loop->place || number >= loop->member_count)
        return coil_raise(-EINVAL, "there is no worker number %u", number);
    const coil__worker *w = loop->members[number]->worker;
    *stats = (coil_worker_stats){
        .size = sizeof *stats,
        .handles = load_relaxed(&w->loop->handles_run), /* [BEAT-1] */
        .steals = load_relaxed(&w->steals), /* [WS-1] and those below */
        .searches = load_relaxed(&w->searches),
        .parks = load_relaxed(&w->parks),
        .overflows = load_relaxed(&w->overflows),
        .stalls = load_relaxed(&w->stalls),
        .queued = coil__runq_length(&w->woken) + coil__deque_length(&w->fresh) + (load_relaxed(&w->next) != NULL),
    };
    return 0;
}
