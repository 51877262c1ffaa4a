/*
 * loops.c - the builtins that are methods of a loop, and running: run, run_until_complete, Runner
 *
 * "The loop" is the running one, else the driver's (world_loop).
 */
#include "builtins.h"
#include "world.h"

/* --- time and callbacks ------------------------------------------------------------------------------------------ */

static int time_(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_int(coil_loop_time(world_loop()));
    return 0;
}

static int busy(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    world_now += int_argument(args, 0, NULL, 0);
    return 0;
}

static int give_handle(int rc, coil_handle *handle, value **out)
{
    if (rc < 0)
        return rc;
    *out = value_new(VALUE_HANDLE);
    (*out)->as.handle = handle;
    return 0;
}

static int call_soon(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_handle *handle = NULL;
    int rc = coil_loop_call_soon_in(world_loop(), context_argument(args), later_run,
                                    later_new(args->items[0], 1, args), &handle);
    return give_handle(rc, handle, out);
}

static int call_soon_threadsafe(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_handle *handle = NULL;
    int rc = coil_loop_call_soon_threadsafe_in(world_loop(), context_argument(args), later_run,
                                               later_new(args->items[0], 1, args), &handle);
    return give_handle(rc, handle, out);
}

static int call_later(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_handle *handle = NULL;
    int rc = coil_loop_call_later_in(world_loop(), context_argument(args), int_argument(args, 0, NULL, 0), later_run,
                                     later_new(args->items[1], 2, args), &handle);
    return give_handle(rc, handle, out);
}

static int call_at(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_handle *handle = NULL;
    int rc = coil_loop_call_at_in(world_loop(), context_argument(args), int_argument(args, 0, NULL, 0), later_run,
                                  later_new(args->items[1], 2, args), &handle);
    return give_handle(rc, handle, out);
}

/* --- state ------------------------------------------------------------------------------------------------------- */

static int stop(value *self, const arguments *args, value **out)
{
    (void)self, (void)args, (void)out;
    coil_loop_stop(world_loop());
    return 0;
}

static int close_(value *self, const arguments *args, value **out)
{
    (void)self, (void)args, (void)out;
    return coil_loop_close(world_loop());
}

static int is_running(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_bool(coil_loop_is_running(world_loop()));
    return 0;
}

static int is_closed(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_bool(coil_loop_is_closed(world_loop()));
    return 0;
}

static int new_loop(value *self, const arguments *args, value **out)
{
    (void)self, (void)args, (void)out;
    world_new_loop();
    return 0;
}

/* --- running ----------------------------------------------------------------------------------------------------- */

static int give_result(int rc, void *result, value **out)
{
    if (rc < 0)
        return rc;
    *out = value_unpack(result);
    return 0;
}

static int run_until_complete(value *self, const arguments *args, value **out)
{
    (void)self;
    void *result = NULL;
    int rc = coil_loop_run_until_complete(world_loop(), value_awaitable(args->items[0]), &result);
    return give_result(rc, result, out);
}

static int run_forever(value *self, const arguments *args, value **out)
{
    (void)self, (void)args, (void)out;
    return coil_loop_run_forever(world_loop());
}

static int run(value *self, const arguments *args, value **out)
{
    (void)self;
    void *result = NULL;
    coil_runtime_options options = world_runtime_options();
    coil_coro coro = value_coro(args->items[0]);
    int rc = world_on_runtime() ? coil_runtime_run(&options, coro, &result)
                                : coil_run_with(&world_options, coro, &result);
    return give_result(rc, result, out);
}

/* --- Runner ------------------------------------------------------------------------------------------------------ */

/* A runtime is one that has been entered; before that, and without runtimes, the library's runner stands for it. */
struct runner {
    coil_runner *plain;
    coil_runtime *runtime;
    bool closed; /* the runtime is */
};

static int new_runner(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    struct runner *runner = keep(sizeof *runner);
    COIL_TRY(coil_runner_new(&world_options, &runner->plain));
    *out = value_new(VALUE_RUNNER);
    (*out)->as.runner = runner;
    return 0;
}

int runner_enter(struct runner *runner)
{
    if (!world_on_runtime())
        return coil_runner_enter(runner->plain);
    if (runner->closed)
        return coil_raise(COIL_ERUNTIME, "Runner is closed");
    return runner->runtime ? 0 : world_new_runtime(&runner->runtime);
}

static int runner_run(value *self, const arguments *args, value **out)
{
    void *result = NULL;
    struct runner *runner = self->as.runner;
    coil_coro coro = value_coro(args->items[0]);
    bool possible = coro.fn && !coil_get_running_loop();
    if (possible && world_on_runtime())
        COIL_TRY(runner_enter(runner));
    int rc = runner->runtime ? coil_runtime_enter(runner->runtime, coro, &result)
                             : coil_runner_run(runner->plain, coro, &result);
    return give_result(rc, result, out);
}

int runner_close(struct runner *runner)
{
    if (!runner->runtime)
        return coil_runner_close(runner->plain);
    bool own = coil_get_running_loop() == coil_runtime_loop(runner->runtime); /* which goes on */
    int rc = coil_runtime_close(runner->runtime);
    runner->closed = !own;
    return rc;
}

static int close_runner(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return runner_close(self->as.runner);
}

const native runner_methods[] = {
    {"run", runner_run, 1, 1, false},
    {"close", close_runner, 0, 0, false},
    {0},
};

/* --- exception handlers and debug mode --------------------------------------------------------------------------- */

static int set_exception_handler(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    world_set_exception_handler(args->items[0]);
    return 0;
}

static int get_exception_handler(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = world_exception_handler();
    return 0;
}

static int call_exception_handler(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    const value *message = args->items[0], *error = argument(args, 1, "exc");
    coil_exception_context context = {.message = message->type == VALUE_STRING ? message->as.text : ""};
    if (error && error->type == VALUE_ERROR)
        context.error = error->as.error;
    coil_loop_call_exception_handler(world_loop(), &context);
    return 0;
}

static int set_debug(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    world_set_debug(world_loop(), value_truth(args->items[0]));
    return 0;
}

static int set_slow(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    coil_loop_set_slow_callback_duration(world_loop(), int_argument(args, 0, NULL, 0));
    return 0;
}

static int shutdown_asyncgens(value *self, const arguments *args, value **out)
{
    (void)self, (void)args, (void)out;
    return coil_loop_shutdown_asyncgens(world_loop());
}

const native loop_builtins[] = {
    {"time", time_, 0, 0, false},
    {"busy", busy, 1, 1, false},
    {"call_soon", call_soon, 1, SIZE_MAX, false},
    {"call_later", call_later, 2, SIZE_MAX, false},
    {"call_at", call_at, 2, SIZE_MAX, false},
    {"call_soon_threadsafe", call_soon_threadsafe, 1, SIZE_MAX, false},
    {"stop", stop, 0, 0, false},
    {"close", close_, 0, 0, false},
    {"is_running", is_running, 0, 0, false},
    {"is_closed", is_closed, 0, 0, false},
    {"new_loop", new_loop, 0, 0, false},
    {"run_until_complete", run_until_complete, 1, 1, false},
    {"run_forever", run_forever, 0, 0, false},
    {"run", run, 1, 1, false},
    {"Runner", new_runner, 0, 0, false},
    {"set_exception_handler", set_exception_handler, 1, 1, false},
    {"get_exception_handler", get_exception_handler, 0, 0, false},
    {"call_exception_handler", call_exception_handler, 1, 2, false},
    {"set_debug", set_debug, 1, 1, false},
    {"set_slow", set_slow, 1, 1, false},
    {"shutdown_asyncgens", shutdown_asyncgens, 0, 0, true},
    {0},
};
