/*
 * eval.c - expressions, calls, await
 *
 * Runs on the task's stack: awaiting a coroutine value is a plain call, as `await` of a coroutine object is in Python.
 * Source: the sections "Expressions" and "Values" of the scenario language.
 *
 * I1 a code < 0 that is returned belongs to the library's current error; nothing that may raise or look at the loop
 * runs
 *    in between
 */
#include "eval.h"

#include <string.h>

#include "format.h"
#include "world.h"

_Atomic(value *) *eval_globals;

/* --- variables --------------------------------------------------------------------------------------------------- */

static value *variable_value(const frame *f, const variable *v)
{
    value *found = v->global ? eval_globals[v->slot] : f->locals[v->slot];
    if (!found)
        die("%s has no value yet", v->name);
    return found;
}

void eval_assign(frame *f, const variable *target, value *v)
{
    if (target->global)
        eval_globals[target->slot] = v;
    else
        f->locals[target->slot] = v;
}

/* --- arguments --------------------------------------------------------------------------------------------------- */

static void add_item(arguments *args, size_t *size, value *v)
{
    if (args->n == *size) {
        value **old = args->items;
        *size = *size ? 2 * *size : 4;
        args->items = keep(*size * sizeof(value *));
        if (old)
            memcpy(args->items, old, args->n * sizeof(value *));
    }
    args->items[args->n++] = v;
}

static void add_splat(arguments *args, size_t *size, const value *list)
{
    if (list->type != VALUE_LIST)
        die("only a list can be spliced in");
    for (size_t i = 0; i < list->as.list.n; i++)
        add_item(args, size, list->as.list.items[i]);
}

static void add_keyword(arguments *args, size_t most, const char *name, value *v)
{
    if (!args->keywords)
        args->keywords = keep(most * sizeof *args->keywords);
    args->keywords[args->keywords_n++] = (keyword){name, v};
}

static int eval_arguments(frame *f, const expression *e, arguments *args)
{
    size_t size = 0;
    *args = (arguments){0};
    for (size_t i = 0; i < e->n; i++) {
        value *v;
        COIL_TRY(eval(f, e->args[i].value, &v));
        if (e->args[i].splat)
            add_splat(args, &size, v);
        else if (e->args[i].keyword)
            add_keyword(args, e->n, e->args[i].keyword, v);
        else
            add_item(args, &size, v);
    }
    return 0;
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

/* Frames are local to whoever runs a body: they live as long as its stack. */
static int run_frame(frame *f, const definition *function, const arguments *args)
{
    if (args->n != function->parameters || args->keywords_n)
        die("%s takes %zu arguments", function->name, function->parameters);
    f->locals = keep((function->names_n + 1) * sizeof(value *));
    if (args->n)
        memcpy(f->locals, args->items, args->n * sizeof(value *));
    int flow = exec_body(f, function->body);
    return flow < 0 ? flow : 0;
}

int call_function(const definition *function, const arguments *args, value **out)
{
    frame f = {.returned = &value_none};
    COIL_TRY(run_frame(&f, function, args));
    *out = f.returned;
    return 0;
}

int call_generator(coil_agen *agen, const definition *function, const arguments *args)
{
    frame f = {.returned = &value_none, .agen = agen};
    return run_frame(&f, function, args);
}

static int run_native(const native *called, value *self, const arguments *args, value **out)
{
    *out = &value_none;
    return called->run(self, args, out);
}

static int call_native(const native *called, value *self, const arguments *args, value **out)
{
    if (args->n < called->min || args->n > called->max)
        die("wrong number of arguments for %s", called->name);
    if (!called->suspends)
        return run_native(called, self, args, out);
    *out = value_call(VALUE_CORO, self, NULL, called, args);
    return 0;
}

static int call_definition(const definition *function, const arguments *args, value **out)
{
    if (function->kind == FUNCTION_AGEN)
        return agen_make(function, args, out);
    if (function->kind != FUNCTION_CORO)
        return call_function(function, args, out);
    *out = value_call(VALUE_CORO, NULL, function, NULL, args);
    return 0;
}

static int call_partial(const value *partial, const arguments *args, value **out)
{
    const arguments *first = &partial->as.call.args;
    arguments all = *args;
    all.n = first->n + args->n;
    all.items = keep((all.n + 1) * sizeof(value *));
    if (first->n)
        memcpy(all.items, first->items, first->n * sizeof(value *));
    if (args->n)
        memcpy(all.items + first->n, args->items, args->n * sizeof(value *));
    return call_value(partial->as.call.self, &all, out);
}

int call_value(value *callable, const arguments *args, value **out)
{
    switch (callable->type) {
    case VALUE_DEF:
        return call_function(callable->as.call.function, args, out);
    case VALUE_METHOD:
        return call_native(callable->as.call.native, callable->as.call.self, args, out);
    case VALUE_PARTIAL:
        return call_partial(callable, args, out);
    default:
        die("this value cannot be called");
    }
}

static int make_error(const expression *e, const arguments *args, value **out)
{
    *out = error_make(e->error, args->n ? format_plain(args->items[0]) : NULL);
    return 0;
}

/* --- expressions ------------------------------------------------------------------------------------------------- */

static int make_list(const arguments *args, value **out)
{
    *out = value_new(VALUE_LIST);
    (*out)->as.list.items = args->items;
    (*out)->as.list.n = args->n;
    return 0;
}

static int eval_call(frame *f, const expression *e, value **out)
{
    value *self = NULL;
    arguments args;
    if (e->kind == EXPRESSION_CALL_METHOD || e->kind == EXPRESSION_CALL_VARIABLE)
        self = variable_value(f, &e->variable);
    const native *method = e->kind == EXPRESSION_CALL_METHOD ? method_find(self, e->method) : e->native;
    COIL_TRY(eval_arguments(f, e, &args));
    switch (e->kind) {
    case EXPRESSION_LIST:
        return make_list(&args, out);
    case EXPRESSION_CALL_VARIABLE:
        return call_value(self, &args, out);
    case EXPRESSION_CALL_FUNCTION:
        return call_definition(e->function, &args, out);
    case EXPRESSION_ERROR:
        return make_error(e, &args, out);
    default:
        return call_native(method, self, &args, out);
    }
}

int eval(frame *f, const expression *e, value **out)
{
    switch (e->kind) {
    case EXPRESSION_CONSTANT:
        *out = e->constant;
        return 0;
    case EXPRESSION_VARIABLE:
        *out = variable_value(f, &e->variable);
        return 0;
    case EXPRESSION_METHOD: {
        value *self = variable_value(f, &e->variable);
        *out = value_call(VALUE_METHOD, self, NULL, method_find(self, e->method), NULL);
        return 0;
    }
    default:
        return eval_call(f, e, out);
    }
}

/* --- await ------------------------------------------------------------------------------------------------------- */

static int run_coroutine(const value *coro, value **out)
{
    if (coro->as.call.function)
        return call_function(coro->as.call.function, &coro->as.call.args, out);
    return run_native(coro->as.call.native, coro->as.call.self, &coro->as.call.args, out);
}

int await_value(value *v, value **out)
{
    void *result = NULL;
    if (v->type == VALUE_CORO)
        return run_coroutine(v, out);
    if (v->type != VALUE_FUTURE)
        die("this value cannot be awaited");
    COIL_TRY(coil_await(v->as.future, &result));
    *out = value_unpack(result);
    return 0;
}
