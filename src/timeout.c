/*
 * timeout.c - timeout scopes
 *
 * Called by the task that entered the scope, or, to reschedule, by any other; the alarm goes off on the worker that
 * armed it, wherever the task runs by then. Source: asyncio.timeouts.
 *
 *   From      Event                      To
 *   CREATED   enter                      ACTIVE
 *   ACTIVE    its time comes             EXPIRING: the task was cancelled, or is about to be
 *   ACTIVE    exit                       FINISHED
 *   EXPIRING  exit                       EXPIRED; FINISHED if the task had not met the cancellation yet
 *
 * Each arming has an alarm of its own, whose `claim` says who has it. Two may want it at the same time: the worker on
 * which it goes off, and the task that leaves the scope, or whoever reschedules.
 *
 *   From      Event                      To           and then
 *   ARMED     exit, reschedule           DROPPED      going off does nothing
 *   ARMED     it goes off                FIRING       in flight: it cancels the task, touching the scope
 *   FIRING    the task was cancelled     DELIVERED    the scope is not touched any more
 *
 * Exit waits for a FIRING alarm (it spins: the other side only cancels a task), so that the cancellation is counted
 * when exit takes its count back, and nothing comes after the scope. If it found the task running, in the very step
 * that leaves the scope, the body has not met it: exit withdraws it, and the scope ends as if its time had come a
 * moment later. So a result is never lost to a timeout, what another has asked for stays asked for, and -ETIMEDOUT
 * means that the body was interrupted by this scope's deadline and by nobody else: requests of others that the task
 * has not met either (coil__task_cancelling_met) come after the scope too.
 *
 * I1 alarm is that of the last arming, NULL for none; of CREATED, EXPIRED and FINISHED there is none
 * I2 an alarm has a reference of the scope's, and one while it is armed, ready or running
 */
#include <coil/timeout.h>

#include <coil/combine.h>
#include <sched.h>

#include "base/alloc.h"
#include "base/refs.h"
#include "current.h"
#include "loop.h"
#include "task.h"
#include "timer.h"

enum timeout_state { CREATED, ACTIVE, EXPIRING, EXPIRED, FINISHED };
enum claim { ARMED, DROPPED, FIRING, DELIVERED };

typedef struct alarm {
    coil__timer timer;
    coil__refs refs; /* I2 */
    _Atomic int claim;
    coil_timeout *timeout;
    coil_loop *loop;
} alarm;

struct coil_timeout {
    coil__task *task;      /* a reference while entered */
    coil__latch latch;     /* guards what follows, to state */
    alarm *alarm;          /* I1 */
    int64_t when_ns;       /* COIL_FOREVER: never */
    enum timeout_state state;
    unsigned cancelling;   /* of the task at enter */
    coil__request request; /* to cancel the task: the firing alarm's, then exit's */
};

static void timeout_init(coil_timeout *t, int64_t when_ns)
{
    *t = (coil_timeout){.when_ns = when_ns, .state = CREATED};
    coil__latch_init(&t->latch);
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

/* --- alarms ------------------------------------------------------------------------------------------------------ */

static void alarm_release(alarm *a)
{
    if (coil__refs_drop(&a->refs))
        coil__object_free(a, sizeof *a);
}

/* [TIMEOUT-1] relaxed: it decides between two, who know the scope through the timer's latch and the task's. */
static bool take_claim(alarm *a, enum claim as)
{
    int expected = ARMED;
    return cas_strong_relaxed(&a->claim, &expected, (int)as); /* [TIMEOUT-1] */
}

/* Whether @a is still the scope's alarm. */
static bool begin_expire(coil_timeout *t, const alarm *a)
{
    COIL__GUARD(&t->latch);
    if (t->alarm != a)
        return false; /* it went off while it was being replaced, in vain */
    t->state = EXPIRING;
    return true;
}

static void alarm_run(coil__handle *h)
{
    alarm *a = coil_container_of(h, alarm, timer.handle);
    if (take_claim(a, FIRING)) {
        if (begin_expire(a->timeout, a))
            coil__task_request(a->timeout->task, &a->timeout->request);
        store_release(&a->claim, DELIVERED); /* [TIMEOUT-2] release: the request; the scope may go */
    }
    alarm_release(a); /* I2 */
}

static void alarm_discard(coil__handle *h)
{
    alarm_release(coil_container_of(h, alarm, timer.handle)); /* I2 */
}

static const coil__handle_ops alarm_ops = {alarm_run, alarm_discard, "timeout"};

/* Gives; NULL without memory. */
static alarm *alarm_new(coil_timeout *t, coil_loop *loop)
{
    alarm *a = coil__object_alloc(sizeof *a);
    if (!a)
        return NULL;
    coil__timer_init(&a->timer, &alarm_ops);
    a->timer.home = 0;
    coil__refs_init(&a->refs, 1); /* I2 */
    store_relaxed(&a->claim, ARMED); /* [TIMEOUT-1] not shared yet */
    a->timeout = t;
    a->loop = loop;
    return a;
}

/* *@made: NULL for a time that never comes. */
static int make_alarm(coil_timeout *t, int64_t when_ns, alarm **made)
{
    if (when_ns == COIL_FOREVER)
        return 0;
    coil_loop *loop = coil_get_running_loop();
    if (!loop)
        return COIL_ENOLOOP;
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    *made = alarm_new(t, loop);
    return *made ? 0 : coil_raise(-ENOMEM, NULL);
}

/* Under the scope's latch, for which the alarm waits when it goes off. */
static int arm(alarm *a, int64_t when_ns)
{
    int rc = 0;
    coil__refs_take(&a->refs); /* I2 */
    if (when_ns <= coil_loop_time(a->loop))
        coil__loop_ready(a->loop, &a->timer.handle);
    else if ((rc = coil__timer_arm(a->loop, &a->timer, when_ns)) < 0)
        coil__refs_drop(&a->refs); /* I2 */
    return rc;
}

static void await_delivery(alarm *a)
{
    enum { SPINS = 64 };
    for (int spins = 0; load_acquire(&a->claim) != DELIVERED; spins++) { /* [TIMEOUT-2] acquire */
        if (spins < SPINS)
            coil__cpu_relax();
        else
            sched_yield(); /* the other one may have lost its core */
    }
}

/* The end of an alarm (NULL: of none) that was claimed; or that was not: it has gone off when this returns. */
static void alarm_end(alarm *a, bool claimed)
{
    if (!a)
        return;
    if (!claimed)
        await_delivery(a);
    else if (coil__timer_disarm(a->loop, &a->timer))
        alarm_release(a); /* I2 */
    alarm_release(a); /* I2 */
}

/* --- scopes ------------------------------------------------------------------------------------------------------ */

static enum timeout_state state_of(const coil_timeout *timeout)
{
    coil_timeout *t = (coil_timeout *)(uintptr_t)timeout; /* const for the caller; the latch is taken */
    COIL__GUARD(&t->latch);
    return t->state;
}

/* The alarm that was replaced is given with its claim. COIL_EINVALIDSTATE: it has gone off, and @fresh will not. */
static int replace(coil_timeout *t, int64_t when_ns, alarm *fresh, alarm **old)
{
    COIL__GUARD(&t->latch);
    if (t->state != ACTIVE)
        return COIL_EINVALIDSTATE;
    int rc = fresh ? arm(fresh, when_ns) : 0;
    if (rc < 0)
        return rc;
    if (t->alarm && !take_claim(t->alarm, DROPPED))
        return COIL_EINVALIDSTATE;
    *old = t->alarm;
    t->alarm = fresh;
    t->when_ns = when_ns;
    return 0;
}

static int not_active(enum timeout_state state)
{
    static const char *const names[] = {[EXPIRING] = "expiring", [EXPIRED] = "expired", [FINISHED] = "finished"};
    if (state == CREATED)
        return coil_raise(COIL_ERUNTIME, "Timeout has not been entered");
    return coil_raise(COIL_ERUNTIME, "Cannot change state of %s Timeout", names[state]);
}

int coil_timeout_reschedule(coil_timeout *timeout, int64_t when_ns)
{
    coil_assert(timeout);
    enum timeout_state state = state_of(timeout);
    if (state != ACTIVE)
        return not_active(state);
    alarm *fresh = NULL, *old = NULL;
    COIL_TRY(make_alarm(timeout, when_ns, &fresh));
    int rc = replace(timeout, when_ns, fresh, &old);
    if (rc == 0) {
        alarm_end(old, true);
        return 0;
    }
    alarm_end(fresh, fresh && take_claim(fresh, DROPPED));
    if (rc != COIL_EINVALIDSTATE)
        return coil_raise(rc, NULL);
    state = state_of(timeout);
    return not_active(state != ACTIVE ? state : EXPIRING);
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
    timeout->cancelling = coil__task_cancelling_met(task);
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

/* Ends the scope for alarms and for others, but for whether it has expired. True: it may have. */
static bool close_scope(coil_timeout *t, alarm **last)
{
    COIL__GUARD(&t->latch);
    coil_assert(t->state == ACTIVE || t->state == EXPIRING);
    *last = t->alarm;
    bool fired = t->alarm && !take_claim(t->alarm, DROPPED);
    t->state = fired ? EXPIRING : FINISHED;
    if (!fired)
        t->alarm = NULL; /* I1 */
    return fired;
}

static void set_over(coil_timeout *t, enum timeout_state state)
{
    COIL__GUARD(&t->latch);
    t->state = state;
    t->alarm = NULL; /* I1 */
}

int coil_timeout_exit(coil_timeout *timeout, int rc)
{
    coil_assert(timeout);
    alarm *last;
    bool alone = false, fired = close_scope(timeout, &last);
    alarm_end(last, !fired);
    coil__task_close_scope();
    if (fired) {
        bool met = !coil__task_withdraw(timeout->task, &timeout->request);
        coil_task_uncancel(&timeout->task->future);
        alone = met && coil__task_cancelling_met(timeout->task) <= timeout->cancelling;
        set_over(timeout, met ? EXPIRED : FINISHED);
    }
    coil_release(&timeout->task->future);
    if (alone && rc == -ECANCELED)
        return coil_raise(-ETIMEDOUT, NULL); /* nobody else asked for the cancellation */
    return rc;
}

int64_t coil_timeout_when(const coil_timeout *timeout)
{
    coil_assert(timeout);
    coil_timeout *t = (coil_timeout *)(uintptr_t)timeout; /* as in state_of() */
    COIL__GUARD(&t->latch);
    return t->when_ns;
}

bool coil_timeout_expired(const coil_timeout *timeout)
{
    coil_assert(timeout);
    enum timeout_state state = state_of(timeout);
    return state == EXPIRING || state == EXPIRED;
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
