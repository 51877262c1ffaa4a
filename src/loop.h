/*
 * loop.h - the event loop: ready queue, snapshot, timers, inbox of other threads
 *
 * One iteration (coil__loop_run_once in loop.c) is asyncio's _run_once:
 *
 *   1 how long may we sleep? 0 if something is ready or we are stopping, else until the first timer
 *   2 take over the inbox; submit, wait, collect completions (backend), take over the inbox again if we slept
 *   3 move due timers to the ready queue
 *   4 run exactly the handles that are in the ready queue now
 *
 * I1 `last` is the final handle of the snapshot being run, NULL between snapshots; handles never leave the ready queue
 *    but from its front (cancelled ones are skipped when they get there), so `last` is always in it
 *    A task that suspends may go on with the snapshot on its own stack (step.c), and, when nothing needs
 *    the kernel or the clock, begin the next iteration there too
 * I2 only the thread that runs the loop touches it, but for the fields under "any thread"
 */
#ifndef COIL_LOOP_INTERNAL_H
#define COIL_LOOP_INTERNAL_H

#include <coil/executor.h>
#include <stdalign.h>

#include "backend.h"
#include "base/atomic.h"
#include "base/coro.h"
#include "base/heap.h"
#include "current.h"
#include "handle.h"

struct coil_loop {
    coil__list ready;
    coil__node *last;              /* I1 */
    coil__coro main;               /* the thread's own stack, while running */
    coil__current_state *current;  /* of the running thread */
    coil__stack *spare;            /* of the task that ended last, for the next to start; NULL without one */
    bool direct;                   /* tasks may switch to the next one without returning here: not in debug mode */
    bool debug;
    bool freed;                    /* coil_loop_free() was called; the memory goes with the last object */
    size_t objects;                /* futures and handles that point to this loop */
    coil__timer_heap timers;
    uint64_t timer_sequence;
    coil__list tasks;              /* not done, in the order of their creation */
    size_t task_count;
    coil__list agens;              /* asynchronous generators in use, in the order of their first use */
    coil_executor *executor;       /* the default one; a reference; NULL: not used yet */
    struct coil__port *port;       /* through which jobs on other threads come back; NULL: none yet */
    bool executor_shutdown;        /* the default executor takes no more jobs */
    coil_clock *clock;
    coil__backend *backend;
    int failure;                   /* of the backend: ends the run */
    int64_t slow_callback_ns;
    coil_exception_handler *handler;
    void *handler_arg;
    coil_loop_options options;
    uint64_t iterations, handles_run, wakeups;

    /* Any thread. */
    alignas(64) _Atomic(coil__node *) inbox; /* handles from other threads, newest first; linked through next */
    _Atomic int parked;                      /* the loop sleeps, or is about to */
    _Atomic int stopping;
    _Atomic bool closed;
    _Atomic(void *) owner;                   /* the running thread's coil__current(), or NULL */
    int wake_fd;                             /* eventfd; open from the loop's first to its last moment */
};

static inline bool coil__loop_closed(const coil_loop *loop)
{
    /* [CLOSED-1] relaxed: a thread that posts while the loop is being closed may be too late either way; what it posts is
     * dropped with the loop. */
    return load_relaxed(&loop->closed);
}

/* Takes over what other threads have posted, in the order in which they did. */
void coil__loop_take_inbox(coil_loop *loop);

/* Appends to the ready queue. On the loop's thread. */
static inline void coil__loop_ready(coil_loop *loop, coil__handle *h)
{
    /* [INBOX-2] relaxed: only a hint, so that what was posted before (by this thread, to a loop that does not run) keeps
     * its place; [INBOX-1] publishes, take_inbox acquires. */
    if (coil_unlikely(load_relaxed(&loop->inbox) != NULL))
        coil__loop_take_inbox(loop);
    coil__list_append(&loop->ready, &h->node);
}

/* Appends from any thread, and wakes the loop if it sleeps. */
void coil__loop_post(coil_loop *loop, coil__handle *h);

/* Reports "Exception in callback" for a callback that returned @rc < 0. */
void coil__loop_report_callback(coil_loop *loop, int rc);

/* Opens or attaches the backend for the calling thread. */
int coil__loop_open_backend(coil_loop *loop);

/* Counting what points to the loop (see `freed`). */
static inline void coil__loop_hold(coil_loop *loop)
{
    loop->objects++;
}
void coil__loop_unhold(coil_loop *loop);

#endif
