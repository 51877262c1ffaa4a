/*
 * future.h - futures inside: state, callbacks, the class that tells plain futures, tasks and gatherings apart
 *
 * State table (every transition under the latch, by any worker; the first one wins, the others are told):
 *
 *   PENDING  -> FINISHED   set_result, set_exception, a task's body returned    callbacks become ready where that happens
 *   PENDING  -> CANCELLED  cancel of a plain future, a task that raised -ECANCELED    likewise
 *   FINISHED, CANCELLED    final
 *
 * [FUT-1] state is stored with release under the latch, and may be loaded with acquire without it: who sees a final state
 * sees value, drop and error. Of these only what can change later (the saved error, a value that is taken) needs the latch.
 *
 * [FUT-3] whose value was taken has neither value nor drop: drop is cleared last, with release. Who loads it with acquire and
 * finds none may use the value without the latch: it is borrowed and stays, or NULL.
 *
 * I1 callbacks is empty unless the state is PENDING
 * I2 error: FINISHED: what it raised, or NULL. CANCELLED: the saved error object that the first retrieval hands out
 *    (asyncio's _cancelled_exc), or NULL
 */
#ifndef COIL_FUTURE_INTERNAL_H
#define COIL_FUTURE_INTERNAL_H

#include <coil/future.h>

#include "base/latch.h"
#include "handle.h"

enum coil__future_state { COIL__PENDING, COIL__FINISHED, COIL__CANCELLED };

typedef struct coil__future_class {
    const char *name;                                   /* "Future" or "Task" in reports */
    bool (*cancel)(coil_future *f, coil_error *message); /* borrows message; NULL without one */
    void (*free)(coil_future *f);                        /* what the class added, then the memory */
    coil_future *(*owner)(coil_future *f);               /* whose value it shows; NULL: its own */
} coil__future_class;

typedef void coil__drop_fn(void *value);

enum coil__notice {
    COIL__NOTED,    /* nothing of what follows */
    COIL__UNSEEN,   /* holds an error that nobody has looked at: asyncio's log_traceback */
    COIL__SHUNNED,  /* pending; once a task awaited it that cannot: asyncio's _asyncio_future_blocking, left behind */
};

struct coil_future {
    const coil__future_class *class;
    coil__list callbacks; /* I1 */
    coil_loop *loop;
    _Atomic uint32_t refs;
    uint32_t counted; /* callbacks that get a reference to the future when they are scheduled */
    _Atomic uint8_t state;
    _Atomic uint8_t notice;     /* enum coil__notice */
    uint8_t asked, round;       /* of a task, see task.h */
    coil__latch latch;          /* guards the transition and the callbacks; of a task also what task.h says */
    void *value;
    _Atomic(coil__drop_fn *) drop; /* [FUT-3] */
    coil_error *error;          /* I2; owned */
    coil_error *cancel_message; /* what cancel was given, as a -ECANCELED error; owned */
};

extern const coil__future_class coil__task_class;

static inline enum coil__future_state coil__future_state(const coil_future *f)
{
    return load_acquire(&f->state); /* [FUT-1] */
}

static inline bool coil__future_pending(const coil_future *f)
{
    return coil__future_state(f) == COIL__PENDING;
}

/* Somebody has taken notice of its error. */
static inline void coil__future_looked_at(coil_future *f)
{
    if (load_relaxed(&f->notice) == COIL__UNSEEN)      /* [FUT-2] relaxed: read by the last release, which the count orders */
        store_relaxed(&f->notice, COIL__NOTED);
}

/* For those who embed a future. */
void coil__future_init(coil_future *f, const coil__future_class *class, coil_loop *loop);
void coil__future_init_uncounted(coil_future *f, const coil__future_class *class, coil_loop *loop); /* coil__loop_hold() to be called */
void coil__future_fini(coil_future *f); /* reports an unretrieved error; discards callbacks; releases what it holds */

/* A plain pending future; NULL without memory. */
coil_future *coil__future_new(coil_loop *loop);

/*
 * Transitions; @error and @message are taken. 0; COIL_EINVALIDSTATE, without a current error, if the future was not pending
 * any more: then the value stays the caller's; COIL_ELOOPCLOSED if there were callbacks and the loop is closed.
 */
int coil__future_finish(coil_future *f, void *value, coil__drop_fn *drop);
int coil__future_finish_unless(coil_future *f, const _Atomic bool *unless, void *value, coil__drop_fn *drop);
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

/* Whose value it is: a shielding future shows the shielded one's. */
coil_future *coil__future_value_owner(coil_future *f);

/* coil_future_take(), also telling how to drop the value: for those who pass it on. */
int coil__future_take(coil_future *f, void **value, coil__drop_fn **drop);

#endif
