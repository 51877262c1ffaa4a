/*
 * tasks.c - the builtins that make tasks and futures, and sleep
 *
 * Futures that the scenario gets are registered for the reports at its end (reports.c).
 */
#include "builtins.h"
#include "world.h"

static int create_future(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    coil_future *future;
    COIL_TRY(coil_loop_create_future(world_loop(), &future));
    *out = world_registered(future);
    return 0;
}

static int create_task(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_task *task;
    coil_task_options options = task_options(args);
    COIL_TRY(coil_create_task_with(value_coro(args->items[0]), &options, &task));
    *out = world_registered(task);
    return 0;
}

static int loop_create_task(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_task *task;
    coil_task_options options = task_options(args);
    COIL_TRY(coil_loop_create_task(world_loop(), value_coro(args->items[0]), &options, &task));
    *out = world_registered(task);
    return 0;
}

static int ensure_future(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_future *future;
    COIL_TRY(coil_ensure_future(value_awaitable(args->items[0]), &future));
    *out = world_registered(future);
    return 0;
}

static int current_task(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    if (!coil_get_running_loop())
        return COIL_ENOLOOP; /* which has made it the current error */
    coil_task *task = coil_current_task();
    if (task)
        *out = value_future(coil_retain(task));
    return 0;
}

static int all_tasks(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    coil_loop *loop = coil_get_running_loop();
    coil_task **tasks;
    size_t n;
    if (!loop)
        return COIL_ENOLOOP;
    COIL_TRY(coil_all_tasks(loop, &tasks, &n));
    *out = value_list(n);
    for (size_t i = 0; i < n; i++)
        (*out)->as.list.items[i] = value_future(coil_retain(tasks[i]));
    coil_tasks_free(tasks, n);
    return 0;
}

static int sleep_(value *self, const arguments *args, value **out)
{
    (void)self;
    COIL_TRY(coil_sleep(int_argument(args, 0, NULL, 0)));
    if (args->n > 1)
        *out = args->items[1];
    return 0;
}

const native task_builtins[] = {
    {"create_future", create_future, 0, 0, false},
    {"create_task", create_task, 1, 3, false},
    {"loop_create_task", loop_create_task, 1, 3, false},
    {"ensure_future", ensure_future, 1, 1, false},
    {"current_task", current_task, 0, 0, false},
    {"all_tasks", all_tasks, 0, 0, false},
    {"sleep", sleep_, 1, 2, true},
    {0},
};
