/*
 * value.c - making, comparing and transporting values
 *
 * Called from whichever thread runs scenario code. Source of the rules: Python's comparison of ints, strings, lists.
 */
#include "value.h"

#include <stdlib.h>
#include <string.h>

#include "world.h"

value value_none = {.type = VALUE_NONE};
value value_true = {.type = VALUE_BOOL, .as.number = 1};
value value_false = {.type = VALUE_BOOL};

/* --- memory ------------------------------------------------------------------------------------------------------ */

#define CHUNK_BYTES ((size_t)256 * 1024)

static struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(16) char bytes[];
} *chunks; /* world_lock */

static struct chunk *new_chunk(size_t bytes)
{
    size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    struct chunk *chunk = calloc(1, sizeof *chunk + size);
    if (!chunk)
        die("out of memory");
    chunk->size = size;
    world_lock();
    chunk->next = chunks;
    chunks = chunk;
    world_unlock();
    return chunk;
}

/* Not inlined: after a suspension, in the same function, its caller may be on another thread. */
__attribute__((noinline)) void *keep(size_t bytes)
{
    static _Thread_local struct chunk *own;
    bytes = (bytes + 15) & ~(size_t)15;
    if (!own || own->size - own->used < bytes)
        own = new_chunk(bytes);
    void *p = own->bytes + own->used;
    own->used += bytes;
    return p;
}

char *keep_text(const char *text, size_t n)
{
    char *copy = keep(n + 1);
    if (n)
        memcpy(copy, text, n);
    return copy;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

value *value_new(enum value_type type)
{
    value *v = keep(sizeof *v);
    v->type = type;
    return v;
}

value *value_bool(bool truth)
{
    return truth ? &value_true : &value_false;
}

value *value_int(int64_t number)
{
    value *v = value_new(VALUE_INT);
    v->as.number = number;
    return v;
}

value *value_string(const char *text, size_t n)
{
    value *v = value_new(VALUE_STRING);
    v->as.text = keep_text(text, n);
    return v;
}

value *value_list(size_t n)
{
    value *v = value_new(VALUE_LIST);
    v->as.list.items = keep(n * sizeof(value *));
    v->as.list.n = n;
    for (size_t i = 0; i < n; i++)
        v->as.list.items[i] = &value_none;
    return v;
}

value *value_error(coil_error *error)
{
    value *v = value_new(VALUE_ERROR);
    v->as.error = error;
    return v;
}

value *value_future(coil_future *future)
{
    value *v = value_new(VALUE_FUTURE);
    v->as.future = future;
    return v;
}

value *value_call(enum value_type type, value *self, const definition *function, const native *method,
                  const arguments *args)
{
    value *v = value_new(type);
    v->as.call.self = self;
    v->as.call.function = function;
    v->as.call.native = method;
    if (args)
        v->as.call.args = *args;
    return v;
}

/* --- results on their way through the library -------------------------------------------------------------------- */

static struct gathering {
    struct gathering *next;
    coil_future *future;
} *gatherings; /* world_lock; newest first, because that is the one that most likely is asked for */

void value_note_gather(coil_future *future)
{
    struct gathering *g = keep(sizeof *g);
    g->future = coil_retain(future);
    world_lock();
    g->next = gatherings;
    gatherings = g;
    world_unlock();
}

/* Values are aligned, so the lowest bit is free for saying "one of ours". */
void *value_pack(value *v)
{
    return (char *)v + 1;
}

static value *outcome_value(const coil_outcome *outcome)
{
    if (outcome->code == 0)
        return value_unpack(outcome->value);
    return value_error(outcome->error ? coil_error_retain(outcome->error) : coil_error_new(outcome->code, NULL));
}

static value *outcomes_list(const coil_outcome *outcomes, size_t n)
{
    value *list = value_list(n);
    for (size_t i = 0; i < n; i++)
        list->as.list.items[i] = outcome_value(&outcomes[i]);
    return list;
}

static const coil_outcome *find_outcomes(const void *result, size_t *n)
{
    const coil_outcome *outcomes = NULL;
    world_lock();
    for (struct gathering *g = gatherings; g && (!outcomes || outcomes != result); g = g->next)
        outcomes = coil_gather_outcomes(g->future, n);
    world_unlock();
    if (!outcomes || outcomes != result)
        die("the library gave a result that nobody made");
    return outcomes;
}

value *value_unpack(void *result)
{
    size_t n;
    if (!result) /* our own are never NULL: the outcomes of gather() without arguments */
        return value_list(0);
    if ((uintptr_t)result & 1)
        return (value *)((char *)result - 1);
    const coil_outcome *outcomes = find_outcomes(result, &n);
    return outcomes_list(outcomes, n);
}

/* --- comparing --------------------------------------------------------------------------------------------------- */

bool value_is_int(const value *v)
{
    return v->type == VALUE_INT || v->type == VALUE_BOOL;
}

bool value_truth(const value *v)
{
    switch (v->type) {
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
    case VALUE_INT:
        return v->as.number != 0;
    case VALUE_STRING:
        return v->as.text[0] != 0;
    case VALUE_LIST:
        return v->as.list.n != 0;
    default:
        return true;
    }
}

static bool lists_equal(const value *a, const value *b)
{
    if (a->as.list.n != b->as.list.n)
        return false;
    for (size_t i = 0; i < a->as.list.n; i++)
        if (!value_equal(a->as.list.items[i], b->as.list.items[i]))
            return false;
    return true;
}

static bool same_bound_method(const value *a, const value *b)
{
    return a->as.call.native == b->as.call.native && (!a->as.call.self == !b->as.call.self) &&
           (!a->as.call.self || value_equal(a->as.call.self, b->as.call.self));
}

bool value_equal(const value *a, const value *b)
{
    if (a == b)
        return true;
    if (value_is_int(a) && value_is_int(b))
        return a->as.number == b->as.number;
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VALUE_STRING:
        return strcmp(a->as.text, b->as.text) == 0;
    case VALUE_LIST:
        return lists_equal(a, b);
    case VALUE_ERROR:
        return a->as.error == b->as.error;
    case VALUE_FUTURE:
        return a->as.future == b->as.future;
    case VALUE_METHOD:
        return same_bound_method(a, b);
    default:
        return false;
    }
}

static int lists_compare(const value *a, const value *b)
{
    size_t n = a->as.list.n < b->as.list.n ? a->as.list.n : b->as.list.n;
    for (size_t i = 0; i < n; i++)
        if (!value_equal(a->as.list.items[i], b->as.list.items[i]))
            return value_compare(a->as.list.items[i], b->as.list.items[i]);
    return (a->as.list.n > b->as.list.n) - (a->as.list.n < b->as.list.n);
}

int value_compare(const value *a, const value *b)
{
    if (value_is_int(a) && value_is_int(b))
        return (a->as.number > b->as.number) - (a->as.number < b->as.number);
    if (a->type == VALUE_STRING && b->type == VALUE_STRING) {
        int order = strcmp(a->as.text, b->as.text);
        return (order > 0) - (order < 0);
    }
    if (a->type == VALUE_LIST && b->type == VALUE_LIST)
        return lists_compare(a, b);
    die("cannot compare these values");
}

/* --- arguments --------------------------------------------------------------------------------------------------- */

value *argument(const arguments *args, size_t i, const char *name)
{
    if (i < args->n)
        return args->items[i];
    for (size_t k = 0; name && k < args->keywords_n; k++)
        if (strcmp(args->keywords[k].name, name) == 0)
            return args->keywords[k].value;
    return NULL;
}
