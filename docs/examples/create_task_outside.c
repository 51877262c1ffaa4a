/*
 * create_task_outside.c - coil_create_task() needs a running loop; coil_loop_create_task() takes any
 *
 * asyncio: asyncio.create_task(work())      RuntimeError: no running event loop
 */
#include <coil.h>
#include <stdio.h>

static int work(void *arg, void **result)
{
    (void)arg;
    (void)result;
    puts("worked");
    return 0;
}

static void fail_to_create(void)
{
    coil_task *task;
    coil_error *error = coil_catch(coil_create_task(coil_coro_of(work, NULL), &task));
    char text[100];
    coil_error_format(error, text, sizeof text);
    puts(text);
    coil_error_release(error);
}

static int create_before_it_runs(coil_loop *loop)
{
    coil_task *task;
    COIL_TRY(coil_loop_create_task(loop, coil_coro_of(work, NULL), NULL, &task));
    puts("created");
    int rc = coil_loop_run_until_complete(loop, task, NULL);
    coil_release(task);
    return rc;
}

int main(void)
{
    fail_to_create();

    coil_loop *loop;
    if (coil_new_event_loop(NULL, &loop) < 0)
        return 1;
    int rc = create_before_it_runs(loop);
    coil_loop_free(loop);
    return rc < 0;
}
