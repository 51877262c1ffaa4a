/*
 * builtins.c - finding builtins, checking arguments, and the builtins on plain values
 */
#include "builtins.h"

#include <string.h>

#include "errors.h"
#include "format.h"
#include "parse.h"
#include "world.h"

const native *native_find(const native *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

const native *builtin_find(const char *name)
{
    static const native *const tables[] = {value_builtins,   loop_builtins,   task_builtins,
                                           combine_builtins, object_builtins, thread_builtins,
                                           job_builtins};
    const native *found = NULL;
    for (size_t i = 0; !found && i < sizeof tables / sizeof tables[0]; i++)
        found = native_find(tables[i], name);
    return found;
}

/* --- arguments --------------------------------------------------------------------------------------------------- */

int64_t int_argument(const arguments *args, size_t i, const char *name, int64_t fallback)
{
    const value *v = argument(args, i, name);
    if (!v)
        return fallback;
    if (!value_is_int(v))
        die("a number is needed");
    return v->as.number;
}

int64_t ticks_argument(const arguments *args, size_t i, const char *name)
{
    const value *v = argument(args, i, name);
    if (v && v->type == VALUE_NONE)
        return COIL_FOREVER;
    return int_argument(args, i, name, COIL_FOREVER);
}

coil_context *context_argument(const arguments *args)
{
    const value *v = argument(args, SIZE_MAX, "context");
    if (!v || v->type == VALUE_NONE)
        return NULL;
    if (v->type != VALUE_CONTEXT)
        die("a context is needed");
    return v->as.context;
}

coil_future *future_argument(const arguments *args, size_t i)
{
    if (args->items[i]->type != VALUE_FUTURE)
        die("a future is needed");
    return args->items[i]->as.future;
}

coil_task_options task_options(const arguments *args)
{
    const value *name = argument(args, 1, "name");
    coil_task_options options = {.size = sizeof options, .context = context_argument(args)};
    if (name && name->type != VALUE_NONE)
        options.name = format_plain(name);
    return options;
}

/* --- arithmetic -------------------------------------------------------------------------------------------------- */

static int64_t number(const value *v)
{
    if (!value_is_int(v))
        die("a number is needed");
    return v->as.number;
}

static value *join_lists(const value *a, const value *b)
{
    size_t n = a->as.list.n;
    value *list = value_list(n + b->as.list.n);
    for (size_t i = 0; i < list->as.list.n; i++)
        list->as.list.items[i] = i < n ? a->as.list.items[i] : b->as.list.items[i - n];
    return list;
}

static value *join_strings(const value *a, const value *b)
{
    size_t n = strlen(a->as.text), m = strlen(b->as.text);
    char *text = keep(n + m + 1);
    memcpy(text, a->as.text, n);
    memcpy(text + n, b->as.text, m);
    return value_string(text, n + m);
}

static int add(value *self, const arguments *args, value **out)
{
    (void)self;
    const value *a = args->items[0], *b = args->items[1];
    if (a->type == VALUE_LIST && b->type == VALUE_LIST)
        *out = join_lists(a, b);
    else if (a->type == VALUE_STRING && b->type == VALUE_STRING)
        *out = join_strings(a, b);
    else
        *out = value_int(number(a) + number(b));
    return 0;
}

static int sub(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_int(number(args->items[0]) - number(args->items[1]));
    return 0;
}

static int mod(value *self, const arguments *args, value **out)
{
    (void)self;
    int64_t n = number(args->items[1]);
    if (n == 0)
        die("modulo zero");
    int64_t rest = n == -1 ? 0 : number(args->items[0]) % n;
    *out = value_int(rest != 0 && (rest < 0) != (n < 0) ? rest + n : rest);
    return 0;
}

/* --- comparisons ------------------------------------------------------------------------------------------------- */

static int eq(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(value_equal(args->items[0], args->items[1]));
    return 0;
}

static int ne(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(!value_equal(args->items[0], args->items[1]));
    return 0;
}

static int lt(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(value_compare(args->items[0], args->items[1]) < 0);
    return 0;
}

static int le(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(value_compare(args->items[0], args->items[1]) <= 0);
    return 0;
}

static int gt(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(value_compare(args->items[0], args->items[1]) > 0);
    return 0;
}

static int ge(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(value_compare(args->items[0], args->items[1]) >= 0);
    return 0;
}

static int not_(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_bool(!value_truth(args->items[0]));
    return 0;
}

/* --- lists ------------------------------------------------------------------------------------------------------- */

static int64_t length(const value *v)
{
    if (v->type == VALUE_LIST)
        return (int64_t)v->as.list.n;
    if (v->type == VALUE_STRING)
        return (int64_t)strlen(v->as.text);
    die("a list or a string is needed");
}

static int len(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_int(length(args->items[0]));
    return 0;
}

static int at(value *self, const arguments *args, value **out)
{
    (void)self;
    const value *v = args->items[0];
    int64_t n = length(v), i = number(args->items[1]);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        die("no item %lld", (long long)i);
    *out = v->type == VALUE_LIST ? v->as.list.items[i] : value_string(v->as.text + i, 1);
    return 0;
}

static int push(value *self, const arguments *args, value **out)
{
    (void)self;
    value *one = value_list(1);
    one->as.list.items[0] = args->items[1];
    if (args->items[0]->type != VALUE_LIST)
        die("a list is needed");
    *out = join_lists(args->items[0], one);
    return 0;
}

/* --- errors ------------------------------------------------------------------------------------------------------ */

static coil_error *error_argument(const arguments *args)
{
    if (args->items[0]->type != VALUE_ERROR)
        die("an exception is needed");
    return args->items[0]->as.error;
}

static int kind(value *self, const arguments *args, value **out)
{
    (void)self;
    const char *name = error_kind_name(error_argument(args));
    *out = value_string(name, strlen(name));
    return 0;
}

static int msg(value *self, const arguments *args, value **out)
{
    (void)self;
    const char *message = coil_error_message(error_argument(args));
    *out = value_string(message, strlen(message));
    return 0;
}

static int isexc(value *self, const arguments *args, value **out)
{
    (void)self;
    const value *name = args->items[1];
    if (name->type != VALUE_STRING || !error_kind_find(name->as.text, strlen(name->as.text)))
        die("an exception kind is needed");
    bool is = args->items[0]->type == VALUE_ERROR &&
              error_is(args->items[0]->as.error, error_kind_find(name->as.text, strlen(name->as.text)));
    *out = value_bool(is);
    return 0;
}

static int excs(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = error_suberrors(error_argument(args));
    return 0;
}

static int drop(value *self, const arguments *args, value **out)
{
    (void)self, (void)out;
    if (args->items[0]->type == VALUE_FUTURE)
        world_drop(args->items[0]->as.future);
    if (args->items[0]->type == VALUE_AGEN)
        return coil_agen_finalize(args->items[0]->as.agen);
    return 0;
}

const native value_builtins[] = {
    {"add", add, 2, 2, false},   {"sub", sub, 2, 2, false},     {"mod", mod, 2, 2, false},
    {"eq", eq, 2, 2, false},     {"ne", ne, 2, 2, false},       {"lt", lt, 2, 2, false},
    {"le", le, 2, 2, false},     {"gt", gt, 2, 2, false},       {"ge", ge, 2, 2, false},
    {"not", not_, 1, 1, false},  {"len", len, 1, 1, false},     {"at", at, 2, 2, false},
    {"push", push, 2, 2, false}, {"kind", kind, 1, 1, false},   {"msg", msg, 1, 1, false},
    {"isexc", isexc, 2, 2, false}, {"excs", excs, 1, 1, false}, {"drop", drop, 1, 1, false},
    {0},
};
