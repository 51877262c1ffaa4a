/*
 * coil/loop.h - the event loop, its handles and clocks
 *
 * A loop belongs to one thread at a time: it may be made on one thread and run on another. Everything that the
 * loop runs, runs on the thread that called run_forever or run_until_complete. Source: asyncio.base_events.
 *
 * fork(2): a process that is to use coil has to be forked before its parent has a loop, or after the last one was freed (coil_run
 * has returned). Forked while there is a loop, it may execute another program or _exit(), and not call coil.
 */
#ifndef COIL_LOOP_H
#define COIL_LOOP_H

#include <coil/coro.h>
#include <coil/error.h>
COIL_BEGIN

/* A callback. A negative return value reaches the loop's exception handler ("Exception in callback"). */
typedef int coil_callback(void *arg);

/* --- clocks ------------------------------------------------------------------------------------------------- */

/*
 * A source of time for loops. Borrowed by the loop until it is freed.
 *
 * idle() is called when the loop would sleep: nothing is ready, no completion has arrived, and no timer is due.
 * @deadline is when the first timer is due, COIL_FOREVER without one. It may move the time, or let a piece of
 * outside work finish (which reports through coil_loop_call_soon_threadsafe), and then returns true; the loop goes
 * on at once. With false the loop sleeps in the kernel, until the deadline by the real clock. idle may be NULL.
 */
typedef struct coil_clock coil_clock;
struct coil_clock {
    int64_t (*now)(coil_clock *clock);
    bool (*idle)(coil_clock *clock, int64_t deadline);
};

/*
 * A virtual clock: starts at 0 and jumps to the next timer whenever the loop would sleep, so that tests of
 * timeouts take no time and always give the same result.
 */
typedef struct coil_virtual_clock {
    coil_clock clock;
    int64_t time_ns;
} coil_virtual_clock;
COIL_ANY_THREAD void coil_virtual_clock_init(coil_virtual_clock *clock);

/* --- making and closing ------------------------------------------------------------------------------------- */

enum coil_backend_kind { COIL_BACKEND_AUTO, COIL_BACKEND_URING, COIL_BACKEND_EPOLL };

/* What an exception handler is told. All pointers are borrowed for the call and may be NULL, @message not. */
typedef struct coil_exception_context {
    const char *message;
    coil_error *error;
    coil_future *future; /* the task or future concerned */
} coil_exception_context;

/* A negative return value is itself reported, through the default handler. */
typedef int coil_exception_handler(coil_loop *loop, const coil_exception_context *context, void *arg);

/* Debug mode: a callback or a task's step held the loop for @duration_ns, @what names it. */
typedef void coil_slow_callback_handler(coil_loop *loop, const char *what, int64_t duration_ns, void *arg);

typedef struct coil_loop_options {
    size_t size;                 /* sizeof(coil_loop_options) */
    coil_clock *clock;           /* NULL: CLOCK_MONOTONIC */
    enum coil_backend_kind backend; /* AUTO: $COIL_BACKEND if set, else io_uring where it works, else epoll */
    size_t stack_bytes;          /* of a task's stack; 0: 64 KiB */
    bool debug;                  /* asyncio's debug mode; also set by COIL_DEBUG=1 */
    coil_exception_handler *default_exception_handler; /* NULL: prints to stderr */
    coil_slow_callback_handler *slow_callback_handler; /* NULL: prints to stderr */
    void *handler_arg;           /* given to the two above */
} coil_loop_options;

/**
 * coil_new_event_loop - make a loop
 * @options: borrows; NULL for the defaults
 * @loop:    gives; coil_loop_close() it, then coil_loop_free() it
 *
 * The kernel's side (ring or epoll instance) is made by the thread that first runs the loop.
 * Errors: -ENOMEM, -EMFILE, -EINVAL (unknown size, or an unknown $COIL_BACKEND).
 */
COIL_ANY_THREAD int coil_new_event_loop(const coil_loop_options *options, coil_loop **loop);

/**
 * coil_loop_close - drop what is scheduled and give back the kernel's resources
 *
 * A second close does nothing. Errors: COIL_EBUSY while running ("Cannot close a running event loop").
 */
COIL_ON_LOOP int coil_loop_close(coil_loop *loop);

/**
 * coil_loop_free - close, if that is still to be done, and give the memory back
 *
 * Tasks that never finished are reported to the exception handler ("Task was destroyed but it is pending!"). Then, as in
 * Python, their bodies are unwound: what they were suspended in returns COIL_EGENERATOREXIT, and so does every further
 * call that would suspend. Futures may outlive their loop. NULL is allowed. The loop must not be running (asserted).
 */
COIL_ON_LOOP void coil_loop_free(coil_loop *loop);

/* --- running ------------------------------------------------------------------------------------------------ */

/**
 * coil_loop_run_until_complete - run until an awaitable is done
 * @awaitable: a coroutine (taken; it becomes a task) or a future (borrowed)
 * @result:    the value; may be NULL. Of a coroutine it is moved out: the caller owns what it points to.
 *             Of a future it is borrowed until the future's last release.
 *
 * Errors: what the awaitable raised; COIL_ELOOPCLOSED; COIL_EBUSY if this loop, or another one in this thread, is
 * running; -EINVAL for a future of another loop; COIL_ERUNTIME if the loop was stopped before.
 */
#define coil_loop_run_until_complete(loop, awaitable, result) \
    coil_loop_run_until_complete_(loop, COIL_AWAITABLE(awaitable), result)
COIL_ON_LOOP int coil_loop_run_until_complete_(coil_loop *loop, coil_awaitable awaitable, void **result);

/** coil_loop_run_forever - run until coil_loop_stop(). Errors: as coil_loop_run_until_complete. */
COIL_ON_LOOP int coil_loop_run_forever(coil_loop *loop);

/** coil_loop_stop - finish the current iteration, then return from run_forever. From another thread it wakes the loop. */
COIL_ANY_THREAD void coil_loop_stop(coil_loop *loop);

COIL_ANY_THREAD bool coil_loop_is_running(const coil_loop *loop);
COIL_ANY_THREAD bool coil_loop_is_closed(const coil_loop *loop);

/** coil_get_running_loop - the loop that runs this thread; NULL, with COIL_ENOLOOP as current error, outside one. */
COIL_ANY_THREAD coil_loop *coil_get_running_loop(void);

/**
 * coil_set_event_loop - the loop that gather, shield, ensure_future and as_completed use for coroutines when none is
 * running on this thread
 * @loop: borrows until it is set anew; NULL for none. coil_run and runners set theirs, and NULL at their end.
 */
COIL_ANY_THREAD void coil_set_event_loop(coil_loop *loop);

/** coil_get_event_loop - the running loop, else the one set; NULL, with COIL_ENOLOOP as current error, without. */
COIL_ANY_THREAD coil_loop *coil_get_event_loop(void);

/** coil_loop_time - the loop's clock, ns. */
COIL_ANY_THREAD int64_t coil_loop_time(coil_loop *loop);

/* --- callbacks ---------------------------------------------------------------------------------------------- */

/**
 * coil_loop_call_soon - run @fn(@arg) in the next iteration
 * @arg:    borrows until the callback has run, or the loop is closed
 * @handle: gives a handle with which to cancel; NULL if it is not wanted
 *
 * The callback runs in a copy of the current context. Errors: COIL_ELOOPCLOSED; in debug mode COIL_ERUNTIME from a
 * thread that does not run the loop; -ENOMEM.
 */
COIL_ON_LOOP int coil_loop_call_soon(coil_loop *loop, coil_callback *fn, void *arg, coil_handle **handle);

/** coil_loop_call_later - run @fn after @delay_ns; a delay that is not positive is due in the next iteration. */
COIL_ON_LOOP int coil_loop_call_later(coil_loop *loop, int64_t delay_ns, coil_callback *fn, void *arg,
                                      coil_handle **handle);

/** coil_loop_call_at - run @fn at @when_ns on the loop's clock. Equal times run in the order in which they were armed. */
COIL_ON_LOOP int coil_loop_call_at(coil_loop *loop, int64_t when_ns, coil_callback *fn, void *arg,
                                   coil_handle **handle);

/**
 * coil_loop_call_soon_threadsafe - coil_loop_call_soon from any thread, waking the loop if it sleeps
 *
 * Calls of one thread run in their order; a burst of calls wakes the loop once. In a runtime they run on worker 0, those of
 * a worker on that worker.
 */
COIL_ANY_THREAD int coil_loop_call_soon_threadsafe(coil_loop *loop, coil_callback *fn, void *arg,
                                                   coil_handle **handle);

/* The same with the context to run in (shared); NULL: a copy of the current one. */
COIL_ON_LOOP int coil_loop_call_soon_in(coil_loop *loop, coil_context *context, coil_callback *fn, void *arg,
                                        coil_handle **handle);
COIL_ON_LOOP int coil_loop_call_later_in(coil_loop *loop, coil_context *context, int64_t delay_ns,
                                         coil_callback *fn, void *arg, coil_handle **handle);
COIL_ON_LOOP int coil_loop_call_at_in(coil_loop *loop, coil_context *context, int64_t when_ns,
                                      coil_callback *fn, void *arg, coil_handle **handle);
COIL_ANY_THREAD int coil_loop_call_soon_threadsafe_in(coil_loop *loop, coil_context *context, coil_callback *fn,
                                                      void *arg, coil_handle **handle);

COIL_ON_LOOP void coil_handle_cancel(coil_handle *handle);           /* harmless twice, and after the run */
COIL_ON_LOOP bool coil_handle_cancelled(const coil_handle *handle);
COIL_ON_LOOP int64_t coil_handle_when(const coil_handle *handle);    /* of a timer; -1 of a call_soon */
COIL_ON_LOOP void coil_handle_release(coil_handle *handle);          /* the callback still runs; NULL is allowed */

/* --- errors, debugging --------------------------------------------------------------------------------------- */

/** coil_loop_set_exception_handler - @handler gets what nobody else can handle; NULL: the default handler. */
COIL_ON_LOOP void coil_loop_set_exception_handler(coil_loop *loop, coil_exception_handler *handler, void *arg);

/** coil_loop_get_exception_handler - the handler set, or NULL; @arg (may be NULL) gets its argument. */
COIL_ON_LOOP coil_exception_handler *coil_loop_get_exception_handler(coil_loop *loop, void **arg);

/** coil_loop_call_exception_handler - report something as the loop does. A handler's own failure is reported too. */
COIL_ON_LOOP void coil_loop_call_exception_handler(coil_loop *loop, const coil_exception_context *context);

/** coil_loop_default_exception_handler - what handles errors when no handler is set. */
COIL_ON_LOOP void coil_loop_default_exception_handler(coil_loop *loop, const coil_exception_context *context);

/*
 * Debug mode; of a runtime's loop: of all its workers, each of which heeds it from its next callback or task step on. Who checks
 * for calls from wrong threads has it on from the start, by the options or COIL_DEBUG.
 */
COIL_ON_LOOP void coil_loop_set_debug(coil_loop *loop, bool debug);
COIL_ON_LOOP bool coil_loop_get_debug(const coil_loop *loop);

/** coil_loop_set_slow_callback_duration - what debug mode calls slow; 100 ms at first. For all workers of a runtime. */
COIL_ON_LOOP void coil_loop_set_slow_callback_duration(coil_loop *loop, int64_t duration_ns);

/*
 * What a loop has done since it was made; of a runtime's: all its workers together, whose counts may be a little old while they
 * run. What each has done: coil_worker_get_stats().
 */
typedef struct coil_loop_stats {
    size_t size;             /* set by the caller: sizeof(coil_loop_stats) */
    uint64_t iterations;     /* rounds of the loop */
    uint64_t handles;        /* callbacks and task steps run */
    uint64_t kernel_waits;   /* system calls that waited or polled for completions */
    uint64_t submissions;    /* requests given to the kernel */
    uint64_t completions;    /* requests that the kernel completed */
    uint64_t wakeups;        /* wake-ups by other threads */
    size_t timers;           /* armed now */
    size_t tasks;            /* not done now */
} coil_loop_stats;
COIL_ON_LOOP void coil_loop_get_stats(const coil_loop *loop, coil_loop_stats *stats);

/* Something that newer kernels offer to io_uring, and what the backend makes of it: docs/io.md explains each. */
typedef struct coil_backend_feature {
    const char *name;     /* "defer_taskrun", "multishot_accept", ... */
    bool used;
    const char *why;      /* why it is not used; NULL if it is */
} coil_backend_feature;

/* Which backend a loop uses, and why. Strings are static; the array is borrowed from the loop until it is closed. */
typedef struct coil_backend_info {
    size_t size;          /* set by the caller: sizeof(coil_backend_info) */
    const char *name;     /* "io_uring" or "epoll" */
    const char *reason;   /* why this one: one line */
    const char *kernel;   /* release of the running kernel */
    const coil_backend_feature *features;
    size_t feature_count; /* the same features, in the same order, on every kernel and backend */
} coil_backend_info;

/** coil_loop_backend_info - opens the backend if the loop has not run yet. Errors: those of opening it. */
COIL_ON_LOOP int coil_loop_backend_info(coil_loop *loop, coil_backend_info *info);

COIL_END
#endif
