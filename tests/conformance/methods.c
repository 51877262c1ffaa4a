/*
 * methods.c - the methods of futures, tasks, handles and contexts; and finding a value's methods
 */
#include "builtins.h"

#include <string.h>

#include "format.h"
#include "world.h"

/* --- futures ----------------------------------------------------------------------------------------------------- */

static int done(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_future_done(self->as.future));
    return 0;
}

static int cancelled(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_future_cancelled(self->as.future));
    return 0;
}

static int result(value *self, const arguments *args, value **out)
{
    (void)args;
    void *found = NULL;
    COIL_TRY(coil_future_result(self->as.future, &found));
    *out = value_unpack(found);
    return 0;
}

static int exception(value *self, const arguments *args, value **out)
{
    (void)args;
    coil_error *error = NULL;
    COIL_TRY(coil_future_exception(self->as.future, &error));
    if (error)
        *out = value_error(error);
    return 0;
}

static int cancel(value *self, const arguments *args, value **out)
{
    const value *message = argument(args, 0, "msg");
    const char *text = message && message->type != VALUE_NONE ? format_plain(message) : NULL;
    *out = value_bool(coil_future_cancel(self->as.future, text));
    return 0;
}

static int add_done_callback(value *self, const arguments *args, value **out)
{
    (void)out;
    coil_context *context = context_argument(args);
    if (context)
        return coil_future_add_done_callback_in(self->as.future, context, done_callback, args->items[0]);
    return coil_future_add_done_callback(self->as.future, done_callback, args->items[0]);
}

static int remove_done_callback(value *self, const arguments *args, value **out)
{
    size_t n = coil_future_remove_done_callback(self->as.future, done_callback, args->items[0]);
    *out = value_int((int64_t)n);
    return 0;
}

static int set_result(value *self, const arguments *args, value **out)
{
    (void)out;
    return coil_future_set_result(self->as.future, value_pack(args->items[0]));
}

static int set_exception(value *self, const arguments *args, value **out)
{
    (void)out;
    if (args->items[0]->type != VALUE_ERROR)
        die("an exception is needed");
    return coil_future_set_exception(self->as.future, coil_error_retain(args->items[0]->as.error));
}

#define FUTURE_METHODS                                       \
    {"done", done, 0, 0, false},                             \
    {"cancelled", cancelled, 0, 0, false},                   \
    {"result", result, 0, 0, false},                         \
    {"exception", exception, 0, 0, false},                   \
    {"cancel", cancel, 0, 1, false},                         \
    {"add_done_callback", add_done_callback, 1, 1, false},   \
    {"remove_done_callback", remove_done_callback, 1, 1, false}, \
    {"set_result", set_result, 1, 1, false},                 \
    {"set_exception", set_exception, 1, 1, false}

const native future_methods[] = {FUTURE_METHODS, {0}};

/* --- tasks ------------------------------------------------------------------------------------------------------- */

static int cancelling(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_int(coil_task_cancelling(self->as.future));
    return 0;
}

static int uncancel(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_int(coil_task_uncancel(self->as.future));
    return 0;
}

static int get_name(value *self, const arguments *args, value **out)
{
    (void)args;
    const char *name = coil_task_get_name(self->as.future);
    *out = value_string(name, strlen(name));
    return 0;
}

static int set_name(value *self, const arguments *args, value **out)
{
    (void)out;
    return coil_task_set_name(self->as.future, format_plain(args->items[0]));
}

const native task_methods[] = {
    FUTURE_METHODS,
    {"cancelling", cancelling, 0, 0, false},
    {"uncancel", uncancel, 0, 0, false},
    {"get_name", get_name, 0, 0, false},
    {"set_name", set_name, 1, 1, false},
    {0},
};

/* --- thread futures ---------------------------------------------------------------------------------------------- */

static int thread_done(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_thread_future_done(self->as.thread_future));
    return 0;
}

static int thread_cancelled(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_thread_future_cancelled(self->as.thread_future));
    return 0;
}

static int thread_cancel(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_thread_future_cancel(self->as.thread_future));
    return 0;
}

const native thread_future_methods[] = {
    {"done", thread_done, 0, 0, false},
    {"cancelled", thread_cancelled, 0, 0, false},
    {"cancel", thread_cancel, 0, 0, false},
    {0},
};

/* --- handles ----------------------------------------------------------------------------------------------------- */

static int handle_cancel(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    coil_handle_cancel(self->as.handle);
    return 0;
}

static int handle_cancelled(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_handle_cancelled(self->as.handle));
    return 0;
}

static int handle_when(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_int(coil_handle_when(self->as.handle));
    return 0;
}

const native handle_methods[] = {
    {"cancel", handle_cancel, 0, 0, false},
    {"cancelled", handle_cancelled, 0, 0, false},
    {"when", handle_when, 0, 0, false},
    {0},
};

/* --- contexts ---------------------------------------------------------------------------------------------------- */

static int var_get(value *self, const arguments *args, value **out)
{
    (void)args;
    void *found;
    COIL_TRY(coil_contextvar_get(self->as.context_var.var, &found));
    *out = found;
    return 0;
}

static int var_set(value *self, const arguments *args, value **out)
{
    value *token = value_new(VALUE_TOKEN);
    COIL_TRY(coil_contextvar_set(self->as.context_var.var, args->items[0], &token->as.context_var.token));
    *out = token;
    return 0;
}

static int var_reset(value *self, const arguments *args, value **out)
{
    (void)out;
    if (args->items[0]->type != VALUE_TOKEN)
        die("a token is needed");
    return coil_contextvar_reset(self->as.context_var.var, args->items[0]->as.context_var.token);
}

const native var_methods[] = {
    {"get", var_get, 0, 0, false},
    {"set", var_set, 1, 1, false},
    {"reset", var_reset, 1, 1, false},
    {0},
};

struct inside_context {
    struct later *call;
    value *out;
};

static int run_inside(void *arg)
{
    struct inside_context *inside = arg;
    return call_value(inside->call->callable, &inside->call->args, &inside->out);
}

static int context_run(value *self, const arguments *args, value **out)
{
    struct inside_context inside = {later_new(args->items[0], 1, args), &value_none};
    COIL_TRY(coil_context_run(self->as.context, run_inside, &inside));
    *out = inside.out;
    return 0;
}

const native context_methods[] = {
    {"run", context_run, 1, SIZE_MAX, false},
    {0},
};

/* --- finding ----------------------------------------------------------------------------------------------------- */

static const native *methods_of(const value *v)
{
    static const native *const tables[VALUE_READER + 1] = {
        [VALUE_THREAD_FUTURE] = thread_future_methods,
        [VALUE_HANDLE] = handle_methods,
        [VALUE_AGEN] = agen_methods,
        [VALUE_QUEUE] = queue_methods,
        [VALUE_LOCK] = lock_methods,
        [VALUE_EVENT] = event_methods,
        [VALUE_CONDITION] = condition_methods,
        [VALUE_SEMAPHORE] = semaphore_methods,
        [VALUE_BARRIER] = barrier_methods,
        [VALUE_GROUP] = group_methods,
        [VALUE_TIMEOUT] = timeout_methods,
        [VALUE_RUNNER] = runner_methods,
        [VALUE_VAR] = var_methods,
        [VALUE_CONTEXT] = context_methods,
        [VALUE_READER] = reader_methods,
    };
    if (v->type == VALUE_FUTURE)
        return coil_future_is_task(v->as.future) ? task_methods : future_methods;
    return tables[v->type];
}

const native *method_find(const value *self, const char *name)
{
    const native *table = methods_of(self);
    const native *method = table ? native_find(table, name) : NULL;
    if (!method)
        die("no method %s on this value", name);
    return method;
}
