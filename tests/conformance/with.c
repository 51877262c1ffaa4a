/*
 * with.c - the context managers of the language
 *
 * Entering may suspend or raise; then the body runs; leaving is told what passes. Source: the paragraph on `with`
 * in the scenario language.
 */
#include "eval.h"
#include "world.h"

static int enter_barrier(const value *v, value **bound)
{
    size_t index;
    COIL_TRY(coil_barrier_wait(v->as.barrier, &index));
    *bound = value_int((int64_t)index);
    return 0;
}

static int enter(value *v, value **bound)
{
    *bound = v;
    switch (v->type) {
    case VALUE_GROUP:
        return coil_group_enter(v->as.group);
    case VALUE_TIMEOUT:
        return coil_timeout_enter(v->as.timeout);
    case VALUE_RUNNER:
        return runner_enter(v->as.runner);
    case VALUE_BARRIER:
        return enter_barrier(v, bound);
    default:
        break;
    }
    *bound = &value_none;
    switch (v->type) {
    case VALUE_LOCK:
        return coil_lock_acquire(v->as.lock);
    case VALUE_CONDITION:
        return coil_condition_acquire(v->as.condition);
    case VALUE_SEMAPHORE:
        return coil_semaphore_acquire(v->as.semaphore);
    default:
        die("this value is no context manager");
    }
}

static int release(const value *v)
{
    switch (v->type) {
    case VALUE_LOCK:
        return coil_lock_release(v->as.lock);
    case VALUE_CONDITION:
        return coil_condition_release(v->as.condition);
    case VALUE_SEMAPHORE:
        return coil_semaphore_release(v->as.semaphore);
    case VALUE_RUNNER:
        return runner_close(v->as.runner);
    default:
        return 0;
    }
}

/* These two are told what the body raised, and decide what goes on. */
static int leave_scope(const value *v, int flow)
{
    int rc = flow < 0 ? flow : 0;
    if (v->type == VALUE_GROUP)
        rc = coil_group_exit(v->as.group, rc);
    else
        rc = coil_timeout_exit(v->as.timeout, rc);
    return rc < 0 ? rc : flow;
}

static int leave(const value *v, int flow)
{
    if (v->type == VALUE_GROUP || v->type == VALUE_TIMEOUT)
        return leave_scope(v, flow);
    if (world_abandoned(flow))
        return flow;
    coil_error *error = coil_catch(flow);
    int rc = release(v);
    if (rc < 0) {
        coil_error_release(error);
        return rc;
    }
    return error ? coil_raise_error(error) : flow;
}

int exec_with(frame *f, const statement *s)
{
    value *v, *bound;
    COIL_TRY(eval(f, s->expression, &v));
    COIL_TRY(enter(v, &bound));
    if (s->n)
        eval_assign(f, &s->targets[0], bound);
    return leave(v, exec_body(f, s->body));
}
