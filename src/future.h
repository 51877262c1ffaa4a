/*
 * future.h - futures inside: state, callbacks, the class that tells plain futures, tasks and gatherings apart
 *
 * State table (one loop's thread; every transition by that thread):
 *
 *   PENDING  -> FINISHED   set_result, set_exception, a task's body returned    callbacks go to the ready queue
 *   PENDING  -> CANCELLED  cancel of a plain future, a task that raised -ECANCELED    likewise
 *   FINISHED, CANCELLED    final
 *
 * I1 callbacks is empty unless the state is PENDING
 * I2 error: FINISHED: what it raised, or NULL. CANCELLED: the saved error object that the first retrieval hands out
 *    (asyncio's _cancelled_exc), or NULL
 */
#ifndef COIL_FUTURE_INTERNAL_H
#define COIL_FUTURE_INTERNAL_H

#include <coil/future.h>

#include "handle.h"

enum coil__future_state { COIL__PENDING, COIL__FINISHED, COIL__CANCELLED };

typedef struct coil__future_class {
    const char *name;                                   /* "Future" or "Task" in reports */
    bool (*cancel)(coil_future *f, coil_error *message); /* borrows message; NULL without one */
    void (*free)(coil_future *f);                        /* what the class added, then the memory */
    coil_future *(*owner)(coil_future *f);               /* whose value it shows; NULL: its own */
} coil__future_class;

struct coil_future {
    const coil__future_class *class;
    coil__list callbacks; /* I1 */
    coil_loop *loop;
    uint32_t refs;
    uint32_t counted; /* callbacks that get a reference to the future when they are scheduled */
    uint8_t state;
    bool log_traceback; /* holds an error that nobody has looked at */
    void *value;
    void (*drop)(void *);
    coil_error *error;          /* I2; owned */
    coil_error *cancel_message; /* what cancel was given, as a -ECANCELED error; owned */
};

extern const coil__future_class coil__task_class;

/* For those who embed a future. */
void coil__future_init(coil_future *f, const coil__future_class *class, coil_loop *loop);
void coil__future_fini(coil_future *f); /* reports an unretrieved error; discards callbacks; releases what it holds */

/* A plain pending future; NULL without memory. */
coil_future *coil__future_new(coil_loop *loop);

/* Transitions; @error is taken. 0, or COIL_ELOOPCLOSED if there were callbacks and the loop is closed. */
int coil__future_finish(coil_future *f, void *value, void (*drop)(void *));
int coil__future_fail(coil_future *f, coil_error *error);
int coil__future_set_cancelled(coil_future *f, coil_error *message, coil_error *cancelled_error);

/* Cancel with a message as an error object (borrowed, may be NULL): what every cancel comes down to. */
static inline bool coil__future_cancel(coil_future *f, coil_error *message)
{
    return f->class->cancel(f, message);
}

/* What the future raised, as an error with a reference: NULL for none. Pending: COIL_EINVALIDSTATE. Counts as retrieved. */
coil_error *coil__future_get_error(coil_future *f);

/* asyncio's _make_cancelled_error: hands out the saved error once, then new ones with the message. Gives. */
coil_error *coil__future_make_cancelled_error(coil_future *f);

/*
 * Puts a handle among the callbacks: when the future completes (at once if it has) the handle goes to the ready queue.
 * The caller keeps the handle's memory valid until it has run or was discarded or removed.
 */
int coil__future_add_handle(coil_future *f, coil__handle *h);

/* The same for a handle that needs the future when it runs: it owns a reference to @f then (and in discard, unless @f is pending). */
int coil__future_add_counted_handle(coil_future *f, coil__handle *h);

/* Takes a handle out again; false if it is not waiting there any more (then it will run). */
bool coil__future_remove_handle(coil_future *f, coil__handle *h);

/* coil_future_take(), also telling how to drop the value: for those who pass it on. */
int coil__future_take(coil_future *f, void **value, void (**drop)(void *));

#endif
