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
 * I2 only the thread that runs the loop touches it, but for the fields under "any thread", and those with a latch
 * I3 workers only: the task that was suspended last, until the code that runs next has put it where it belongs
 * I4 any loop: a task that cannot be started from another's stack: it was cancelled, or there is no stack
 * I5 tasks of `fresh` run when nothing that was woken is ready; now and then one does anyway, the oldest, so that it does not
 *    wait for ever (coil__loop_take_fresh)
 */
#ifndef COIL_LOOP_INTERNAL_H
#define COIL_LOOP_INTERNAL_H

#include <coil/executor.h>
#include <coil/file.h>
#include <stdalign.h>

#include "backend.h"
#include "base/atomic.h"
#include "base/coro.h"
#include "base/heap.h"
#include "base/latch.h"
#include "current.h"
#include "handle.h"
#include "roll.h"
#include "testing.h"

struct coil__place;
struct coil__task;

struct coil_loop {
    /* Read by all workers, of their facade; written before they start and after they have ended. */
    alignas(64) const struct coil__place *place; /* the loop is a worker's; NULL: a loop of its own */
    coil_loop *facade;             /* the loop that users see: this one, or in a runtime the first worker's */
    coil_loop **members;           /* of a runtime: all workers' loops; this is members[index]. Borrowed */
    void *worker;                  /* whose loop it is; only the place's functions know more of it */
    coil_clock *clock;
    unsigned member_count, index;
    int ring_mode;                 /* enum coil_ring_mode */
    uint32_t budget_full;          /* of a worker: see `budget` */
    bool parallel;                 /* there are several workers */
    bool newest_first;             /* the only worker: what has not started stands in `fresh` */
    _Atomic bool direct;           /* tasks may switch to the next one without returning here: not in debug mode */
    _Atomic bool debug;            /* [SET-1] relaxed: settings, which a worker heeds when it comes to look */
    _Atomic bool timed;            /* [SET-1] a handle runs whose time is taken when it returns here */
    bool freed;                    /* coil_loop_free() was called; the memory goes with the last object */
    _Atomic uint32_t lookers;      /* the facade's, see roll.h; changes rarely */

    /* The thread that runs the loop. */
    alignas(64) coil__list ready;
    coil__node *last;              /* I1 */
    coil__current_state *current;  /* of the running thread */
    coil__stack *spare;            /* of the task that ended last, for the next to start; NULL without one */
    struct coil__task *leaving;    /* I3 */
    struct coil__task *handoff;    /* I4 */
    bool leaving_yields;           /* the leaving task only lets others go first */
    uint32_t budget;               /* workers only: calls without waiting until one lets others run (step.h) */
    int64_t objects;               /* futures and handles that point to this loop; in a runtime only the sum counts */
    coil__coro main;               /* the thread's own stack, while running */
    coil__list fresh;              /* I5; steps of tasks, newest first */
    uint32_t fresh_turn;           /* times that something was to be taken */
    uint32_t fresh_passed;         /* of these, how many in a row it was not, since what was woken went first */
    int failure;                   /* of the backend: ends the run */
    coil__list tasks;              /* that are not done, in the order of their creation; of several workers: */
    size_t task_count;
    coil__roll made;               /* in place of these two: the tasks that are not done and were made here */
    uint64_t last_number, numbers_left; /* workers only: of default names (task.c) */
    _Atomic uint64_t handles_run;  /* [BEAT-1] relaxed: one writer, the loop's thread; others look whether it moves */
    _Atomic uint64_t iterations, wakeups; /* [BEAT-1] likewise */
    _Atomic uint64_t tasks_ended;  /* [ROLL-4] of several workers: here, whoever made them */

    /* Any worker, under a latch. */
    alignas(64) coil__latch tasks_latch; /* the facade's: of those who enter tasks in `foreign`, and who look (roll.h) */
    coil__roll foreign;            /* like `made`: the tasks that threads make which are no workers */
    coil__latch timers_latch;      /* other workers cancel timers, and look at the first */
    coil__timer_heap timers;
    uint64_t timer_sequence;
    coil__latch backend_latch;     /* other workers use `backend` under it, and it changes under it */
    coil__backend *backend;
    coil__latch shared_latch;      /* the facade's: guards what follows */
    coil__list agens;              /* asynchronous generators in use, in the order of their first use */
    struct coil__watches *watches; /* of add_reader and add_writer (io/watch.c); NULL: none yet */
    coil__list endings;            /* of what ends with the loop (ending.h) */
    coil_executor *executor;       /* the default one; a reference; NULL: not used yet */
    struct coil__port *port;       /* through which jobs on other threads come back; NULL: none yet */
    bool executor_shutdown;        /* the default executor takes no more jobs */
    _Atomic unsigned region_count; /* [REGION-2] relaxed: who uses a region has made it, or was told of it */
    coil_buffers *regions[16];     /* registered memory, by number (io/buffers.h); NULL: the number is free */
    coil_exception_handler *handler; /* any worker may set it while others call it */
    void *handler_arg;

    /* Rarely used. */
    _Atomic int64_t slow_callback_ns; /* [SET-1] */
    coil_loop_options options;
    coil__task_watch *task_watch;  /* debug mode: the test kit is told of each new task; NULL: it is not there */
    void *task_watch_arg;

    /* Any thread. */
    alignas(64) _Atomic(coil__node *) inbox; /* handles from other threads, newest first; linked through next */
    _Atomic int parked;                      /* the loop sleeps, or is about to */
    _Atomic int stopping;
    _Atomic int notified;                    /* a worker's: it is to get up, for what is in no inbox */
    _Atomic bool closed;
    _Atomic(void *) owner;                   /* the running thread's coil__current(), or NULL */
    _Atomic int64_t foreign_objects;         /* of a facade: what threads that are no workers have added to `objects` */
    int wake_fd;                             /* eventfd; open from the loop's first to its last moment */
};

static inline bool coil__loop_closed(const coil_loop *loop)
{
    /* [CLOSED-1] relaxed: a thread that posts while the loop is being closed may be too late either way; what it posts is
     * dropped with the loop. */
    return load_relaxed(&loop->closed);
}

/* Adds one to a count that only this thread writes. */
static inline void coil__loop_count(_Atomic uint64_t *count)
{
    store_relaxed(count, load_relaxed(count) + 1); /* [BEAT-1] */
}

/* The loops of a runtime, by number; NULL: there are no more. A loop of its own is number 0. */
static inline coil_loop *coil__loop_member(coil_loop *loop, unsigned number)
{
    if (!loop->place)
        return number == 0 ? loop : NULL;
    return number < loop->member_count ? loop->members[number] : NULL;
}

/* Takes over what other threads have posted, in the order in which they did. */
void coil__loop_take_inbox(coil_loop *loop);

/* The loop whose thread this is, of the runtime that @loop belongs to; @loop itself without a runtime. */
coil_loop *coil__loop_here_slow(coil_loop *loop);
static inline coil_loop *coil__here(coil_loop *loop)
{
    return coil_likely(!loop->parallel) ? loop : coil__loop_here_slow(loop);
}

/* Whether this thread runs @loop, or a worker of its runtime. */
bool coil__loop_is_here(const coil_loop *loop);

/* The loop that a running task's or callback's objects belong to: the facade; NULL outside a running loop. */
static inline coil_loop *coil__running_loop(void)
{
    coil_loop *loop = coil__current()->loop;
    return loop ? loop->facade : NULL;
}

/* A handle has become ready, in a runtime with several workers: a task's step goes to a run queue, anything else to this worker's FIFO. */
void coil__loop_place(coil_loop *loop, coil__handle *h);

/* Appends to the ready queue. On the loop's thread; in a runtime on any thread. */
static inline void coil__loop_ready(coil_loop *loop, coil__handle *h)
{
    if (coil_unlikely(loop->parallel)) {
        coil__loop_place(loop, h);
        return;
    }
    /* [INBOX-2] relaxed: only a hint, so that what was posted before (by this thread, to a loop that does not run) keeps
     * its place; [INBOX-1] publishes, take_inbox acquires. */
    if (coil_unlikely(load_relaxed(&loop->inbox) != NULL))
        coil__loop_take_inbox(loop);
    coil__list_append(&loop->ready, &h->node);
}

/* Appends from any thread, and wakes the loop if it sleeps. */
void coil__loop_post(coil_loop *loop, coil__handle *h);

/* For workers: one round of the loop's own; ends a sleep; sleeps until the first deadline, a completion or a wake-up. */
int coil__loop_enter(coil_loop *loop);
void coil__loop_leave(coil_loop *loop);
void coil__loop_run_once(coil_loop *loop);
void coil__loop_notify(coil_loop *loop);
void coil__loop_run_handle(coil_loop *loop, coil__handle *h);
void coil__loop_sleep(coil_loop *loop);
void coil__loop_poll(coil_loop *loop); /* collects what the kernel has completed, without blocking */
int64_t coil__loop_first_deadline(coil_loop *loop);

static inline bool coil__loop_posted(coil_loop *loop)
{
    return load_relaxed(&loop->inbox) != NULL; /* [INBOX-2] a hint; take_inbox acquires */
}

static inline bool coil__loop_stopping(coil_loop *loop)
{
    return load_acquire(&loop->stopping) != 0; /* [STOP-1] */
}

/* Reports "Exception in callback" for a callback that returned @rc < 0. */
void coil__loop_report_callback(coil_loop *loop, int rc);

/* Whether the calling thread can run the loop: else raises why. Before there is anything to be run. */
int coil__loop_prepare(coil_loop *loop);

/* Opens or attaches the backend for the calling thread. */
int coil__loop_open_backend(coil_loop *loop);

/* Counting what points to the loop (see `freed`). */
void coil__loop_count_shared(coil_loop *loop, int64_t n);
static inline void coil__loop_hold(coil_loop *loop)
{
    if (coil_likely(!loop->place))
        loop->objects++;
    else
        coil__loop_count_shared(loop, 1);
}
void coil__loop_unhold(coil_loop *loop);

#endif
