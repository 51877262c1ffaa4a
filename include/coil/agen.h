/*
 * coil/agen.h - asynchronous generators: bodies that yield values and may await in between
 *
 * `async def g(x): ... yield v` is a body int g(coil_agen *agen, void *arg) that calls coil_agen_yield(). It has a
 * stack of its own and runs as the task that asks for the next value: that task's name, context, cancellation.
 * `async for` is
 *
 *     void *v;
 *     int rc;
 *     while ((rc = coil_agen_next(g, &v)) == 0)
 *         use(v);                              // leaving the loop early leaves the generator suspended
 *     if (rc != COIL_ESTOPITERATION)
 *         return rc;
 *
 * A generator that is no longer wanted is closed (coil_agen_close) and released. Releasing one that is still
 * suspended does what asyncio's finalizer does: the loop that first ran it closes it in a task of its own.
 * Source: PEP 525, CPython's genobject.c, asyncio.base_events.
 */
#ifndef COIL_AGEN_H
#define COIL_AGEN_H

#include <coil/coro.h>
#include <coil/error.h>
COIL_BEGIN

typedef struct coil_agen coil_agen;

/* The body. Returns 0 at the end, or what it raises. */
typedef int coil_agen_fn(coil_agen *agen, void *arg);

/**
 * coil_agen_new - a generator that has not started
 * @arg:  the body's own, if @drop is given: drop(arg) if the body never runs; else borrowed until the body ends
 * @name: of the function, for diagnostics; static; may be NULL
 * @agen: gives
 */
COIL_ANY_THREAD int coil_agen_new(coil_agen_fn *fn, void *arg, void (*drop)(void *arg), const char *name,
                                  coil_agen **agen);

COIL_ON_LOOP coil_agen *coil_agen_retain(coil_agen *agen);

/** coil_agen_release - NULL is allowed. The last reference to a suspended generator has it closed. */
COIL_ON_LOOP void coil_agen_release(coil_agen *agen);

/**
 * coil_agen_finalize - what releasing the last reference does to a suspended generator: its loop will close it
 *
 * Returns 1 if that was arranged, 0 if there is nothing to close (ended, never used under a loop, the loop is
 * closed, or it was arranged before), negative on failure.
 */
COIL_ON_LOOP int coil_agen_finalize(coil_agen *agen);

/**
 * coil_agen_yield - in the body: give a value to the caller and wait until it wants the next
 * @value: borrowed by the caller until it asks for the next value
 * @sent:  what coil_agen_send() passed, NULL for coil_agen_next(); may be NULL
 *
 * Errors: what coil_agen_throw() raises; COIL_EGENERATOREXIT when the generator is being closed: clean up and
 * return it.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_agen_yield(coil_agen *agen, void *value, void **sent);

/**
 * coil_agen_next - run the body up to its next yield: anext()
 * @value: what it yielded; may be NULL
 *
 * Errors: COIL_ESTOPITERATION at the end; what the body raised; COIL_EBUSY while another task is running it.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_agen_next(coil_agen *agen, void **value);

/**
 * coil_agen_send - coil_agen_next whose yield receives @sent. Errors: also COIL_ETYPE for a value before the first
 * yield.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_agen_send(coil_agen *agen, void *sent, void **value);

/**
 * coil_agen_throw - raise @error (takes) at the yield. A generator that has ended returns 0 with NULL, as in
 * CPython 3.11.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_agen_throw(coil_agen *agen, coil_error *error, void **value);

/**
 * coil_agen_close - raise COIL_EGENERATOREXIT at the yield, and wait for the body's end. COIL_ERUNTIME if it yields
 * again.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_agen_close(coil_agen *agen);

COIL_ON_LOOP bool coil_agen_finished(const coil_agen *agen);  /* the body has ended */
COIL_ON_LOOP bool coil_agen_suspended(const coil_agen *agen); /* started, at a yield, and not being run */

/* As coroutines (sharing the generator). Making one is the generator's first use, as in Python: it registers it. */
COIL_ON_LOOP coil_coro coil_agen_next_coro(coil_agen *agen);
COIL_ON_LOOP coil_coro coil_agen_send_coro(coil_agen *agen, void *sent);
COIL_ON_LOOP coil_coro coil_agen_throw_coro(coil_agen *agen, coil_error *error);
COIL_ON_LOOP coil_coro coil_agen_close_coro(coil_agen *agen);

/**
 * coil_loop_shutdown_asyncgens - close all suspended generators of the running loop; what they raise goes to the
 * handler.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_loop_shutdown_asyncgens(coil_loop *loop);

COIL_END
#endif
