/*
 * sleeper.h - a future with a timer that resolves it: what sleep, wait and wait_for suspend on
 *
 * Made, armed and disarmed by the call that suspends, which gives its reference back when it is over; the timer fires on the
 * worker that armed it. Whoever cancels the task cancels the future. The first one decides, and the other finds it done.
 *
 * I1 the timer has a reference from being armed until it has fired or was disarmed
 */
#ifndef COIL_SLEEPER_H
#define COIL_SLEEPER_H

#include "future.h"
#include "timer.h"

typedef struct coil__sleeper {
    coil_future future;
    coil__timer timer;
} coil__sleeper;

/* The timer's, with the name that it has in reports. */
extern const coil__handle_ops coil__sleep_ops, coil__timeout_ops;

/* NULL without memory, which is raised. */
coil__sleeper *coil__sleeper_new(coil_loop *loop, const coil__handle_ops *ops);

/* Once. Errors: COIL_ELOOPCLOSED, -ENOMEM. */
int coil__sleeper_arm(coil__sleeper *s, int64_t delay_ns);

/* One that was never armed, too. */
void coil__sleeper_disarm(coil__sleeper *s);

#endif
