/*
 * sync.h - locks, events and conditions inside, for those who embed them, and the waiters that all primitives share
 *
 * A waiter is a future in a list, in the order of arrival. Its node lies in the frame of the waiting call, which takes
 * it out before it returns, whatever it was woken by. (When a loop is freed, its suspended calls return
 * COIL_EGENERATOREXIT, so that holds then as well.)
 *
 * Tasks on all workers of a runtime use a primitive at the same time. Its latch guards its fields and its lists:
 *
 *   Who                   does                                                           holding the latch
 *   the waiting call      sees that it has to wait, and enlists                          yes, throughout
 *                         awaits its future: suspends, may go on on another worker       no
 *                         takes its node out, looks whether it was resolved, and acts    yes, throughout
 *   who wakes one         changes what is waited for, resolves a pending waiter          yes, throughout
 *   who wakes several     changes what is waited for, chooses and retains them           yes, throughout
 *                         resolves them one by one                                       no
 *   who cancels the task  cancels the future, knowing nothing of the object              no
 *
 * I1 a waiter in a list belongs to a call that has not gone on: others may follow the node under the latch
 * I2 `loop` is that of the first task that had to wait; it is compared only, never followed
 * I3 nothing is missed: who enlists has seen, under the same latch, that what it waits for has not happened
 * I4 a future is resolved by a waker or cancelled, whichever is first, and coil__future_finish() tells the waker
 *    which. A wake-up that came too late goes to the next waiter, or is not needed because the cancelled call makes
 *    up for it when it goes on. A call that was resolved and raises all the same (its task was cancelled afterwards)
 *    passes on what it was given. Each primitive says which.
 * I5 who was woken takes the latch before it returns, and may then free the object: its waker touches only futures
 *    after having left the latch
 * I6 nothing is raised under a latch, since that releases the error before, which may run anything. Exceptions: a
 *    priority queue's comparison, which has to leave the latch alone anyway; and on a closed loop, whose objects nobody
 *    shares, that nobody can be woken
 */
#ifndef COIL_SYNC_INTERNAL_H
#define COIL_SYNC_INTERNAL_H

#include <coil/sync.h>

#include "base/latch.h"
#include "current.h"
#include "future.h"
#include "step.h"
#include "task.h"

typedef struct coil__waiter {
    coil__node node;
    coil_future *future;
    bool chosen; /* by coil__waiters_wake(), which resolves it or has done so */
} coil__waiter;

typedef struct coil__waiters {
    coil__list list;
    coil_loop *loop; /* I2 */
} coil__waiters;

struct coil_lock {
    coil__waiters waiters;
    coil__latch latch;
    bool locked;
};

struct coil_event {
    coil__waiters waiters;
    coil__latch latch;
    bool set;
};

struct coil_condition {
    coil__waiters waiters;
    coil__latch latch; /* of the waiters; never held together with the lock's */
    coil_lock *lock;   /* borrowed, or its own */
    coil_lock own;
};

/* 0 inside a task; elsewhere what coil__task_missing() raises. */
static inline int coil__task_needed(void)
{
    return coil_likely(coil__current()->task != NULL) ? 0 : coil__task_missing();
}

/* The same at the beginning of a call that may go on without waiting: in a runtime others may have to go first. */
static inline int coil__task_may_go_on(void)
{
    coil__task *t = coil__current()->task;
    return coil_likely(t != NULL) ? coil__task_cooperate(t) : coil__task_missing();
}

/* The same for a call that cannot do without waiting: also what it raises when the task's loop is being freed. */
static inline int coil__task_may_wait(void)
{
    COIL_TRY(coil__task_needed());
    return coil__current()->task->dying ? coil_raise(COIL_EGENERATOREXIT, NULL) : 0;
}

/*
 * Takes back the latch that @guard has left. Where it had locked nothing, there is nobody to be kept out now either:
 * only the tasks of a runtime with several workers share an object, and these always lock.
 */
static inline void coil__guard_return(coil__guard *guard)
{
    if (coil_unlikely(guard->latch != NULL))
        *guard = coil__guard_enter(guard->latch);
}

void coil__waiters_init(coil__waiters *w);
void coil__waiters_fini(const coil__waiters *w); /* nobody may be waiting (asserted) */

/*
 * Waiting in three steps, for who has to do something between them. Enlisting, under the latch: 0, or a code that was
 * not raised (coil__waiter_refused() does that); then nothing else follows. Awaiting, without it. Leaving, under the
 * latch again: whether the waiter had been resolved.
 */
int coil__waiter_enlist(coil__waiters *w, coil__waiter *waiter);
int coil__waiter_refused(int rc);
int coil__waiter_await(const coil__waiter *waiter);
bool coil__waiter_leave(coil__waiter *waiter);

/*
 * Waits at the end of the list. @guard holds the object's latch, which is left meanwhile and held again afterwards.
 * 0, or the error that the task was woken with; @granted then tells whether the waiter had been resolved before (I4).
 */
int coil__waiters_wait_granted(coil__waiters *w, coil__guard *guard, bool *granted);

/* The same without the question. */
static inline int coil__waiters_wait(coil__waiters *w, coil__guard *guard)
{
    bool granted;
    return coil__waiters_wait_granted(w, guard, &granted);
}

/* The first waiter whose future is pending; NULL without one. */
coil__waiter *coil__waiters_first_pending(const coil__waiters *w);

/* Whether somebody waits whose future was not cancelled. */
bool coil__waiters_any(const coil__waiters *w);

/*
 * Resolves the first @n pending waiters. @guard holds the object's latch, and has left it on return. 0 or
 * COIL_ELOOPCLOSED. If one is cancelled meanwhile, another is looked for, so that with a limit the object has to
 * outlive the call.
 */
int coil__waiters_wake(coil__waiters *w, coil__guard *guard, size_t n);

static inline coil__waiter *coil__waiter_of_node(coil__node *n)
{
    return coil_container_of(n, coil__waiter, node);
}

static inline bool coil__waiter_pending(const coil__waiter *waiter)
{
    return coil__future_pending(waiter->future);
}

/*
 * Resolves a pending waiter, under the latch. COIL_EINVALIDSTATE, not raised, if it was cancelled first;
 * COIL_ELOOPCLOSED if its loop is closed, so that nobody will run.
 */
static inline int coil__waiter_wake(const coil__waiter *waiter)
{
    return coil__future_finish(waiter->future, NULL, NULL);
}

void coil__lock_init(coil_lock *lock);
void coil__event_init(coil_event *event);
void coil__condition_init(coil_condition *condition, coil_lock *lock); /* NULL: its own */

#endif
