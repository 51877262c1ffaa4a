/*
 * convert.c - coroutine values and callables as the library takes them
 *
 * I1 a coroutine value is the same coil_coro each time: its address, with a drop function, is its identity
 */
#include "eval.h"
#include "world.h"

/* --- coroutines -------------------------------------------------------------------------------------------------- */

static int coro_body(void *arg, void **result)
{
    value *out;
    COIL_TRY(await_value(arg, &out));
    *result = value_pack(out);
    return 0;
}

/* Values are never freed; that there is a drop function gives the coroutine its identity. */
static void coro_drop(void *arg)
{
    (void)arg;
}

coil_coro value_coro(value *v)
{
    if (v->type != VALUE_CORO)
        return coil_coro_make(NULL, NULL, NULL, 0, NULL);
    return coil_coro_make(coro_body, v, coro_drop, 0, "coro");
}

coil_awaitable value_awaitable(value *v)
{
    if (v->type == VALUE_FUTURE)
        return coil_awaitable_of_future(v->as.future);
    return coil_awaitable_of_coro(value_coro(v));
}

/* --- callables --------------------------------------------------------------------------------------------------- */

struct later *later_new(value *callable, size_t skip, const arguments *args)
{
    struct later *later = keep(sizeof *later);
    later->callable = callable;
    later->args = (arguments){.n = args->n - skip, .items = args->items + skip};
    return later;
}

int later_run(void *arg)
{
    struct later *later = arg;
    value *out;
    return call_value(later->callable, &later->args, &out);
}

int done_callback(coil_future *future, void *callable)
{
    value *item = value_future(coil_retain(future)), *out;
    arguments args = {.n = 1, .items = &item};
    return call_value(callable, &args, &out);
}
