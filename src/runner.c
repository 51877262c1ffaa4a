/*
 * runner.c - coil_run, coil_main, and runners
 *
 * While a coroutine runs, SIGINT cancels it (the first), or stops its loop (the second): both end the run with
 * KeyboardInterrupt, which python raises wherever it is. Source: asyncio.runners of CPython 3.11.
 */
#include "runner.h"

#include <coil/agen.h>
#include <coil/combine.h>
#include <coil/executor.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "context.h"
#include "error.h"
#include "loop.h"
#include "signals.h"
#include "task.h"

enum state { CREATED, INITIALISED, CLOSED };
enum { ROUNDS_MAX = 100 };

struct coil_runner {
    enum state state;
    coil_loop_options options;
    coil_loop *loop;
    coil_context *context; /* of all runs */
    coil__signal_watch interrupt; /* SIGINT; posted to the loop, which goes before the runner */
    coil_future *running;  /* what SIGINT cancels: borrowed, while it runs */
    bool asked;            /* it was cancelled so */
};

/* --- SIGINT ----------------------------------------------------------------------------------------------------- */

static void run_interrupt(coil__handle *h)
{
    coil_runner *r = coil_container_of(h, coil_runner, interrupt.handle);
    coil__signal_begin(&r->interrupt);
    bool of_this_run = load_relaxed(&r->interrupt.arrivals) > 0; /* [SIG-3] else it was posted in the one before */
    if (r->running && of_this_run && !r->asked && coil__future_pending(r->running)) {
        r->asked = true;
        coil_future_cancel(r->running, NULL);
    }
}

static void discard_interrupt(coil__handle *h)
{
    coil__signal_begin(&coil_container_of(h, coil_runner, interrupt.handle)->interrupt);
}

static const coil__handle_ops interrupt_ops = {run_interrupt, discard_interrupt, "SIGINT"};

int coil_runner_new(const coil_loop_options *options, coil_runner **runner)
{
    coil_runner *r = coil__calloc(sizeof *r);
    if (!r)
        return coil_raise(-ENOMEM, NULL);
    r->options = options ? *options : (coil_loop_options){.size = sizeof r->options};
    *runner = r;
    return 0;
}

int coil__runner_adopt(coil_loop *loop, coil_runner **runner)
{
    coil_runner *r = coil__calloc(sizeof *r);
    if (!r)
        return coil_raise(-ENOMEM, NULL);
    int rc = coil_copy_context(&r->context);
    if (rc < 0) {
        coil__free(r);
        return rc;
    }
    r->loop = loop;
    coil__signal_watch_init(&r->interrupt, &interrupt_ops, loop, SIGINT);
    r->state = INITIALISED;
    *runner = r;
    return 0;
}

int coil_runner_enter(coil_runner *r)
{
    if (r->state == CLOSED)
        return coil_raise(COIL_ERUNTIME, "Runner is closed");
    if (r->state == INITIALISED)
        return 0;
    COIL_TRY(coil_copy_context(&r->context));
    int rc = coil_new_event_loop(&r->options, &r->loop);
    if (rc < 0) {
        coil_context_release(r->context);
        r->context = NULL;
        return rc;
    }
    coil_set_event_loop(r->loop);
    coil__signal_watch_init(&r->interrupt, &interrupt_ops, r->loop, SIGINT);
    r->state = INITIALISED;
    return 0;
}

int coil_runner_get_loop(coil_runner *r, coil_loop **loop)
{
    COIL_TRY(coil_runner_enter(r));
    *loop = r->loop;
    return 0;
}

int coil__runner_check(const char *what)
{
    if (coil__current()->loop)
        return coil_raise(COIL_EBUSY, "%s cannot be called from a running event loop", what);
    return 0;
}

/* @rc: of the run. Whether it ends with KeyboardInterrupt instead. */
static bool end_interrupts(coil_runner *r, int rc)
{
    coil__interrupt_unwatch(&r->interrupt);
    coil_future *task = r->running;
    uint32_t count = load_relaxed(&r->interrupt.arrivals); /* [SIG-3] no more come */
    r->running = NULL;
    if (count > 1)
        store_relaxed(&r->loop->stopping, 0); /* [STOP-1] what came too late for that run must not stop the next */
    if (count == 0 || count > 1 || !r->asked) /* one that came when the task was done is not lost either */
        return count > 0;
    return rc == -ECANCELED && coil_task_uncancel(task) == 0;
}

static int run(coil_runner *r, coil_coro coro, void **result)
{
    coil_task_options options = {.size = sizeof options, .context = r->context};
    coil_task *task;
    r->asked = false;
    coil__interrupt_watch(&r->interrupt); /* before another worker can run the task */
    int rc = coil_loop_create_task(r->loop, coro, &options, &task);
    if (rc < 0) {
        coil__interrupt_unwatch(&r->interrupt);
        return rc;
    }
    r->running = task;
    rc = coil_loop_run_until_complete(r->loop, task, NULL);
    if (end_interrupts(r, rc))
        rc = coil_raise(COIL_EKEYBOARDINTERRUPT, NULL);
    else if (rc == 0)
        rc = coil_future_take(task, result);
    coil_release(task);
    return rc;
}

int coil_runner_run(coil_runner *r, coil_coro coro, void **result)
{
    int rc = coro.fn ? 0 : coil_raise(-EINVAL, "a coroutine was expected");
    if (rc == 0)
        rc = coil__runner_check("Runner.run()");
    if (rc == 0)
        rc = coil_runner_enter(r);
    if (rc == 0)
        rc = coil__loop_prepare(r->loop);
    if (rc < 0) {
        coil_coro_drop(coro);
        return rc;
    }
    return run(r, coro, result);
}

/* --- closing ---------------------------------------------------------------------------------------------------- */

static void report_failed(coil_loop *loop, coil_task *task)
{
    coil_error *e = NULL;
    if (coil_future_cancelled(task) || coil_future_exception(task, &e) < 0 || !e)
        return;
    coil_exception_context context = {
        .message = "unhandled exception during asyncio.run() shutdown", .error = e, .future = task};
    coil_loop_call_exception_handler(loop, &context);
    coil_error_release(e);
}

static int await_all(coil_loop *loop, coil_task **tasks, size_t n)
{
    coil_awaitable *aws = coil__malloc(n * sizeof *aws);
    if (!aws)
        return coil_raise(-ENOMEM, NULL);
    for (size_t i = 0; i < n; i++)
        aws[i] = coil_awaitable_of_future(tasks[i]);
    coil_future *all;
    int rc = coil_gather(aws, n, true, &all);
    coil__free(aws);
    COIL_TRY(rc);
    rc = coil_loop_run_until_complete(loop, all, NULL);
    coil_release(all);
    return rc;
}

/* The tasks that there are now. @n: how many. */
static int cancel_tasks(coil_loop *loop, size_t *n)
{
    coil_task **tasks;
    int rc = 0;
    COIL_TRY(coil_all_tasks(loop, &tasks, n));
    for (size_t i = 0; i < *n; i++)
        coil__future_cancel(tasks[i], NULL); /* at once, not when the loop runs next */
    if (*n > 0)
        rc = await_all(loop, tasks, *n);
    for (size_t i = 0; rc == 0 && i < *n; i++)
        report_failed(loop, tasks[i]);
    coil_tasks_free(tasks, *n);
    return rc;
}

/*
 * Other workers go on while this one looks, and tasks that it has not cancelled yet may make others: so it looks
 * again. Not for ever: there may be tasks that make others even when they are cancelled. asyncio looks once.
 */
static int cancel_all_tasks(coil_loop *loop)
{
    size_t n;
    int rc, rounds = 0;
    do
        rc = cancel_tasks(loop, &n);
    while (rc == 0 && n > 0 && loop->parallel && ++rounds < ROUNDS_MAX);
    return rc;
}

static int shut_down_asyncgens(void *loop, void **result)
{
    (void)result;
    return coil_loop_shutdown_asyncgens(loop);
}

static int shut_down_executor(void *loop, void **result)
{
    (void)result;
    return coil_loop_shutdown_default_executor(loop);
}

/* asyncio's run ends with two more tasks: their steps and the numbers that they take are part of the semantics. */
static int shut_down(coil_loop *loop)
{
    COIL_TRY(cancel_all_tasks(loop));
    COIL_TRY(coil_loop_run_until_complete(loop, coil_coro_of(shut_down_asyncgens, loop), NULL));
    return coil_loop_run_until_complete(loop, coil_coro_of(shut_down_executor, loop), NULL);
}

static void free_loop(coil_runner *r)
{
    coil_loop_free(r->loop);
    coil_context_release(r->context);
    r->loop = NULL;
    r->context = NULL;
}

/*
 * In a running loop it fails as asyncio's does: the tasks are cancelled, and the runner is closed, but for that loop's
 * own, which goes on. The memory of what is suspended there goes when none runs.
 */
int coil_runner_close(coil_runner *r)
{
    if (r->state != INITIALISED)
        return 0; /* also one that has made no loop: it may still be used */
    bool inside = coil__current()->loop != NULL;
    if (inside && r->loop->parallel)
        return coil_raise(COIL_EBUSY, "Cannot run the event loop while another loop is running");
    coil_error *e = coil_catch(shut_down(r->loop));
    coil_set_event_loop(NULL);
    int rc = coil_loop_close(r->loop);
    if (rc < 0) {
        coil_error_release(e);
        return rc;
    }
    r->state = CLOSED;
    if (!inside)
        free_loop(r);
    return coil_raise_error(e);
}

void coil_runner_free(coil_runner *r)
{
    if (!r)
        return;
    coil_error_release(coil_catch(coil_runner_close(r)));
    free_loop(r);
    coil__free(r);
}

/* --- run -------------------------------------------------------------------------------------------------------- */

/* A runner that has been entered. */
static int begin_run(const coil_loop_options *options, coil_runner **runner)
{
    COIL_TRY(coil__runner_check("asyncio.run()"));
    COIL_TRY(coil_runner_new(options, runner));
    int rc = coil_runner_enter(*runner);
    if (rc < 0)
        coil__free(*runner);
    return rc;
}

int coil_run_with(const coil_loop_options *options, coil_coro coro, void **result)
{
    coil_runner *r = NULL;
    int rc = begin_run(options, &r);
    if (rc < 0) {
        coil_coro_drop(coro);
        return rc;
    }
    rc = coil_runner_run(r, coro, result); /* if it refuses the coroutine, the runner is closed all the same */
    coil_error *e = coil_catch(rc);
    rc = coil_runner_close(r);
    coil_runner_free(r);
    if (e)
        return coil_raise_error(e);
    return rc;
}

int coil_run(coil_coro coro, void **result)
{
    return coil_run_with(NULL, coro, result);
}

/* The errors of a group, a line each; groups in groups further in. */
static void print_suberrors(const coil_error *e, int depth)
{
    char text[512];
    coil_error *const *errors;
    size_t n = coil_error_suberrors(e, &errors);
    for (size_t i = 0; i < n; i++) {
        coil_error_format(errors[i], text, sizeof text);
        fprintf(stderr, "%*s%s\n", 2 * depth, "", text);
        print_suberrors(errors[i], depth + 1);
    }
}

int coil__exit_status(const coil_coro *coro, int rc)
{
    char text[512];
    coil_error *e = coil_catch(rc);
    if (!e)
        return 0;
    coil_error_format(e, text, sizeof text);
    fprintf(stderr, "coil: %s raised %s\n", coro->name ? coro->name : "main", text);
    print_suberrors(e, 1);
    coil_error_release(e);
    if (rc == COIL_EKEYBOARDINTERRUPT)
        coil__interrupt_die(); /* so that the shell knows, and ends the script that called the program */
    return 1;
}

int coil_main(coil_coro coro)
{
    return coil__exit_status(&coro, coil_run(coro, NULL));
}
