/*
 * coil/runtime.h - several workers: threads with a loop each, that share the tasks
 *
 * The same program as on one loop: coroutines, futures, queues, locks, streams. Each worker is a thread with an event loop of
 * its own; a worker without tasks takes some from another. To the program all workers are one event loop: what
 * coil_get_running_loop() gives. A task may go on on another thread after every suspension, unless it is pinned; callbacks,
 * timers and I/O stay on the worker that armed them. Futures, queues, locks and the rest may be used by all tasks of a
 * runtime wherever they run; data of the program's own that several tasks use needs a coil_lock, or atomics, as between threads.
 *
 * A watchdog reports a task or callback that holds its worker for longer than stall_ns: to stderr, with a backtrace (names of
 * functions need -rdynamic), or to the loop's slow_callback_handler, which it calls on its own thread. The report interrupts
 * that worker by a signal, once: read() and the like go on, but sleep() and poll() of the program's own end early.
 *
 * What differs from coil_run: the order in which tasks that are ready run. On one worker with the option `exact` nothing does.
 *
 * For operators the environment overrides the options: COIL_WORKERS, COIL_PIN_CPUS=1, COIL_STACK_BYTES, COIL_BUDGET,
 * COIL_BLOCKING_THREADS, COIL_RING_MODE=defer|shared, COIL_STALL_MS (0: no watchdog), and COIL_BACKEND and COIL_DEBUG as for
 * every loop. Source: none in asyncio; docs/scheduler.md.
 */
#ifndef COIL_RUNTIME_H
#define COIL_RUNTIME_H

#include <coil/loop.h>
#include <coil/task.h>
COIL_BEGIN

#define COIL_WORKERS_MAX 256

/* How io_uring is set up; with epoll the modes differ likewise. */
enum coil_ring_mode {
    COIL_RING_DEFAULT, /* the one that measured better, see docs/decisions/ */
    COIL_RING_DEFER,   /* fastest; what completes while a task computes without suspending waits for it */
    COIL_RING_SHARED,  /* other workers collect what completes for a worker that computes */
};

typedef struct coil_runtime_options {
    size_t size;                /* sizeof(coil_runtime_options) */
    unsigned workers;           /* 1 .. COIL_WORKERS_MAX; 0: as many as the thread may use CPUs */
    bool exact;                 /* with one worker: asyncio's order, as coil_run; more workers are refused */
    bool pin_cpus;              /* worker i stays on the i-th CPU that the thread may use */
    unsigned budget;            /* calls on a worker that need not wait, after which one lets other tasks run; 0: 128 */
    unsigned blocking_threads;  /* the most that the default executor starts; 0: as coil_thread_pool_new() */
    enum coil_ring_mode ring_mode;
    int64_t stall_ns;           /* what holds its worker for longer is reported; 0: one second; COIL_FOREVER: never */
    coil_loop_options loop;     /* backend, stack_bytes, debug, clock, handlers; with .size 0 the defaults */
} coil_runtime_options;

/**
 * coil_runtime_run - run a coroutine on a new runtime, then cancel what is left, wait for it, and end all threads
 * @options: borrows; NULL for the defaults
 * @coro:    takes, also on failure
 * @result:  moved out: the caller owns it; may be NULL
 *
 * The calling thread is worker 0. Errors: what it raised; COIL_EBUSY inside a running loop; -EINVAL for an option or a variable
 * of the environment that makes no sense; -EAGAIN if a thread cannot be started; those of coil_new_event_loop.
 */
COIL_ANY_THREAD int coil_runtime_run(const coil_runtime_options *options, coil_coro coro, void **result);

/** coil_runtime_main - for main(), as coil_main: prints an error to stderr; returns the exit status, 0 or 1 */
COIL_ANY_THREAD int coil_runtime_main(const coil_runtime_options *options, coil_coro coro);

/* A runtime for several runs. Its workers keep running tasks between them, but for worker 0, the thread that calls. */
typedef struct coil_runtime coil_runtime;

/** coil_runtime_new - start the workers. Gives. Errors: as coil_runtime_run. */
COIL_ANY_THREAD int coil_runtime_new(const coil_runtime_options *options, coil_runtime **runtime);

/** coil_runtime_enter - run a coroutine to its end as worker 0; as coil_runner_run. All calls by one thread. */
COIL_ON_LOOP int coil_runtime_enter(coil_runtime *runtime, coil_coro coro, void **result);

/**
 * coil_runtime_loop - what other threads need for coil_loop_call_soon_threadsafe and the like
 *
 * Borrowed until coil_runtime_close(): other threads must have made their last call with it by then. Futures that they have may be
 * waited for and cancelled afterwards.
 *
 * What they post, callbacks and coroutines, begins on worker 0: between two coil_runtime_enter() it waits for the next.
 */
COIL_ANY_THREAD coil_loop *coil_runtime_loop(coil_runtime *runtime);

/** coil_runtime_close - cancel all tasks and wait for them, end the workers, close the loops. A second close does nothing. */
COIL_ON_LOOP int coil_runtime_close(coil_runtime *runtime);
COIL_ON_LOOP void coil_runtime_free(coil_runtime *runtime); /* closes first; NULL is allowed */

/** coil_worker_count - the workers of the runtime that runs this thread; 1 on a loop of its own, 0 outside. */
COIL_ANY_THREAD unsigned coil_worker_count(void);

/** coil_worker_number - which of them this is, counted from 0. A task may ask again after a suspension and get another. */
COIL_ANY_THREAD unsigned coil_worker_number(void);

/* What a worker has done since it was started. Counts of a worker that runs may be a little old. */
typedef struct coil_worker_stats {
    size_t size;           /* set by the caller: sizeof(coil_worker_stats) */
    uint64_t handles;      /* steps of tasks, and callbacks */
    uint64_t steals;       /* tasks taken from other workers */
    uint64_t searches;     /* times that it looked at other workers' queues */
    uint64_t parks;        /* times that it went to sleep */
    uint64_t overflows;    /* tasks handed to the shared queue because its own was full */
    uint64_t stalls;       /* steps reported by the watchdog */
    size_t queued;         /* tasks that wait in its queues now */
} coil_worker_stats;

/** coil_worker_get_stats - of worker @number of the running runtime. Errors: COIL_ENOLOOP, -EINVAL. */
COIL_ANY_THREAD int coil_worker_get_stats(unsigned number, coil_worker_stats *stats);

COIL_END
#endif
