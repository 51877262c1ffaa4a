/*
 * timeout.c - timeout scopes
 *
 * Called on the loop's thread, by the task that entered the scope (or, to reschedule, by any other).
 * Source: asyncio.timeouts.
 *
 *   From      Event                      To
 *   CREATED   enter                      ACTIVE
 *   ACTIVE    its time comes             EXPIRING: the task was cancelled
 *   ACTIVE    exit                       FINISHED
 *   EXPIRING  exit                       EXPIRED
 *
 * I1 handle is not NULL only in ACTIVE; a handle that is not NULL has neither run nor been cancelled
 */
#include <coil/timeout.h>

#include <coil/combine.h>

#include "base/alloc.h"
#include "current.h"
#include "loop.h"
#include "task.h"

enum timeout_state { CREATED, ACTIVE, EXPIRING, EXPIRED, FINISHED };

struct coil_timeout {
    coil__task *task;    /* a reference while entered */
    coil_handle *handle; /* I1; owned */
    int64_t when_ns;     /* COIL_FOREVER: never */
    unsigned cancelling; /* of the task at enter */
    enum timeout_state state;
};

static void timeout_init(coil_timeout *t, int64_t when_ns)
{
    *t = (coil_timeout){.when_ns = when_ns, .state = CREATED};
}

/* When a delay that starts now ends, on the running loop's clock. */
static int deadline(int64_t delay_ns, int64_t *when_ns)
{
    coil_loop *loop = coil_get_running_loop();
    if (!loop)
        return COIL_ENOLOOP;
    if (delay_ns == COIL_FOREVER || __builtin_add_overflow(coil_loop_time(loop), delay_ns, when_ns))
        *when_ns = COIL_FOREVER;
    return 0;
}

int coil_timeout_new(int64_t delay_ns, coil_timeout **timeout)
{
    int64_t when_ns;
    COIL_TRY(deadline(delay_ns, &when_ns));
    return coil_timeout_at_new(when_ns, timeout);
}

int coil_timeout_at_new(int64_t when_ns, coil_timeout **timeout)
{
    coil_timeout *t = coil__object_alloc(sizeof *t);
    if (!t)
        return coil_raise(-ENOMEM, NULL);
    timeout_init(t, when_ns);
    *timeout = t;
    return 0;
}

void coil_timeout_free(coil_timeout *timeout)
{
    if (!timeout)
        return;
    coil_assert(timeout->state != ACTIVE);
    coil_assert(timeout->state != EXPIRING);
    coil__object_free(timeout, sizeof *timeout);
}

static int on_timeout(void *arg)
{
    coil_timeout *t = arg;
    coil_debug_assert(t->state == ACTIVE); /* I1 */
    coil_handle_release(t->handle);
    t->handle = NULL;
    t->state = EXPIRING;
    coil_future_cancel(&t->task->future, NULL);
    return 0;
}

static int arm(coil_timeout *t, int64_t when_ns, coil_handle **handle)
{
    if (when_ns == COIL_FOREVER)
        return 0;
    coil_loop *loop = coil_get_running_loop();
    if (!loop)
        return COIL_ENOLOOP;
    if (when_ns <= coil_loop_time(loop))
        return coil_loop_call_soon(loop, on_timeout, t, handle);
    return coil_loop_call_at(loop, when_ns, on_timeout, t, handle);
}

static void disarm(coil_timeout *t)
{
    if (!t->handle)
        return;
    coil_handle_cancel(t->handle);
    coil_handle_release(t->handle);
    t->handle = NULL;
}

int coil_timeout_reschedule(coil_timeout *timeout, int64_t when_ns)
{
    static const char *const names[] = {[EXPIRING] = "expiring", [EXPIRED] = "expired", [FINISHED] = "finished"};
    coil_assert(timeout);
    if (timeout->state == CREATED)
        return coil_raise(COIL_ERUNTIME, "Timeout has not been entered");
    if (timeout->state != ACTIVE)
        return coil_raise(COIL_ERUNTIME, "Cannot change state of %s Timeout", names[timeout->state]);
    coil_handle *handle = NULL;
    COIL_TRY(arm(timeout, when_ns, &handle));
    disarm(timeout);
    timeout->handle = handle;
    timeout->when_ns = when_ns;
    return 0;
}

int coil_timeout_enter(coil_timeout *timeout)
{
    coil_assert(timeout);
    if (timeout->state != CREATED)
        return coil_raise(COIL_EBUSY, "Timeout has already been entered");
    coil__task *task = coil__current()->task;
    if (!task)
        return coil_get_running_loop() ? coil_raise(COIL_ERUNTIME, "Timeout should be used inside a task")
                                       : COIL_ENOLOOP;
    timeout->task = task;
    timeout->cancelling = coil_task_cancelling(&task->future);
    timeout->state = ACTIVE;
    int rc = coil_timeout_reschedule(timeout, timeout->when_ns);
    if (rc < 0) {
        timeout->state = CREATED;
        return rc;
    }
    coil_retain(&task->future);
    task->open_scopes++;
    return 0;
}

int coil_timeout_exit(coil_timeout *timeout, int rc)
{
    coil_assert(timeout);
    coil_assert(timeout->state == ACTIVE || timeout->state == EXPIRING);
    disarm(timeout);
    coil__task_close_scope();
    bool expired = timeout->state == EXPIRING;
    timeout->state = expired ? EXPIRED : FINISHED;
    bool alone = expired && coil_task_uncancel(&timeout->task->future) <= timeout->cancelling;
    coil_release(&timeout->task->future);
    if (alone && rc == -ECANCELED)
        return coil_raise(-ETIMEDOUT, NULL); /* nobody else asked for the cancellation */
    return rc;
}

int64_t coil_timeout_when(const coil_timeout *timeout)
{
    coil_assert(timeout);
    return timeout->when_ns;
}

bool coil_timeout_expired(const coil_timeout *timeout)
{
    coil_assert(timeout);
    return timeout->state == EXPIRING || timeout->state == EXPIRED;
}

int coil_timeout_run(int64_t delay_ns, coil_coro body, void **result)
{
    coil_timeout timeout;
    int64_t when_ns;
    int rc = deadline(delay_ns, &when_ns);
    if (rc == 0) {
        timeout_init(&timeout, when_ns);
        rc = coil_timeout_enter(&timeout);
    }
    if (rc < 0) {
        coil_coro_drop(body);
        return rc;
    }
    return coil_timeout_exit(&timeout, coil_coro_await(body, result));
}
