/*
 * coil/task.h - tasks: coroutines that the loop runs
 *
 * A task is a future whose value is what its body returned. The loop keeps a reference until the body has ended, so
 * releasing the last of one's own never stops a task. Source: asyncio.tasks.
 */
#ifndef COIL_TASK_H
#define COIL_TASK_H

#include <coil/future.h>
COIL_BEGIN

/* Where a task may run, in a runtime with several workers. On a loop of its own all are alike. */
enum coil_migration {
    COIL_STEAL_ANY,   /* it may resume on another worker after any suspension */
    COIL_STEAL_START, /* it may be taken by another worker before its first step, and stays there then */
    COIL_PINNED,      /* it stays on one worker: the chosen one, else the one that makes it */
};

typedef struct coil_task_options {
    size_t size;           /* sizeof(coil_task_options) */
    const char *name;      /* copied; NULL: "Task-N" */
    coil_context *context; /* runs exactly in this one (shared); NULL: in a copy of the current context */
    size_t stack_bytes;    /* 0: the loop's default. Rounded up to a power of two of pages, at least 16 KiB */
    enum coil_migration migration;
    unsigned worker;       /* with COIL_PINNED: 1 + the number of the worker that it belongs to; 0: the one that makes it */
    bool save_fp_control;  /* give the task floating-point control words (rounding, ...) of its own */
} coil_task_options;

/**
 * coil_create_task - schedule a coroutine on the running loop
 * @coro: takes, also on failure (its drop is called)
 * @task: gives; NULL detaches it
 *
 * Errors: COIL_ENOLOOP, COIL_ETYPE if @coro has no function, COIL_ELOOPCLOSED, -ENOMEM.
 */
COIL_ON_LOOP int coil_create_task(coil_coro coro, coil_task **task);

/** coil_create_task_with - the same with options (borrowed). */
COIL_ON_LOOP int coil_create_task_with(coil_coro coro, const coil_task_options *options, coil_task **task);

/** coil_loop_create_task - on a given loop, running or not; @options may be NULL. A given name uses up no number. */
COIL_ON_LOOP int coil_loop_create_task(coil_loop *loop, coil_coro coro, const coil_task_options *options,
                                       coil_task **task);

/**
 * coil_ensure_future - a future as it is, a coroutine as a task
 * @future: gives (for a future one more reference to it)
 *
 * Errors: COIL_ETYPE if it is neither, and those of coil_create_task.
 */
#define coil_ensure_future(awaitable, future) coil_ensure_future_(COIL_AWAITABLE(awaitable), future)
COIL_ON_LOOP int coil_ensure_future_(coil_awaitable awaitable, coil_future **future);

/** coil_current_task - the running task; borrowed. NULL in a callback; outside a loop NULL and COIL_ENOLOOP. */
COIL_ANY_THREAD coil_task *coil_current_task(void);

/**
 * coil_all_tasks - the tasks of a loop that are not done, in the order of their creation; of a runtime with several workers all
 *                  that are not done from the call to its return, perhaps others, in no order
 * @tasks: gives an array of shared references; coil_tasks_free() it
 * @n:     their number
 */
COIL_ON_LOOP int coil_all_tasks(coil_loop *loop, coil_task ***tasks, size_t *n);
COIL_ON_LOOP void coil_tasks_free(coil_task **tasks, size_t n);

#define coil_task_cancel coil_future_cancel
COIL_ON_LOOP unsigned coil_task_cancelling(const coil_task *task); /* cancel() calls minus uncancel() calls */
COIL_ON_LOOP unsigned coil_task_uncancel(coil_task *task);         /* returns the number that is left */
COIL_ON_LOOP const char *coil_task_get_name(coil_task *task);      /* borrowed until it is renamed or freed */
COIL_ON_LOOP int coil_task_set_name(coil_task *task, const char *name); /* copied */

/**
 * coil_task_set_result_drop - what to do with the body's result if nobody takes it
 * @drop: called with the value at the task's last release, unless it was taken; NULL: nothing
 */
COIL_ON_LOOP void coil_task_set_result_drop(coil_task *task, void (*drop)(void *));

/**
 * coil_future_repr - "<Task pending name='Task-1' fn=main>", "<Future finished result=0x1>", for people
 *
 * Writes at most @size bytes with the final zero; returns the length of the whole text.
 */
COIL_ON_LOOP size_t coil_future_repr(coil_future *future, char *buf, size_t size);

/**
 * coil_sleep - suspend for @delay_ns
 *
 * A delay that is not positive suspends once: everything that is ready runs first. Errors: -ECANCELED.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_sleep(int64_t delay_ns);

/**
 * coil_pin, coil_unpin - a stretch of code during which the running task stays on its worker
 *
 * For calls into libraries that keep something in thread-local variables between calls: the task may suspend between
 * coil_pin() and coil_unpin(), and goes on on the same thread. The pairs nest. A task that ends pinned is an
 * assertion, and so is calling them outside of a task.
 * On a loop of its own they do nothing else. Source: none in asyncio.
 */
COIL_IN_TASK void coil_pin(void);
COIL_IN_TASK void coil_unpin(void);

/** coil_sleep_coro - sleep as a coroutine with a result. */
COIL_ANY_THREAD coil_coro coil_sleep_coro(int64_t delay_ns, void *result);

/** coil_await_coro - coil_await as a coroutine (shares the future). */
COIL_ON_LOOP coil_coro coil_await_coro(coil_future *future);

COIL_END
#endif
