/*
 * sleeper.c - a future with a timer that resolves it
 *
 * Called on the loop's thread, and in a runtime on any worker's. I1: see sleeper.h
 */
#include "sleeper.h"

#include "base/alloc.h"
#include "error.h"

static void sleeper_free(coil_future *f)
{
    coil__sleeper *s = coil_container_of(f, coil__sleeper, future);
    coil__future_fini(f);
    coil__object_free(s, sizeof *s);
}

static bool sleeper_cancel(coil_future *f, coil_error *message)
{
    if (!coil__future_pending(f))
        return false;
    return coil__future_set_cancelled(f, coil_error_retain(message), NULL) != COIL_EINVALIDSTATE;
}

static const coil__future_class sleeper_class = {.name = "Future", .cancel = sleeper_cancel, .free = sleeper_free};

static void due(coil__handle *h)
{
    coil__sleeper *s = coil_container_of(h, coil__sleeper, timer.handle);
    coil__future_finish(&s->future, NULL, NULL);
    coil_release(&s->future); /* I1 */
}

static void dropped(coil__handle *h)
{
    coil_release(&coil_container_of(h, coil__sleeper, timer.handle)->future); /* I1 */
}

const coil__handle_ops coil__sleep_ops = {due, dropped, "sleep"};
const coil__handle_ops coil__timeout_ops = {due, dropped, "timeout"};

coil__sleeper *coil__sleeper_new(coil_loop *loop, const coil__handle_ops *ops)
{
    coil__sleeper *s = coil__object_alloc(sizeof *s);
    if (!s) {
        coil_raise(-ENOMEM, NULL);
        return NULL;
    }
    coil__future_init(&s->future, &sleeper_class, loop);
    coil__timer_init(&s->timer, ops);
    s->timer.home = 0; /* it may be disarmed without having been armed */
    return s;
}

int coil__sleeper_arm(coil__sleeper *s, int64_t delay_ns)
{
    coil_loop *loop = s->future.loop;
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    coil_retain(&s->future); /* I1: it may fire before this call is over */
    if (coil__timer_arm(loop, &s->timer, coil__deadline(loop, delay_ns)) == 0)
        return 0;
    coil_release(&s->future); /* I1 */
    return coil_raise(-ENOMEM, NULL);
}

void coil__sleeper_disarm(coil__sleeper *s)
{
    if (coil__timer_disarm(s->future.loop, &s->timer))
        coil_release(&s->future); /* I1 */
}
