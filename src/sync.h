/*
 * sync.h - locks, events and conditions inside, for those who embed them, and the waiters that all primitives share
 *
 * A waiter is a future in a list, in the order of arrival. Its node lies in the frame of the waiting call, which takes
 * it out before it returns, whatever it was woken by. (When a loop is freed, its suspended calls return
 * COIL_EGENERATOREXIT, so that holds then as well.)
 *
 * I1 a waiter in a list belongs to a suspended call
 * I2 `loop` is that of the first task that had to wait; it is compared only, never followed
 */
#ifndef COIL_SYNC_INTERNAL_H
#define COIL_SYNC_INTERNAL_H

#include <coil/sync.h>

#include "current.h"
#include "future.h"
#include "task.h"

typedef struct coil__waiter {
    coil__node node;
    coil_future *future;
} coil__waiter;

typedef struct coil__waiters {
    coil__list list;
    coil_loop *loop; /* I2 */
} coil__waiters;

struct coil_lock {
    coil__waiters waiters;
    bool locked;
};

struct coil_event {
    coil__waiters waiters;
    bool set;
};

struct coil_condition {
    coil__waiters waiters;
    coil_lock *lock; /* borrowed, or its own */
    coil_lock own;
};

/* 0 inside a task; elsewhere what coil__task_missing() raises. */
static inline int coil__task_needed(void)
{
    return coil_likely(coil__current()->task != NULL) ? 0 : coil__task_missing();
}

/* The same for a call that cannot do without waiting: also what it raises when the task's loop is being freed. */
static inline int coil__task_may_wait(void)
{
    COIL_TRY(coil__task_needed());
    return coil__current()->task->dying ? coil_raise(COIL_EGENERATOREXIT, NULL) : 0;
}

void coil__waiters_init(coil__waiters *w);
void coil__waiters_fini(const coil__waiters *w); /* nobody may be waiting (asserted) */

/*
 * Waits at the end of the list. 0, or the error that the task was woken with; @granted (may be NULL) then tells whether
 * the waiter had been resolved before, so that what it was given has to be passed on.
 */
int coil__waiters_wait(coil__waiters *w, bool *granted);

/* The first waiter whose future is pending; NULL without one. */
coil__waiter *coil__waiters_first_pending(const coil__waiters *w);

/* Whether somebody waits whose future was not cancelled. */
bool coil__waiters_any(const coil__waiters *w);

static inline coil__waiter *coil__waiter_of_node(coil__node *n)
{
    return coil_container_of(n, coil__waiter, node);
}

static inline bool coil__waiter_pending(const coil__waiter *waiter)
{
    return waiter->future->state == COIL__PENDING;
}

/* Resolves a pending waiter. COIL_ELOOPCLOSED if its loop is closed, so that nobody will run. */
static inline int coil__waiter_wake(const coil__waiter *waiter)
{
    return coil__future_finish(waiter->future, NULL, NULL);
}

void coil__lock_init(coil_lock *lock);
void coil__event_init(coil_event *event);
void coil__condition_init(coil_condition *condition, coil_lock *lock); /* NULL: its own */

#endif
