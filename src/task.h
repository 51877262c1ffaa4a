/*
 * task.h - tasks inside: a future, a step handle, a coroutine
 *
 * Protocol of one task. `step` is the only handle of a task, and in at most one list:
 *
 *   state      step is in                       left by
 *   SCHEDULED  the ready queue, or a run queue  its turn: RUNNING (a first step takes a stack, unless it is cancelled before)
 *   RUNNING    nowhere                          the body suspends: SCHEDULED (yield) or WAITING; or returns: done
 *   WAITING    waiter->callbacks                completion of waiter: SCHEDULED
 *
 * On a loop of its own one thread does all that. In a runtime there is LEAVING between RUNNING and what follows: the task is
 * in its worker's loop->leaving until another stack runs there, see place.h. The latch of the task's future guards waiter,
 * thrown, cancelling, name, and whatever must be read or written together with must_cancel: future.asked, the requests that it
 * stands for (those of others, and COIL__ASKED_SELF for the task's own), and future.round, which counts how often it was taken.
 *
 * I1 waiter is the future being awaited from WAITING until the step that follows it
 * I2 must_cancel: the next step raises -ECANCELED
 * I3 the stack exists from the first step to the last only
 * I4 `top` is the coroutine to resume: the task's own, or the innermost async generator's
 */
#ifndef COIL_TASK_INTERNAL_H
#define COIL_TASK_INTERNAL_H

#include <coil/task.h>

#include "base/coro.h"
#include "future.h"
#include "handle.h"
#include "roll.h"

typedef struct coil__task {
    coil_future future;
    coil__handle step;
    coil__coro coro;
    coil__coro *top;      /* I4 */
    union {
        coil__node all;   /* in the loop's list of tasks */
        struct {          /* of a runtime with several workers (roll.h) */
            union {
                coil__roll_slot *slot;
                struct coil__task *next; /* while rolls are folded */
            };
            uint64_t number; /* in the order in which they entered */
        } in_roll;
    };
    coil_future *waiter;  /* I1; kept alive by whoever called coil_await */
    coil_error *error;    /* the current error of the code that runs; owned */
    coil_error *thrown;   /* raised by the next step; owned */
    coil_coro_fn *fn;
    void *arg;
    void (*drop)(void *);
    char *name;           /* NULL: "Task-<number>" */
    const char *fn_name;
    uint64_t number;
    uint32_t copy_bytes;  /* arg is our copy of that many bytes */
    uint32_t stack_bytes;
    uint32_t cancelling : 24;
    uint32_t in_flight : 8; /* requests that are counted, and may not have arrived yet */
    uint32_t raised_in;   /* coil__step_id() of the last step that began by raising something */
    uint16_t open_scopes; /* timeouts and groups entered and not left; in a generator: by its body */
    uint16_t pins;        /* coil_pin() calls without their coil_unpin() */
    uint8_t home;         /* index of the worker that it is pinned to, if it is */
    uint8_t migration : 2; /* enum coil_migration */
    bool must_exit : 1;   /* the next step that would raise nothing raises COIL_EGENERATOREXIT (agen.c) */
    bool dying : 1;       /* its loop is being freed: no call suspends any more */
    _Atomic bool must_cancel; /* I2. [TASK-2] relaxed: decisions are made under the latch, looks only save taking it */
} coil__task;
_Static_assert(sizeof(coil__task) <= 256 || sizeof(coil__coro) > 24, "a task is a small object");

static inline coil__task *coil__task_of(coil_future *f)
{
    coil_debug_assert(f->class == &coil__task_class);
    return coil_container_of(f, coil__task, future);
}

/* Whether its steps stay on the worker `home`. */
static inline bool coil__task_pinned(const coil__task *t)
{
    return t->pins > 0 || t->migration == COIL_PINNED || (t->migration == COIL_STEAL_START && t->top);
}

/* The running task; NULL outside one: then whoever needs it returns coil__task_missing(), which raises why. */
coil__task *coil__task_current(void);
int coil__task_missing(void);

/* Of the loop or runtime: those that are not done, and of several workers perhaps some that have just ended. Any thread. */
size_t coil__task_count(const coil_loop *loop);

/* Writes the name; async-signal-safe enough for the overflow report. */
void coil__task_copy_name(const coil__task *t, char *buf, size_t size);

/* asyncio's ensure_future(awaitable, loop=loop); @loop NULL: the running or set one, for a coroutine. Gives; takes a coroutine. */
int coil__loop_ensure_future(coil_loop *loop, coil_awaitable awaitable, coil_future **future);

/*
 * A timeout or group is left. The one that leaves it need not be the task that entered it, if both run a generator's body:
 * the count of open scopes is the body's then.
 */
void coil__task_close_scope(void);

/* Stands in for a coroutine whose arguments found no memory: raises -ENOMEM when it runs. */
coil_coro coil__coro_without_memory(const char *name);

/*
 * Between workers a request to cancel may find the task running. The task cannot have met it before its next suspension: it is
 * as if it came after the step, and a timeout or group that is left in that step takes its own request back.
 */
enum { COIL__ASKED_SELF = 0x80, COIL__ASKED_MOST = 0x7f };

typedef struct coil__request {
    uint8_t round; /* of the task's requests */
    bool marked;   /* it is one of those behind must_cancel in that round */
} coil__request;

/* coil_future_cancel(), filling in @request. */
bool coil__task_request(coil__task *t, coil__request *request);

/* By the running task. True: it was taken back, but for its count (coil_task_uncancel). Once for a request. */
bool coil__task_withdraw(coil__task *t, coil__request *request);

/* By the running task: coil_task_cancelling() without the requests of others that it has not met yet. */
unsigned coil__task_cancelling_met(coil__task *t);

/* Suspends the current task once: everything ready runs first. 0 or the error thrown in. */
int coil__task_yield(coil__task *t);

#endif
