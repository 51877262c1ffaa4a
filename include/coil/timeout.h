/*
 * coil/timeout.h - timeout scopes: asyncio.timeout() and timeout_at()
 *
 * A scope cancels its task when its time comes, and turns the cancellation into -ETIMEDOUT on the way out:
 *
 *     coil_timeout *t;
 *     COIL_TRY(coil_timeout_new(COIL_MS(500), &t));
 *     COIL_TRY(coil_timeout_enter(t));
 *     int rc = coil_timeout_exit(t, work());
 *     coil_timeout_free(t);
 *     return rc;                                        // or, in one call: coil_timeout_run()
 *
 * Between enter and exit no COIL_TRY: a task that ends without having left its scopes is an assertion (open_scopes).
 */
#ifndef COIL_TIMEOUT_H
#define COIL_TIMEOUT_H

#include <coil/coro.h>
COIL_BEGIN

typedef struct coil_timeout coil_timeout;

/** coil_timeout_new - due @delay_ns from now; COIL_FOREVER: never. Gives. Errors: COIL_ENOLOOP, -ENOMEM. */
COIL_ON_LOOP int coil_timeout_new(int64_t delay_ns, coil_timeout **timeout);

/** coil_timeout_at_new - due at @when_ns of the loop's clock; COIL_FOREVER: never. Gives. */
COIL_ON_LOOP int coil_timeout_at_new(int64_t when_ns, coil_timeout **timeout);

/** coil_timeout_enter - Errors: COIL_EBUSY if entered before; COIL_ERUNTIME outside a task. */
COIL_ON_LOOP int coil_timeout_enter(coil_timeout *timeout);

/** coil_timeout_exit - leave with the result @rc of the body; returns -ETIMEDOUT instead of the cancellation it caused. */
COIL_IN_TASK COIL_SUSPENDS int coil_timeout_exit(coil_timeout *timeout, int rc);

/** coil_timeout_reschedule - change the time. Errors: COIL_ERUNTIME unless it is active. */
COIL_ON_LOOP int coil_timeout_reschedule(coil_timeout *timeout, int64_t when_ns);
COIL_ON_LOOP int64_t coil_timeout_when(const coil_timeout *timeout); /* COIL_FOREVER for never */
COIL_ON_LOOP bool coil_timeout_expired(const coil_timeout *timeout);
COIL_ON_LOOP void coil_timeout_free(coil_timeout *timeout); /* not while entered (asserted) */

/** coil_timeout_run - run @body in this task for at most @delay_ns. @body: takes; @result may be NULL. */
COIL_IN_TASK COIL_SUSPENDS int coil_timeout_run(int64_t delay_ns, coil_coro body, void **result);

COIL_END
#endif
