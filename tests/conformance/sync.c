/*
 * sync.c - the methods of queues, locks, events, conditions, semaphores, barriers, task groups and timeouts
 */
#include "builtins.h"
#include "world.h"

static int give_true(int rc, value **out)
{
    if (rc == 0)
        *out = &value_true;
    return rc;
}

/* --- queues ------------------------------------------------------------------------------------------------------ */

static int queue_put(value *self, const arguments *args, value **out)
{
    (void)out;
    return coil_queue_put(self->as.queue, args->items[0]);
}

static int queue_get(value *self, const arguments *args, value **out)
{
    (void)args;
    void *item;
    COIL_TRY(coil_queue_get(self->as.queue, &item));
    *out = item;
    return 0;
}

static int queue_put_nowait(value *self, const arguments *args, value **out)
{
    (void)out;
    return coil_queue_put_nowait(self->as.queue, args->items[0]);
}

static int queue_get_nowait(value *self, const arguments *args, value **out)
{
    (void)args;
    void *item;
    COIL_TRY(coil_queue_get_nowait(self->as.queue, &item));
    *out = item;
    return 0;
}

static int queue_task_done(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_queue_task_done(self->as.queue);
}

static int queue_join(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_queue_join(self->as.queue);
}

static int queue_full(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_queue_full(self->as.queue));
    return 0;
}

static int queue_empty(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_queue_empty(self->as.queue));
    return 0;
}

static int queue_qsize(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_int((int64_t)coil_queue_qsize(self->as.queue));
    return 0;
}

const native queue_methods[] = {
    {"put", queue_put, 1, 1, true},
    {"get", queue_get, 0, 0, true},
    {"join", queue_join, 0, 0, true},
    {"put_nowait", queue_put_nowait, 1, 1, false},
    {"get_nowait", queue_get_nowait, 0, 0, false},
    {"task_done", queue_task_done, 0, 0, false},
    {"full", queue_full, 0, 0, false},
    {"empty", queue_empty, 0, 0, false},
    {"qsize", queue_qsize, 0, 0, false},
    {0},
};

/* --- locks ------------------------------------------------------------------------------------------------------- */

static int lock_acquire(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_true(coil_lock_acquire(self->as.lock), out);
}

static int lock_release(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_lock_release(self->as.lock);
}

static int lock_locked(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_lock_locked(self->as.lock));
    return 0;
}

const native lock_methods[] = {
    {"acquire", lock_acquire, 0, 0, true},
    {"release", lock_release, 0, 0, false},
    {"locked", lock_locked, 0, 0, false},
    {0},
};

static int semaphore_acquire(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_true(coil_semaphore_acquire(self->as.semaphore), out);
}

static int semaphore_release(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_semaphore_release(self->as.semaphore);
}

static int semaphore_locked(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_semaphore_locked(self->as.semaphore));
    return 0;
}

const native semaphore_methods[] = {
    {"acquire", semaphore_acquire, 0, 0, true},
    {"release", semaphore_release, 0, 0, false},
    {"locked", semaphore_locked, 0, 0, false},
    {0},
};

static int event_wait(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_true(coil_event_wait(self->as.event), out);
}

static int event_set(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    coil_event_set(self->as.event);
    return 0;
}

static int event_clear(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    coil_event_clear(self->as.event);
    return 0;
}

static int event_is_set(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_event_is_set(self->as.event));
    return 0;
}

const native event_methods[] = {
    {"wait", event_wait, 0, 0, true},
    {"set", event_set, 0, 0, false},
    {"clear", event_clear, 0, 0, false},
    {"is_set", event_is_set, 0, 0, false},
    {0},
};

/* --- conditions -------------------------------------------------------------------------------------------------- */

static int condition_acquire(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_true(coil_condition_acquire(self->as.condition), out);
}

static int condition_release(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_condition_release(self->as.condition);
}

static int condition_locked(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_condition_locked(self->as.condition));
    return 0;
}

static int condition_wait(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_true(coil_condition_wait(self->as.condition), out);
}

struct predicate {
    value *callable, *last;
};

static int predicate_call(void *arg)
{
    struct predicate *predicate = arg;
    arguments none = {0};
    COIL_TRY(call_value(predicate->callable, &none, &predicate->last));
    return value_truth(predicate->last);
}

static int condition_wait_for(value *self, const arguments *args, value **out)
{
    struct predicate predicate = {args->items[0], &value_none};
    COIL_TRY(coil_condition_wait_for(self->as.condition, predicate_call, &predicate));
    *out = predicate.last;
    return 0;
}

static int condition_notify(value *self, const arguments *args, value **out)
{
    (void)out;
    int64_t n = int_argument(args, 0, "n", 1);
    return coil_condition_notify(self->as.condition, n > 0 ? (size_t)n : 0);
}

static int condition_notify_all(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_condition_notify_all(self->as.condition);
}

const native condition_methods[] = {
    {"acquire", condition_acquire, 0, 0, true},
    {"release", condition_release, 0, 0, false},
    {"locked", condition_locked, 0, 0, false},
    {"wait", condition_wait, 0, 0, true},
    {"wait_for", condition_wait_for, 1, 1, true},
    {"notify", condition_notify, 0, 1, false},
    {"notify_all", condition_notify_all, 0, 0, false},
    {0},
};

/* --- barriers ---------------------------------------------------------------------------------------------------- */

static int barrier_wait(value *self, const arguments *args, value **out)
{
    (void)args;
    size_t index;
    COIL_TRY(coil_barrier_wait(self->as.barrier, &index));
    *out = value_int((int64_t)index);
    return 0;
}

static int barrier_reset(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_barrier_reset(self->as.barrier);
}

static int barrier_abort(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    return coil_barrier_abort(self->as.barrier);
}

static int barrier_parties(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_int((int64_t)coil_barrier_parties(self->as.barrier));
    return 0;
}

static int barrier_n_waiting(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_int((int64_t)coil_barrier_n_waiting(self->as.barrier));
    return 0;
}

static int barrier_broken(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_barrier_broken(self->as.barrier));
    return 0;
}

const native barrier_methods[] = {
    {"wait", barrier_wait, 0, 0, true},
    {"reset", barrier_reset, 0, 0, true},
    {"abort", barrier_abort, 0, 0, true},
    {"parties", barrier_parties, 0, 0, false},
    {"n_waiting", barrier_n_waiting, 0, 0, false},
    {"broken", barrier_broken, 0, 0, false},
    {0},
};

/* --- scopes ------------------------------------------------------------------------------------------------------ */

static int group_create_task(value *self, const arguments *args, value **out)
{
    coil_task *task;
    coil_task_options options = task_options(args);
    COIL_TRY(coil_group_create_task(self->as.group, value_coro(args->items[0]), &options, &task));
    *out = world_registered(task);
    return 0;
}

const native group_methods[] = {
    {"create_task", group_create_task, 1, 1, false},
    {0},
};

static int timeout_when(value *self, const arguments *args, value **out)
{
    (void)args;
    int64_t when = coil_timeout_when(self->as.timeout);
    if (when != COIL_FOREVER)
        *out = value_int(when);
    return 0;
}

static int timeout_reschedule(value *self, const arguments *args, value **out)
{
    (void)out;
    return coil_timeout_reschedule(self->as.timeout, ticks_argument(args, 0, NULL));
}

static int timeout_expired(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_timeout_expired(self->as.timeout));
    return 0;
}

const native timeout_methods[] = {
    {"when", timeout_when, 0, 0, false},
    {"reschedule", timeout_reschedule, 1, 1, false},
    {"expired", timeout_expired, 0, 0, false},
    {0},
};
