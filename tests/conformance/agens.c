/*
 * agens.c - asynchronous generators: making and driving them, and their methods
 *
 * A body runs on the stack that the library gives it (call_generator). None is NULL on its way into a yield, as C's
 * next() passes it; what a yield gives away is a value as it is. Calling a method is the generator's first use,
 * awaiting what it gave runs it: so the methods make the library's coroutines at once.
 */
#include "builtins.h"
#include "eval.h"
#include "world.h"

struct body {
    const definition *function;
    arguments args;
};

static int run_body(coil_agen *agen, void *arg)
{
    const struct body *body = arg;
    return call_generator(agen, body->function, &body->args);
}

int agen_make(const definition *function, const arguments *args, value **out)
{
    struct body *body = keep(sizeof *body);
    body->function = function;
    body->args = *args;
    *out = value_new(VALUE_AGEN);
    return coil_agen_new(run_body, body, NULL, function->name, &(*out)->as.agen);
}

static value *or_none(void *received)
{
    return received ? received : &value_none;
}

int agen_yield(const frame *f, value *v, value **sent)
{
    void *received = NULL;
    COIL_TRY(coil_agen_yield(f->agen, v, &received));
    *sent = or_none(received);
    return 0;
}

int agen_iterate(const value *agen, value **out)
{
    void *item = NULL;
    int rc = coil_agen_next(agen->as.agen, &item);
    if (rc == COIL_ESTOPITERATION)
        coil_error_release(coil_catch(rc));
    else if (rc < 0)
        return rc;
    *out = item;
    return 0;
}

/* --- methods ----------------------------------------------------------------------------------------------------- */

static int await_step(value *step, const arguments *args, value **out)
{
    (void)args;
    void *result = NULL;
    COIL_TRY(coil_coro_await(step->as.next, &result));
    *out = or_none(result);
    return 0;
}

static int give_step(coil_coro coro, value **out)
{
    static const native body = {"step", await_step, 0, 0, true};
    value *step = value_new(VALUE_NEXT);
    step->as.next = coro;
    *out = value_call(VALUE_CORO, step, NULL, &body, NULL);
    return 0;
}

static int anext(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_step(coil_agen_next_coro(self->as.agen), out);
}

static int asend(value *self, const arguments *args, value **out)
{
    value *sent = args->items[0];
    return give_step(coil_agen_send_coro(self->as.agen, sent == &value_none ? NULL : sent), out);
}

static int athrow(value *self, const arguments *args, value **out)
{
    if (args->items[0]->type != VALUE_ERROR)
        die("an exception is needed");
    return give_step(coil_agen_throw_coro(self->as.agen, coil_error_retain(args->items[0]->as.error)), out);
}

static int aclose(value *self, const arguments *args, value **out)
{
    (void)args;
    return give_step(coil_agen_close_coro(self->as.agen), out);
}

const native agen_methods[] = {
    {"anext", anext, 0, 0, false},
    {"asend", asend, 1, 1, false},
    {"athrow", athrow, 1, 1, false},
    {"aclose", aclose, 0, 0, false},
    {0},
};
