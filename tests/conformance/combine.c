/*
 * combine.c - gather, shield, wait, wait_for, as_completed
 *
 * What C's types make impossible to pass to the library is refused here, with asyncio's messages.
 */
#include <string.h>

#include "builtins.h"
#include "format.h"
#include "world.h"

/* --- gather and shield ------------------------------------------------------------------------------------------- */

static coil_awaitable *awaitables_of(value *const *items, size_t n)
{
    coil_awaitable *awaitables = keep((n + 1) * sizeof *awaitables);
    for (size_t i = 0; i < n; i++)
        awaitables[i] = value_awaitable(items[i]);
    return awaitables;
}

static int gather(value *self, const arguments *args, value **out)
{
    (void)self;
    const coil_awaitable *awaitables = awaitables_of(args->items, args->n);
    const value *exceptions = argument(args, SIZE_MAX, "return_exceptions");
    coil_future *future;
    COIL_TRY(coil_gather(awaitables, args->n, exceptions && value_truth(exceptions), &future));
    value_note_gather(future);
    *out = world_registered(future);
    return 0;
}

static int shield(value *self, const arguments *args, value **out)
{
    (void)self;
    coil_future *future;
    COIL_TRY(coil_shield(value_awaitable(args->items[0]), &future));
    *out = world_registered(future);
    return 0;
}

/* --- wait -------------------------------------------------------------------------------------------------------- */

static int parse_return_when(const value *v, enum coil_return_when *when)
{
    static const char *const names[] = {"ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"};
    static const enum coil_return_when values[] = {COIL_ALL_COMPLETED, COIL_FIRST_COMPLETED, COIL_FIRST_EXCEPTION};
    *when = COIL_ALL_COMPLETED;
    if (!v)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        if (v->type == VALUE_STRING && strcmp(v->as.text, names[i]) == 0) {
            *when = values[i];
            return 0;
        }
    }
    return coil_raise(-EINVAL, "Invalid return_when value: %s", format_plain(v));
}

static int check_wait_list(const value *list)
{
    if (list->type == VALUE_FUTURE || list->type == VALUE_CORO)
        return coil_raise(COIL_ETYPE, "expect a list of futures");
    if (list->type != VALUE_LIST)
        die("wait needs a list");
    return 0;
}

static int wait_futures(const value *list, coil_future **futures)
{
    for (size_t i = 0; i < list->as.list.n; i++)
        if (list->as.list.items[i]->type == VALUE_CORO)
            return coil_raise(COIL_ETYPE, "Passing coroutines is forbidden, use tasks explicitly.");
    for (size_t i = 0; i < list->as.list.n; i++) {
        if (list->as.list.items[i]->type != VALUE_FUTURE)
            die("wait needs futures");
        futures[i] = list->as.list.items[i]->as.future;
    }
    return 0;
}

static bool appears_before(const value *list, size_t i)
{
    size_t k = 0;
    while (!value_equal(list->as.list.items[k], list->as.list.items[i]))
        k++;
    return k < i;
}

static value *those_done(const value *list, bool done)
{
    value *found = value_list(list->as.list.n);
    found->as.list.n = 0;
    for (size_t i = 0; i < list->as.list.n; i++) {
        value *item = list->as.list.items[i];
        if (coil_future_done(item->as.future) == done && !appears_before(list, i))
            found->as.list.items[found->as.list.n++] = item;
    }
    return found;
}

static int wait(value *self, const arguments *args, value **out)
{
    (void)self;
    const value *list = args->items[0];
    enum coil_return_when when;
    COIL_TRY(check_wait_list(list));
    if (list->as.list.n) /* an empty list is refused before, by the library */
        COIL_TRY(parse_return_when(argument(args, 2, "return_when"), &when));
    else
        when = COIL_ALL_COMPLETED;
    coil_future **futures = keep((list->as.list.n + 1) * sizeof *futures);
    COIL_TRY(wait_futures(list, futures));
    COIL_TRY(coil_wait(futures, list->as.list.n, ticks_argument(args, 1, "timeout"), when, NULL));
    *out = value_list(2);
    (*out)->as.list.items[0] = those_done(list, true);
    (*out)->as.list.items[1] = those_done(list, false);
    return 0;
}

static int wait_for(value *self, const arguments *args, value **out)
{
    (void)self;
    void *result = NULL;
    COIL_TRY(coil_wait_for(value_awaitable(args->items[0]), ticks_argument(args, 1, NULL), &result));
    *out = value_unpack(result);
    return 0;
}

/* --- as_completed ------------------------------------------------------------------------------------------------ */

static int as_completed(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_ITERATOR);
    (*out)->as.iterator.awaitables = args->items[0];
    (*out)->as.iterator.timeout = ticks_argument(args, 1, "timeout");
    return 0;
}

static int iterator_start(value *iterator)
{
    const value *list = iterator->as.iterator.awaitables;
    COIL_TRY(check_wait_list(list));
    return coil_as_completed_new(awaitables_of(list->as.list.items, list->as.list.n), list->as.list.n,
                                 iterator->as.iterator.timeout, &iterator->as.iterator.it);
}

static int await_next(value *next, const arguments *args, value **out)
{
    (void)args;
    void *result = NULL;
    COIL_TRY(coil_coro_await(next->as.next, &result));
    *out = value_unpack(result);
    return 0;
}

int iterator_next(value *iterator, value **out)
{
    static const native body = {"as_completed", await_next, 0, 0, true};
    value *next = value_new(VALUE_NEXT);
    *out = NULL;
    if (!iterator->as.iterator.it)
        COIL_TRY(iterator_start(iterator));
    int rc = coil_as_completed_next(iterator->as.iterator.it, &next->as.next);
    if (rc == COIL_ESTOPITERATION)
        return 0;
    COIL_TRY(rc);
    *out = value_call(VALUE_CORO, next, NULL, &body, NULL);
    return 0;
}

const native combine_builtins[] = {
    {"gather", gather, 0, SIZE_MAX, false},
    {"shield", shield, 1, 1, false},
    {"wait", wait, 1, 3, true},
    {"wait_for", wait_for, 2, 2, true},
    {"as_completed", as_completed, 1, 2, false},
    {0},
};
